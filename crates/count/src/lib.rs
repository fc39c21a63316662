//! Atomics, cells and locks that count.
//!
//! How long it takes to pass a page between CPUs depends on the machine: how many CPUs it has, and how far they are from each other. How often they must *talk* does not. The
//! types here have the API of those in [`std::sync`]; a thread that has [entered](Census::enter) a [`Census`] has every access of its own to one of them counted, by a
//! small model of coherent caches (MESI: a line is with one writer or with some readers). Threads that have not entered count nothing.
//!
//! The threads of a census run one at a time, and take turns: when one [says so](Census::yield_now), and now and then in the middle of something, between two accesses, as a
//! pseudo-random number says. So each run gives the same counts, on any machine, and whatever can go wrong between two accesses does (a compare-exchange fails, a lock is held).
//!
//! ```
//! use waterwheel_count::{AtomicU64, Census, Ordering};
//!
//! let number = AtomicU64::new(0);
//! let census = Census::new(2);
//! std::thread::scope(|scope| {
//!     for id in 0..2 {
//!         let (census, number) = (&census, &number);
//!         scope.spawn(move || {
//!             let _present = census.enter(id);
//!             for _ in 0..100 {
//!                 number.fetch_add(1, Ordering::Relaxed);
//!                 census.yield_now();
//!             }
//!         });
//!     }
//! });
//! let counts = census.counts();
//! assert_eq!((counts.rmw, counts.contended, counts.failed), (200, 199, 0)); // the first one found the line with nobody
//! ```
//!
//! What is not counted: reference counts of [`std::sync::Arc`], and data under a [`Mutex`], which is taken to lie in the lock's line.
#![forbid(unsafe_code)]

mod atomic;
mod cell;
mod census;
mod model;
mod mutex;

pub use atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub use cell::UnsafeCell;
pub use census::{Census, Present};
pub use model::Counts;
pub use mutex::{Mutex, MutexGuard};
pub use std::sync::atomic::Ordering;
