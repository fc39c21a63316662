//! Our forwarder: a worker with two AF_XDP devices on a thread of its own, which runs when it is told to.

use super::rig::Road;
use super::usage::Task;
use crate::peers::kernel::Namespace;
use crate::programs::xdp::{Verdict, of_the_binary};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams};
use waterwheel_mm::cpu;
use waterwheel_xdp::mm::{Backing, PageAccount, Users, ZoneParams};
use waterwheel_xdp::{Account, Fabric, PagePool, PoolParams, Worker, WorkerStats, Zone};

/// Rounds between two looks at whether to go on.
const ROUNDS: u32 = 64;
/// Pages of a pool beyond those that its rings hold: batches, spare pages.
const UNDER_WAY: usize = 512;

/// What it is to be.
pub(super) struct Setup {
    /// Both devices alike, but for the interface.
    pub(super) params: AfXdpParams,
    /// Packets at a time.
    pub(super) budget: usize,
    /// CPU that it is pinned to.
    pub(super) cpu: usize,
}

/// What it counted, and where its pages are in the end.
pub(super) type Outcome = (WorkerStats, PageAccount);

/// The thread.
pub(super) struct Forwarder {
    /// Its CPU time.
    pub(super) task: Task,
    /// The memory under it.
    pub(super) backing: Backing,
    running: Arc<AtomicBool>,
    /// Gone when it is to end.
    go: Option<Sender<()>>,
    rests: Receiver<()>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Forwarder {
    /// Opens the devices at the ends of `road`.
    pub(super) fn start(namespace: &Namespace, road: &Road, setup: &Setup) -> Result<Self, String> {
        let (zone, mut worker) = namespace.run(|| open(road, setup).map_err(|error| error.to_string()))?;
        let backing = zone.region().backing();
        let (go, told) = channel();
        let (tell, heard) = channel();
        let (rest, rests) = channel();
        let running = Arc::new(AtomicBool::new(false));
        let (runs, cpu) = (running.clone(), setup.cpu);
        let thread = thread::spawn(move || {
            let pinned = cpu::pin_to(cpu).map_err(|error| format!("pinning a thread to CPU {cpu}: {error}"));
            let mut here = tell.send(pinned.map(|()| Task::this_thread())).is_ok();
            let mut program = of_the_binary(Verdict::Redirect);
            while here && told.recv().is_ok() {
                while runs.load(Relaxed) {
                    (0..ROUNDS).for_each(|_| _ = worker.poll(program.as_mut()));
                }
                here = rest.send(()).is_ok();
            }
            let stats = worker.close();
            (stats, Account::open(&zone).close(Users::Gone))
        });
        let task = heard.recv().unwrap_or_else(|_| Err("its thread ended".to_owned()))?;
        Ok(Self { task, backing, running, go: Some(go), rests, thread: Some(thread) })
    }

    /// Lets it forward until [`rest`](Self::rest).
    pub(super) fn forward(&self) {
        self.running.store(true, Relaxed);
        self.go.as_ref().map(|go| go.send(()));
    }

    /// It stands still when this returns.
    pub(super) fn rest(&self) {
        self.running.store(false, Relaxed);
        let _ = self.rests.recv(); // an error if its thread has ended, which is rest as well
    }

    /// Ends it.
    pub(super) fn close(mut self) -> Option<Outcome> {
        self.end()
    }

    fn end(&mut self) -> Option<Outcome> {
        self.running.store(false, Relaxed);
        self.go = None;
        self.thread.take()?.join().ok() // a panic of it was reported by itself
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.end();
    }
}

/// A worker as the binary makes one for `forward`, which spins.
fn open(road: &Road, setup: &Setup) -> Result<(Zone, Worker), Box<dyn Error>> {
    let params = [&road.input, &road.output].map(|iface| AfXdpParams { iface: iface.clone(), ..setup.params.clone() });
    let rings = |params: &AfXdpParams| (params.fill_ring + params.rx_ring + params.tx_ring) as usize;
    let limit = params.iter().map(rings).max().unwrap_or(0) + UNDER_WAY;
    let zone = Zone::new(&ZoneParams::pages(params.len() * limit))?;
    let mut fabric = Fabric::new(1);
    fabric.budget(setup.budget);
    for params in &params {
        let pool = PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() })?;
        fabric.add(0, Box::new(AfXdp::open(&zone, params)?), pool)?;
    }
    Ok((zone, fabric.build()?.remove(0)))
}
