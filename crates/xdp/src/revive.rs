//! Devices that are opened again after they failed: an interface that was deleted and comes back, or a network card that was reset.
//! They go on under the same pool, without a restart.
//!
//! To open a device may take seconds (a queue that is still being let go, a driver that sets its rings up), and a worker has other ports to poll.
//! So each attempt is made on a thread of its own, which wakes the worker when it has ended.
//! The worker puts the device in its place.

use crate::control::Waker;
use crate::device::Device;
use crate::sync::Mutex;
use crate::task::Task;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use waterwheel_page_pool::mm::RegionId;

/// The first pause before an attempt. It doubles until [`LONGEST_PAUSE`], and is short again once a device has stayed for so long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a loop that nobody wakes looks whether an attempt has ended.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// Opens a device again that has failed. Give it to [`Fabric::revive`](crate::Fabric::revive).
pub trait Revive: Send {
    /// A new device in place of the failed one, which has been shut down.
    ///
    /// Called on a thread of its own, again and again with growing pauses, until there is one. It may take its time.
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
    pauses: Pauses,
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
    Trying(Task<Result<Box<dyn Device>, String>>),
}

/// The pauses between attempts.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// A device has failed after so long.
    fn failed_after(&mut self, stayed: Duration) -> Duration {
        if stayed >= LONGEST_PAUSE {
            self.0 = FIRST_PAUSE;
        }
        self.0
    }

    /// An attempt begins.
    fn attempt(&mut self) {
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

impl Revival {
    pub(crate) fn new(reviver: Box<dyn Revive>) -> Self {
        let reviver = Arc::new(Mutex::new(reviver));
        Self { reviver, state: State::Idle, pauses: Pauses::new(), since: Instant::now(), cause: String::new() }
    }

    /// The device has failed.
    pub(crate) fn begin(&mut self, cause: &str) {
        cause.clone_into(&mut self.cause);
        self.state = State::Waiting(Instant::now() + self.pauses.failed_after(self.since.elapsed()));
    }

    /// The next step. A device whose pool may have pages of this region, or why there is none yet, when there is news.
    pub(crate) fn turn(&mut self, region: RegionId, waker: &Waker) -> Option<Result<Box<dyn Device>, String>> {
        let result = match &mut self.state {
            State::Waiting(then) if *then <= Instant::now() => match self.attempt(waker) {
                Ok(attempt) => {
                    self.state = State::Trying(attempt);
                    return None;
                }
                Err(error) => Err(format!("no thread to open it: {error}")),
            },
            State::Trying(attempt) => match attempt.take()? {
                Ok(result) => result,
                Err(_) => Err("opening it panicked".to_owned()),
            },
            State::Waiting(_) | State::Idle => return None,
        };
        let result = result.and_then(|device| {
            let fits = takes_pages_of(&*device, region);
            fits.then_some(device).ok_or_else(|| "it has registered other memory than that of its pool".to_owned())
        });
        self.state = if result.is_ok() {
            self.since = Instant::now();
            State::Idle
        } else {
            State::Waiting(Instant::now() + self.pauses.0)
        };
        Some(result.map_err(|error| format!("{}; not back yet: {error}", self.cause)))
    }

    fn attempt(&mut self, waker: &Waker) -> std::io::Result<Task<Result<Box<dyn Device>, String>>> {
        self.pauses.attempt();
        let reviver = self.reviver.clone();
        let attempt = move || reviver.lock().unwrap_or_else(PoisonError::into_inner).revive();
        Task::spawn("waterwheel-up", waker, attempt)
    }

    /// When to look again; an attempt under way wakes the worker, and who is not woken `looks`.
    pub(crate) fn next_look(&self, looks: bool) -> Option<Instant> {
        match &self.state {
            State::Waiting(then) => Some(*then),
            State::Trying(_) => looks.then(|| Instant::now() + LOOK),
            State::Idle => None,
        }
    }

    /// An attempt has ended, well or not.
    pub(crate) fn has_news(&self) -> bool {
        matches!(&self.state, State::Trying(attempt) if attempt.is_done())
    }

    /// The end of the worker: what an attempt brings is not wanted any more.
    pub(crate) fn stop(&mut self) {
        if let State::Trying(attempt) = std::mem::replace(&mut self.state, State::Idle) {
            drop(attempt.wait(Duration::MAX));
        }
    }
}

/// Whether a device can receive into pages of this region.
pub(crate) fn takes_pages_of(device: &dyn Device, region: RegionId) -> bool {
    device.capabilities().region.is_none_or(|own| own == region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_short_again_after_one() {
        let mut pauses = Pauses::new();
        let mut all = vec![pauses.failed_after(Duration::ZERO)];
        for _ in 0..9 {
            pauses.attempt();
            all.push(pauses.failed_after(LONGEST_PAUSE - Duration::from_nanos(1)));
        }
        let all: Vec<_> = all.iter().map(Duration::as_millis).collect();
        assert_eq!(all, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        assert_eq!(pauses.failed_after(LONGEST_PAUSE), FIRST_PAUSE);
    }
}
