//! One queue of an interface as a [`Device`].

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use waterwheel_xdp::{
    Account, BUDGET, Capabilities, Device, DropReason, Drops, Health, Homes, MAX_FRAGS, Page, PagePool, Traffic, Wait,
    XdpBuff, XdpFrame, Zone,
};

use super::closer;
use super::connection::{Link, RxSide, TxSide};
use super::event;
use super::events::Events;
use super::fault::Fault;
use super::interface::{Interface, Watch};
use super::params::{MemifParams, Role, Wakeup};
use super::rings::BUFFER;
use super::rx::{Pages, RxCounts};
use super::trust::Parting;
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
/// counter `connected` tells how it is, and [`mode`](Device::mode) why. A client that was refused all the time, and who had something to send and never met a peer, has
/// [failed](Health::Failed) in the end.
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
    watch: Option<Watch>,
    /// The peer was asked to wake us.
    armed: Cell<bool>,
    rounds: u32,
    sent: Sent,
    /// Where pages are fetched to: empty between two calls.
    spare: Vec<Page>,
    /// Pages that former peers may still have.
    parting: Vec<Parting>,
    counts: Counts,
    /// There was something to send and nobody to take it.
    wanted: bool,
    was_connected: bool,
    ended: bool,
    /// What it says then.
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    rx: RxCounts,
    /// Packets to a trusted peer that lay in memory of another region.
    copied_frames: u64,
    quarantined: u64,
    wakeups_sent: u64,
    wakeups_received: u64,
    /// In the ring when its peer went, or the device closed.
    rx_left: u64,
    /// Not taken by a peer that went, or when the device closed.
    unsent: Traffic,
}

impl Memif {
    /// Opens an interface: a device for each of its queues, over the pages of `zone`. They may go to different workers.
    ///
    /// A server's socket is there when this returns. A client's server need not be.
    ///
    /// # Errors
    /// One line that says what was wrong and the way out; see [`DevError::class`]. Usage: a parameter. Config: the path is no socket, or has no folder; the id is taken. Permission: the
    /// socket may not be made, or not be connected to. Device: a server listens there already, or is none of memif.
    pub fn open(zone: &Zone, params: &MemifParams) -> Result<Vec<Self>, DevError> {
        let interface = Interface::open(zone, params)?;
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
            parting: Vec::new(),
            counts: Counts::default(),
            wanted: false,
            was_connected: false,
            ended: false,
            failure: None,
        };
        Ok((0..params.queues).map(device).collect())
    }

    /// Whether a peer is connected, and has a ring for this queue.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// What happens to the interface, all its queues together.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(Arc::clone(&self.interface.news))
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
            self.armed.set(false);
            self.settle();
            self.was_connected |= visit.link.is_some();
            if let Some(Link { rx, tx, channel }) = std::mem::replace(&mut self.link, visit.link) {
                let rx = rx.and_then(|rx| if let RxSide::Lent(rx) = rx { Some(rx) } else { None });
                let tx = tx.and_then(|tx| if let TxSide::Lent(tx) = tx { Some(tx) } else { None });
                if rx.is_some() || tx.is_some() {
                    self.parting.push(Parting::new(channel, rx, tx));
                } // else nothing but the mapping goes with it
            }
        }
        self.watch = visit.watch.filter(|_| self.queue == 0);
    }

    /// Counts what the rings of the link have in them, which is about to go.
    fn settle(&mut self) {
        let Some(link) = &mut self.link else { return };
        if let Some(rx) = &link.rx {
            self.counts.rx_left += rx.untaken().packets;
        }
        if let Some(tx) = &mut link.tx {
            self.counts.unsent.merge(tx.untaken());
        }
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
            rx.end().mask(true);
            self.counts.wakeups_received += u64::from(event::clear(&*rx.end().event));
        }
    }

    /// Gives the peer some time to take what was sent.
    fn drain(&mut self, mut home: impl FnMut(Page)) {
        let deadline = Instant::now() + DRAIN;
        loop {
            self.flush();
            self.interface.tend();
            if !self.look() {
                return;
            }
            let Some(tx) = self.link.as_mut().and_then(|link| link.tx.as_mut()) else { return };
            let left = match tx {
                TxSide::Copy(tx) => tx.room().map(|_| tx.left()),
                TxSide::Lent(tx) => tx.complete(&mut home).map(|_| tx.left()),
            };
            match left {
                Ok(0) | Err(_) => return,
                Ok(_) if Instant::now() > deadline => return,
                Ok(_) => std::thread::sleep(LOOK_AGAIN / 10),
            }
        }
    }

    /// Pages that were with peers that are gone now go home; those of peers that stay where they are go to quarantine.
    #[cold]
    fn part(&mut self, mut home: impl FnMut(Page)) -> usize {
        let before = self.parting.iter().map(Parting::count).sum::<usize>();
        let quarantined = &mut self.counts.quarantined;
        self.parting.retain_mut(|parting| {
            let gone = parting.reclaim(&mut home);
            if !gone && parting.is_overdue() {
                *quarantined += parting.count() as u64;
                return false; // its pages' drop is their quarantine
            }
            !gone
        });
        before - self.parting.iter().map(Parting::count).sum::<usize>()
    }

    /// Sends what is on its way, lets go of the peer, and takes back its pages.
    fn end(&mut self, mut home: impl FnMut(Page)) {
        if !std::mem::replace(&mut self.ended, true) && !self.was_connected {
            self.failure = self.interface.why_nobody_came(self.wanted);
        }
        self.drain(&mut home);
        if self.interface.lends().is_some() {
            self.interface.close();
            self.look();
            while !self.parting.is_empty() {
                self.part(&mut home);
                std::thread::sleep(LOOK_AGAIN / 10);
            }
        }
        self.settle();
        self.link = None;
    }
}

impl Device for Memif {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let region = self.interface.lends();
        Capabilities { max_frame: MAX_FRAME, max_frags: MAX_FRAGS, region, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let mut count = self.sent.complete(homes);
        if !self.parting.is_empty() {
            count += self.part(|page| homes.put(page));
        }
        if let Some(TxSide::Lent(tx)) = self.link.as_mut().and_then(|link| link.tx.as_mut()) {
            match tx.complete(|page| homes.put(page)) {
                Ok(more) => count += more,
                Err(fault) => self.report(&fault),
            }
        }
        count
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
        let received = match rx {
            RxSide::Copy(rx) => {
                rx.receive(&mut Pages { pool, spare: &mut self.spare }, batch, budget, &mut self.counts.rx)
            }
            RxSide::Lent(rx) => rx.receive(pool, batch, budget, &mut self.counts.rx),
        };
        if let Err(fault) = received {
            self.report(&fault);
        }
        batch.len() - before
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let connected = self.look();
        let Some(tx) = self.link.as_mut().and_then(|link| link.tx.as_mut()).filter(|_| connected) else {
            drops.add(DropReason::DeviceDown, frames.len() as u64);
            self.wanted |= !frames.is_empty();
            self.sent.take(frames);
            return traffic;
        };
        let tx = match tx {
            TxSide::Copy(tx) => tx,
            TxSide::Lent(tx) => {
                tx.send(pool, frames, &mut traffic, drops, &mut self.counts.copied_frames);
                return traffic;
            }
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
            self.wanted = true;
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

    fn wait_tx(&self) -> Wait {
        // Nobody tells of a peer that has taken something, nor of one that has come, unless this is the queue that looks for it.
        if self.link.is_some() { Wait::soon() } else { Wait::Until(Instant::now() + LOOK_FOR_PEER) }
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
        if !self.parting.is_empty() {
            return soon(LOOK_AGAIN);
        }
        let Some(link) = &self.link else {
            let listens =
                self.watch.is_some() && !self.interface.is_shut() && self.interface.params.role == Role::Server;
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
        rx.end().mask(false);
        self.armed.set(true);
        match &link.tx {
            _ if rx.has_more() => Wait::Now,
            Some(TxSide::Lent(tx)) if tx.left() > 0 => soon(LOOK_AGAIN), // nobody tells of pages that come home
            _ => Wait::Readable,
        }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if let Some(watch) = &self.watch {
            add(watch.as_fd());
        }
        if let Some(rx) = self.link.as_ref().and_then(|link| link.rx.as_ref()) {
            add(rx.end().event.as_fd());
        }
    }

    fn health(&mut self) -> Health {
        if self.ended {
            return self.failure.clone().map_or(Health::Up, Health::Failed);
        }
        self.interface.tend();
        self.look();
        Health::Up
    }

    fn mode(&self) -> String {
        let role = match self.interface.params.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        let how = if self.interface.lends().is_some() { "zero copy" } else { "copy" };
        match self.interface.peer() {
            // One that has ended has let go of its ring, and had one.
            (true, peer)
                if self.link.is_none()
                    && self.interface.epoch() == self.epoch
                    && !(self.ended && self.was_connected) =>
            {
                format!("{role}, {how}, not connected: {peer} has no ring for this queue")
            }
            (true, peer) => {
                let only = match &self.link {
                    Some(Link { rx: None, .. }) => ", sends only",
                    Some(Link { tx: None, .. }) => ", receives only",
                    _ => "",
                };
                format!("{role}, {how}, connected to {peer}{only}")
            }
            (false, why) => format!("{role}, {how}, not connected: {why}"),
        }
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("connected", self.is_connected().into());
        count("rx_too_long", self.counts.rx.too_long);
        count("rx_short", self.counts.rx.short);
        count("wakeups_sent", self.counts.wakeups_sent);
        count("wakeups_received", self.counts.wakeups_received);
        count("rx_left_at_close", self.counts.rx_left);
        count("tx_left_at_close", self.counts.unsent.packets);
        count("copied_frames", self.counts.copied_frames);
        count("quarantined_pages", self.counts.quarantined);
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
        count("closing", if self.queue == 0 { closer::open() as u64 } else { 0 });
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("rx_too_long", self.counts.rx.too_long);
        count("rx_short", self.counts.rx.short);
        count("rx_left_at_close", self.counts.rx_left);
    }

    fn unsent(&self) -> Traffic {
        self.counts.unsent
    }

    fn in_flight(&self) -> usize {
        let link = self.link.as_ref();
        let rx = match link.and_then(|link| link.rx.as_ref()) {
            Some(RxSide::Lent(rx)) => rx.count(),
            _ => 0,
        };
        let tx = match link.and_then(|link| link.tx.as_ref()) {
            Some(TxSide::Lent(tx)) => tx.count(),
            _ => 0,
        };
        self.sent.pages() + rx + tx + self.parting.iter().map(Parting::count).sum::<usize>()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
        self.parting.iter().for_each(|parting| parting.account(account));
        let Some(link) = &self.link else { return };
        if let Some(RxSide::Lent(rx)) = &link.rx {
            rx.account(account);
        }
        if let Some(TxSide::Lent(tx)) = &link.tx {
            tx.account(account);
        }
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.end(|page| homes.put(page));
        self.sent.complete(homes);
    }
}

impl Drop for Memif {
    /// As [`shutdown`](Device::shutdown), for who did not.
    fn drop(&mut self) {
        if self.interface.lends().is_some() && (self.link.is_some() || !self.parting.is_empty()) {
            self.end(drop);
        }
    }
}
