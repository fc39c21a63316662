#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// Devices: the back ends, one cargo feature each.
pub use waterwheel_dev as dev;
/// Pages: zones, handles, destructors, ptr_ring.
pub use waterwheel_mm as mm;
/// The pool.
pub use waterwheel_page_pool as page_pool;
/// Programs: what decides over packets.
pub use waterwheel_prog as prog;
/// The walk of a packet: buffers, devices, the loop.
pub use waterwheel_xdp as xdp;

pub use waterwheel_mm::{Page, PageFrag, PageRef, Zone, ZoneParams, release_pages};
pub use waterwheel_page_pool::{Direction, PagePool, PoolParams};
pub use waterwheel_xdp::{
    Action, Context, Control, Device, DropReason, Fabric, Idle, PortId, Program, Worker, XdpBuff, XdpFrame,
};
