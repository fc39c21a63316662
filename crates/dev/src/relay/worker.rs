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
use std::time::{Duration, Instant};

use rustix::io::Errno;
use waterwheel_xdp::PagePool;

use super::conn::{Conns, Flow, Key, State, UP};
use super::flow::{cancel_receive, unstall};
use super::params::{FILL_MIN, RelayParams};
use super::shared::Shared;
use super::stats::RelayStats;
use crate::uring::{Choice, Event, Op, Part, Ring};

/// Keys of the requests that belong to no connection.
pub(super) const LISTENER: u64 = (1 << 56) - 1;
pub(super) const STOP: u64 = (1 << 56) - 2;
/// How often to look at what has no event: idle connections, and accepting after an error.
const TICK: Duration = Duration::from_millis(100);

/// Why a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    ConnectFailed,
    Reset,
    IdleTimeout,
    Stopped,
}

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
    pub(super) listening: Option<Op>,
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
            params: params.clone(),
            max_connections: params.max_connections.div_ceil(params.workers),
            conns: Conns::default(),
            stats: RelayStats::default(),
            listening: None,
            accept_later: false,
            ending: None,
            now: Instant::now(),
            choices: [Choice::new(params.send); 2],
            marked: Vec::new(),
            spare: Vec::new(),
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
        let mut tick = self.now + TICK;
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
            let ticks = self.params.idle_timeout.is_some() || self.accept_later || self.ending.is_some();
            if let Err(error) = self.ring.turn(&mut self.pool, ticks.then_some(TICK), &mut events) {
                break Err(error);
            }
            self.now = Instant::now();
            events.drain(..).for_each(|event| self.handle(event));
            if ticks && self.now >= tick {
                self.tick();
                tick = self.now + TICK;
            }
        };
        for key in self.conns.keys() {
            self.reset(key, Why::Stopped);
        }
        self.conns = Conns::default(); // the sockets go, and with them what they hold
        let quarantined = self.ring.close(&mut self.pool, self.params.drain.max(TICK));
        self.stats.held = (quarantined >> self.params.order) as u64; // all others are home
        self.publish(index);
        result.map(|()| quarantined)
    }

    /// Does what an event asks for.
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { .. } => {} // not asked for
            Event::Connected { key, result } => self.connected(Key::of(key), result),
            Event::Received { key, part } => self.received(Key::of(key), part),
            Event::Ended { key, result } => self.receive_ended(Key::of(key), result),
            Event::Sent { key, result, held, rest, .. } => self.sent(Key::of(key), result, held, rest),
            Event::Released { key, pages, copied } => self.released(Key::of(key), pages, copied),
            Event::Ready { key: STOP, .. } => self.stop(),
            Event::Ready { key: LISTENER, result } => self.accept(result),
            Event::Ready { key, result } => self.ready(Key::of(key), result),
        }
    }

    fn received(&mut self, key: Key, part: Part) {
        let Some(conn) = self.conns.get(key).filter(|conn| conn.state == State::Open) else {
            self.stats.bytes_dropped += u64::from(part.len);
            return self.pool.put(part.page);
        };
        conn.moved = self.now;
        let bytes = if key.way == UP { &mut self.stats.bytes_up } else { &mut self.stats.bytes_down };
        *bytes += u64::from(part.len);
        if self.pool.sampling().is_some() {
            part.page.note_holder(conn.traced_as(key.way));
        }
        conn.flows[key.way].queue.push_back(part);
        self.stats.held += 1;
        self.stats.held_max = self.stats.held_max.max(self.stats.held);
        self.mark(key);
    }

    /// A request to receive is done: at the end, after bytes, as there was no page, as it was cancelled, or by an error.
    fn receive_ended(&mut self, key: Key, result: Result<u32, Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        let closing = conn.state == State::Closing;
        let flow = &mut conn.flows[key.way];
        (flow.receiving, flow.cancelled) = (None, false);
        match result {
            _ if closing => {}
            Ok(0) => flow.ended = true,
            Ok(_) | Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::NOBUFS) => {
                self.stats.starved += 1;
                flow.starved = true;
                return self.starved.push_back(key);
            }
            Err(_) => return self.reset(key, Why::Reset),
        }
        self.mark(key);
    }

    fn sent(&mut self, key: Key, result: Result<u32, Errno>, held: usize, rest: Vec<Part>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        conn.moved = self.now;
        let closing = conn.state == State::Closing;
        let flow = &mut conn.flows[key.way];
        let pages = flow.sending.take().map_or(0, |(_, pages)| pages);
        flow.unacknowledged += held;
        self.stats.held -= (pages - held - rest.len()) as u64;
        if closing {
            self.stats.held -= rest.len() as u64;
            for part in rest {
                self.stats.bytes_dropped += u64::from(part.len);
                self.pool.put(part.page);
            }
            return self.mark(key);
        }
        if held == 0 && !rest.is_empty() {
            flow.choice.refused(); // or cut: the rest goes plainly
        }
        for part in rest.into_iter().rev() {
            flow.queue.push_front(part);
        }
        match result {
            Err(_) => self.reset(key, Why::Reset),
            Ok(_) => self.mark(key),
        }
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
    fn ready(&mut self, key: Key, result: Result<u32, Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        let flow = &mut conn.flows[key.way];
        flow.watch = None;
        match result {
            Ok(events) if events & u32::from(libc::POLLERR.unsigned_abs()) != 0 => self.reset(key, Why::Reset),
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
            State::Closing if conn.requests == 0 => self.remove(key),
            State::Closing => {}
            State::Open => self.settle_flow(key),
        }
    }

    /// Both sides have said all they had to say.
    pub(super) fn finish(&mut self, key: Key) {
        self.stats.finished += 1;
        self.close(key);
    }

    /// Ends a connection at once: both sides get a reset.
    pub(super) fn reset(&mut self, key: Key, why: Why) {
        let Some(conn) = self.conns.get(key).filter(|conn| conn.state != State::Closing) else { return };
        for socket in &conn.sockets {
            // It fails for a socket that is closed already.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        *match why {
            Why::ConnectFailed => &mut self.stats.connect_failed,
            Why::Reset => &mut self.stats.reset,
            Why::IdleTimeout => &mut self.stats.idle_timeout,
            Why::Stopped => &mut self.stats.stopped,
        } += 1;
        self.close(key);
    }

    /// Cancels what is under way; the connection goes when nothing is.
    fn close(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        if let State::Connecting(op) = conn.state {
            self.ring.cancel(op);
        }
        conn.state = State::Closing;
        for flow in &mut conn.flows {
            self.stats.held -= flow.queue.len() as u64;
            for part in flow.queue.drain(..) {
                self.stats.bytes_dropped += u64::from(part.len);
                self.pool.put(part.page);
            }
            unstall(flow, &mut self.stats, &mut self.ring);
            cancel_receive(flow, &mut self.ring);
            if let Some((op, _)) = flow.sending {
                self.ring.cancel(op);
            }
        }
        self.mark(key);
    }

    /// Its sockets are closed.
    fn remove(&mut self, key: Key) {
        self.conns.remove(key);
        self.stats.open = self.conns.len() as u64;
    }

    fn tick(&mut self) {
        self.accept_later = false;
        if let Some(deadline) = self.ending {
            let over = self.now >= deadline;
            for key in self.conns.keys() {
                let Some(conn) = self.conns.get(key) else { continue };
                if over || conn.flows.iter().all(Flow::is_empty) {
                    self.reset(key, Why::Stopped);
                }
            }
        }
        if let Some(timeout) = self.params.idle_timeout {
            for key in self.conns.keys() {
                if self.conns.get(key).is_some_and(|conn| self.now.duration_since(conn.moved) >= timeout) {
                    self.reset(key, Why::IdleTimeout);
                }
            }
        }
    }

    /// Nothing is taken in any more; what is under way may still be sent.
    fn stop(&mut self) {
        self.ending = Some(self.now + self.params.drain);
        if let Some(op) = self.listening {
            self.ring.cancel(op);
        }
        for key in self.conns.keys() {
            key.both().into_iter().for_each(|key| self.mark(key));
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
