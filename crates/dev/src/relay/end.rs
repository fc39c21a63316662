//! How connections end, and what is told of their bytes.
//!
//! A byte is *passed on* when who it is for has acknowledged it; the kernel's word that it was taken for sending is not enough, as a socket that is reset forgets what it has. So a connection ends in two steps.
//! It *drains*: nothing more is received, and what was received is sent until it is acknowledged. Then it is *closed*: in order if both sides had ended it, else by a reset, for whoever waits
//! must not take what has come for all that there was. Draining takes no longer than the relay's patience, except where both sides have ended in order: there the connection is not in anybody's way.
//!
//! What came and was not passed on by then is dropped, and counted: pages in the queue, bytes in the socket that were not acknowledged, and bytes in the other that were not read.
//! So of every connection that is gone received = passed on + dropped (+ left to the kernel, which goes on sending what ended in order when the relay ends).

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::conn::{Conn, Flow, Key, State, UP};
use super::flow::unstall;
use super::params::{End, Ended};
use super::worker::Worker;

/// How often to look at what has no event: connections that drain, idle ones, and accepting after an error.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How often to ask what is acknowledged where nobody waits for it but the counters; and the bytes after which it is asked without waiting.
const ASK: Duration = Duration::from_secs(1);
pub(super) const ASK_BYTES: u64 = 1 << 20;
/// Turns in which a connection that drains is looked at before it has to wait for the next tick: the acknowledgement is mostly on its way.
pub(super) const LOOKS: u8 = 8;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Both sides have said all they had to say.
    Finished,
    ConnectFailed(Errno),
    Reset,
    IdleTimeout,
    Stopped,
}

impl Worker {
    /// Both sides have said all they had to say.
    pub(super) fn finish(&mut self, key: Key) {
        self.drain(key, Why::Finished, None);
    }

    /// The side of socket `side` is gone: what it has sent before is still passed on.
    pub(super) fn lost(&mut self, key: Key, side: usize) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.flows[1 - side].gone = true;
        self.drain(key, Why::Reset, Some(self.now + self.params.drain));
    }

    /// Nothing more is received; the connection is closed when what was received is acknowledged, or at `deadline`.
    pub(super) fn drain(&mut self, key: Key, why: Why, deadline: Option<Instant>) {
        let Some(conn) = self.conns.get(key) else { return };
        match &mut conn.state {
            State::Connecting(_) => return self.close(key, why),
            State::Closing(_) => return,
            State::Draining(before, until) => {
                // A reset ends what had ended in order; else the first reason stays. No deadline is put off.
                *before = if why == Why::Reset { why } else { *before };
                *until = [*until, deadline].into_iter().flatten().min();
            }
            State::Open => {
                conn.state = State::Draining(why, deadline);
                self.draining += 1;
            }
        }
        for flow in &mut conn.flows {
            unstall(flow, &mut self.stats, &mut self.ring);
            flow.cancel_receive(&mut self.ring);
        }
        key.both().into_iter().for_each(|key| self.mark(key));
    }

    /// Looks whether a connection that drains has done so. Tells whether it still does.
    pub(super) fn settle_drain(&mut self, key: Key) -> bool {
        if !self.conns.get(key).is_some_and(|conn| matches!(conn.state, State::Draining(..))) {
            return false;
        }
        key.both().into_iter().for_each(|key| self.ask(key));
        let Some(conn) = self.conns.get(key) else { return false };
        let State::Draining(mut why, deadline) = conn.state else { return false };
        let settled = conn.flows.iter().all(Flow::is_settled);
        if !settled && deadline.is_none_or(|deadline| self.now < deadline) {
            if !std::mem::replace(&mut conn.looked_at, true) {
                self.leaving.push_back((key, LOOKS));
            }
            return true;
        }
        if why == Why::Stopped && conn.flows.iter().all(|flow| flow.shut) {
            why = Why::Finished; // both ends came before ours
        }
        self.close(key, why);
        false
    }

    /// Asks what of a flow is acknowledged. Who has reset the connection is noticed by that, too, if nothing is sent and received.
    fn ask(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let told = conn.ask(key.way, self.now);
        *(if key.way == UP { &mut self.stats.bytes_up } else { &mut self.stats.bytes_down }) += told.bytes;
        let flow = &conn.flows[key.way];
        if told.closed && !flow.gone && flow.passed < flow.received {
            self.lost(key, 1 - key.way);
        }
    }

    /// The socket has taken so many bytes of a flow: whether they arrive is asked later.
    pub(super) fn given(&mut self, key: Key, bytes: u32) {
        let Some(conn) = self.conns.get(key) else { return };
        let flow = &mut conn.flows[key.way];
        flow.unasked += u64::from(bytes);
        if flow.unasked >= ASK_BYTES {
            self.ask(key);
        } else if !std::mem::replace(&mut flow.unsure, true) {
            self.unsure.push(key);
        }
    }

    /// Cancels what is under way; the connection goes when nothing is. Both sides get a reset, unless they have ended it.
    pub(super) fn close(&mut self, key: Key, why: Why) {
        let Some(conn) = self.conns.get(key) else { return };
        match conn.state {
            State::Closing(_) => return,
            State::Connecting(op) => self.ring.cancel(op),
            State::Draining(..) => self.draining -= 1,
            State::Open => {}
        }
        conn.state = State::Closing(why);
        if why != Why::Finished {
            for socket in &conn.sockets {
                // It fails for a socket that is closed already.
                let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
            }
        }
        *match why {
            Why::Finished => &mut self.stats.finished,
            Why::ConnectFailed(error) => {
                match error {
                    Errno::CONNREFUSED => self.stats.connect_refused += 1,
                    Errno::TIMEDOUT => self.stats.connect_timed_out += 1,
                    Errno::HOSTUNREACH | Errno::NETUNREACH => self.stats.connect_unreachable += 1,
                    _ => {}
                }
                &mut self.stats.connect_failed
            }
            Why::Reset => &mut self.stats.reset,
            Why::IdleTimeout => &mut self.stats.idle_timeout,
            Why::Stopped => &mut self.stats.stopped,
        } += 1;
        for flow in &mut conn.flows {
            self.stats.held -= flow.queue.len() as u64;
            flow.queue.drain(..).for_each(|part| self.pool.put(part.page));
            unstall(flow, &mut self.stats, &mut self.ring);
            flow.cancel_receive(&mut self.ring);
            if let Some((sending, _)) = &mut flow.sending {
                sending.cancel(&mut self.ring);
            }
        }
        self.mark(key);
    }

    /// Its sockets are closed, and what they have not passed on is counted.
    pub(super) fn remove(&mut self, key: Key) {
        key.both().into_iter().for_each(|key| self.ask(key)); // for the last time
        let Some(conn) = self.conns.remove(key) else { return };
        let missing = conn.flows.iter().map(|flow| flow.received - flow.passed).sum::<u64>();
        match conn.state {
            State::Closing(Why::Finished) => self.stats.bytes_unacknowledged += missing,
            _ => self.stats.bytes_dropped += missing + unread(&conn),
        }
        self.stats.open = self.conns.len() as u64;
        if let Some(log) = &self.params.log {
            // Who does not take it in time keeps nobody waiting.
            self.stats.unlogged += u64::from(log.try_send(ended(&conn, self.now)).is_err());
        }
    }

    /// When to look at what has no event, if there is any such thing.
    pub(super) fn pause(&self) -> Option<Duration> {
        if self.accept_later || self.draining > 0 {
            return Some(TICK);
        }
        let idle = self.params.idle_timeout.filter(|_| self.conns.len() > 0);
        let idle = idle.map(|timeout| (timeout / 4).clamp(TICK, ASK));
        idle.or_else(|| (!self.unsure.is_empty()).then_some(ASK))
    }

    /// Looks at one connection that drains, as there is a turn anyway.
    pub(super) fn leave(&mut self) {
        let Some((key, looks)) = self.leaving.pop_front() else { return };
        if self.settle_drain(key) && looks > 1 {
            self.leaving.push_back((key, looks - 1));
        }
    }

    pub(super) fn tick(&mut self) {
        self.accept_later = false;
        let ask = self.now >= self.asked + ASK;
        for key in if ask { std::mem::take(&mut self.unsure) } else { Vec::new() } {
            self.ask(key);
            let Some(flow) = self.conns.get(key).map(|conn| &mut conn.flows[key.way]) else { continue };
            flow.unsure = flow.passed < flow.received;
            if flow.unsure {
                self.unsure.push(key);
            }
        }
        self.asked = if ask { self.now } else { self.asked };
        if self.draining == 0 && self.params.idle_timeout.is_none() {
            return;
        }
        for key in self.conns.keys() {
            self.settle_drain(key);
            if self.is_idle(key) {
                key.both().into_iter().for_each(|key| self.ask(key)); // a slow reader moves bytes that we gave away long ago
                if self.is_idle(key) {
                    self.close(key, Why::IdleTimeout);
                }
            }
        }
    }

    fn is_idle(&mut self, key: Key) -> bool {
        let Some(timeout) = self.params.idle_timeout else { return false };
        let now = self.now;
        self.conns.get(key).is_some_and(|conn| now.duration_since(conn.moved) >= timeout)
    }

    /// Nothing is taken in any more; what is under way may still be sent.
    pub(super) fn stop(&mut self) {
        let deadline = self.now + self.params.drain;
        self.ending = Some(deadline);
        if let Some(listening) = &mut self.listening {
            listening.cancel(&mut self.ring);
        }
        for key in self.conns.keys() {
            self.drain(key, Why::Stopped, Some(deadline));
        }
    }
}

/// What there is to tell of a connection that is gone.
fn ended(conn: &Conn, now: Instant) -> Ended {
    let end = match conn.state {
        State::Closing(Why::Finished) => End::Finished,
        State::Closing(Why::ConnectFailed(error)) => End::ConnectFailed(error.raw_os_error()),
        State::Closing(Why::Reset) if conn.flows[1 - UP].gone => End::ResetByClient,
        State::Closing(Why::Reset) => End::ResetByServer,
        State::Closing(Why::IdleTimeout) => End::IdleTimeout,
        _ => End::Stopped,
    };
    let [client, server] = conn.peers;
    let [bytes_up, bytes_down] = conn.flows.each_ref().map(|flow| flow.passed);
    Ended { client, server, bytes_up, bytes_down, duration: now.duration_since(conn.began), end }
}

/// Bytes that came, and that nobody has read.
fn unread(conn: &Conn) -> u64 {
    conn.sockets.iter().map(|socket| rustix::io::ioctl_fionread(socket).unwrap_or(0)).sum()
}
