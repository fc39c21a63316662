//! The way of a packet, in the manner of XDP.
//!
//! A [`Device`] fills a batch with packets.
//! A [`Program`], which may be a closure, says for each packet what to do with it ([`Action`]).
//! The page of the packet then goes back into its pool, out of the same device, or out of another one.
//! It is not copied.
//!
//! - [`Fabric`] takes devices, each with its pool, and makes a [`Worker`] for each thread.
//! - [`Worker::run`] polls until it is stopped. [`Worker::poll`] is one round, for loops of your own.
//! - [`Control`] stops workers and reads what they count, from any thread.
//!
//! To read the source, start with the loop, in `poll.rs`.
#![forbid(unsafe_code)]

mod action;
mod buff;
#[cfg(feature = "conformance")]
pub mod conformance;
mod control;
mod device;
mod drops;
mod event;
mod fabric;
mod follow;
mod homes;
mod idle;
mod poll;
mod port;
mod program;
mod redirect;
mod revive;
mod sleeper;
mod stats;
mod sync;
mod task;
mod veth;
mod worker;
pub mod wrap;

pub use action::{Action, PortId};
#[cfg(feature = "bytes")]
pub use buff::PacketBytes;
pub use buff::{AdjustError, HEADROOM, IntoParts, MAX_FRAGS, XdpBuff, XdpFrame};
pub use control::{Control, Snapshot};
pub use device::{BorrowedFd, Capabilities, Device, Health, MAX_FDS, Traffic, Wait};
pub use drops::{DropReason, Drops};
pub use fabric::{Fabric, FabricError, MAX_BUDGET, MAX_PORTS, MAX_WORKERS};
pub use follow::PortHolders;
pub use homes::Homes;
pub use idle::Idle;
pub use program::{Context, Program};
pub use redirect::Host;
pub use revive::Revive;
pub use stats::{Actions, PortStats, WorkerStats};
pub use veth::{Veth, veth};
pub use waterwheel_page_pool as page_pool;
pub use waterwheel_page_pool::mm;
pub use waterwheel_page_pool::mm::{Account, Page, PageRef, Posted, Zone};
pub use waterwheel_page_pool::{Direction, PagePool, PoolParams};
pub use worker::{BUDGET, Worker};
