//! The driver of a device in memory: it makes packets, keeps what is sent for a while, fails, finishes, and is made anew.

use super::held::Held;
use super::packet::{HEADER, Ident};
use super::pools;
use super::stage::{Actor, Plant};
use std::collections::VecDeque;
use std::sync::Arc;
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{Account, Page};
use waterwheel_page_pool::{Direction, PagePool};
use waterwheel_xdp::wrap::{Fault, FaultParams};
use waterwheel_xdp::{Device, Drops, HEADROOM, Health, Homes, Traffic, Wait, XdpBuff, XdpFrame};

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
        batch.extend(pages.drain(..).map(|page| self.make(page)));
        self.pages = pages;
        match self.dice.below(600) {
            0 if got > 0 => self.health = Health::Failed("by the dice".to_owned()),
            1 if got > 0 => self.health = Health::Finished,
            _ => {}
        }
        got
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let room = RING.saturating_sub(self.sent.len()).min(frames.len());
        for frame in frames.drain(..room) {
            traffic.add(frame.len());
            if let Some(id) = verified(&self.actor, "to be sent", &frame) {
                self.sent.push_back((frame, id));
            }
        }
        traffic
    }

    fn wait(&self) -> Wait {
        Wait::Now
    }

    fn health(&mut self) -> Health {
        self.health.clone()
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
    /// It stays gone.
    failed: bool,
}

impl Driver {
    pub(super) fn new(actor: &Arc<Actor>, mut dice: SplitMix64) -> Self {
        let rig = Self::rig(actor, &mut dice);
        Self { actor: actor.clone(), dice, rig, failed: false }
    }

    fn rig(actor: &Arc<Actor>, dice: &mut SplitMix64) -> Fault<Rig> {
        let rig = Rig {
            actor: actor.clone(),
            dice: SplitMix64::new(dice.next()),
            source: actor.stage.new_source(),
            made: 0,
            sent: VecDeque::with_capacity(RING),
            pages: Vec::new(),
            health: Health::Up,
        };
        let corrupt = if let Plant::Corruption(per_million) = actor.stage.plant { per_million } else { 0 };
        let faults = FaultParams { rx_loss: 2000, tx_loss: 2000, duplicate: 2000, corrupt, seed: dice.next() };
        Fault::new(rig, faults)
    }
}

impl Device for Driver {
    fn name(&self) -> &str {
        "driver"
    }

    /// Looks after the device first: what it had of a device that is gone goes home.
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let work = self.rig.complete(homes);
        if self.rig.health() != Health::Up {
            if self.dice.below(3) == 0 {
                self.failed = true;
            } else {
                self.rig.shutdown(homes);
                self.rig = Self::rig(&self.actor, &mut self.dice);
                self.actor.stage.tally.resets.add(1);
            }
        }
        work
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.rig.rx(pool, batch, budget)
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.rig.tx(pool, frames, drops)
    }

    fn wait(&self) -> Wait {
        self.rig.wait()
    }

    fn health(&mut self) -> Health {
        if self.failed { Health::Failed("for good".to_owned()) } else { Health::Up }
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
