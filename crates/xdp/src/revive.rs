//! Devices that are made anew: an interface that was deleted and comes back, a network card that was reset, is taken up again under the same pool, without a restart.
//!
//! Opening a device may take seconds (a queue that is still being let go, a driver that sets its rings up), and a worker has other ports to poll. So each attempt is made on a
//! thread of its own; the worker looks now and then whether it has ended, and puts the device in its place.

use crate::action::PortId;
use crate::buff::MAX_FRAGS;
use crate::device::{Device, Health, Traffic, Wait};
use crate::event::is_readable;
use crate::homes::Homes;
use crate::stats::add_to;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::RegionId;

/// The first pause before an attempt. It doubles until [`LONGEST_PAUSE`], and is short again once a device has stayed for so long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a worker looks whether an attempt has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Makes a device again that has failed.
pub trait Revive: Send {
    /// A new device in place of the failed one, which has been shut down. Called on a thread of its own, again and again with growing pauses, until there is one; it may take its time.
    ///
    /// # Errors
    /// One line on why there is none yet. It becomes part of the port's [health](crate::PortStats::health).
    fn revive(&mut self) -> Result<Box<dyn Device>, String>;
}

impl<F: FnMut() -> Result<Box<dyn Device>, String> + Send> Revive for F {
    fn revive(&mut self) -> Result<Box<dyn Device>, String> {
        self()
    }
}

/// How a port gets another device.
pub(crate) struct Revival {
    reviver: Arc<Mutex<Box<dyn Revive>>>,
    state: State,
    pause: Duration,
    /// When the device of today was put in its place.
    since: Instant,
    /// Why the former one failed.
    cause: String,
}

enum State {
    /// The device is up, or was not found to have failed.
    Idle,
    /// It has failed; the next attempt begins then.
    Waiting(Instant),
    Trying(JoinHandle<Result<Box<dyn Device>, String>>),
}

impl Revival {
    pub(crate) fn new(reviver: Box<dyn Revive>) -> Self {
        let reviver = Arc::new(Mutex::new(reviver));
        Self { reviver, state: State::Idle, pause: FIRST_PAUSE, since: Instant::now(), cause: String::new() }
    }

    /// The device has failed.
    fn begin(&mut self, cause: &str) {
        cause.clone_into(&mut self.cause);
        if self.since.elapsed() >= LONGEST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        self.state = State::Waiting(Instant::now() + self.pause);
    }

    /// The next step. A device, or the error of an attempt, when there is one.
    fn turn(&mut self, region: RegionId) -> Option<Result<Box<dyn Device>, String>> {
        let result: Result<Box<dyn Device>, String> = match std::mem::replace(&mut self.state, State::Idle) {
            State::Waiting(then) if then <= Instant::now() => match self.attempt() {
                Ok(attempt) => {
                    self.state = State::Trying(attempt);
                    return None;
                }
                Err(error) => Err(format!("no thread to open it: {error}")),
            },
            State::Trying(attempt) if attempt.is_finished() => {
                attempt.join().unwrap_or_else(|_| Err("opening it panicked".to_owned()))
            }
            other => {
                self.state = other;
                return None;
            }
        };
        let result = result.and_then(|device| {
            let fits = takes_pages_of(&*device, region);
            fits.then_some(device).ok_or_else(|| "it has registered other memory than that of its pool".to_owned())
        });
        if result.is_ok() {
            self.since = Instant::now();
        } else {
            self.state = State::Waiting(Instant::now() + self.pause);
        }
        Some(result)
    }

    fn attempt(&mut self) -> std::io::Result<JoinHandle<Result<Box<dyn Device>, String>>> {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let reviver = self.reviver.clone();
        let attempt = move || reviver.lock().unwrap_or_else(PoisonError::into_inner).revive();
        Builder::new().name("waterwheel-up".to_owned()).spawn(attempt)
    }

    /// The end of the worker: what an attempt brings is not wanted any more.
    fn stop(&mut self) {
        if let State::Trying(attempt) = std::mem::replace(&mut self.state, State::Idle) {
            drop(attempt.join());
        }
    }
}

/// Whether a device can receive into pages of this region.
pub(crate) fn takes_pages_of(device: &dyn Device, region: RegionId) -> bool {
    device.capabilities().region.is_none_or(|own| own == region)
}

/// A device with what the loop knows of it. Its pool is in [`Worker::pools`](crate::Worker), at the same index.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) device: Box<dyn Device>,
    /// Where its pool's pages lie.
    region: RegionId,
    /// It is neither failed nor shut down.
    pub(crate) up: bool,
    pub(crate) health: Health,
    /// What its device takes.
    pub(crate) max_frags: usize,
    /// Receive no more than this local port can send.
    pub(crate) paced_by: Option<usize>,
    pub(crate) rx: Traffic,
    pub(crate) tx: Traffic,
    /// How there will be another device when this one fails; without it there will be none.
    pub(crate) revival: Option<Revival>,
    /// Devices that it has had after the first.
    pub(crate) revivals: u64,
    /// What those before this one have counted.
    past: Past,
    /// The device that paces it had no room in the last round.
    pub(crate) held_up: bool,
    /// Since the idle round before the last one its pool had not every page that it was asked for.
    pub(crate) starved: bool,
    /// Requests that its pool had refused by then.
    refused: u64,
}

/// What devices have counted that are gone.
#[derive(Debug, Default)]
struct Past {
    counters: Vec<(&'static str, u64)>,
    lost: Vec<(&'static str, u64)>,
    unsent: Traffic,
}

impl Port {
    /// A device with a pool of pages of this region.
    pub(crate) fn new(id: PortId, device: Box<dyn Device>, region: RegionId) -> Self {
        let max_frags = device.capabilities().max_frags;
        Self {
            id,
            device,
            region,
            up: true,
            health: Health::Up,
            max_frags: max_frags.min(MAX_FRAGS),
            paced_by: None,
            rx: Traffic::default(),
            tx: Traffic::default(),
            revival: None,
            revivals: 0,
            past: Past::default(),
            held_up: false,
            starved: false,
            refused: 0,
        }
    }

    /// It is down, and there may be another device soon.
    pub(crate) fn is_reviving(&self) -> bool {
        !self.up && self.revival.is_some() && matches!(self.health, Health::Failed(_))
    }

    /// When there may be one.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        match &self.revival.as_ref().filter(|_| !self.up)?.state {
            State::Waiting(then) => Some(*then),
            State::Trying(_) => Some(Instant::now() + LOOK),
            State::Idle => None,
        }
    }

    /// Looks at its device: a failed one gives its pages back and is left alone, until there is another.
    pub(crate) fn tend(&mut self, pools: &mut [PagePool]) {
        if self.up {
            self.health = self.device.health();
            if let Health::Failed(cause) = &self.health {
                self.up = false;
                if let Some(revival) = &mut self.revival {
                    revival.begin(cause);
                }
                self.device.shutdown(&mut Homes::new(pools));
            }
            return;
        }
        let Some(revival) = &mut self.revival else { return };
        match revival.turn(self.region) {
            Some(Ok(device)) => self.replace(device),
            Some(Err(error)) => {
                let cause = &revival.cause;
                self.health = Health::Failed(format!("{cause}; not back yet: {error}"));
            }
            None => {}
        }
    }

    fn replace(&mut self, device: Box<dyn Device>) {
        let Past { counters, lost, unsent } = &mut self.past;
        self.device.counters(&mut |name, n| add_to(counters, name, n));
        self.device.lost(&mut |name, n| add_to(lost, name, n));
        unsent.merge(self.device.unsent());
        self.max_frags = device.capabilities().max_frags.min(MAX_FRAGS);
        self.device = device;
        self.health = Health::Up;
        self.up = true;
        self.revivals += 1;
    }

    /// The counters of its devices, those that are gone included, into `all`.
    pub(crate) fn counters(&self, all: &mut Vec<(&'static str, u64)>) {
        all.clear();
        all.extend_from_slice(&self.past.counters);
        self.device.counters(&mut |name, n| add_to(all, name, n));
    }

    /// What its devices have lost, those that are gone included, into `all`.
    pub(crate) fn lost(&self, all: &mut Vec<(&'static str, u64)>) {
        all.clear();
        all.extend_from_slice(&self.past.lost);
        self.device.lost(&mut |name, n| add_to(all, name, n));
    }

    /// What its devices took and could then write.
    pub(crate) fn sent(&self) -> Traffic {
        let mut unsent = self.past.unsent;
        unsent.merge(self.device.unsent());
        self.tx.without(unsent)
    }

    /// After an idle round: whether that may be for want of pages.
    pub(crate) fn note_starving(&mut self, pool: &PagePool) {
        let refused = pool.stats().alloc_failed;
        self.starved = std::mem::replace(&mut self.refused, refused) != refused;
    }

    /// It has packets, and no pages to receive them into.
    pub(crate) fn lacks_pages(&self) -> bool {
        self.starved && is_readable(|add| self.device.fds(add))
    }

    /// When its device will have something to do. One that lacks pages would be polled for ever to no avail.
    pub(crate) fn wait(&self) -> Wait {
        match self.device.wait() {
            Wait::Now if self.starved => Wait::soon(),
            Wait::Until(then) if self.starved && then <= Instant::now() => Wait::soon(),
            Wait::Readable if self.lacks_pages() => Wait::soon(),
            wait => wait,
        }
    }

    /// The end: there will be no other device.
    pub(crate) fn close(&mut self, homes: &mut Homes<'_>) {
        if let Some(revival) = &mut self.revival {
            revival.stop();
        }
        if std::mem::take(&mut self.up) {
            self.device.shutdown(homes);
            if let Health::Failed(cause) = self.device.health() {
                self.health = Health::Failed(cause); // what was still buffered could not be written
            }
        }
    }
}
