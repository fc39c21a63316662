#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// Devices such as AF_XDP, memif and tap. Each kind has a cargo feature of its own.
pub use waterwheel_dev as dev;
/// The memory under packets: zones, page handles, destructors, `ptr_ring`.
pub use waterwheel_mm as mm;
/// The page pool of a device queue.
pub use waterwheel_page_pool as page_pool;
/// Programs that decide what happens to a packet: forward, reflect, discard.
pub use waterwheel_prog as prog;
/// The way of a packet: buffers, devices, the loop.
pub use waterwheel_xdp as xdp;

pub use waterwheel_mm::{Page, PageFrag, PageRef, Zone, ZoneParams, release_pages};
pub use waterwheel_page_pool::{Direction, PagePool, PoolParams};
pub use waterwheel_xdp::{
    Action, Context, Control, Device, DropReason, Fabric, Idle, PortId, Program, Worker, XdpBuff, XdpFrame,
};
