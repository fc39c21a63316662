//! A hand: a thread outside of the packet loop that holds packets and has a pool of its own.

use super::driver::length;
use super::held::{Held, Hold};
use super::packet::{HEADER, Ident};
use super::pools;
use super::stage::Actor;
use super::threads::{Parked, end_with, flood_with};
use super::violation::Broken;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{Account, FrozenPage, Page, release_pages};
use waterwheel_page_pool::{Direction, PagePool, PoolParams};

/// Packets that a hand holds at most, about.
const FULL: usize = 100;
/// Threads of one hand that are about to end.
const ENDING: usize = 16;
/// Pages that come home at once: more than a lane has room for (4096).
const FLOOD: usize = 4500;
/// Threads that sleep with pages of one hand.
const PARKED: usize = 3;

pub(super) struct Hand {
    pub(super) actor: Arc<Actor>,
    dice: SplitMix64,
    inbox: Receiver<Held>,
    held: Vec<Held>,
    pool: Option<PagePool>,
    source: u32,
    made: u64,
    /// Threads that are about to end.
    ending: Vec<JoinHandle<()>>,
    parked: Vec<Parked>,
    /// What was taken from a zone so that others find nothing.
    hoard: Vec<FrozenPage>,
}

impl Hand {
    pub(super) fn new(actor: Arc<Actor>, inbox: Receiver<Held>) -> Self {
        let (dice, source) = (actor.dice(3), actor.stage.new_source());
        let (ending, parked) = (Vec::new(), Vec::new());
        Self { actor, dice, inbox, held: Vec::new(), pool: None, source, made: 0, ending, parked, hoard: Vec::new() }
    }

    /// Does some things, then rests: the packet loops are to have most of the time.
    pub(super) fn turn(&mut self) {
        for _ in 0..64 {
            self.actor.next_step();
            self.step();
        }
        thread::sleep(Duration::from_micros(200));
    }

    fn step(&mut self) {
        if !self.hoard.is_empty() && self.dice.below(32) == 0 {
            self.hoard.clear();
        }
        self.held.extend(self.inbox.try_iter().take(8));
        while self.held.len() > FULL {
            self.let_go();
        }
        match self.dice.below(128) {
            0..32 => self.let_go(),
            32..52 => self.share(),
            52..62 => self.rewrite(),
            62..82 => self.write(),
            82..94 => self.cut(),
            94..110 => self.pass_on(),
            110..118 => self.put_back(),
            118..120 => self.let_go_together(),
            120 => self.pool_by_the_dice(),
            121 if self.dice.below(16) == 0 => self.famine(),
            124 if self.dice.below(64) == 0 => self.flood(),
            122 if self.dice.below(16) == 0 => self.end_a_thread(),
            123 if self.dice.below(16) == 0 => self.park_a_thread(),
            _ => {}
        }
    }

    /// Takes something at random out of what is held.
    fn pick(&mut self) -> Option<Held> {
        let at = self.dice.below(self.held.len());
        (at < self.held.len()).then(|| self.held.swap_remove(at))
    }

    fn pick_some(&mut self) -> Vec<Held> {
        (0..self.dice.below(24)).map_while(|_| self.pick()).collect()
    }

    fn let_go(&mut self) {
        if let Some(held) = self.pick() {
            held.verify(&self.actor, "held");
        }
    }

    /// Some pages at once, of several pools; what is no whole page goes by itself.
    fn let_go_together(&mut self) {
        let mut pages = Vec::new();
        for held in self.pick_some() {
            held.verify(&self.actor, "let go with others");
            match held.hold {
                Hold::Own(page) => pages.push(page),
                hold => drop(hold),
            }
        }
        release_pages(&mut pages);
    }

    /// Makes a page shared, and one more reference to it, for itself or for another hand.
    fn share(&mut self) {
        let Some(held) = self.pick() else { return };
        let tally = &self.actor.stage.tally;
        let (held, was_alone) = held.share();
        tally.shared.add(u64::from(was_alone));
        if let Some(other) = held.another() {
            tally.cloned.add(1);
            self.held.push(other);
        }
        self.held.push(held);
    }

    /// Asks whether a page has no other holder; if so it is written anew.
    fn rewrite(&mut self) {
        let Some(held) = self.pick() else { return };
        held.verify(&self.actor, "shared");
        match held.hold {
            Hold::Shared(page) => match page.try_unique() {
                Ok(page) => {
                    self.actor.stage.tally.unique.add(1);
                    self.fill(page);
                }
                Err(others_hold_it_too) => drop(others_hold_it_too),
            },
            hold => drop(hold),
        }
    }

    /// A packet of its own.
    fn write(&mut self) {
        let direction = if self.dice.below(2) == 0 { Direction::Rx } else { Direction::Tx };
        let mut pages = Vec::new();
        let wanted = 1 + self.dice.below(8);
        if let Some(pool) = &mut self.pool {
            if wanted == 1 {
                pages.extend(pool.alloc(direction));
            } else {
                pool.alloc_bulk(direction, wanted, &mut pages);
            }
            self.actor.stage.tally.refused.add((wanted - pages.len()) as u64);
        }
        pages.into_iter().for_each(|page| self.fill(page));
    }

    fn fill(&mut self, page: Page) {
        let len = length(&mut self.dice, page.size());
        let offset = self.dice.below(page.size() - len + 1);
        let id = self.name(len);
        self.actor.stage.tally.made.add(1);
        self.held.push(Held::write(self.actor.stage.seed, page, offset, id));
    }

    fn name(&mut self, len: usize) -> Ident {
        self.made += 1;
        Ident { source: self.source, number: self.made, len: len as u32 }
    }

    fn cut(&mut self) {
        let len = HEADER + self.dice.below(1500);
        let align = 1 << self.dice.below(8);
        if let Some(part) = self.pool.as_mut().and_then(|pool| pool.alloc_frag(len, align)) {
            let id = self.name(len);
            self.actor.stage.tally.fragments.add(1);
            self.held.push(Held::write_part(self.actor.stage.seed, part, id));
        }
    }

    fn pass_on(&mut self) {
        let Some(held) = self.pick() else { return };
        let hand = self.dice.below(self.actor.stage.inboxes.len());
        let given = self.actor.stage.give(hand, held);
        self.actor.stage.tally.crossed.add(u64::from(given.is_ok()));
        self.held.extend(given.err());
    }

    /// The owner's way home; for pages of other pools, which are sent home.
    fn put_back(&mut self) {
        let Some(held) = self.pick() else { return };
        held.verify(&self.actor, "put back");
        match (held.hold, &mut self.pool) {
            (Hold::Own(page), Some(pool)) => pool.put(page),
            (hold, _) => drop(hold),
        }
    }

    fn pool_by_the_dice(&mut self) {
        match (&mut self.pool, self.dice.below(8)) {
            (Some(pool), 0..3) => {
                pool.shrink(self.dice.below(32));
                self.actor.stage.tally.shrinks.add(1);
            }
            (Some(pool), 3..6) => pools::change_node(pool, &self.actor, &mut self.dice),
            _ => self.new_pool(),
        }
    }

    /// Destroys the pool, with pages out, and makes another one.
    fn new_pool(&mut self) {
        self.destroy_pool();
        self.pool = pools::pool(&self.actor, &mut self.dice).ok();
    }

    fn destroy_pool(&mut self) {
        if let Some(mut pool) = self.pool.take() {
            pools::destroyed(&self.actor, pool.outstanding());
        }
    }

    /// Takes nearly everything from a zone, for a moment.
    fn famine(&mut self) {
        let stage = &self.actor.stage;
        let zone = &stage.zones[self.dice.below(2)];
        let leave = self.dice.below(32);
        zone.alloc_bulk(0, zone.stats().free.saturating_sub(leave), &mut self.hoard);
        stage.tally.famines.add(1);
    }

    /// A pool whose pages all come home at once, while it is there or while it is being destroyed.
    fn flood(&mut self) {
        let stage = &self.actor.stage;
        let params = PoolParams { limit: FLOOD, ..PoolParams::default() };
        let Ok(mut pool) = PagePool::new(&stage.zones[self.dice.below(2)], params) else { return };
        stage.tally.pools_made.add(1);
        stage.tally.floods.add(1);
        let mut pages = Vec::new();
        pool.alloc_bulk(Direction::Rx, FLOOD, &mut pages);
        self.ending.extend(flood_with(pages));
        if self.dice.below(2) == 0 {
            self.join();
            self.actor.stage.tally.overflowed.add(pool.stats().recycle_ring_full);
        }
        pools::destroyed(&self.actor, pool.outstanding());
    }

    /// A thread that ends with pages in hand.
    fn end_a_thread(&mut self) {
        if self.ending.len() == ENDING {
            self.join();
        }
        let pages = self.pick_some();
        self.ending.extend(end_with(&self.actor, pages, self.dice.below(3)));
    }

    /// A thread that lets go of some pages, and sleeps with the others.
    fn park_a_thread(&mut self) {
        if self.parked.len() == PARKED {
            let woken = self.parked.swap_remove(self.dice.below(PARKED));
            woken.wake(&self.actor);
        }
        let pages = self.pick_some();
        self.parked.extend(Parked::with(&self.actor, pages));
    }

    /// Comes to rest: nothing is under way to it, and no thread of its own moves.
    pub(super) fn settle(&mut self) {
        self.held.extend(self.inbox.try_iter());
        self.join();
        self.parked.iter_mut().for_each(Parked::settle);
    }

    /// Waits for threads that are about to end.
    fn join(&mut self) {
        for thread in self.ending.drain(..) {
            if thread.join().is_err() {
                self.actor.report(Broken::Panic);
            }
        }
    }

    /// Marks what it has. It has [settled](Self::settle).
    pub(super) fn account(&mut self, account: &mut Account) {
        if let Some(pool) = &mut self.pool {
            pools::account(pool, &self.actor, account);
        }
        self.held.iter().for_each(|held| held.account(account));
        self.parked.iter().for_each(|parked| parked.account(account));
        self.hoard.iter().for_each(|page| account.frozen(page));
    }

    /// Lets go of everything.
    pub(super) fn finish(mut self) {
        self.settle();
        self.destroy_pool();
        self.held.drain(..).for_each(|held| held.verify(&self.actor, "held to the end"));
        self.parked.drain(..).for_each(|parked| parked.wake(&self.actor));
    }
}
