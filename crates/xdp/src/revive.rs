//! Devices that are made anew: an interface that was deleted and comes back, a network card that was reset, is taken up again under the same pool, without a restart.
//!
//! Opening a device may take seconds (a queue that is still being let go, a driver that sets its rings up), and a worker has other ports to poll. So each attempt is made on a
//! thread of its own; the worker looks now and then whether it has ended, and puts the device in its place.

use crate::action::PortId;
use crate::buff::MAX_FRAGS;
use crate::device::{Device, Health, Traffic};
use crate::homes::Homes;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;

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
    fn turn(&mut self) -> Option<Result<Box<dyn Device>, String>> {
        let result = match std::mem::replace(&mut self.state, State::Idle) {
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

/// A device with what the loop knows of it. Its pool is in [`Worker::pools`](crate::Worker), at the same index.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) device: Box<dyn Device>,
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
    pub(crate) past: Vec<(&'static str, u64)>,
}

impl Port {
    pub(crate) fn new(id: PortId, device: Box<dyn Device>) -> Self {
        let max_frags = device.capabilities().max_frags;
        Self {
            id,
            device,
            up: true,
            health: Health::Up,
            max_frags: max_frags.min(MAX_FRAGS),
            paced_by: None,
            rx: Traffic::default(),
            tx: Traffic::default(),
            revival: None,
            revivals: 0,
            past: Vec::new(),
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
        match revival.turn() {
            Some(Ok(device)) => self.replace(device),
            Some(Err(error)) => {
                let cause = &revival.cause;
                self.health = Health::Failed(format!("{cause}; not back yet: {error}"));
            }
            None => {}
        }
    }

    fn replace(&mut self, device: Box<dyn Device>) {
        let past = &mut self.past;
        self.device.counters(&mut |name, n| match past.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += n,
            None => past.push((name, n)),
        });
        self.max_frags = device.capabilities().max_frags.min(MAX_FRAGS);
        self.device = device;
        self.health = Health::Up;
        self.up = true;
        self.revivals += 1;
    }

    /// The counters of its devices, those that are gone included, into `all`.
    pub(crate) fn counters(&self, all: &mut Vec<(&'static str, u64)>) {
        all.clear();
        self.device.counters(&mut |name, n| {
            let past = self.past.iter().find(|(known, _)| *known == name).map_or(0, |(_, n)| *n);
            all.push((name, n + past));
        });
    }

    /// The end: there will be no other device.
    pub(crate) fn close(&mut self, homes: &mut Homes<'_>) {
        if let Some(revival) = &mut self.revival {
            revival.stop();
        }
        if std::mem::take(&mut self.up) {
            self.device.shutdown(homes);
        }
    }
}
