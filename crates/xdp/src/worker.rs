//! A worker: the ports that one thread polls, each a device with its pool.

use crate::action::{Action, PortId};
use crate::buff::XdpBuff;
use crate::control::{Control, Waker};
use crate::device::{BorrowedFd, Health, Traffic, Wait};
use crate::drops::DropReason;
use crate::follow::{FollowProgram, Trail};
use crate::homes::Homes;
use crate::idle::Idle;
use crate::port::Port;
use crate::program::Program;
use crate::redirect::{BulkQueue, Host};
use crate::stats::{PortStats, WorkerStats};
use crate::sync::spin_loop;
use crate::task::{catch, what_it_said};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, Consumer, cpu};

use crate::buff::XdpFrame;

/// The most packets that a port receives in one round (the kernel's NAPI budget).
/// [`Fabric::budget`](crate::Fabric::budget) sets another number.
pub const BUDGET: usize = 64;

/// How long the end may take for frames in flight and for the other workers. (Under shuttle that would depend on the machine.)
const LONGEST_DRAIN: Duration = Duration::from_millis(if cfg!(shuttle) { 1 << 32 } else { 500 });
/// Rounds between two looks at the devices' health while there is traffic.
const HEALTH_ROUNDS: u64 = 4096;

/// How far a worker has come. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has a source that may give something.
    Receives,
    /// It has none; others may hand something over.
    Retired,
    /// It does not receive any more, and hands nothing over.
    Quiet,
    /// It takes nothing any more from others.
    Left,
    /// Everything is counted and told.
    Closed,
}

/// The loop of one thread: it polls devices, asks the program, and moves packets.
/// A [`Fabric`](crate::Fabric) makes workers.
///
/// Call [`run`](Self::run) on a thread of its own.
/// Or call [`poll`](Self::poll) from a loop of yours, such as epoll or tokio:
/// [`wait`](Self::wait) and [`fds`](Self::fds) say when. At the end, [`close`](Self::close) it.
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
    /// While a device is asked for packets: which one, and for how many.
    pub(crate) receiving: Option<(usize, usize)>,
    /// Packets that the host was given.
    pub(crate) passed: u64,
    pub(crate) waker: Waker,
    /// The longest sleep; without one it sleeps until it is woken.
    pub(crate) nap: Option<Duration>,
    pub(crate) stage: Stage,
    /// Pages are followed, and may go to other workers.
    pub(crate) trail: Option<Trail>,
}

impl Worker {
    /// Polls until it is [stopped](Control::stop), the limit is reached, or no source has anything left.
    /// Then it sends what is in flight, and returns.
    ///
    /// If the worker has a CPU ([`Fabric::pin`](crate::Fabric::pin)), this pins the calling thread to it.
    ///
    /// # Panics
    /// When the program, the host or a device panics. The worker has ended then, and does not run again.
    /// What others have for it is dropped, and [snapshots](Control::snapshot) say so. You still have to close it.
    pub fn run(&mut self, program: &mut dyn Program) {
        if self.stage >= Stage::Left {
            return;
        }
        let turn = catch_unwind(AssertUnwindSafe(|| match self.trail.clone() {
            Some(trail) => self.turn(&mut FollowProgram { inner: program, trail }),
            None => self.turn(program),
        }));
        if let Err(panic) = turn {
            self.die(&what_it_said(&*panic));
            resume_unwind(panic);
        }
    }

    fn turn(&mut self, program: &mut dyn Program) {
        if let Some(cpu) = self.cpu {
            let _ = cpu::pin_to(cpu); // a CPU that was taken away meanwhile is no reason to stop
        }
        let mut empty_rounds = 0u32;
        while !self.control.is_stopped() {
            if self.poll(program) > 0 {
                empty_rounds = 0;
                if self.stats.rounds.is_multiple_of(HEALTH_ROUNDS) {
                    self.look_around();
                }
            } else {
                empty_rounds = empty_rounds.saturating_add(1); // who spins has billions of them
                if self.idle.sleeps_after(empty_rounds) {
                    if !self.look_around() {
                        self.sleep();
                    }
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

    /// For loops of your own: whether there is a source left that may give something.
    ///
    /// It also looks after devices that failed: it takes their pages back,
    /// and puts the device that a [`Revive`](crate::Revive) has opened in their place.
    pub fn is_alive(&mut self) -> bool {
        self.look_around();
        !self.control.is_stopped()
    }

    /// When there will be something to do, by the device that is soonest.
    ///
    /// A source whose target has no room waits for that. A source whose pool has no pages waits for a moment.
    pub fn wait(&self) -> Wait {
        self.soonest(true)
    }

    /// The same. Who is not woken has to look whether what happens elsewhere has come to its end.
    fn soonest(&self, looks: bool) -> Wait {
        let pending = self.handovers.iter().any(|(_, ring)| !ring.is_empty());
        let devices = self.ports.iter().filter(|port| port.up).map(|port| self.wait_of(port));
        let revivals = self.ports.iter().filter_map(|port| port.next_look(looks)).map(Wait::Until);
        devices.chain(revivals).fold(if pending { Wait::Now } else { Wait::Never }, Wait::or)
    }

    fn wait_of(&self, port: &Port) -> Wait {
        match port.paced_by.map(|target| &self.ports[target]) {
            Some(target) if target.is_reviving() => Wait::Never,
            Some(target) if target.up && port.held_up => target.device.wait_tx(),
            _ => port.wait(),
        }
    }

    /// Calls `add` with the descriptors of its devices, for epoll or poll(2).
    ///
    /// Descriptors that would only wake you in vain are left out: of a source whose target has no room,
    /// and of a device that has packets but no pages to receive them into.
    pub fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let paces = |i: usize| self.ports.iter().any(|port| port.held_up && port.paced_by == Some(i));
        let asked = |(i, port): &(usize, &Port)| port.up && (paces(*i) || !port.held_up && !port.lacks_pages());
        self.ports.iter().enumerate().filter(asked).for_each(|(_, port)| port.device.fds(add));
    }

    /// The handle that stops this worker and the others of its fabric.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What it has counted, and what its devices and pools have.
    pub fn stats(&self) -> WorkerStats {
        let mut stats = self.stats.clone();
        self.fill(&mut stats);
        stats
    }

    /// Waits until devices that have failed are shut down, so that their pages are back.
    /// Call it before you open an [`Account`].
    pub fn settle(&mut self) {
        self.ports.iter_mut().for_each(Port::settle);
    }

    /// For the page account: marks the pages that its devices, pools and queues hold.
    /// Pages of devices that are being shut down are seen only after [`settle`](Self::settle).
    pub fn account(&mut self, account: &mut Account) {
        self.ports.iter().for_each(|port| port.device.account(account));
        self.pools.iter_mut().for_each(|pool| pool.account(account));
        self.bulk.iter().flat_map(|queue| &queue.frames).for_each(|frame| frame.account(account));
    }

    /// Ends the worker: drops what is left in its queues, shuts the devices down, and destroys the pools.
    /// Returns what it has counted.
    pub fn close(mut self) -> WorkerStats {
        self.leave(DropReason::Shutdown);
        let mut homes = Homes::new(&mut self.pools);
        self.ports.iter_mut().for_each(|port| port.close(&mut homes));
        let stats = self.stats();
        self.stage = Stage::Closed;
        self.control.publish_last(self.index, stats.clone());
        self.pools.clear(); // while the devices are still there, for what is mapped
        stats
    }

    /// Leaves the others, who have to do without it from now on: what they hand over is dropped, here or there.
    fn leave(&mut self, reason: DropReason) {
        if self.stage >= Stage::Left {
            return;
        }
        self.advance(Stage::Left);
        let mut left = Vec::new();
        let rings = self.handovers.drain(..).map(|(_, ring)| ring);
        self.control.leave(self.index, rings, &mut left);
        self.stats.taken_over += left.len() as u64;
        self.stats.drops.add(reason, left.len() as u64);
        Homes::new(&mut self.pools).put_bulk(left.into_iter().map(XdpFrame::into_page));
    }

    /// It is over, before its time.
    fn die(&mut self, why: &str) {
        self.reckon();
        self.stats.died.get_or_insert_with(|| why.to_owned());
        self.leave(DropReason::WorkerGone);
        // The devices are asked for their counters, and one of them may be why.
        let stats = catch(|| self.stats()).unwrap_or_else(|_| self.stats.clone());
        self.control.publish_last(self.index, stats);
    }

    /// After a panic: the packets that were under way are dropped. Whatever of the books does not add up was lost by who has panicked, and is counted as aborted with them.
    pub(crate) fn reckon(&mut self) {
        self.count_received();
        let mut homes = Homes::new(&mut self.pools);
        homes.put_bulk(self.batch.drain(..).map(XdpBuff::into_page));
        self.bulk.iter_mut().for_each(|queue| homes.put_bulk(queue.frames.drain(..).map(XdpFrame::into_page)));
        self.waiting.clear();
        self.batch.reserve(self.budget); // it may have gone with the panic
        let (stats, count) = (&mut self.stats, |which: fn(&Port) -> Traffic| -> u64 {
            self.ports.iter().map(|port| which(port).packets).sum()
        });
        let (received, sent) = (count(|port| port.rx), count(|port| port.tx));
        if self.host.is_some() {
            stats.actions.pass = self.passed; // what the host was not given any more is aborted, too
        }
        stats.actions.aborted += received.saturating_sub(stats.actions.total());
        let gone = sent + stats.drops.total() + self.passed + stats.handed_over;
        stats.drops.add(DropReason::Aborted, (received + stats.taken_over).saturating_sub(gone));
    }

    /// Sends what is in flight: until every worker has stopped receiving and everything that was handed over is sent.
    fn drain(&mut self) {
        self.advance(Stage::Quiet);
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

    /// What is done now and then: devices that failed, sources that are exhausted. Tells whether a device has come, which is to be polled.
    fn look_around(&mut self) -> bool {
        let mut new = false;
        for port in &mut self.ports {
            new |= port.tend(&mut self.pools, &self.waker);
        }
        let works = |port: &Port| port.up && port.health == Health::Up || port.is_reviving();
        let source = |port: &Port| works(port) && port.device.capabilities().rx;
        if !self.ports.iter().any(source) {
            self.advance(Stage::Retired);
        }
        new
    }

    /// Tells the others how far it has come.
    fn advance(&mut self, stage: Stage) {
        let before = self.stage;
        self.stage = before.max(stage);
        if before < Stage::Retired && stage >= Stage::Retired {
            self.control.retire();
        }
        if before < Stage::Quiet && stage >= Stage::Quiet {
            self.control.quiet();
        }
    }

    /// Waits in poll(2) until a device or another worker has something.
    fn sleep(&mut self) {
        let until = match self.soonest(false) {
            Wait::Now => return,
            Wait::Until(then) => Some(then.saturating_duration_since(Instant::now())),
            Wait::Readable | Wait::Never => None,
        };
        let timeout = until.into_iter().chain(self.nap).min();
        self.stats.sleeps += 1;
        let handed_over = || self.handovers.iter().any(|(_, ring)| !ring.is_empty());
        let ready = || handed_over() || self.ports.iter().any(Port::has_news);
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

impl Drop for Worker {
    /// As [`close`](Worker::close) for who did not: the others are told. The devices are dropped, and give their pages back so.
    fn drop(&mut self) {
        if self.stage < Stage::Closed {
            self.die(if std::thread::panicking() { "its thread panicked" } else { "it was dropped, and not closed" });
        }
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
