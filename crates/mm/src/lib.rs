//! Pages for packets.
//!
//! This crate is the memory under every packet.
//! Most users take pages from a pool (`waterwheel-page-pool`) and meet three types here:
//! [`Zone`], [`Page`] and [`PageRef`].
//!
//! - A [`Zone`] maps memory once, and hands it out in blocks of 1 to 1024 pages of 4 KiB.
//! - What it hands out is a [`FrozenPage`], whose bytes belong to nobody.
//! - An [`Owner`], such as a pool, makes it a [`Page`].
//!   Whoever holds a page may write to it, share it ([`PageRef`]), cut it ([`PageFrag`]),
//!   or give it to a device ([`Posted`]).
//! - Whoever is done with a page drops it, on any thread.
//!   The last drop calls the owner's [`Destructor`], which sends the page *home*:
//!   back to its owner.
//!
//! ```text
//!          Zone::alloc, Pcp::alloc        Owner::bind            share            clone
//!   zone ------------------------> FrozenPage ------> Page <===========> PageRef ------> PageRef
//!     ^                             |    ^             |    try_unique      |
//!     +------- drop ----------------+    +-- unbind ---+                    |
//!     |                                  |             | drop               | drop of the last
//!     +---- Destructor::last_put <-------|-------------+--------------------+
//!                    | Home::send        | Owner::collect
//!                    +---> return path --+
//! ```
//!
//! Safe code cannot use a page that it does not hold.
//! Unsafe code and devices can; the feature `debug_pages` and AddressSanitizer look for that
//! (see [`debug`]).
//!
//! To read the source, begin with `page` (the handles).
//! Then come `zone` and `buddy` (where pages come from), `owner` and `lane` (how they come home),
//! and `ptr_ring`.

mod account;
#[cfg_attr(all(test, loom), allow(dead_code, reason = "as for `zone`"))]
mod buddy;
mod bulk;
mod chain;
pub mod cpu;
pub mod debug;
mod frag;
#[cfg_attr(all(test, loom), allow(dead_code, reason = "as for `zone`"))]
mod history;
#[cfg_attr(all(test, loom), allow(dead_code, reason = "as for `zone`"))]
mod holders;
mod lane;
mod lanes;
mod meta;
#[cfg(all(test, loom))]
mod model;
mod names;
mod owner;
mod page;
mod pcp;
mod prefetch;
mod ptr_ring;
mod quarantine;
mod refcount;
mod region;
mod release;
mod remote;
mod sealed;
pub mod stats;
mod sync;
mod word;
#[cfg_attr(all(test, loom), allow(dead_code, unused_imports, reason = "`page` takes `model` for it"))]
mod zone;

pub use account::{Account, PageAccount, Users};
pub use chain::{Chain, Part, dissolve};
pub use frag::{FragPage, PageFrag};
pub use history::{EVENTS, Event, Note, Sampling, SamplingError};
pub use holders::{AlreadyTraced, Held, Step};
pub use names::Holder;
pub use owner::{Destructor, Home, MAX_OWNERS, Owner, TooManyOwners};
pub use page::{FrozenPage, Page, PageRef, Posted};
pub use pcp::{PCP_MAX_ORDER, Pcp, PcpParams};
pub use ptr_ring::{Consumer, Producer, ptr_ring};
pub use quarantine::Quarantined;
pub use region::{Backing, HugePages, Region, RegionError, RegionId};
pub use release::release_pages;
pub use sealed::OwnerWatch;
pub use zone::{WeakZone, Zone, ZoneParams, ZoneStats};

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a page of order 0.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Highest order: blocks of 1024 pages, 4 MiB (the kernel's `MAX_PAGE_ORDER`).
pub const MAX_ORDER: u8 = 10;
/// Number of orders.
pub const ORDERS: usize = MAX_ORDER as usize + 1;
/// The largest region, in pages: 30 GiB.
pub const MAX_PAGES: usize = region::MAX_PAGES;
