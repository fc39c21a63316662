//! A worker with what it needs: a program that verifies packets and throws dice for them, and a host that holds some.

use super::held::Held;
use super::packet::Ident;
use super::stage::{Actor, Plant, lock};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::Account;
use waterwheel_xdp::{Action, Context, DropReason, Host, PortId, Program, Worker, XdpBuff, XdpFrame};

/// Packets that a host holds at most.
const QUEUE: usize = 64;

/// One polling thread.
pub(super) struct Crew {
    pub(super) actor: Arc<Actor>,
    /// Polls the current devices; made anew with them.
    pub(super) worker: Option<Worker>,
    judge: Judge,
    queue: Arc<Mutex<VecDeque<Held>>>,
    pub(super) dice: SplitMix64,
}

impl Crew {
    pub(super) fn new(actor: Arc<Actor>) -> Self {
        let judge = Judge { actor: actor.clone(), dice: actor.dice(1), ports: 0 };
        Self { worker: None, judge, queue: Arc::default(), dice: actor.dice(2), actor }
    }

    /// Takes over a worker of a fabric with so many ports.
    pub(super) fn take(&mut self, worker: Worker, ports: usize) {
        (self.worker, self.judge.ports) = (Some(worker), ports);
    }

    /// Who takes what the program passes on. It keeps its queue when workers come and go.
    pub(super) fn host(&mut self) -> Box<dyn Host> {
        let dice = SplitMix64::new(self.dice.next());
        Box::new(Queue { actor: self.actor.clone(), dice, held: self.queue.clone(), taken: 0 })
    }

    /// Polls for a while.
    pub(super) fn turn(&mut self) {
        let Some(worker) = &mut self.worker else { return thread::sleep(Duration::from_millis(1)) };
        for _ in 0..32 {
            self.actor.next_step();
            worker.poll(&mut self.judge);
        }
        worker.is_alive(); // devices that have failed are looked after
    }

    /// Once more, while nobody makes packets. Tells how much there was to do.
    pub(super) fn drain(&mut self) -> usize {
        self.worker.as_mut().map_or(0, |worker| worker.poll(&mut self.judge))
    }

    /// Marks what worker and host have.
    pub(super) fn account(&mut self, account: &mut Account) {
        if let Some(worker) = &mut self.worker {
            worker.account(account);
        }
        lock(&self.queue).iter().for_each(|held| held.account(account));
    }
}

/// Verifies every packet, then does anything with it.
struct Judge {
    actor: Arc<Actor>,
    dice: SplitMix64,
    ports: usize,
}

impl Judge {
    fn verdict(&mut self) -> Action {
        match self.dice.below(32) {
            0..10 => Action::Drop(DropReason::Program),
            10 => Action::Aborted,
            11..16 => Action::Tx,
            16..26 => Action::Redirect(PortId(self.dice.below(self.ports) as u16)),
            26 if self.dice.below(8) == 0 => Action::Redirect(PortId(self.ports as u16)), // there is no such port
            _ => Action::Pass,
        }
    }
}

impl Program for Judge {
    fn run(&mut self, _: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        let stage = &self.actor.stage;
        stage.tally.verified.add(batch.len() as u64);
        for packet in &*batch {
            if let Err(damage) = Ident::read(stage.seed, packet.data()) {
                let page = (packet.page().region_id(), packet.page().number());
                self.actor.report_damage("received", page, packet.offset(), damage, None);
            }
        }
        if stage.is_hushed() {
            actions.fill(Action::Drop(DropReason::Program));
        } else if self.dice.below(2) == 0 {
            actions.fill(self.verdict());
        } else {
            actions.fill_with(|| self.verdict());
        }
    }
}

/// A host that queues packets, shares their pages, gives references to other threads, and lets go later.
struct Queue {
    actor: Arc<Actor>,
    dice: SplitMix64,
    held: Arc<Mutex<VecDeque<Held>>>,
    taken: u64,
}

impl Host for Queue {
    fn pass(&mut self, _: PortId, frame: XdpFrame) {
        let stage = &self.actor.stage;
        let offset = frame.offset();
        let Ok(id) = Ident::read(stage.seed, frame.data()) else { return }; // was reported
        stage.tally.held.add(1);
        self.taken += 1;
        let held = Held::found(frame.into_page(), offset, id);
        if let Plant::Leak(after) = stage.plant
            && self.taken == after
        {
            lock(&stage.kept).push(held);
            return;
        }
        let held = self.spread(held);
        let mut queue = lock(&self.held);
        queue.extend(held);
        while queue.len() > QUEUE || (self.dice.below(3) == 0 && !queue.is_empty()) {
            let at = if self.dice.below(2) == 0 { 0 } else { self.dice.below(queue.len()) };
            if let Some(held) = queue.swap_remove_back(at) {
                held.verify(&self.actor, "queued");
            }
        }
    }
}

impl Queue {
    /// Gives the packet, or references to it, to other threads, or to nobody; what is left is held here.
    fn spread(&mut self, held: Held) -> Option<Held> {
        let stage = &self.actor.stage;
        match self.dice.below(4) {
            0 => Some(held),
            1 => {
                let given = stage.give(self.dice.below(stage.inboxes.len()), held);
                stage.tally.crossed.add(u64::from(given.is_ok()));
                given.err()
            }
            _ => {
                let (held, _) = held.share();
                stage.tally.shared.add(1);
                for _ in 0..self.dice.below(4) {
                    stage.tally.cloned.add(1);
                    let given = held.another().map(|other| stage.give(self.dice.below(stage.inboxes.len()), other));
                    stage.tally.crossed.add(u64::from(given.is_some_and(|given| given.is_ok())));
                }
                Some(held)
            }
        }
    }
}
