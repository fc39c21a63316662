//! What the workers of a fabric share with each other and with whoever watches them: stop, limit, wake-ups, statistics.

use crate::buff::XdpFrame;
use crate::device::Traffic;
use crate::drops::Drops;
use crate::event::Event;
use crate::sleeper::{Roll, Sees, Sleeper};
use crate::stats::{Actions, WorkerStats, add_to};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, rest};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use waterwheel_page_pool::mm::Consumer;

/// Stops the running workers of a fabric, and reads what they count.
/// Any thread may have it; clones control the same workers.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    force: AtomicBool,
    /// Packets that may still be received; `u64::MAX` is no limit.
    credits: AtomicU64,
    /// Packets that may be received and were not yet. With credits out on loan in a poll it is larger than `credits`.
    wanted: AtomicU64,
    /// Workers that may still receive something.
    active: AtomicUsize,
    /// Workers that have stopped receiving for good.
    quiet: Roll,
    workers: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    event: Event,
    sleeper: Sleeper,
    /// Somebody waits for fresh statistics.
    wanted: AtomicBool,
    /// Counts how often; [`LAST`] in the end.
    published: Mutex<(u64, WorkerStats)>,
    /// Of a worker that has left: the ends of the rings in which others hand frames over to it.
    left: Mutex<Vec<Consumer<XdpFrame>>>,
}

/// No limit.
const ENDLESS: u64 = u64::MAX;
/// How long a snapshot waits for a worker. (Under shuttle that would depend on the machine.)
const LONGEST_ANSWER: Duration = Duration::from_millis(if cfg!(shuttle) { 1 << 32 } else { 100 });
/// Nothing will be published any more.
const LAST: u64 = u64::MAX;

impl Control {
    pub(crate) fn new(workers: usize) -> std::io::Result<Self> {
        let slot = || -> std::io::Result<Slot> {
            Ok(Slot {
                event: Event::new()?,
                sleeper: Sleeper::new(),
                wanted: AtomicBool::new(false),
                published: Mutex::default(),
                left: Mutex::default(),
            })
        };
        Ok(Self(Arc::new(Shared {
            stop: AtomicBool::new(false),
            force: AtomicBool::new(false),
            credits: AtomicU64::new(ENDLESS),
            wanted: AtomicU64::new(ENDLESS),
            active: AtomicUsize::new(workers),
            quiet: Roll::new(),
            workers: (0..workers).map(|_| slot()).collect::<Result<_, _>>()?,
        })))
    }

    /// Ends the workers in order: they receive no more, send what is in flight, and end.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.wake_all();
    }

    fn wake_all(&self) {
        for worker in 0..self.0.workers.len() {
            self.wake(worker);
        }
    }

    /// Ends the workers without waiting for what is in flight.
    pub fn force(&self) {
        self.0.force.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Ends the workers after they have received `packets` more, all together. Set it before they run.
    pub fn limit(&self, packets: u64) {
        self.0.credits.store(packets, Ordering::Relaxed);
        self.0.wanted.store(packets, Ordering::Relaxed);
    }

    /// Whether the workers are to end: they were stopped, the limit is reached, or no source has anything left.
    pub fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
            || self.0.active.load(Ordering::Relaxed) == 0
            || self.0.wanted.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.0.force.load(Ordering::Relaxed)
    }

    /// Takes permission for up to `budget` packets.
    #[inline]
    pub(crate) fn take(&self, budget: usize) -> usize {
        let credits = self.0.credits.load(Ordering::Relaxed);
        if credits == ENDLESS {
            return budget;
        }
        let take = |left: u64| Some(left - left.min(budget as u64));
        let left = self.0.credits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        left.min(budget as u64) as usize
    }

    /// Settles what [`take`](Self::take) gave.
    #[inline]
    pub(crate) fn give_back(&self, taken: usize, received: usize) {
        if self.0.credits.load(Ordering::Relaxed) != ENDLESS {
            self.0.credits.fetch_add(taken.saturating_sub(received) as u64, Ordering::Relaxed);
            let received = received.min(taken) as u64; // a device that gives more than it was asked for must not wrap the limit
            if self.0.wanted.fetch_sub(received, Ordering::Relaxed) == received && received > 0 {
                self.wake_all(); // that was the last one
            }
        }
    }

    /// A worker has no source left that could give anything.
    pub(crate) fn retire(&self) {
        if self.0.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wake_all();
        }
    }

    /// A worker has stopped receiving: it will hand nothing over any more.
    pub(crate) fn quiet(&self) {
        self.0.quiet.answer();
    }

    pub(crate) fn all_quiet(&self) -> bool {
        self.0.quiet.all(self.0.workers.len())
    }

    /// Wakes a worker if it sleeps. The caller has put something where the worker will look. False: it has left, and will not.
    pub(crate) fn wake(&self, worker: usize) -> bool {
        let slot = &self.0.workers[worker];
        let sees = slot.sleeper.ask();
        if sees == Sees::OnceWoken {
            slot.event.set();
        }
        sees != Sees::Never
    }

    /// What wakes this worker.
    pub(crate) fn waker(&self, worker: usize) -> Waker {
        Waker { control: self.clone(), worker }
    }

    /// Runs `wait`, which waits for the worker's event among others, unless `ready` says after the announcement that there is something to do.
    pub(crate) fn sleep(&self, worker: usize, ready: impl FnOnce() -> bool, wait: impl FnOnce(&Event)) {
        let slot = &self.0.workers[worker];
        slot.sleeper.announce();
        if !ready() && !self.is_stopped() && !slot.wanted.load(Ordering::Relaxed) {
            wait(&slot.event);
        }
        slot.sleeper.awake();
        slot.event.clear();
    }

    /// A worker leaves: the frames that were handed over to it go into `frames`. Who hands over more has to [take it back](Self::take_back).
    pub(crate) fn leave(
        &self,
        worker: usize,
        rings: impl Iterator<Item = Consumer<XdpFrame>>,
        frames: &mut Vec<XdpFrame>,
    ) {
        let slot = &self.0.workers[worker];
        slot.sleeper.leave();
        slot.left.lock().unwrap_or_else(PoisonError::into_inner).extend(rings);
        self.take_back(worker, frames);
    }

    /// Takes frames back that were handed over to a worker that has left, and tells how many. Whoever takes them counts them.
    pub(crate) fn take_back(&self, worker: usize, frames: &mut Vec<XdpFrame>) -> usize {
        let rings = self.0.workers[worker].left.lock().unwrap_or_else(PoisonError::into_inner);
        rings.iter().map(|ring| ring.consume_batch(frames, usize::MAX)).sum()
    }

    #[inline]
    pub(crate) fn wants_stats(&self, worker: usize) -> bool {
        self.0.workers[worker].wanted.load(Ordering::Relaxed)
    }

    /// Publishes what `fill` writes. The buffers of the last time are used again.
    pub(crate) fn publish(&self, worker: usize, fill: impl FnOnce(&mut WorkerStats)) {
        let slot = &self.0.workers[worker];
        let mut published = slot.published.lock().unwrap_or_else(PoisonError::into_inner);
        slot.wanted.store(false, Ordering::Relaxed);
        fill(&mut published.1);
        published.0 += u64::from(published.0 != LAST);
    }

    /// Publishes the last of it.
    pub(crate) fn publish_last(&self, worker: usize, stats: WorkerStats) {
        let mut published = self.0.workers[worker].published.lock().unwrap_or_else(PoisonError::into_inner);
        *published = (LAST, stats);
    }

    /// What all workers have counted. It asks each worker, and waits for its answer, a tenth of a second at most.
    /// For a worker that does not answer, or has ended, it is the last answer.
    pub fn snapshot(&self) -> Snapshot {
        let generation = |slot: &Slot| slot.published.lock().unwrap_or_else(PoisonError::into_inner).0;
        let before: Vec<u64> = self.0.workers.iter().map(generation).collect();
        for (worker, slot) in self.0.workers.iter().enumerate() {
            slot.wanted.store(true, Ordering::Relaxed);
            self.wake(worker);
        }
        let deadline = Instant::now() + LONGEST_ANSWER;
        let workers = std::iter::zip(&self.0.workers, before).map(|(slot, before)| {
            while generation(slot) == before && before != LAST && Instant::now() < deadline {
                rest(Duration::from_micros(200));
            }
            slot.published.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
        });
        Snapshot { workers: workers.collect() }
    }
}

/// Wakes one worker.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    control: Control,
    worker: usize,
}

impl Waker {
    /// As [`Control::wake`]. There is nobody to be told if it has left.
    pub(crate) fn wake(&self) {
        self.control.wake(self.worker);
    }
}

/// What the workers of a fabric have counted since they began.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Each worker's own counts.
    pub workers: Vec<WorkerStats>,
}

impl Snapshot {
    /// Packets received on all ports.
    pub fn rx(&self) -> Traffic {
        self.sum(|port| port.rx)
    }

    /// Packets that were lost on all ports before they could be received, by the names of [`PortStats::lost`](crate::PortStats::lost).
    /// Together with [`drops`](Self::drops) this is all that was lost.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let mut sum = Vec::new();
        let ports = self.workers.iter().flat_map(|worker| &worker.ports);
        ports.flat_map(|port| &port.lost).for_each(|(name, n)| add_to(&mut sum, name, *n));
        sum
    }

    /// Packets that the devices of all ports have sent.
    pub fn tx(&self) -> Traffic {
        self.sum(|port| port.tx)
    }

    fn sum(&self, which: impl Fn(&crate::PortStats) -> Traffic) -> Traffic {
        let mut sum = Traffic::default();
        self.workers.iter().flat_map(|worker| &worker.ports).for_each(|port| sum.merge(which(port)));
        sum
    }

    /// Actions of all workers.
    pub fn actions(&self) -> Actions {
        let mut sum = Actions::default();
        self.workers.iter().for_each(|worker| sum.merge(&worker.actions));
        sum
    }

    /// Dropped packets of all workers.
    pub fn drops(&self) -> Drops {
        let mut sum = Drops::default();
        self.workers.iter().for_each(|worker| sum.merge(&worker.drops));
        sum
    }
}
