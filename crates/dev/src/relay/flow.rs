//! How the flows of a worker share its pages.
//!
//! **Backpressure.** A flow that holds its share of pages stops receiving; the peer then finds the window closed. The share is the cap, or less: a quarter of the *room*, which is the pages
//! that no flow holds, less a reserve of one for each direction of every connection that there may be.
//!
//! While there is much room flows receive by multishot. That knows no measure: a flow may take all that waits in the ring at once (16 to 64 pages) before it is seen to hold more than its
//! share, which then stops it; from then on it receives page by page, until it is seen to be fast. While there is little room no flow receives by multishot, and each receive is for one page: a flow that holds none always finds one, however many have stalled.
//!
//! So there is no queue without a bound: all that flows hold together is what the pool may give out, less what waits in the ring.

use std::os::fd::AsFd;

use super::conn::{Asked, Flow, Key, State};
use super::params::{FILL_MAX, FILL_MIN};
use super::stats::RelayStats;
use super::worker::Worker;
use crate::uring::{PARTS, Receive, Ring};

/// Turns after which fewer pages wait in the ring, if they sufficed.
const CALM: u32 = 4096;

impl Worker {
    /// More pages wait in the ring while they do not suffice, fewer when they have sufficed for long: few stay in the CPU's caches.
    pub(super) fn adapt(&mut self) {
        self.dry = false;
        if !self.starved.is_empty() {
            (self.target, self.calm) = ((self.target * 2).min(FILL_MAX), 0);
        } else if self.calm >= CALM {
            (self.target, self.calm) = ((self.target / 2).max(FILL_MIN), 0);
        }
        self.calm += 1;
    }

    /// Lets pages wait for what is received, and those receive again that found none.
    pub(super) fn fill(&mut self) {
        self.ring.fill(&mut self.pool, self.target);
        // All that no flow holds: free, waiting in the ring, or with a receive.
        let room = self.pool.limit().saturating_sub(self.stats.held as usize + self.params.reserve());
        // What multishots may take until they are cancelled: what waits now, and at most twice as much in the next turn.
        let tight = room < 3 * self.target;
        if tight && !self.tight {
            for key in self.conns.keys() {
                key.both().into_iter().for_each(|key| self.mark(key));
            }
        }
        self.tight = tight;
        self.share = (room / 4).clamp(1, self.params.cap);
        let free = self.pool.limit().saturating_sub(self.pool.outstanding() as usize);
        let mut pages = if self.ring.features().buffer_ring { self.ring.waiting_pages() } else { free };
        while pages > 0
            && !self.dry
            && let Some(key) = self.starved.pop_front()
        {
            let Some(conn) = self.conns.get(key) else { continue };
            conn.flows[key.way].starved = false;
            self.mark(key);
            pages -= 1;
        }
    }

    /// Sees to a flow: sends what it has, passes its end on, and receives as far as it may.
    pub(super) fn settle_flow(&mut self, key: Key) {
        self.send(key);
        let Some(conn) = self.conns.get(key) else { return };
        match conn.state {
            State::Open if conn.flows.iter().all(|flow| flow.shut) => self.finish(key),
            State::Open => self.receive(key),
            _ => _ = self.settle_drain(key),
        }
    }

    /// Sends what the flow has, and passes its end on.
    fn send(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let to = &conn.sockets[1 - key.way];
        let flow = &mut conn.flows[key.way];
        if flow.sending.is_none() && !flow.queue.is_empty() {
            let count = flow.queue.len().min(PARTS);
            let bytes = flow.queue.iter().take(count).map(|part| part.len as usize).sum();
            let zc = flow.choice.zc(bytes);
            let op = self.ring.send(to.as_fd(), key.bits(), flow.queue.drain(..count), zc);
            flow.sending = Some((Asked::new(op), count));
            conn.requests += 1;
            self.stats.sends += 1;
        }
        if flow.ended && flow.is_empty() && !flow.shut {
            // It fails if the connection is gone already, which its other flow will hear of.
            let _ = rustix::net::shutdown(to, rustix::net::Shutdown::Write);
            flow.shut = true;
        }
    }

    /// Receives, or stops receiving, as the pages are.
    fn receive(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let from = &conn.sockets[key.way];
        let flow = &mut conn.flows[key.way];
        if flow.ended || flow.starved {
            return unstall(flow, &mut self.stats, &mut self.ring);
        }
        let pages = flow.pages();
        if pages >= self.share {
            if !flow.stalled {
                (flow.stalled, flow.slow) = (true, true);
                self.stats.stalls += 1;
                self.stats.stalled += 1;
            }
            flow.cancel_receive(&mut self.ring);
            if flow.watch.is_none() && !flow.hung_up {
                flow.watch = Some(Asked::new(self.ring.watch(from.as_fd(), key.bits(), 0)));
                conn.requests += 1;
            }
            return;
        }
        if self.tight && flow.receiving.is_some_and(|(_, many)| many) {
            return flow.cancel_receive(&mut self.ring);
        }
        if flow.receiving.is_some() || (flow.stalled && pages > self.share / 2) {
            return;
        }
        unstall(flow, &mut self.stats, &mut self.ring);
        flow.slow &= pages > 1;
        let many = !self.tight && !flow.slow && self.ring.features().multishot;
        let how = if many { Receive::Multi } else { Receive::Once };
        match self.ring.receive(from.as_fd(), key.bits(), how, &mut self.pool) {
            Some(op) => {
                flow.receiving = Some((Asked::new(op), many));
                conn.requests += 1;
            }
            None => {
                self.dry = true;
                self.stats.starved += 1;
                flow.starved = true;
                self.starved.push_back(key);
            }
        }
    }
}

/// It may receive again, or need not.
pub(super) fn unstall(flow: &mut Flow, stats: &mut RelayStats, ring: &mut Ring) {
    if std::mem::take(&mut flow.stalled) {
        stats.stalled -= 1;
    }
    if let Some(watch) = &mut flow.watch {
        watch.cancel(ring);
    }
}
