//! DPDK: `rte_mempool`, `rte_mbuf`, `rte_ring`, in this process.
//!
//! As an application would have them: pools with DPDK's default cache (512) for each lcore, rings with one consumer. The loops are in C (`pool.c`, `ring.c`), as most of
//! DPDK is inline functions. The objects are in transparent huge pages where the machine has them: no huge pages need to be reserved, and none are taken from ours.
//!
//! Every function here tells why, where the peer cannot be had: built without the feature `peers`, libdpdk not installed then, its environment does not start, no memory.

#[cfg(dpdk)]
mod cross;
#[cfg(dpdk)]
mod eal;
#[cfg(dpdk)]
mod ffi;
#[cfg(not(dpdk))]
mod missing;
#[cfg(all(test, dpdk))]
mod tests;

#[cfg(dpdk)]
pub(crate) use cross::cross;
#[cfg(dpdk)]
pub(crate) use eal::{pool_loop, ring_loop, version};
#[cfg(not(dpdk))]
pub(crate) use missing::{cross, pool_loop, ring_loop, version};

use crate::harness::Clock;

/// What is taken from a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    /// The bare object: `rte_mempool_get` and `_put`. Its size is that of an mbuf with 2 KiB of data room.
    Bare,
    /// A packet buffer, its header set up: `rte_pktmbuf_alloc` and `_free`; 2 KiB of data room, DPDK's default.
    Mbuf,
    /// The same with a data room of a page, 4 KiB.
    LargeMbuf,
}

/// A ring with one consumer (SC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingKind {
    /// Safe for many producers (MP); else for one (SP).
    pub(crate) many: bool,
    /// Elements of 4 bytes (`rte_ring_elem`), not 8.
    pub(crate) words: bool,
}

/// What goes from one CPU to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Numbers: the ring alone.
    Numbers(RingKind),
    /// Objects that the other CPU gives back to their pool, through SP/SC rings.
    Objects(Object),
}

/// A journey from the calling thread, which is pinned already, to threads on other CPUs.
#[derive(Debug, Clone)]
#[cfg_attr(not(dpdk), expect(dead_code, reason = "DPDK's loops read it"))]
pub(crate) struct Crossing {
    /// The run's.
    pub(crate) clock: Clock,
    /// Where the consumers run: one thread and one ring for each.
    pub(crate) consumers: Vec<usize>,
    /// Objects that are taken, put into a ring, and taken out of it at a time; at most 256.
    pub(crate) batch: usize,
    /// Slots of each ring, a power of two; one stays empty.
    pub(crate) slots: usize,
    /// What is carried.
    pub(crate) load: Load,
}
