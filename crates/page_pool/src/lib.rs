//! One generic page pool under every packet driver.
//!
//! A [`PagePool`] belongs to one device queue, and to the thread that polls it.
//! It gives out pages, which carry packets wherever they must go,
//! and it takes them back:
//!
//! - by [`PagePool::put`], where you have both the page and the pool. This is the fastest way;
//! - by a drop, on any thread, when the last holder lets go. You need not know the pool.
//!
//! Pages stay mapped for their device all the while ([`DmaMap`]).
//!
//! The model is the kernel's page_pool (`net/core/page_pool.c`). This one has four things that the kernel's never got:
//! a destructor at refcount 0, a limit on the pages that a pool may have, floors for receive and transmit,
//! and a return path whose cost does not grow with the number of returning threads.
//!
//! ```
//! use waterwheel_page_pool::{Direction, PagePool, PoolParams};
//! use waterwheel_mm::{Zone, ZoneParams};
//!
//! let zone = Zone::new(&ZoneParams::pages(256))?;
//! let mut pool = PagePool::new(&zone, PoolParams::default())?;
//! let mut page = pool.alloc(Direction::Rx).expect("the zone has pages");
//! page.as_mut_slice()[0] = 1;
//! let shared = page.share();
//! let elsewhere = shared.clone();
//! std::thread::spawn(move || drop(elsewhere)).join().unwrap();
//! drop(shared); // the last one: the page goes back to its pool
//! assert_eq!(pool.outstanding(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod dma;
mod holders;
mod params;
mod pool;
mod recycle;
mod stalled;
mod stats;
mod trace;

pub use dma::{DmaAddr, DmaError, DmaMap};
pub use holders::Holders;
pub use params::{Direction, PoolError, PoolParams};
pub use pool::{PagePool, REFILL};
pub use stalled::{StallWatch, Stalled, WARN_INTERVAL, stalled};
pub use stats::PoolStats;
pub use waterwheel_mm as mm;
