//! The loop of a relay: one thread, one ring, one pool. Start here.
//!
//! ```text
//! fill     empty pages of the pool wait in the ring for whatever is received
//! turn     one system call: what was asked for goes in, what has happened comes out
//! handle   each event: a page with bytes goes to the queue of its flow, a page that was sent goes home
//! settle   each flow that something happened to: sends what it has, stops receiving when it holds too much, goes on when it holds little
//! ```
//!
//! How flows share the pages, `fill` and the inside of `settle`, is told in `flow.rs`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use waterwheel_xdp::PagePool;

use super::conn::{Asked, Conns, Key, State};
use super::end::{TICK, Why};
use super::params::{FILL_MIN, RelayParams};
use super::shared::Shared;
use super::stats::RelayStats;
use crate::uring::{Choice, Event, LONGEST_WAIT, Part, Ring};

/// Keys of the requests that belong to no connection.
pub(super) const LISTENER: u64 = (1 << 56) - 1;
pub(super) const STOP: u64 = (1 << 56) - 2;
pub(super) struct Worker {
    pub(super) ring: Ring,
    pub(super) pool: PagePool,
    pub(super) listener: Arc<OwnedFd>,
    pub(super) shared: Arc<Shared>,
    pub(super) params: RelayParams,
    pub(super) max_connections: usize,
    pub(super) conns: Conns,
    pub(super) stats: RelayStats,
    /// The watch over the listener.
    pub(super) listening: Option<Asked>,
    /// What that watch has said in this turn.
    waiting: Option<Result<u32, Errno>>,
    /// Accepting failed: not before the next tick.
    pub(super) accept_later: bool,
    pub(super) ending: Option<Instant>,
    pub(super) now: Instant,
    /// What new connections begin with, each way.
    pub(super) choices: [Choice; 2],
    /// Flows to look at.
    pub(super) marked: Vec<Key>,
    /// The same list, empty, kept for its memory.
    spare: Vec<Key>,
    /// Connections that drain; those of them that began lately, with how many looks they have left before they have to wait for a tick.
    pub(super) draining: usize,
    pub(super) leaving: VecDeque<(Key, u8)>,
    /// Flows whose sockets were given bytes that may not have arrived.
    pub(super) unsure: Vec<Key>,
    /// When they were asked.
    pub(super) asked: Instant,
    /// Flows that wait for pages, in their order.
    pub(super) starved: VecDeque<Key>,
    /// Pages that should wait in the ring, and turns since they did not suffice.
    pub(super) target: usize,
    pub(super) calm: u32,
    /// Blocks that a flow may hold.
    pub(super) share: usize,
    pub(super) tight: bool,
    /// The pool has refused a page in this turn.
    pub(super) dry: bool,
}

impl Worker {
    pub(super) fn new(
        ring: Ring,
        pool: PagePool,
        listener: Arc<OwnedFd>,
        shared: Arc<Shared>,
        params: &RelayParams,
    ) -> Self {
        Self {
            ring,
            pool,
            listener,
            shared,
            params: RelayParams { drain: params.drain.min(LONGEST_WAIT), ..params.clone() },
            max_connections: params.max_connections.div_ceil(params.workers),
            conns: Conns::default(),
            stats: RelayStats::default(),
            listening: None,
            waiting: None,
            accept_later: false,
            ending: None,
            now: Instant::now(),
            choices: [Choice::new(params.send); 2],
            marked: Vec::new(),
            spare: Vec::new(),
            draining: 0,
            leaving: VecDeque::new(),
            unsure: Vec::new(),
            asked: Instant::now(),
            starved: VecDeque::new(),
            target: FILL_MIN,
            calm: 0,
            share: params.cap,
            tight: false,
            dry: false,
        }
    }

    /// Relays until it is told to stop and what was under way is sent, or the ring fails. Tells how many pages had to be quarantined.
    pub(super) fn run(mut self, index: usize) -> io::Result<usize> {
        let shared = Arc::clone(&self.shared);
        self.ring.watch(shared.stop_fd(), STOP, u32::from(libc::POLLIN.unsigned_abs()));
        let mut events = Vec::new();
        let mut ticked = self.now;
        let result = loop {
            self.adapt();
            loop {
                self.fill();
                if self.marked.is_empty() {
                    break;
                }
                self.settle();
            }
            self.listen_on();
            self.publish(index);
            if self.ending.is_some() && self.conns.len() == 0 {
                break Ok(());
            }
            let pause = self.pause();
            if let Err(error) = self.ring.turn(&mut self.pool, pause, &mut events) {
                break Err(error);
            }
            self.now = Instant::now();
            self.handle_all(&mut events);
            self.leave();
            if pause.is_some_and(|pause| self.now >= ticked + pause) {
                self.tick();
                ticked = self.now;
            }
        };
        for key in self.conns.keys() {
            self.close(key, Why::Stopped);
            self.remove(key); // the sockets go, and with them what they hold
        }
        let quarantined = self.ring.close(&mut self.pool, self.params.drain.max(TICK));
        self.stats.held = (quarantined >> self.params.order) as u64; // all others are home
        self.publish(index);
        result.map(|()| quarantined)
    }

    /// Does what the events of a turn ask for.
    ///
    /// Whoever waits to be accepted does so until the last of them: only then is every request forgotten that is done, and no end is asked for of one whose place in the ring a new
    /// one may have taken.
    pub(super) fn handle_all(&mut self, events: &mut Vec<Event>) {
        events.drain(..).for_each(|event| self.handle(event));
        if let Some(watched) = self.waiting.take() {
            self.accept(watched);
        }
    }

    /// Does what an event asks for.
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { .. } => {} // not asked for
            Event::Connected { key, result } => self.connected(Key::of(key), result),
            Event::Received { key, part } => self.received(Key::of(key), part),
            Event::Ended { key, result } => self.receive_ended(Key::of(key), result),
            Event::Sent { key, result, held, rest, .. } => self.sent(Key::of(key), result, held, rest),
            Event::Released { key, pages, copied } => self.released(Key::of(key), pages, copied),
            Event::Ready { key: STOP, .. } => self.stop(),
            Event::Ready { key: LISTENER, result } => (self.listening, self.waiting) = (None, Some(result)),
            Event::Ready { key, result } => self.ready(Key::of(key), result),
        }
    }

    pub(super) fn received(&mut self, key: Key, part: Part) {
        let Some(conn) = self.conns.get(key) else {
            self.stats.bytes_dropped += u64::from(part.len);
            return self.pool.put(part.page);
        };
        conn.flows[key.way].received += u64::from(part.len);
        if conn.flows[key.way].gone || matches!(conn.state, State::Closing(_)) {
            return self.pool.put(part.page); // it is counted when the connection goes
        }
        conn.moved = self.now;
        if self.pool.sampling().is_some() {
            part.page.note_holder(conn.traced_as(key.way));
        }
        conn.flows[key.way].queue.push_back(part);
        self.stats.held += 1;
        self.stats.held_max = self.stats.held_max.max(self.stats.held);
        self.mark(key);
    }

    /// A request to receive is done: at the end, after bytes, as there was no page, as it was cancelled, or by an error.
    pub(super) fn receive_ended(&mut self, key: Key, result: Result<u32, Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        let flow = &mut conn.flows[key.way];
        flow.receiving = None;
        match result {
            Ok(0) => flow.ended = true,
            Err(Errno::NOBUFS) if conn.state == State::Open => {
                self.stats.starved += 1;
                flow.starved = true;
                return self.starved.push_back(key);
            }
            Ok(_) | Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN | Errno::NOBUFS) => {}
            Err(_) => self.lost(key, key.way),
        }
        self.mark(key);
    }

    pub(super) fn sent(&mut self, key: Key, result: Result<u32, Errno>, held: usize, rest: Vec<Part>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        let closing = matches!(conn.state, State::Closing(_));
        let flow = &mut conn.flows[key.way];
        let pages = flow.sending.take().map_or(0, |(_, pages)| pages);
        flow.unacknowledged += held;
        self.stats.held -= (pages - held - rest.len()) as u64;
        if held == 0 && !rest.is_empty() {
            flow.choice.refused(); // or cut: the rest goes plainly
        }
        if closing || flow.gone {
            self.stats.held -= rest.len() as u64;
            rest.into_iter().for_each(|part| self.pool.put(part.page));
        } else {
            rest.into_iter().rev().for_each(|part| flow.queue.push_front(part));
        }
        match result {
            Ok(bytes) => {
                conn.moved = self.now;
                self.given(key, bytes);
            }
            Err(_) => self.lost(key, 1 - key.way),
        }
        self.mark(key);
    }

    /// The network holds so many pages less.
    fn released(&mut self, key: Key, pages: usize, copied: bool) {
        self.stats.held -= pages as u64;
        self.choices[key.way].answered(copied);
        if let Some(conn) = self.conns.get(key) {
            let flow = &mut conn.flows[key.way];
            flow.unacknowledged -= pages;
            flow.choice.answered(copied);
            self.mark(key);
        }
    }

    /// A peer that is not received from hung up, or reset the connection.
    pub(super) fn ready(&mut self, key: Key, result: Result<u32, Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        let flow = &mut conn.flows[key.way];
        flow.watch = None;
        match result {
            Ok(events) if events & u32::from(libc::POLLERR.unsigned_abs()) != 0 => self.lost(key, key.way),
            Ok(_) => flow.hung_up = true,
            Err(_) => {}
        }
        self.mark(key);
    }

    pub(super) fn mark(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let flow = &mut conn.flows[key.way];
        if !std::mem::replace(&mut flow.marked, true) {
            self.marked.push(key);
        }
    }

    /// Sees to every flow that something happened to, and to those to which something happens by that.
    fn settle(&mut self) {
        let mut marked = std::mem::take(&mut self.spare);
        while !self.marked.is_empty() {
            std::mem::swap(&mut marked, &mut self.marked);
            marked.drain(..).for_each(|key| self.settle_connection(key));
        }
        self.spare = marked;
    }

    fn settle_connection(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.flows[key.way].marked = false;
        match conn.state {
            State::Connecting(_) => {}
            State::Closing(_) if conn.requests == 0 => self.remove(key),
            State::Closing(_) => {}
            State::Open | State::Draining(..) => self.settle_flow(key),
        }
    }

    fn publish(&mut self, index: usize) {
        let ring = self.ring.stats();
        self.stats.enters = ring.enters;
        (self.stats.zc_sent, self.stats.zc_copied, self.stats.zc_refused) =
            (ring.zc_sent, ring.zc_copied, ring.zc_refused);
        self.stats.bad_completions = ring.bad_completions;
        self.stats.waiting = self.ring.waiting_pages() as u64;
        self.stats.open = self.conns.len() as u64;
        let pool = self.pool.stats();
        (self.stats.taken, self.stats.missed) = (pool.alloc_fast + pool.alloc_slow, pool.hold);
        self.shared.publish(index, &self.stats, || self.conns.iter().flat_map(holders).collect());
    }
}

/// Who holds how many blocks.
fn holders(conn: &super::conn::Conn) -> impl Iterator<Item = (String, usize)> {
    (0..2).map(|way| (conn.holder(way), conn.flows[way].pages())).filter(|(_, pages)| *pages > 0)
}
