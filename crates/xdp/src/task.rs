//! Work that may take its time, on a thread of its own: a worker has other ports to poll. When it is done, the worker is woken.

use crate::control::Waker;
use crate::sync::{Condvar, Mutex, thread};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What becomes of the work: its result, or why there is none (it panicked).
pub(crate) type Outcome<T> = Result<T, String>;

/// Work under way.
pub(crate) struct Task<T>(Arc<Slot<T>>);

struct Slot<T> {
    outcome: Mutex<Option<Outcome<T>>>,
    done: Condvar,
}

impl<T: Send + 'static> Task<T> {
    /// Begins it.
    pub(crate) fn spawn(name: &str, waker: &Waker, work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<Self> {
        let slot = Arc::new(Slot { outcome: Mutex::new(None), done: Condvar::new() });
        let (there, waker) = (slot.clone(), waker.clone());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = catch(work);
            *there.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            there.done.notify_all();
            waker.wake();
        })?;
        Ok(Self(slot))
    }

    /// Whether [`take`](Self::take) gives something.
    pub(crate) fn is_done(&self) -> bool {
        self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What became of it, if it is done.
    pub(crate) fn take(&mut self) -> Option<Outcome<T>> {
        self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until it is done, for at most so long.
    pub(crate) fn wait(self, most: Duration) -> Option<Outcome<T>> {
        let mut outcome = self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(not(shuttle))]
        if most < Duration::MAX {
            let (mut outcome, _) = self
                .0
                .done
                .wait_timeout_while(outcome, most, |outcome| outcome.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            return outcome.take();
        }
        let _ = most;
        while outcome.is_none() {
            outcome = self.0.done.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
        outcome.take()
    }
}

/// The result of `work`, or what it said when it panicked.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| what_it_said(&*panic))
}

/// The message of a panic.
pub(crate) fn what_it_said(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("without a message").to_owned()
}
