//! Runs a plan: opens its devices over one zone, gives them to workers, watches them, and accounts for every page at the end.

mod layout;
mod losses;
mod open;
mod sink;
mod stats;
mod trust;

use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use waterwheel_prog::{Discard, Forward, Reflect};
use waterwheel_xdp::mm::{Users, cpu};
use waterwheel_xdp::page_pool::{Stalled, stalled};
use waterwheel_xdp::{Account, Control, Fabric, PagePool, PoolParams, PortId, Program, Worker, WorkerStats, Zone};

use crate::args::OnDeviceLoss;
use crate::config::{Fate, Plan};
use crate::failure::{Class, Failure};
use crate::report::Snapshot;
use crate::report::snapshot::{Holders, Pages};
use crate::signals::Waker;
use layout::Layout;
use losses::Losses;

pub(crate) use open::{failure, zone};
pub(crate) use stats::pages;

/// Workers that move packets.
pub(crate) struct Engine {
    started: Instant,
    zone: Zone,
    control: Control,
    workers: Vec<JoinHandle<Worker>>,
    /// Said once, in the order it happened.
    notices: Vec<String>,
    /// What was said of the devices.
    losses: Losses,
    /// Where packets go; empty when they go nowhere.
    wires: Vec<(PortId, PortId)>,
    /// Every wire has an end that failed.
    cut_off: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: Pages,
    /// Devices that failed while running and are not back, with the reason.
    pub(crate) failed: Vec<String>,
    /// Pools of which pages are still out, with their holders.
    pub(crate) stalled: Vec<Stalled>,
}

impl Engine {
    /// Opens the devices and starts the workers; each wakes `waker` when it ends.
    ///
    /// # Errors
    /// A device that cannot be opened, or too few pages; nothing is left open then.
    pub(crate) fn start(plan: &Plan, waker: &Waker) -> Result<Self, Failure> {
        let wanted = open::understand(plan)?;
        let layout = Layout::new(plan, &wanted)?;
        let mut notices = layout.notices.clone();
        let zone = zone(layout.pages, plan.huge_pages, plan.trace_pages)?;
        notices.push(format!("{} MiB of memory in {}", zone.region().len() >> 20, zone.region().backing()));

        let mut fabric = Fabric::new(layout.workers);
        fabric.idle(plan.idle.into());
        let mut ports = Vec::new();
        for (queue, wanted) in wanted.into_iter().enumerate() {
            let order = wanted.order;
            let device = open::device(&zone, wanted)?;
            if !device.mode.is_empty() {
                notices.push(format!("{}: {}", device.device.name(), device.mode));
            }
            let name = device.device.name().to_owned();
            let params =
                PoolParams { order, limit: layout.limits[queue], dma: device.dma, name, ..PoolParams::default() };
            let pool = PagePool::new(&zone, params).map_err(|error| Failure::new(Class::Config, error))?;
            let worker = layout.worker_of[queue];
            let port = fabric.add(worker, device.device, pool).map_err(|error| Failure::new(Class::Config, error))?;
            if let Some(reviver) = device.reviver.filter(|_| plan.on_device_loss == OnDeviceLoss::Wait) {
                fabric.revive(port, reviver);
            }
            ports.push(port);
        }
        for &(source, target) in &layout.wires {
            if layout.patient[source] {
                fabric.pace(ports[source], ports[target]);
            }
        }
        if layout.workers > 1 {
            let cpus = cpu::allowed_cpus();
            for (worker, cpu) in (0..layout.workers).zip(cpus.iter().cycle()) {
                fabric.pin(worker, *cpu);
            }
        }
        let workers = fabric.build().map_err(|error| Failure::new(Class::Other, error))?;
        let control = workers[0].control();
        if let Some(count) = plan.count {
            control.limit(count);
        }
        let wires = layout.wires.iter().map(|&(from, to)| (ports[from], ports[to])).collect();
        let started = Instant::now();
        let mut engine = Self {
            started,
            zone,
            control,
            workers: Vec::new(),
            notices,
            losses: Losses::default(),
            wires,
            cut_off: false,
        };
        for worker in workers {
            let program = program(plan, &layout, &ports);
            match spawn(worker, program, waker) {
                Ok(worker) => engine.workers.push(worker),
                Err(error) => {
                    engine.stop();
                    return Err(Failure::new(Class::Other, format!("cannot start a worker: {error}")));
                }
            }
        }
        Ok(engine)
    }

    /// When the workers were started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The counters so far, all workers together.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let workers = self.control.snapshot().workers;
        self.note_losses(&workers);
        stats::snapshot(&workers)
    }

    /// Who has pages now, where they are followed.
    pub(crate) fn holders(&self) -> Option<Holders> {
        Holders::of(&self.zone)
    }

    /// What the operator should hear, in the order it happened; each is said once.
    pub(crate) fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Whether there is nothing left to do: sources exhausted, count reached, or no two devices left between which packets could go (as of the last
    /// [`snapshot`](Self::snapshot)).
    pub(crate) fn is_finished(&self) -> bool {
        self.control.is_stopped() || self.cut_off
    }

    /// Asks the workers to take nothing in any more.
    pub(crate) fn stop(&self) {
        self.control.stop();
    }

    /// Waits until what is under way is sent and everything is closed, then accounts for every page.
    ///
    /// # Errors
    /// A worker that panicked.
    pub(crate) fn finish(mut self) -> Result<Outcome, Failure> {
        let workers = self.workers.drain(..).map(JoinHandle::join).collect::<Vec<_>>();
        let panicked = workers.iter().any(Result::is_err);
        let stats = workers.into_iter().flatten().map(Worker::close).collect::<Vec<_>>();
        if panicked {
            return Err(Failure::new(
                Class::Other,
                "a worker panicked (see above): please report this, with the command",
            ));
        }
        self.note_losses(&stats);
        let account = Account::open(&self.zone).close(Users::Gone);
        if account.conflicts > 0 {
            let message = format!("{} pages are held twice: please report this, with the command", account.conflicts);
            return Err(Failure::new(Class::Leak, message));
        }
        let (snapshot, pages) = (stats::snapshot(&stats), stats::pages(&account));
        Ok(Outcome { snapshot, pages, failed: losses::failed(&stats), stalled: stalled() })
    }

    fn note_losses(&mut self, workers: &[WorkerStats]) {
        self.notices.extend(self.losses.news(workers));
        let gone = losses::gone(workers);
        self.cut_off =
            !self.wires.is_empty() && self.wires.iter().all(|(from, to)| gone.contains(from) || gone.contains(to));
    }
}

fn spawn(mut worker: Worker, mut program: Box<dyn Program>, waker: &Waker) -> std::io::Result<JoinHandle<Worker>> {
    let waker = waker.try_clone()?;
    Builder::new().name("waterwheel".to_owned()).spawn(move || {
        // Also when the worker panics: the main thread must not sleep on.
        let _wake = OnDrop(waker);
        worker.run(program.as_mut());
        worker
    })
}

struct OnDrop(Waker);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The program of one worker.
fn program(plan: &Plan, layout: &Layout, ports: &[PortId]) -> Box<dyn Program> {
    match plan.ports.iter().find_map(|port| port.fate) {
        Some(Fate::Tx) => Box::new(Reflect),
        Some(Fate::Forward(_)) => {
            let mut forward = Forward::new();
            for &(from, to) in &layout.wires {
                forward.wire(ports[from], ports[to]);
            }
            Box::new(forward)
        }
        Some(Fate::Drop) | None => Box::new(Discard),
    }
}

impl From<crate::args::Idle> for waterwheel_xdp::Idle {
    fn from(idle: crate::args::Idle) -> Self {
        match idle {
            crate::args::Idle::Spin => Self::Spin,
            crate::args::Idle::Adaptive => Self::Adaptive,
            crate::args::Idle::Sleep => Self::Sleep,
        }
    }
}
