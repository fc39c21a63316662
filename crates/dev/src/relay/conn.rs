//! One connection: two sockets, and a flow each way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use waterwheel_xdp::mm::Holder;

use super::accept::Targets;
use super::end::Why;
use super::sys::{Told, acknowledged};
use crate::uring::{Choice, Op, Part, Ring};

/// Names a flow to the ring: the connection's place, how often the place was used before, and which way the flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) place: u32,
    generation: u32,
    pub(super) way: usize,
}

const PLACE_BITS: u32 = 24;
const GENERATION: u32 = (1 << 31) - 1;

impl Key {
    /// The keys of both flows of the connection.
    pub(super) fn both(self) -> [Self; 2] {
        [Self { way: 0, ..self }, Self { way: 1, ..self }]
    }

    /// The 56 bits that the ring takes.
    pub(super) fn bits(self) -> u64 {
        u64::from(self.generation) << (PLACE_BITS + 1) | u64::from(self.place) << 1 | self.way as u64
    }

    pub(super) fn of(bits: u64) -> Self {
        let place = (bits >> 1) as u32 & ((1 << PLACE_BITS) - 1);
        Self { place, generation: (bits >> (PLACE_BITS + 1)) as u32, way: (bits & 1) as usize }
    }
}

/// From who connected to where we connect.
pub(super) const UP: usize = 0;

/// A request whose last event has not come. It is forgotten when that comes, and asked to end once at most: what the ring does later is not its concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    op: Op,
    cancelled: bool,
}

impl Asked {
    pub(super) fn new(op: Op) -> Self {
        Self { op, cancelled: false }
    }

    pub(super) fn cancel(&mut self, ring: &mut Ring) {
        if !std::mem::replace(&mut self.cancelled, true) {
            ring.cancel(self.op);
        }
    }
}

/// Bytes from one socket of a connection to the other.
#[derive(Debug)]
pub(super) struct Flow {
    /// Received, not sent yet.
    pub(super) queue: VecDeque<Part>,
    /// The request to receive, and whether it goes on after it has received.
    pub(super) receiving: Option<(Asked, bool)>,
    /// The request to send, with so many pages.
    pub(super) sending: Option<(Asked, usize)>,
    /// Pages that were sent without a copy and are not acknowledged.
    pub(super) unacknowledged: usize,
    /// Too many pages are held: nothing is received until they are fewer.
    pub(super) stalled: bool,
    /// It has stalled, and held more than a page ever since: it receives page by page.
    pub(super) slow: bool,
    /// While it is: who tells when the peer is gone.
    pub(super) watch: Option<Asked>,
    /// The peer hung up without an error: what it sent last is still to be received.
    pub(super) hung_up: bool,
    /// It waits for pages.
    pub(super) starved: bool,
    /// It is in the list of those to look at.
    pub(super) marked: bool,
    /// The end of the stream was received, and passed on.
    pub(super) ended: bool,
    pub(super) shut: bool,
    /// Bytes received, and of these how many are acknowledged: by whom they are for, as far as was asked.
    pub(super) received: u64,
    pub(super) passed: u64,
    /// Bytes given to the socket since it was asked.
    pub(super) unasked: u64,
    /// It is in the list of those to ask.
    pub(super) unsure: bool,
    /// What its socket had acknowledged before the first byte: a SYN counts as one.
    base: u64,
    /// Who it is for is gone: nothing more will be passed on.
    pub(super) gone: bool,
    pub(super) choice: Choice,
    /// Who is named as the holder of its pages, once one was asked for.
    holder: Option<Holder>,
}

impl Flow {
    fn new(choice: Choice) -> Self {
        Self {
            queue: VecDeque::new(),
            receiving: None,
            sending: None,
            unacknowledged: 0,
            stalled: false,
            slow: false,
            watch: None,
            hung_up: false,
            starved: false,
            marked: false,
            ended: false,
            shut: false,
            received: 0,
            passed: 0,
            unasked: 0,
            unsure: false,
            base: 0,
            gone: false,
            choice,
            holder: None,
        }
    }

    /// Pages that this flow holds.
    pub(super) fn pages(&self) -> usize {
        self.queue.len() + self.sending.map_or(0, |(_, pages)| pages) + self.unacknowledged
    }

    /// Everything that was received is with the kernel.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sending.is_none()
    }

    /// Everything that was received has arrived, or never will.
    pub(super) fn is_settled(&self) -> bool {
        self.gone || (self.receiving.is_none() && self.is_empty() && self.passed == self.received)
    }

    /// Asks for the end of what it receives by.
    pub(super) fn cancel_receive(&mut self, ring: &mut Ring) {
        if let Some((receiving, _)) = &mut self.receiving {
            receiving.cancel(ring);
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Connecting(Op),
    Open,
    /// Nothing is received any more; what was received is sent until it is acknowledged, or until then.
    Draining(Why, Option<Instant>),
    /// It ends when its last request has.
    Closing(Why),
}

/// One connection. Flow `way` receives from `sockets[way]` and sends to the other.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) sockets: [OwnedFd; 2],
    /// Who is at the other ends.
    pub(super) peers: [SocketAddr; 2],
    /// Where else it may connect to.
    pub(super) targets: Targets,
    pub(super) flows: [Flow; 2],
    pub(super) state: State,
    /// Requests whose last event has not come.
    pub(super) requests: usize,
    /// When it was accepted, and when bytes moved last.
    pub(super) began: Instant,
    pub(super) moved: Instant,
    /// It drains, and is or was looked at without waiting for a tick.
    pub(super) looked_at: bool,
}

impl Conn {
    pub(super) fn new(
        sockets: [OwnedFd; 2],
        peers: [SocketAddr; 2],
        choices: [Choice; 2],
        state: State,
        now: Instant,
    ) -> Self {
        let flows = choices.map(|choice| Flow::new(choice.inherited()));
        let targets = Targets::default();
        Self { sockets, peers, targets, flows, state, requests: 1, began: now, moved: now, looked_at: false }
    }

    /// Both sockets are connected: from now on their acknowledgements count.
    pub(super) fn opened(&mut self) {
        self.state = State::Open;
        for way in [0, 1] {
            self.flows[way].base = acknowledged(self.sockets[1 - way].as_fd()).map_or(0, |told| told.bytes);
        }
    }

    /// Asks what the socket that flow `way` fills has to tell. The bytes are those that are acknowledged and were not when it was asked last.
    pub(super) fn ask(&mut self, way: usize, now: Instant) -> Told {
        let flow = &mut self.flows[way];
        flow.unasked = 0;
        let told = acknowledged(self.sockets[1 - way].as_fd()).unwrap_or_default();
        // A FIN counts as one, too, once everything before it is acknowledged.
        let passed = told.bytes.saturating_sub(flow.base).clamp(flow.passed, flow.received);
        let bytes = passed - flow.passed;
        if bytes > 0 {
            (flow.passed, self.moved) = (passed, now);
        }
        Told { bytes, ..told }
    }

    /// How the socket queue that flow `way` fills is called, for reports of who holds pages.
    pub(super) fn holder(&self, way: usize) -> String {
        format!("tcp:{}", self.peers[1 - way])
    }

    /// The same, as the holder of pages that are followed.
    pub(super) fn traced_as(&mut self, way: usize) -> Holder {
        if let Some(holder) = self.flows[way].holder {
            return holder;
        }
        let holder = Holder::named(&format!("socket queue '{}'", self.holder(way)));
        *self.flows[way].holder.insert(holder)
    }
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Conns {
    places: Vec<(u32, Option<Box<Conn>>)>,
    free: Vec<u32>,
}

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The key of way [`UP`] of the next connection, which [`insert`](Self::insert) then takes.
    pub(super) fn next_key(&mut self) -> Key {
        if self.free.is_empty() {
            self.free.push(self.places.len() as u32);
            self.places.push((0, None));
        }
        let place = self.free[self.free.len() - 1];
        Key { place, generation: self.places[place as usize].0, way: UP }
    }

    pub(super) fn insert(&mut self, key: Key, conn: Conn) {
        let taken = self.free.pop();
        debug_assert_eq!(taken, Some(key.place));
        self.places[key.place as usize].1 = Some(Box::new(conn));
    }

    /// The connection of `key`, if it is still there.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Conn> {
        let (generation, conn) = self.places.get_mut(key.place as usize)?;
        conn.as_deref_mut().filter(|_| *generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Box<Conn>> {
        let (generation, conn) = self.places.get_mut(key.place as usize)?;
        if *generation != key.generation {
            return None;
        }
        let conn = conn.take()?;
        *generation = (*generation + 1) & GENERATION;
        self.free.push(key.place);
        Some(conn)
    }

    #[cfg(test)]
    pub(super) fn set_generation(&mut self, place: u32, generation: u32) {
        self.places[place as usize].0 = generation;
    }

    /// The keys of all connections.
    pub(super) fn keys(&self) -> Vec<Key> {
        let there = self.places.iter().zip(0..).filter(|((_, conn), _)| conn.is_some());
        there.map(|((generation, _), place)| Key { place, generation: *generation, way: UP }).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.places.iter().filter_map(|(_, conn)| conn.as_deref())
    }
}
