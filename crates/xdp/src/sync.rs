//! What workers share: the standard library's; or shuttle's when the crate is model checked (`--cfg shuttle`), and atomics and fences of loom's (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Condvar, Mutex},
    thread,
};
#[cfg(not(any(shuttle, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(shuttle))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex},
    thread,
};

/// Lets others go on for a while.
pub(crate) fn rest(time: std::time::Duration) {
    #[cfg(not(shuttle))]
    thread::sleep(time);
    #[cfg(shuttle)]
    let ((), _) = (thread::yield_now(), time);
}
