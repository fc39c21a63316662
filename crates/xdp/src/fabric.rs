//! A fabric puts devices, pools and workers together.

use crate::action::PortId;
use crate::control::Control;
use crate::device::Device;
use crate::event::NAP;
use crate::follow::{FollowDevice, FollowHost, Trail};
use crate::idle::Idle;
use crate::port::Port;
use crate::redirect::{BulkQueue, HANDOVER, Host, Route};
use crate::revive::{Revival, Revive, takes_pages_of};
use crate::stats::WorkerStats;
use crate::worker::{BUDGET, Stage, Worker};
use std::time::Duration;
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Holder, ptr_ring};

/// The most ports of one worker.
pub const MAX_PORTS: usize = 64;

/// Most workers of one fabric: more than there are CPUs, and the numbers of all their ports have 16 bits.
pub const MAX_WORKERS: usize = 1000;

/// Most packets per port and round.
pub const MAX_BUDGET: usize = 4096;

/// Why the parts do not fit together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FabricError {
    /// One thread polls at most [`MAX_PORTS`] devices.
    #[error("a worker has at most {MAX_PORTS} ports; use more workers")]
    TooManyPorts,
    /// There is no such worker.
    #[error("there is no worker {0}")]
    NoWorker(usize),
    /// The device receives only into memory that it has [registered](crate::Capabilities::region), and the pool's pages lie elsewhere.
    /// It would never receive anything.
    #[error("{device} has registered other memory than that of its pool: make both of one zone")]
    OtherMemory {
        /// The device's name.
        device: String,
    },
    /// The kernel gave no event descriptor.
    #[error("no event descriptor for a worker: {0}")]
    Event(#[from] std::io::Error),
}

/// Takes devices, each with its pool, and makes workers of them: one for each thread.
///
/// A device with its pool is a *port* of the fabric.
/// Programs can send a packet from any port to any other, also of another worker.
///
/// ```
/// use waterwheel_xdp::{Action, Context, Fabric, PagePool, PoolParams, XdpBuff, Zone, veth};
/// # use waterwheel_xdp::mm::ZoneParams;
/// let zone = Zone::new(&ZoneParams::pages(512))?;
/// let (left, right) = veth("left", "right", 256);
/// let mut fabric = Fabric::new(1);
/// let a = fabric.add(0, Box::new(left), PagePool::new(&zone, PoolParams::default())?)?;
/// let b = fabric.add(0, Box::new(right), PagePool::new(&zone, PoolParams::default())?)?;
/// let mut workers = fabric.build()?;
/// let mut cross = |cx: &Context, _: &mut XdpBuff| Action::Redirect(if cx.port == a { b } else { a });
/// assert_eq!(workers[0].poll(&mut cross), 0); // nobody has sent anything
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Fabric {
    workers: Vec<Seed>,
    ports: u16,
    budget: usize,
    idle: Idle,
    nap: Option<Duration>,
}

#[derive(Default)]
struct Seed {
    ports: Vec<Port>,
    pools: Vec<PagePool>,
    host: Option<Box<dyn Host>>,
    cpu: Option<usize>,
}

impl Fabric {
    /// An empty fabric for this many workers: at least one, at most [`MAX_WORKERS`].
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers.clamp(1, MAX_WORKERS)).map(|_| Seed::default()).collect();
        Self { workers, ports: 0, budget: BUDGET, idle: Idle::default(), nap: Some(NAP) }
    }

    /// Gives a device and its pool to a worker, the first of which is 0.
    /// Programs name the port by the number that is returned.
    pub fn add(&mut self, worker: usize, device: Box<dyn Device>, pool: PagePool) -> Result<PortId, FabricError> {
        let seed = self.workers.get_mut(worker).ok_or(FabricError::NoWorker(worker))?;
        if seed.ports.len() == MAX_PORTS {
            return Err(FabricError::TooManyPorts);
        }
        if !takes_pages_of(&*device, pool.zone().id()) {
            return Err(FabricError::OtherMemory { device: device.name().to_owned() });
        }
        let id = PortId(self.ports);
        self.ports += 1;
        seed.ports.push(Port::new(id, FollowDevice::around(device, &pool), pool.zone().id()));
        seed.pools.push(pool);
        Ok(id)
    }

    /// Opens the device of `port` again when it fails: see [`Revive`]. Its counters, its pool and its number stay.
    ///
    /// Meanwhile, a source that is [paced](Self::pace) by the port waits.
    pub fn revive(&mut self, port: PortId, reviver: Box<dyn Revive>) {
        let mut ports = self.workers.iter_mut().flat_map(|seed| seed.ports.iter_mut().zip(&seed.pools));
        if let Some((port, pool)) = ports.find(|(it, _)| it.id == port) {
            port.revival = Some(Revival::new(FollowDevice::around_next(reviver, pool)));
        }
    }

    /// Lets `source` receive no more than `target` can send.
    /// Use it for sources that can wait, such as generators and files.
    /// It has an effect only if one worker has both.
    pub fn pace(&mut self, source: PortId, target: PortId) {
        for seed in &mut self.workers {
            let find = |id: PortId| seed.ports.iter().position(|port| port.id == id);
            if let (Some(source), Some(target)) = (find(source), find(target)) {
                seed.ports[source].paced_by = Some(target);
            }
        }
    }

    /// Pins a worker's thread to a CPU, when it [runs](Worker::run).
    pub fn pin(&mut self, worker: usize, cpu: usize) {
        if let Some(seed) = self.workers.get_mut(worker) {
            seed.cpu = Some(cpu);
        }
    }

    /// Sets who takes the packets that programs [pass](crate::Action::Pass) on this worker.
    pub fn host(&mut self, worker: usize, host: Box<dyn Host>) {
        if let Some(seed) = self.workers.get_mut(worker) {
            seed.host = Some(host);
        }
    }

    /// Packets per port and round; 64 unless set, at least 1, at most [`MAX_BUDGET`].
    pub fn budget(&mut self, packets: usize) {
        self.budget = packets.clamp(1, MAX_BUDGET);
    }

    /// What the workers do when there is nothing to do.
    pub fn idle(&mut self, idle: Idle) {
        self.idle = idle;
    }

    /// The longest that a worker sleeps before it looks after its devices; 100 ms unless set.
    ///
    /// With `None` it sleeps until something happens, and does not notice a device that goes away without a sign.
    /// That is for tests, which are to find wake-ups that are missing.
    pub fn nap(&mut self, longest: Option<Duration>) {
        self.nap = longest;
    }

    /// The workers, one for each thread.
    pub fn build(mut self) -> Result<Vec<Worker>, FabricError> {
        let mut trails = self.trails();
        let control = Control::new(self.workers.len())?;
        let (budget, idle, ports) = (self.budget, self.idle, self.ports);
        let place = |id: PortId, seeds: &[Seed]| {
            seeds.iter().enumerate().find_map(|(w, seed)| Some((w, seed.ports.iter().position(|port| port.id == id)?)))
        };
        // Who has which port: (worker, index there), by port number.
        let places: Vec<(usize, usize)> = (0..ports).filter_map(|port| place(PortId(port), &self.workers)).collect();
        let mut handovers: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut bulks: Vec<Vec<BulkQueue>> = Vec::new();
        for from in 0..self.workers.len() {
            let queue = |(port, &(worker, index)): (usize, &(usize, usize))| {
                let route = if worker == from {
                    Route::Local(index)
                } else {
                    let (ring, end) = ptr_ring(HANDOVER);
                    handovers[worker].push((PortId(port as u16), end));
                    Route::Remote { worker, ring }
                };
                BulkQueue { route, frames: Vec::with_capacity(budget) }
            };
            bulks.push(places.iter().enumerate().map(queue).collect());
        }
        let parts = self.workers.into_iter().zip(bulks).zip(handovers).enumerate();
        let workers = parts.map(|(index, ((seed, bulk), handovers))| Worker {
            index,
            ports: seed.ports,
            pools: seed.pools,
            bulk,
            waiting: Vec::with_capacity(usize::from(ports) + 1),
            handovers,
            host: seed.host,
            batch: Vec::with_capacity(budget),
            actions: Vec::with_capacity(budget),
            budget,
            idle,
            cpu: seed.cpu,
            control: control.clone(),
            stats: WorkerStats::default(),
            receiving: None,
            passed: 0,
            waker: control.waker(index),
            nap: self.nap,
            stage: Stage::Receives,
            trail: trails[index].take(),
        });
        Ok(workers.collect())
    }

    /// Where pages are followed: how each worker goes on. Hosts are asked to say so, too.
    fn trails(&mut self) -> Vec<Option<Trail>> {
        let followed = self.workers.iter().flat_map(|seed| &seed.pools).filter_map(PagePool::sampling);
        let Some(sampling) = followed.min_by_key(|sampling| sampling.n()) else {
            return vec![None; self.workers.len()];
        };
        self.workers.iter_mut().for_each(|seed| seed.host = seed.host.take().map(FollowHost::around));
        let trail = |worker: usize| {
            let mut others = vec![None; usize::from(self.ports)];
            for (_, seed) in self.workers.iter().enumerate().filter(|(other, _)| *other != worker) {
                for port in &seed.ports {
                    others[usize::from(port.id.0)] = Some(Holder::named(port.device.name()));
                }
            }
            others.iter().any(Option::is_some).then_some(Trail { sampling, others })
        };
        (0..self.workers.len()).map(trail).collect()
    }
}

impl std::fmt::Debug for Fabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fabric")
            .field("workers", &self.workers.len())
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}
