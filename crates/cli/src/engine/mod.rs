//! Runs a plan: opens its devices over one zone, gives them to workers, watches them, and accounts for every page at the end.

pub(crate) mod capture;
pub(crate) mod given;
mod layout;
mod losses;
mod open;
#[cfg(feature = "plants")]
mod plant;
mod sink;
mod stats;
mod tee;
mod trust;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use waterwheel_dev::memif::Events;
use waterwheel_prog::{Discard, Forward, Reflect};
use waterwheel_xdp::mm::{Users, cpu};
use waterwheel_xdp::page_pool::{Stalled, stalled};
use waterwheel_xdp::{Account, Control, Fabric, PagePool, PoolParams, PortId, Program, Worker, WorkerStats, Zone};

use crate::args::OnDeviceLoss;
use crate::config::{Fate, Plan};
use crate::failure::{Class, Failure};
use crate::report::Snapshot;
use crate::report::snapshot::{Capture, Holders, Pages};
use crate::signals::{Patience, Waker};
use layout::Layout;
use losses::Losses;
use tee::Tee;

pub(crate) use open::{failure, zone};
pub(crate) use stats::{pages, warnings};

/// Index in [`Plan::ports`] of the device whose packets are copied, if any are.
const COPIED: usize = 1;

/// Workers that move packets.
pub(crate) struct Engine {
    started: Instant,
    zone: Zone,
    control: Control,
    workers: Vec<JoinHandle<Ran>>,
    /// Said once, in the order it happened.
    notices: Vec<String>,
    /// What happens to interfaces that peers come to and leave.
    events: Vec<Events>,
    /// What was said of the devices.
    losses: Losses,
    /// Devices that were warned of, and the capture if it was.
    warned: Vec<String>,
    /// That the capture failed was said.
    capture_failed: bool,
    /// Names of what the devices may lose.
    lost: Vec<&'static str>,
    /// Where packets go; empty when they go nowhere.
    wires: Vec<(PortId, PortId)>,
    /// What captures are told.
    run: capture::Run,
    /// Every wire has an end that failed.
    cut_off: bool,
    /// A worker has ended.
    ended: Arc<AtomicBool>,
    /// What tests break on purpose.
    #[cfg(feature = "plants")]
    plant: Option<crate::args::Plant>,
}

/// A worker after its run; its program may have panicked.
struct Ran {
    worker: Worker,
    panicked: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: Pages,
    /// Pages that two believe to hold.
    pub(crate) conflicts: usize,
    /// Workers that panicked.
    pub(crate) panicked: usize,
    /// Devices that failed while running and are not back, with the reason.
    pub(crate) failed: Vec<String>,
    /// Pools of which pages are still out, with their holders.
    pub(crate) stalled: Vec<Stalled>,
}

impl Engine {
    /// Opens the devices and starts the workers; each wakes `waker` when it ends. What devices have taken waits for a slow taker as long as `patience` lasts.
    ///
    /// # Errors
    /// A device that cannot be opened, or too few pages; nothing is left open then.
    pub(crate) fn start(plan: &Plan, waker: &Waker, patience: &Patience) -> Result<Self, Failure> {
        let wanted = open::understand(plan)?;
        let layout = Layout::new(plan, &wanted)?;
        let mut notices: Vec<String> = plan.notice.iter().chain(&layout.notices).cloned().collect();
        let zone = zone(layout.pages, plan.huge_pages, plan.trace_pages)?;
        notices.push(format!("{} MiB of memory in {}", zone.region().len() >> 20, zone.region().backing()));

        let mut fabric = Fabric::new(layout.workers);
        fabric.idle(plan.idle.into());
        let (mut ports, mut lost, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let run = capture::Run::new(plan);
        let mut copy = plan.copy.as_ref().map(|spec| capture::Writing::new(plan, spec)).transpose()?;
        let mut copies = None;
        for (queue, wanted) in wanted.into_iter().enumerate() {
            let (order, port) = (wanted.order, wanted.port);
            // Of two that write files, the one whose files turn up later knows those of the other.
            if let Some(copy) = copy.take_if(|copy| port == COPIED && !copy.rotates()) {
                copies = Some(Arc::new(Mutex::new(copy.open(patience, &run)?)));
            }
            let mut device = open::device(&zone, wanted, patience, &run)?;
            if let Some(copy) = copy.take_if(|_| port == COPIED) {
                copies = Some(Arc::new(Mutex::new(copy.open(patience, &run)?)));
            }
            if let Some(copies) = copies.as_ref().filter(|_| port == COPIED) {
                device.device = Box::new(Tee::new(device.device, copies.clone(), run.told.clone()));
                device.reviver = None; // another device would not be copied
            }
            if !device.mode.is_empty() {
                notices.push(format!("{}: {}", device.device.name(), device.mode));
            }
            events.extend(device.events);
            device.device.lost(&mut |name, _| lost.push(name));
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
        if let Some(copies) = &plan.copy {
            run.told.begins(&copies.arg);
        }
        run.begins(&control);
        drop(copies); // the devices have it
        let wires = layout.wires.iter().map(|&(from, to)| (ports[from], ports[to])).collect();
        let started = Instant::now();
        let mut engine = Self {
            started,
            zone,
            control,
            workers: Vec::new(),
            notices,
            events,
            losses: Losses::default(),
            warned: Vec::new(),
            capture_failed: false,
            lost,
            wires,
            run,
            cut_off: false,
            ended: Arc::default(),
            #[cfg(feature = "plants")]
            plant: plan.plant,
        };
        for worker in workers {
            let program = program(plan, &layout, &ports);
            match spawn(worker, program, waker, engine.ended.clone()) {
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
        let snapshot = self.of(&workers);
        if let Some(Capture { name, reason: Some(reason), .. }) = &snapshot.capture
            && !self.capture_failed
        {
            // How many are missed is said in the end, and that its reader is slow need not be said any more.
            self.capture_failed = true;
            self.warned.push(name.clone());
            self.notices.push(format!("capture {reason}; packets go on, and are not captured any more"));
        }
        // The first time at once; how much it was in the end is said then.
        for (who, warning) in warnings(&snapshot) {
            if !self.warned.iter().any(|warned| warned == who) {
                self.warned.push(who.to_owned());
                self.notices.push(warning);
            }
        }
        snapshot
    }

    fn of(&self, workers: &[WorkerStats]) -> Snapshot {
        Snapshot { capture: self.run.told.shown(), ..stats::snapshot(workers, &self.lost) }
    }

    /// Who has pages now, where they are followed.
    pub(crate) fn holders(&self) -> Option<Holders> {
        Holders::of(&self.zone)
    }

    /// What the operator should hear, in the order it happened; each is said once.
    pub(crate) fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.events.iter().flat_map(Events::take));
        notices
    }

    /// Whether there is nothing left to do: sources exhausted, count reached, a worker that panicked, or no two devices left between which packets could go (as of the last
    /// [`snapshot`](Self::snapshot)).
    pub(crate) fn is_finished(&self) -> bool {
        self.control.is_stopped() || self.cut_off || self.ended.load(Ordering::Relaxed)
    }

    /// Asks the workers to take nothing in any more.
    pub(crate) fn stop(&self) {
        self.control.stop();
    }

    /// Waits until what is under way is sent and everything is closed, then accounts for every page.
    pub(crate) fn finish(mut self) -> Outcome {
        let ran = self.workers.drain(..).filter_map(|worker| worker.join().ok()).collect::<Vec<_>>();
        let panicked = ran.iter().filter(|ran| ran.panicked).count();
        if panicked == 0 {
            let stats = ran.iter().map(|ran| ran.worker.stats()).collect::<Vec<_>>();
            self.run.ends(&stats::snapshot(&stats, &self.lost));
        }
        let stats = ran.into_iter().map(|ran| ran.worker.close()).collect::<Vec<_>>();
        self.note_losses(&stats);
        let account = self.account().close(Users::Gone);
        Outcome {
            snapshot: self.of(&stats),
            pages: stats::pages(&account),
            conflicts: account.conflicts,
            panicked,
            failed: losses::failed(&stats),
            stalled: stalled(),
        }
    }

    /// An account of all pages, when the devices and their pools are gone.
    fn account(&self) -> Account {
        #[cfg(feature = "plants")]
        return plant::account(&self.zone, self.plant);
        #[cfg(not(feature = "plants"))]
        Account::open(&self.zone)
    }

    fn note_losses(&mut self, workers: &[WorkerStats]) {
        self.notices.extend(self.losses.news(workers));
        let gone = losses::gone(workers);
        self.cut_off =
            !self.wires.is_empty() && self.wires.iter().all(|(from, to)| gone.contains(from) || gone.contains(to));
    }
}

fn spawn(
    mut worker: Worker,
    mut program: Box<dyn Program>,
    waker: &Waker,
    ended: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<Ran>> {
    let waker = waker.try_clone()?;
    Builder::new().name("waterwheel".to_owned()).spawn(move || {
        // Also of a worker that panicked the devices are closed, and everything is counted.
        let panicked = catch_unwind(AssertUnwindSafe(|| worker.run(program.as_mut()))).is_err();
        ended.store(true, Ordering::Relaxed);
        waker.wake();
        Ran { worker, panicked }
    })
}

/// The program of one worker.
fn program(plan: &Plan, layout: &Layout, ports: &[PortId]) -> Box<dyn Program> {
    #[cfg(feature = "plants")]
    if plan.plant == Some(crate::args::Plant::Panic) {
        return Box::new(plant::Panic);
    }
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
