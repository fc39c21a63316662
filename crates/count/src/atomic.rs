//! The atomics of [`std::sync::atomic`], as far as they are used, with a count of each access.

use crate::census::{failed, touch};
use crate::model::Access;
use std::ptr;
use std::sync::atomic::{self, Ordering};

/// What all of them can do. The type has the size and the bits of the one that it wraps: memory that is mapped as zero is a zero.
macro_rules! counted {
    ($name:ident $(<$generic:ident>)?, $value:ty) => {
        /// The atomic of the same name in [`std::sync::atomic`], counted.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name$(<$generic>)?(atomic::$name$(<$generic>)?);

        impl$(<$generic>)? $name$(<$generic>)? {
            /// As in std.
            pub const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            fn touch(&self, access: Access) {
                touch(ptr::from_ref(self), access);
            }

            /// As in std.
            pub fn load(&self, order: Ordering) -> $value {
                self.touch(Access::Read);
                self.0.load(order)
            }

            /// As in std.
            pub fn store(&self, value: $value, order: Ordering) {
                self.touch(Access::Write);
                self.0.store(value, order);
            }

            /// As in std.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.touch(Access::Rmw);
                self.0.swap(value, order)
            }

            /// As in std.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.touch(Access::Rmw);
                self.0.compare_exchange(current, new, success, failure).inspect_err(|_| failed())
            }

            /// As in std, but it never fails without a reason: that would depend on the machine.
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        }
    };
}

/// What numbers can do beside.
macro_rules! counted_number {
    ($name:ident, $value:ty) => {
        counted!($name, $value);

        impl $name {
            /// As in std.
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.touch(Access::Rmw);
                self.0.fetch_add(value, order)
            }

            /// As in std.
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.touch(Access::Rmw);
                self.0.fetch_sub(value, order)
            }
        }
    };
}

counted!(AtomicBool, bool);
counted!(AtomicPtr<T>, *mut T);
counted_number!(AtomicU8, u8);
counted_number!(AtomicU32, u32);
counted_number!(AtomicU64, u64);
counted_number!(AtomicUsize, usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Census;
    use Ordering::Relaxed;

    /// What `n` turns each of `threads` threads count, each turn being one call of `f`.
    fn counts(threads: usize, n: usize, f: impl Fn(usize) + Sync) -> crate::Counts {
        let census = Census::new(threads);
        std::thread::scope(|scope| {
            for id in 0..threads {
                let (census, f) = (&census, &f);
                scope.spawn(move || {
                    let _present = census.enter(id);
                    for _ in 0..n {
                        f(id);
                        census.yield_now();
                    }
                });
            }
        });
        assert!(!census.is_broken());
        census.counts()
    }

    #[test]
    fn a_shared_counter_is_contended_each_time() {
        let shared = AtomicU64::new(0);
        let counts = counts(3, 1000, |_| _ = shared.fetch_add(1, Relaxed));
        assert_eq!((counts.rmw, counts.contended, counts.handovers), (3000, 2999, 2999));
        assert_eq!(shared.load(Relaxed), 3000);
    }

    #[test]
    fn a_counter_per_thread_is_never_contended() {
        #[derive(Default)]
        #[repr(align(64))]
        struct Line(AtomicU64);
        let own: [Line; 3] = Default::default();
        let counts = counts(3, 1000, |id| _ = own[id].0.fetch_add(1, Relaxed));
        assert_eq!((counts.rmw, counts.contended, counts.handovers), (3000, 0, 0));
    }

    #[test]
    fn one_writes_another_reads() {
        let word = AtomicU32::new(0);
        let counts = counts(2, 1000, |id| if id == 0 { word.store(1, Relaxed) } else { _ = word.load(Relaxed) });
        // Fetched by the reader each time, and taken from it by the writer each time but the first.
        assert_eq!((counts.accesses, counts.rmw, counts.handovers), (2000, 0, 1999));
    }

    #[test]
    fn a_compare_exchange_that_finds_another_value_has_failed() {
        let word = AtomicU8::new(0);
        let counts = counts(2, 1000, |id| _ = word.compare_exchange(0, id as u8 + 1, Relaxed, Relaxed));
        assert_eq!((counts.rmw, counts.failed, counts.contended), (2000, 1999, 1999));
    }

    #[test]
    fn who_has_not_entered_is_not_counted() {
        let word = AtomicBool::new(false);
        let counts = counts(1, 1, |_| _ = std::thread::scope(|s| s.spawn(|| word.swap(true, Relaxed)).join()));
        assert_eq!(counts, crate::Counts::default());
    }

    #[test]
    fn in_the_middle_of_something_the_others_run_and_each_run_is_the_same() {
        let run = || {
            let (census, word) = (Census::switching(2, 4), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for id in 0..2 {
                    let (census, word) = (&census, &word);
                    scope.spawn(move || {
                        let _present = census.enter(id);
                        for _ in 0..1000 {
                            let mut now = word.load(Relaxed);
                            while let Err(other) = word.compare_exchange_weak(now, now + 1, Relaxed, Relaxed) {
                                now = other;
                            }
                        }
                    });
                }
            });
            assert_eq!(word.load(Relaxed), 2000);
            census.counts()
        };
        let counts = run();
        assert!(counts.failed > 50, "{counts:?}");
        assert_eq!(counts, run());
    }
}
