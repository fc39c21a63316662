//! The driver of a device in memory: it makes packets, keeps what is sent for a while, fails, finishes, and is made anew.

use super::crew::Nervous;
use super::held::Held;
use super::packet::{HEADER, Ident};
use super::pools;
use super::stage::{Actor, Plant};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{Account, Page};
use waterwheel_page_pool::{Direction, PagePool};
use waterwheel_xdp::wrap::{Fault, FaultParams};
use waterwheel_xdp::{Device, DropReason, Drops, HEADROOM, Health, Homes, Traffic, Wait, XdpBuff, XdpFrame};

/// Frames that a device takes to send before some are completed.
const RING: usize = 256;
/// The longest packet.
const MAX_LEN: usize = 9000;

/// The length of the next packet: mostly short, sometimes as long as the page allows.
pub(super) fn length(dice: &mut SplitMix64, room: usize) -> usize {
    let longest = match dice.below(16) {
        0 => MAX_LEN,
        1..4 => 1514,
        _ => 256,
    };
    60 + dice.below(longest.min(room) - 60 + 1)
}

/// A device in memory, as new.
struct Rig {
    actor: Arc<Actor>,
    dice: SplitMix64,
    source: u32,
    made: u64,
    /// Frames that were sent, and which packets they were.
    sent: VecDeque<(XdpFrame, Ident)>,
    pages: Vec<Page>,
    health: Health,
    /// Packets that it has given.
    given: Arc<AtomicU64>,
    /// It cannot write what it takes.
    full: bool,
    unsent: Traffic,
}

impl Rig {
    fn make(&mut self, page: Page) -> XdpBuff {
        let room = page.size() - HEADROOM;
        let len = length(&mut self.dice, room);
        let offset = HEADROOM + self.dice.below(room - len + 1).min(64);
        let mut packet = XdpBuff::new(page, offset, len);
        self.name(len).write(self.actor.stage.seed, packet.data_mut());
        packet
    }

    /// The name of the next packet.
    fn name(&mut self, len: usize) -> Ident {
        self.made += 1;
        Ident { source: self.source, number: self.made, len: len as u32 }
    }

    /// Cuts a fragment, as a driver does for a small packet, and gives it to somebody.
    fn cut(&mut self, pool: &mut PagePool) {
        let len = HEADER + self.dice.below(1000);
        let Some(part) = pool.alloc_frag(len, 1 << self.dice.below(8)) else { return };
        let id = self.name(len);
        let stage = &self.actor.stage;
        stage.tally.fragments.add(1);
        let held = Held::write_part(stage.seed, part, id);
        if let Err(held) = stage.give(self.dice.below(stage.inboxes.len()), held) {
            held.verify(&self.actor, "fragment");
        }
    }

    /// The frame, in its page or, now and then, in another one, as if it was not to be sent from there.
    fn own(&mut self, pool: &mut PagePool, frame: XdpFrame) -> Option<XdpFrame> {
        if self.dice.below(64) > 0 {
            return Some(frame);
        }
        self.actor.stage.tally.zero_copy_refused.add(1);
        let packet = XdpBuff::from(frame);
        let copy = packet.duplicate(pool, Direction::Tx);
        pool.put(packet.into_page());
        copy.map(XdpFrame::from)
    }

    /// The frame's page, if its packet is still what was sent.
    fn completed(actor: &Actor, frame: XdpFrame, id: Ident) -> Page {
        actor.stage.tally.verified.add(1);
        if let Err(damage) = id.verify(actor.stage.seed, frame.data()) {
            let page = (frame.page().region_id(), frame.page().number());
            actor.report_damage("sent", page, frame.offset(), damage, Some(id));
        }
        frame.into_page()
    }
}

impl Device for Rig {
    fn name(&self) -> &str {
        "rig"
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        if self.actor.stage.is_hushed() {
            return 0;
        }
        let count = self.dice.below(self.sent.len() + 1);
        let actor = &self.actor;
        let pages = self.sent.drain(..count).map(|(frame, id)| Self::completed(actor, frame, id));
        if self.dice.below(4) == 0 {
            pages.for_each(|page| homes.put(page))
        } else {
            homes.put_bulk(pages)
        }
        count
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if self.actor.stage.is_hushed() || self.health != Health::Up {
            return 0;
        }
        match self.dice.below(4096) {
            0 => pools::change_node(pool, &self.actor, &mut self.dice),
            1 => {
                pool.shrink(self.dice.below(64));
                self.actor.stage.tally.shrinks.add(1);
            }
            2..66 => self.cut(pool),
            _ => {}
        }
        let wanted = self.dice.below(budget + 1);
        let mut pages = std::mem::take(&mut self.pages);
        let got = pool.alloc_bulk(Direction::Rx, wanted, &mut pages);
        self.actor.stage.tally.refused.add((wanted - got) as u64);
        self.actor.stage.tally.made.add(got as u64);
        self.given.fetch_add(got as u64, Ordering::Relaxed);
        batch.extend(pages.drain(..).map(|page| self.make(page)));
        self.pages = pages;
        match self.dice.below(600) {
            0 if got > 0 => self.health = Health::Failed("on purpose".to_owned()),
            1 if got > 0 => self.health = Health::Finished,
            2..20 if self.full => self.health = Health::Failed("the disk is full".to_owned()),
            _ => {}
        }
        got
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        if !self.full && self.dice.below(8192) == 0 {
            self.full = true;
            self.actor.stage.tally.disks_full.add(1);
        }
        let mut traffic = Traffic::default();
        let room = RING.saturating_sub(self.sent.len()).min(frames.len());
        for frame in frames.drain(..room) {
            let Some(id) = verified(&self.actor, "to be sent", &frame) else { continue };
            let Some(frame) = self.own(pool, frame) else {
                drops.add(DropReason::NoPages, 1);
                continue;
            };
            traffic.add(frame.len());
            if self.full {
                self.unsent.add(frame.len());
                self.actor.stage.tally.unsent.add(1);
            }
            self.sent.push_back((frame, id));
        }
        traffic
    }

    fn wait(&self) -> Wait {
        Wait::Now
    }

    fn health(&mut self) -> Health {
        self.health.clone()
    }

    fn unsent(&self) -> Traffic {
        self.unsent
    }

    fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn account(&self, account: &mut Account) {
        self.sent.iter().for_each(|(frame, _)| frame.account(account));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        let actor = &self.actor;
        homes.put_bulk(self.sent.drain(..).map(|(frame, id)| Self::completed(actor, frame, id)));
    }
}

/// Reads which packet a frame carries; a damaged one is reported.
fn verified(actor: &Actor, place: &'static str, frame: &XdpFrame) -> Option<Ident> {
    actor.stage.tally.verified.add(1);
    let page = (frame.page().region_id(), frame.page().number());
    Ident::read(actor.stage.seed, frame.data())
        .inspect_err(|damage| actor.report_damage(place, page, frame.offset(), *damage, None))
        .ok()
}

/// A [`Rig`] on a bad line; when it is gone, a new one takes its place, and the pool stays.
pub(super) struct Driver {
    actor: Arc<Actor>,
    dice: SplitMix64,
    rig: Fault<Rig>,
    /// Packets that its rigs have given, before the line lost some.
    given: Arc<AtomicU64>,
    /// It stays gone.
    failed: bool,
    /// What those before this one could not write, and have lost.
    unsent: Traffic,
    lost: u64,
}

impl Driver {
    pub(super) fn new(actor: &Arc<Actor>, mut dice: SplitMix64) -> Self {
        let given = Arc::default();
        let rig = Self::rig(actor, &mut dice, &given);
        Self { actor: actor.clone(), dice, rig, given, failed: false, unsent: Traffic::default(), lost: 0 }
    }

    /// Packets that the line of now has given twice.
    fn duplicated(&self) -> u64 {
        let mut all = 0;
        self.rig.counters(&mut |name, n| all += if name == "fault_duplicated" { n } else { 0 });
        all
    }

    /// How all of them are called.
    pub(super) const NAME: &str = "driver";

    fn rig(actor: &Arc<Actor>, dice: &mut SplitMix64, given: &Arc<AtomicU64>) -> Fault<Rig> {
        let rig = Rig {
            actor: actor.clone(),
            dice: SplitMix64::new(dice.next()),
            source: actor.stage.new_source(),
            made: 0,
            sent: VecDeque::with_capacity(RING),
            pages: Vec::new(),
            health: Health::Up,
            given: given.clone(),
            full: false,
            unsent: Traffic::default(),
        };
        let corrupt = if let Plant::Corruption(per_million) = actor.stage.plant { per_million } else { 0 };
        let faults = FaultParams { rx_loss: 2000, tx_loss: 2000, duplicate: 2000, corrupt, seed: dice.next() };
        Fault::new(rig, faults)
    }
}

impl Device for Driver {
    fn name(&self) -> &str {
        Self::NAME
    }

    /// Looks after the device first: what it had of a device that is gone goes home.
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let work = self.rig.complete(homes);
        if self.rig.health() != Health::Up {
            if self.dice.below(3) == 0 {
                self.failed = true;
            } else {
                self.rig.shutdown(homes);
                self.unsent.merge(self.rig.unsent());
                self.rig.lost(&mut |_, n| self.lost += n);
                self.rig = Self::rig(&self.actor, &mut self.dice, &self.given);
                self.actor.stage.tally.resets.add(1);
            }
        }
        work
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = (self.given.load(Ordering::Relaxed), self.duplicated());
        let received = self.rig.rx(pool, batch, budget);
        let came = self.given.load(Ordering::Relaxed) - before.0 + self.duplicated() - before.1;
        self.actor.stage.tally.lost.add(came - received as u64);
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.rig.tx(pool, frames, drops)
    }

    fn wait(&self) -> Wait {
        self.rig.wait()
    }

    fn health(&mut self) -> Health {
        if self.actor.dying.swap(false, Ordering::Relaxed) {
            Nervous::panic();
        }
        if self.failed { Health::Failed("for good".to_owned()) } else { Health::Up }
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.rig.lost(&mut |name, n| count(name, n + self.lost));
    }

    fn unsent(&self) -> Traffic {
        let mut unsent = self.unsent;
        unsent.merge(self.rig.unsent());
        unsent
    }

    fn in_flight(&self) -> usize {
        self.rig.in_flight()
    }

    fn account(&self, account: &mut Account) {
        self.rig.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.actor.stage.tally.failures.add(u64::from(self.failed));
        self.rig.shutdown(homes);
    }
}
