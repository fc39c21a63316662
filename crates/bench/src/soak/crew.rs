//! A worker with what it needs: a program that verifies packets and throws dice for them, and a host that holds some.

use super::driver::Driver;
use super::held::Held;
use super::packet::Ident;
use super::stage::{Actor, Plant, lock};
use super::violation::Broken;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::Account;
use waterwheel_xdp::{
    Action, Context, DropReason, Health, Host, PortId, Program, Worker, WorkerStats, XdpBuff, XdpFrame,
};

/// Packets that a host holds at most.
const QUEUE: usize = 64;
/// Of so many batches a program panics with one, of so many packets a host, of so many turns a worker dies with one.
const CALM: usize = 2048;

/// What programs, hosts and devices panic with.
pub(super) struct Nervous;

impl Nervous {
    /// A panic, without a report.
    pub(super) fn panic() -> ! {
        resume_unwind(Box::new(Nervous))
    }

    /// Whether it was one of these; any other goes on.
    fn caught(panic: Box<dyn Any + Send>) {
        if !panic.is::<Nervous>() {
            resume_unwind(panic);
        }
    }
}

/// One polling thread.
pub(super) struct Crew {
    pub(super) actor: Arc<Actor>,
    /// Which worker of the fabric it has.
    seat: usize,
    /// Polls the current devices; made anew with them.
    pub(super) worker: Option<Worker>,
    /// What the current worker has counted, if it is dead.
    pub(super) died: Option<WorkerStats>,
    judge: Judge,
    queue: Arc<Mutex<VecDeque<Held>>>,
    pub(super) dice: SplitMix64,
}

impl Crew {
    pub(super) fn new(actor: Arc<Actor>) -> Self {
        let judge = Judge { actor: actor.clone(), dice: actor.dice(1), ports: 0 };
        Self { seat: 0, worker: None, died: None, judge, queue: Arc::default(), dice: actor.dice(2), actor }
    }

    /// Takes over a worker of a fabric with so many ports.
    pub(super) fn take(&mut self, seat: usize, worker: Worker, ports: usize) {
        (self.seat, self.worker, self.judge.ports) = (seat, Some(worker), ports);
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
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.poll(&mut self.judge))) {
                Nervous::caught(panic);
                self.actor.stage.tally.panics.add(1);
            }
        }
        worker.is_alive(); // devices that have failed are looked after
        if self.dice.below(CALM) == 0 {
            self.die();
        }
    }

    /// The worker is over, in the middle of everything; the others go on without it.
    pub(super) fn die(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        self.actor.stage.tally.deaths.add(1);
        let receives = worker.stats().ports.iter().any(|port| port.name == Driver::NAME && port.health == Health::Up);
        self.died = Some(if receives && self.dice.below(2) == 0 {
            // Its run ends with the next batch, or with its device when none comes.
            self.actor.dying.store(true, Ordering::Relaxed);
            let mut dying = |_: &Context, _: &mut XdpBuff| -> Action { Nervous::panic() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.run(&mut dying))) {
                Nervous::caught(panic);
            }
            self.actor.dying.store(false, Ordering::Relaxed);
            worker.close()
        } else {
            let control = worker.control();
            drop(worker);
            control.snapshot().workers.swap_remove(self.seat)
        });
        if self.died.as_ref().is_none_or(|stats| stats.died.is_none()) {
            self.actor.report(Broken::Silence);
        }
    }

    /// What the worker has counted, dead or alive.
    pub(super) fn stats(&self) -> Option<WorkerStats> {
        self.worker.as_ref().map(Worker::stats).or_else(|| self.died.clone())
    }

    /// Once more, while nobody makes packets. Tells how much there was to do.
    pub(super) fn drain(&mut self) -> usize {
        self.worker.as_mut().map_or(0, |worker| {
            worker.settle();
            worker.poll(&mut self.judge)
        })
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
        if !stage.is_hushed() && self.dice.below(CALM) == 0 {
            let some = self.dice.below(actions.len());
            actions[..some].fill_with(|| self.verdict());
            Nervous::panic();
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
        if !stage.is_hushed() && self.dice.below(CALM) == 0 {
            Nervous::panic();
        }
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
