//! One queue of an interface as a [`Device`].

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use waterwheel_xdp::{
    Account, BUDGET, Capabilities, Device, DropReason, Drops, Health, Homes, MAX_FRAGS, Page, PagePool, Traffic, Wait,
    XdpBuff, XdpFrame, Zone,
};

use super::connection::Link;
use super::event;
use super::fault::Fault;
use super::interface::Interface;
use super::params::{MemifParams, Role, Wakeup};
use super::rings::{BUFFER, Pages, RxCounts};
use crate::DevError;
use crate::sent::Sent;

/// How often a waiting loop looks for what nobody tells it: pages that came home, a server that came back.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const LOOK_FOR_PEER: Duration = Duration::from_millis(20);
/// While nobody is connected, the socket is looked at once in so many calls of `rx`.
const ROUNDS: u32 = 64;
/// What a ring of 64 slots holds. (Longer ones hold more.)
const MAX_FRAME: usize = 64 * BUFFER as usize;
/// How long [`Memif::shutdown`] waits for the peer to take what was sent.
const DRAIN: Duration = Duration::from_millis(100);

/// One queue of a memif interface: a ring of packets in either direction, in memory that is shared with another process.
///
/// It is [`Up`](Health::Up) whether or not a peer is there, for peers come and go: packets for a peer that is not there are dropped
/// ([`DeviceDown`](DropReason::DeviceDown)), and a source that [waits](Device::tx_room) waits for it. A client looks for its server twice a second; a server listens all the time. The
/// counter `connected` tells how it is.
///
/// Packets are copied into and out of the shared memory, once each; no page is ever there.
#[derive(Debug)]
pub struct Memif {
    name: String,
    interface: Arc<Interface>,
    queue: u16,
    epoch: u32,
    generation: u64,
    link: Option<Link>,
    /// News of the interface; queue 0 looks after it.
    watch: Option<Arc<OwnedFd>>,
    /// The peer was asked to wake us.
    armed: Cell<bool>,
    rounds: u32,
    sent: Sent,
    /// Where pages are fetched to: empty between two calls.
    spare: Vec<Page>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    rx: RxCounts,
    wakeups_sent: u64,
    wakeups_received: u64,
    /// Not taken by the peer when the device closed.
    tx_left: u64,
}

impl Memif {
    /// Opens an interface: a device for each of its queues, over the pages of `zone`. They may go to different workers.
    ///
    /// A server's socket is there when this returns. A client's server need not be.
    ///
    /// # Errors
    /// One line that says what was wrong and the way out; see [`DevError::class`]. Usage: a parameter. Config: the path is no socket, or has no folder; the id is taken. Permission: the
    /// socket may not be made, or not be connected to. Device: a server listens there already, or is none of memif.
    pub fn open(_zone: &Zone, params: &MemifParams) -> Result<Vec<Self>, DevError> {
        let interface = Interface::open(params)?;
        let device = |queue| Self {
            name: if params.queues == 1 { interface.name.clone() } else { format!("{}:{queue}", interface.name) },
            interface: Arc::clone(&interface),
            queue,
            epoch: 0,
            generation: 0,
            link: None,
            watch: None,
            armed: Cell::new(false),
            rounds: 0,
            sent: Sent::new(),
            spare: Vec::with_capacity(BUDGET),
            counts: Counts::default(),
        };
        Ok((0..params.queues).map(device).collect())
    }

    /// Whether a peer is connected, and has a ring for this queue.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Fetches the link of a new connection, or lets go of that of an old one. True when there is one.
    #[inline]
    fn look(&mut self) -> bool {
        if self.interface.epoch() != self.epoch {
            self.visit();
        }
        self.link.is_some()
    }

    #[cold]
    fn visit(&mut self) {
        let visit = self.interface.visit(self.queue);
        self.epoch = visit.epoch;
        if visit.generation != self.generation {
            self.generation = visit.generation;
            self.link = visit.link;
            self.armed.set(false);
        }
        self.watch = visit.watch.filter(|_| self.queue == 0);
    }

    #[cold]
    fn report(&mut self, fault: &Fault) {
        self.interface.report(self.generation, fault);
        self.look();
    }

    /// The loop is awake: nobody need wake it.
    #[inline]
    fn disarm(&mut self) {
        if self.armed.replace(false)
            && let Some(rx) = self.link.as_ref().and_then(|link| link.rx.as_ref())
        {
            rx.mask(true);
            self.counts.wakeups_received += u64::from(event::clear(&rx.end.event));
        }
    }

    /// Gives the peer some time to take what was sent.
    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        loop {
            self.flush();
            self.interface.tend();
            if !self.look() {
                return;
            }
            let Some(tx) = self.link.as_mut().and_then(|link| link.tx.as_mut()) else { return };
            if tx.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                self.counts.tx_left = tx.left();
                return;
            }
            std::thread::sleep(LOOK_AGAIN / 10);
        }
    }
}

impl Device for Memif {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: MAX_FRAME, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if !self.look() {
            self.rounds = self.rounds.wrapping_add(1);
            if self.rounds.is_multiple_of(ROUNDS) {
                self.interface.tend();
            }
            return 0;
        }
        self.disarm();
        let Some(rx) = self.link.as_mut().and_then(|link| link.rx.as_mut()) else { return 0 };
        let before = batch.len();
        let mut pages = Pages { pool, spare: &mut self.spare };
        if let Err(fault) = rx.receive(&mut pages, batch, budget, &mut self.counts.rx) {
            self.report(&fault);
        }
        batch.len() - before
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let connected = self.look();
        let Some(tx) = self.link.as_mut().and_then(|link| link.tx.as_mut()).filter(|_| connected) else {
            drops.add(DropReason::DeviceDown, frames.len() as u64);
            self.sent.take(frames);
            return traffic;
        };
        let before = drops.total();
        match tx.send(frames, &mut traffic, drops) {
            Ok(done) if done == frames.len() => drop(self.sent.take(frames)),
            Ok(done) => frames.drain(..done).for_each(|frame| self.sent.push(frame)),
            Err(fault) => {
                let refused = drops.total() - before;
                drops.add(DropReason::DeviceDown, frames.len() as u64 - traffic.packets - refused);
                self.sent.take(frames);
                self.report(&fault);
            }
        }
        traffic
    }

    fn tx_room(&mut self) -> usize {
        if !self.look() {
            return 0;
        }
        match self.link.as_mut().and_then(|link| link.tx.as_mut()).map(|tx| tx.room()) {
            Some(Ok(room)) => room.into(),
            Some(Err(fault)) => {
                self.report(&fault);
                0
            }
            None => 0,
        }
    }

    fn flush(&mut self) {
        if let Some(tx) = self.link.as_mut().and_then(|link| link.tx.as_mut()) {
            self.counts.wakeups_sent += u64::from(tx.notify());
        }
    }

    fn wait(&self) -> Wait {
        let soon = |after| Wait::Until(Instant::now() + after);
        if self.interface.epoch() != self.epoch {
            return Wait::Now;
        }
        let Some(link) = &self.link else {
            let listens = self.interface.params.role == Role::Server && self.queue == 0;
            return if listens { Wait::Readable } else { soon(LOOK_FOR_PEER) };
        };
        if self.interface.params.wakeup == Wakeup::Poll {
            return Wait::Now;
        }
        let Some(rx) = &link.rx else { return Wait::Readable };
        if rx.is_starved() {
            return soon(LOOK_AGAIN);
        }
        if rx.has_more() {
            return Wait::Now;
        }
        rx.mask(false);
        self.armed.set(true);
        if rx.has_more() { Wait::Now } else { Wait::Readable }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if let Some(watch) = &self.watch {
            add(watch.as_fd());
        }
        if let Some(rx) = self.link.as_ref().and_then(|link| link.rx.as_ref()) {
            add(rx.end.event.as_fd());
        }
    }

    fn health(&mut self) -> Health {
        self.interface.tend();
        self.look();
        Health::Up
    }

    fn mode(&self) -> String {
        let role = match self.interface.params.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        match self.interface.peer() {
            (true, peer) => format!("{role}, copy, connected to {peer}"),
            (false, why) => format!("{role}, copy, not connected: {why}"),
        }
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("connected", self.is_connected().into());
        count("rx_too_long", self.counts.rx.too_long);
        count("rx_short", self.counts.rx.short);
        count("wakeups_sent", self.counts.wakeups_sent);
        count("wakeups_received", self.counts.wakeups_received);
        count("tx_left_at_close", self.counts.tx_left);
        let all = &self.interface.counts;
        for (name, counter) in [
            ("connects", &all.connects),
            ("disconnects", &all.disconnects),
            ("bad_messages", &all.bad_messages),
            ("bad_indices", &all.bad_indices),
            ("bad_descriptors", &all.bad_descriptors),
        ] {
            count(name, if self.queue == 0 { counter.load(Ordering::Relaxed) } else { 0 });
        }
        count("rejected_peers", if self.queue == 0 { self.interface.rejected() } else { 0 });
    }

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.drain();
        self.link = None;
        self.sent.complete(homes);
    }
}
