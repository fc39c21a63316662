//! Atomics, cells, locks and fences: the standard library's; loom's or shuttle's when the crate is model checked (`--cfg loom`, `--cfg shuttle`); or those of `waterwheel-count` when
//! what threads hand each other is counted (the package `waterwheel-mm-counted`, which has these sources).
//!
//! Everything that threads share in this crate is imported from here, so that what loom and shuttle explore, and what is counted, is what runs.

#[cfg(shuttle)]
mod stepped;

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex, MutexGuard},
};
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{Ordering, fence};
#[cfg(not(any(loom, shuttle, feature = "counted")))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize},
};
#[cfg(feature = "counted")]
pub(crate) use waterwheel_count::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, UnsafeCell,
};
#[cfg(shuttle)]
pub(crate) use {
    shuttle::sync::{Mutex, MutexGuard},
    stepped::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(any(loom, feature = "counted")))]
pub(crate) use cell::UnsafeCell;

use std::sync::PoisonError;

/// A static; under loom and shuttle one that each execution has anew.
macro_rules! global {
    (static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(any(loom, shuttle)))]
        static $name: $type = $value;
        #[cfg(shuttle)]
        shuttle::lazy_static! {
            static ref $name: $type = $value;
        }
        #[cfg(loom)]
        loom::lazy_static! {
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;

/// A thread-local without lazy initialisation; under loom and shuttle one that each of their threads has.
macro_rules! local {
    (static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(shuttle)]
        shuttle::thread_local! {
            static $name: $type = $value;
        }
        #[cfg(not(any(loom, shuttle)))]
        std::thread_local! {
            static $name: $type = const { $value };
        }
        #[cfg(loom)]
        loom::thread_local! {
            static $name: $type = $value;
        }
    };
}
pub(crate) use local;

/// Locks, also after a panic elsewhere: every critical section of this crate leaves its data whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(any(loom, feature = "counted")))]
mod cell {
    /// `std::cell::UnsafeCell` with loom's way of access, which can be checked.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// Keeps its value on cache lines of its own: two of them, since x86 fetches lines in pairs (Intel SDM, "spatial prefetcher").
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

/// An asymmetric fence, after liburcu: `light` on the path that runs per page, `heavy` on the one that runs per pool.
///
/// Of `store A; light(); load B` on one thread and `store B; heavy(); load A` on another, at least one load sees the other's store,
/// as with two sequentially consistent fences. The price moves to the heavy side: membarrier(2) makes every running thread of this process pass a full
/// barrier. Where the kernel has no membarrier, `light` is a full fence too.
pub(crate) mod asymmetric {
    use super::{Ordering, fence};

    /// Whether membarrier(2) is registered. A thread that still reads `false` takes the full fence, which is right too.
    #[cfg(not(any(loom, shuttle)))]
    static EXPEDITED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    /// Registers this process with membarrier(2). Called before the first page can be shared.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn init() {
        use rustix::thread::{MembarrierCommand, membarrier};
        if !EXPEDITED.load(Ordering::Relaxed) && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok() {
            EXPEDITED.store(true, Ordering::Relaxed);
        }
    }

    #[cfg(not(any(loom, shuttle)))]
    #[inline(always)]
    pub(crate) fn light() {
        if EXPEDITED.load(Ordering::Relaxed) {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn heavy() {
        use rustix::thread::{MembarrierCommand, membarrier};
        fence(Ordering::SeqCst);
        if EXPEDITED.load(Ordering::Relaxed) && membarrier(MembarrierCommand::PrivateExpedited).is_err() {
            // Registered, so the kernel has no reason to refuse; going on without the barrier could lose a page.
            std::process::abort();
        }
    }

    #[cfg(any(loom, shuttle))]
    pub(crate) fn init() {}

    #[cfg(any(loom, shuttle))]
    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    #[cfg(any(loom, shuttle))]
    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, loom))]
mod tests {
    //! Run with `RUSTFLAGS="--cfg loom" cargo test -p waterwheel-mm --lib --release`.

    use super::{Arc, AtomicBool, AtomicU64, Ordering, asymmetric};
    use loom::thread;

    /// The end of an owner (see `owner`): it seals and looks who has released; who releases looks whether it is sealed. The last page must not escape both.
    #[test]
    fn of_sealing_and_releasing_one_sees_the_other() {
        loom::model(|| {
            let (sealed, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let (sealed_there, released_there) = (sealed.clone(), released.clone());
            let releaser = thread::spawn(move || {
                released_there.store(1, Ordering::Release);
                asymmetric::light();
                sealed_there.load(Ordering::Relaxed)
            });
            sealed.store(true, Ordering::Relaxed);
            asymmetric::heavy();
            let owner_saw = released.load(Ordering::Acquire) == 1;
            assert!(releaser.join().unwrap() || owner_saw);
        });
    }
}
