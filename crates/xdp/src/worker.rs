//! A worker: the ports that one thread polls, each a device with its pool.

use crate::action::{Action, PortId};
use crate::buff::XdpBuff;
use crate::control::Control;
use crate::device::{BorrowedFd, Health, Wait};
use crate::drops::DropReason;
use crate::event::LONGEST_SLEEP;
use crate::follow::{FollowProgram, Trail};
use crate::homes::Homes;
use crate::idle::Idle;
use crate::program::Program;
use crate::redirect::{BulkQueue, Host};
use crate::revive::Port;
use crate::stats::{PortStats, WorkerStats};
use crate::sync::spin_loop;
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, Consumer, cpu};

use crate::buff::XdpFrame;

/// Packets that a port may receive in one round (the kernel's NAPI budget).
pub const BUDGET: usize = 64;

/// How long the end may take for frames in flight and for the other workers. (Under shuttle that would depend on the machine.)
const LONGEST_DRAIN: Duration = Duration::from_millis(if cfg!(shuttle) { 1 << 32 } else { 500 });
/// Rounds between two looks at the devices' health while there is traffic.
const HEALTH_ROUNDS: u64 = 4096;

/// The ports of one thread, and what it needs to move packets between them. Made by a [`Fabric`](crate::Fabric).
///
/// Drive it by [`run`](Self::run), or call [`poll`](Self::poll) from a loop of your own ([`wait`](Self::wait) and [`fds`](Self::fds) say when).
pub struct Worker {
    pub(crate) index: usize,
    pub(crate) ports: Vec<Port>,
    pub(crate) pools: Vec<PagePool>,
    /// By port number, of the whole fabric.
    pub(crate) bulk: Vec<BulkQueue>,
    /// Targets whose bulk queue is not empty.
    pub(crate) waiting: Vec<PortId>,
    /// Frames from other workers for ports of this one.
    pub(crate) handovers: Vec<(PortId, Consumer<XdpFrame>)>,
    pub(crate) host: Option<Box<dyn Host>>,
    pub(crate) batch: Vec<XdpBuff>,
    pub(crate) actions: Vec<Action>,
    pub(crate) budget: usize,
    pub(crate) idle: Idle,
    pub(crate) cpu: Option<usize>,
    pub(crate) control: Control,
    pub(crate) stats: WorkerStats,
    pub(crate) retired: bool,
    /// Pages are followed, and may go to other workers.
    pub(crate) trail: Option<Trail>,
}

impl Worker {
    /// Polls until it is [stopped](Control::stop), the limit is reached, or no source has anything left; then sends what is in flight. Pins the calling thread to the
    /// worker's CPU, if it has one.
    pub fn run(&mut self, program: &mut dyn Program) {
        match self.trail.clone() {
            Some(trail) => self.turn(&mut FollowProgram { inner: program, trail }),
            None => self.turn(program),
        }
    }

    fn turn(&mut self, program: &mut dyn Program) {
        if let Some(cpu) = self.cpu {
            let _ = cpu::pin_to(cpu); // a CPU that was taken away meanwhile is no reason to stop
        }
        let mut empty_rounds = 0;
        while !self.control.is_stopped() {
            if self.poll(program) > 0 {
                empty_rounds = 0;
                if self.stats.rounds.is_multiple_of(HEALTH_ROUNDS) {
                    self.look_around();
                }
            } else {
                empty_rounds += 1;
                if self.idle.sleeps_after(empty_rounds) {
                    self.look_around();
                    self.sleep();
                } else if self.stats.rounds.is_multiple_of(64) {
                    self.look_around();
                }
            }
            if self.control.wants_stats(self.index) {
                self.publish();
            }
        }
        self.drain();
    }

    /// For loops of one's own: looks after devices that failed (their pages are taken back, and others take their place, where there is a [`Revive`](crate::Revive)), and tells whether there is a source left that may give something.
    pub fn is_alive(&mut self) -> bool {
        self.look_around();
        !self.control.is_stopped()
    }

    /// When there will be something to do: the soonest of its devices. A source whose target has no room waits for that, one whose pool has no pages for a moment.
    pub fn wait(&self) -> Wait {
        let pending = self.handovers.iter().any(|(_, ring)| !ring.is_empty());
        let devices = self.ports.iter().filter(|port| port.up).map(|port| self.wait_of(port));
        let revivals = self.ports.iter().filter_map(Port::next_look).map(Wait::Until);
        devices.chain(revivals).fold(if pending { Wait::Now } else { Wait::Never }, |a, b| match (a, b) {
            (Wait::Now, _) | (_, Wait::Now) => Wait::Now,
            (Wait::Until(a), Wait::Until(b)) => Wait::Until(a.min(b)),
            (Wait::Until(t), _) | (_, Wait::Until(t)) => Wait::Until(t),
            (Wait::Readable, _) | (_, Wait::Readable) => Wait::Readable,
            (Wait::Never, Wait::Never) => Wait::Never,
        })
    }

    fn wait_of(&self, port: &Port) -> Wait {
        match port.paced_by.map(|target| &self.ports[target]) {
            Some(target) if target.is_reviving() => Wait::Never,
            Some(target) if target.up && port.held_up => target.device.wait_tx(),
            _ => port.wait(),
        }
    }

    /// Gives `add` the descriptors of its devices, but of those whose readability tells nothing now: a source whose target has no room, a device that has packets and no pages to receive them into.
    pub fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let paces = |i: usize| self.ports.iter().any(|port| port.held_up && port.paced_by == Some(i));
        let asked = |(i, port): &(usize, &Port)| port.up && (paces(*i) || !port.held_up && !port.lacks_pages());
        self.ports.iter().enumerate().filter(asked).for_each(|(_, port)| port.device.fds(add));
    }

    /// The handle that stops it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What it has counted, and what its devices and pools have.
    pub fn stats(&self) -> WorkerStats {
        let mut stats = self.stats.clone();
        self.fill(&mut stats);
        stats
    }

    /// Marks the pages that its devices, pools and queues hold.
    pub fn account(&mut self, account: &mut Account) {
        self.ports.iter().for_each(|port| port.device.account(account));
        self.pools.iter_mut().for_each(|pool| pool.account(account));
        self.bulk.iter().flat_map(|queue| &queue.frames).for_each(|frame| frame.account(account));
    }

    /// Ends it: drops what is left in its queues, shuts the devices down, destroys the pools. Tells what it has counted.
    pub fn close(mut self) -> WorkerStats {
        let mut homes = Homes::new(&mut self.pools);
        let mut left = Vec::new();
        for (_, ring) in &self.handovers {
            ring.consume_batch(&mut left, usize::MAX);
        }
        self.stats.drops.add(DropReason::Shutdown, left.len() as u64);
        homes.put_bulk(left.into_iter().map(XdpFrame::into_page));
        self.ports.iter_mut().for_each(|port| port.close(&mut homes));
        let stats = self.stats();
        self.control.publish(self.index, |published| *published = stats.clone());
        self.pools.clear(); // while the devices are still there, for what is mapped
        stats
    }

    /// Sends what is in flight: until every worker has stopped receiving and everything that was handed over is sent.
    fn drain(&mut self) {
        self.retire();
        self.control.quiet();
        let deadline = Instant::now() + LONGEST_DRAIN;
        loop {
            let all_quiet = self.control.all_quiet(); // before the last look at the rings
            let mut work = self.take_handovers();
            for port in self.ports.iter_mut().filter(|port| port.up) {
                work += port.device.complete(&mut Homes::new(&mut self.pools));
                port.device.flush();
            }
            if (all_quiet && work == 0) || self.control.is_forced() || Instant::now() > deadline {
                return;
            }
            spin_loop();
        }
    }

    /// What is done now and then: devices that failed, sources that are exhausted.
    fn look_around(&mut self) {
        self.check_health();
        let works = |port: &Port| port.up && port.health == Health::Up || port.is_reviving();
        let source = |port: &Port| works(port) && port.device.capabilities().rx;
        if !self.ports.iter().any(source) {
            self.retire();
        }
    }

    fn retire(&mut self) {
        if !std::mem::replace(&mut self.retired, true) {
            self.control.retire();
        }
    }

    /// Waits in poll(2) until a device or another worker has something.
    fn sleep(&mut self) {
        let now = Instant::now();
        let timeout = match self.wait() {
            Wait::Now => return,
            Wait::Until(t) => t.saturating_duration_since(now).min(LONGEST_SLEEP),
            Wait::Readable | Wait::Never => LONGEST_SLEEP,
        };
        self.stats.sleeps += 1;
        let ready = || self.handovers.iter().any(|(_, ring)| !ring.is_empty());
        self.control.sleep(self.index, ready, |event| event.wait(timeout, |add| self.fds(add)));
    }

    fn publish(&self) {
        self.control.publish(self.index, |published| {
            let ports = std::mem::take(&mut published.ports);
            *published = WorkerStats { ports, ..self.stats.clone() };
            self.fill(published);
        });
    }

    /// Writes the state of each port into `stats`, whose buffers are used again, and what the devices could not send after all.
    fn fill(&self, stats: &mut WorkerStats) {
        let all = &mut stats.ports;
        if all.len() != self.ports.len() {
            *all = self.ports.iter().map(PortStats::of).collect();
        }
        let mut unsent = 0;
        for (stats, (port, pool)) in all.iter_mut().zip(self.ports.iter().zip(&self.pools)) {
            if stats.revivals != port.revivals {
                *stats = PortStats::of(port); // another device may have another name and mode
            }
            stats.health.clone_from(&port.health);
            stats.reviving = port.is_reviving();
            (stats.rx, stats.tx) = (port.rx, port.sent());
            unsent += port.tx.packets - stats.tx.packets;
            stats.in_flight = port.device.in_flight();
            port.counters(&mut stats.counters);
            port.lost(&mut stats.lost);
            stats.pool = pool.stats();
        }
        stats.drops.add(DropReason::Unsent, unsent);
    }
}

impl PortStats {
    fn of(port: &Port) -> Self {
        Self {
            port: port.id,
            name: port.device.name().to_owned(),
            mode: port.device.mode(),
            health: port.health.clone(),
            reviving: port.is_reviving(),
            revivals: port.revivals,
            rx: port.rx,
            lost: Vec::new(),
            tx: port.tx,
            in_flight: 0,
            counters: Vec::new(),
            pool: waterwheel_page_pool::PoolStats::default(),
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).field("stats", &self.stats).finish_non_exhaustive()
    }
}
