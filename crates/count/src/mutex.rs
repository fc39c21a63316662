//! A lock whose word is counted.

use crate::census::{is_counting, yield_now};
use crate::{AtomicBool, Ordering};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{self, LockResult, PoisonError};

/// [`std::sync::Mutex`], counted: taking it is a read-modify-write, which fails while another thread has it; that thread's turn comes, the word is read until it is free, and
/// taken again. Releasing it is a read-modify-write too.
#[derive(Default)]
pub struct Mutex<T> {
    /// Somebody in a census has it.
    taken: AtomicBool,
    data: sync::Mutex<T>,
}

/// As in std.
pub struct MutexGuard<'a, T> {
    /// The word, if it was taken.
    taken: Option<&'a AtomicBool>,
    data: sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// As in std.
    pub const fn new(data: T) -> Self {
        Self { taken: AtomicBool::new(false), data: sync::Mutex::new(data) }
    }

    /// As in std, but it is never poisoned.
    ///
    /// # Errors
    /// None.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let taken = is_counting().then(|| self.take());
        Ok(MutexGuard { taken, data: self.data.lock().unwrap_or_else(PoisonError::into_inner) })
    }

    fn take(&self) -> &AtomicBool {
        while self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.taken.load(Ordering::Relaxed) {
                yield_now();
            }
        }
        &self.taken
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The data is released after it: another thread that is counted does not run in between, and one that is not waits.
        if let Some(taken) = self.taken {
            taken.swap(false, Ordering::Release);
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Census;

    #[test]
    fn a_lock_excludes_and_is_counted() {
        const THREADS: usize = 3;
        const N: u64 = 300;
        let (census, lock) = (Census::switching(THREADS, 3), Mutex::new(0));
        std::thread::scope(|scope| {
            for id in 0..THREADS {
                let (census, lock) = (&census, &lock);
                scope.spawn(move || {
                    let _present = census.enter(id);
                    let other = AtomicBool::new(false);
                    for _ in 0..N {
                        let mut number = lock.lock().unwrap_or_else(PoisonError::into_inner);
                        let before = *number;
                        other.load(Ordering::Relaxed); // others may run here
                        *number = before + 1;
                    }
                });
            }
        });
        assert!(!census.is_broken());
        let (total, counts) = (THREADS as u64 * N, census.counts());
        assert_eq!(*lock.lock().unwrap_or_else(PoisonError::into_inner), total);
        assert_eq!(counts.rmw, 2 * total + counts.failed); // taken, released, and found taken
        assert!(counts.failed > 0 && counts.contended > 0, "{counts:?}");
    }

    #[test]
    fn alone_it_costs_two_read_modify_writes_and_hands_nothing_over() {
        let (census, lock) = (Census::new(1), Mutex::new(()));
        {
            let _present = census.enter(0);
            for _ in 0..10 {
                drop(lock.lock());
            }
        }
        let counts = census.counts();
        assert_eq!((counts.rmw, counts.contended, counts.failed, counts.handovers), (20, 0, 0, 0));
    }
}
