//! What a pool is made of, and why it cannot be made.

use crate::dma::{DmaError, DmaMap};
use std::fmt;
use waterwheel_mm::{MAX_ORDER, TooManyOwners};

/// What a page is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To be filled by a device.
    Rx,
    /// To be filled by a program and sent.
    Tx,
}

/// Parameters of a [`PagePool`](crate::PagePool).
/// All sizes count blocks of `1 << order` pages; by default a block is one page of 4 KiB.
pub struct PoolParams {
    /// Each block has `1 << order` pages of 4 KiB.
    pub order: u8,
    /// The most blocks that the pool may have at any time, in its cache and out.
    /// It bounds the memory that its users can keep.
    pub limit: usize,
    /// Blocks of the limit that are kept for [`Direction::Rx`].
    pub floor_rx: usize,
    /// Blocks of the limit that are kept for [`Direction::Tx`].
    pub floor_tx: usize,
    /// The most blocks in the cache. Above it they go to the zone, 64 at a time, and lose their mapping.
    ///
    /// `None` is the limit: no block leaves until the pool is [shrunk](crate::PagePool::shrink) or destroyed.
    pub high: Option<usize>,
    /// Maps blocks for the device when they enter the pool, and unmaps them when they leave. `None` maps nothing.
    pub dma: Option<Box<dyn DmaMap>>,
    /// The name of the pool in reports, such as that of its device. If it is empty, they say "pool ID".
    pub name: String,
}

impl Default for PoolParams {
    /// Single pages, at most 1024 of them (the size of the kernel's return ring), no floors, no mapping.
    fn default() -> Self {
        Self { order: 0, limit: 1024, floor_rx: 0, floor_tx: 0, high: None, dma: None, name: String::new() }
    }
}

impl fmt::Debug for PoolParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolParams")
            .field("order", &self.order)
            .field("limit", &self.limit)
            .field("floor_rx", &self.floor_rx)
            .field("floor_tx", &self.floor_tx)
            .field("high", &self.high)
            .field("dma", &self.dma.is_some())
            .field("name", &self.name)
            .finish()
    }
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No such block exists.
    #[error("a block has an order of at most {MAX_ORDER}, not {0}")]
    Order(u8),
    /// Nothing would be left for one direction.
    #[error("the floors (rx {rx}, tx {tx}) are more than the limit of {limit}")]
    Floors {
        /// Floor of the receive direction.
        rx: usize,
        /// Floor of the transmit direction.
        tx: usize,
        /// Limit of the pool.
        limit: usize,
    },
    /// The table of owners is full.
    #[error(transparent)]
    TooMany(#[from] TooManyOwners),
    /// The device refused to map the region.
    #[error(transparent)]
    Dma(#[from] DmaError),
}
