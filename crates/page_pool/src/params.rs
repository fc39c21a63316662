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

/// Parameters of a [`PagePool`](crate::PagePool). All sizes count blocks of `1 << order` pages.
pub struct PoolParams {
    /// Each block has `1 << order` pages of 4 KiB.
    pub order: u8,
    /// Blocks that the pool may have, in its cache and out, at any time: the memory that its users can pin.
    pub limit: usize,
    /// Blocks of the limit that only [`Direction::Rx`] may take.
    pub floor_rx: usize,
    /// Blocks of the limit that only [`Direction::Tx`] may take.
    pub floor_tx: usize,
    /// Above this many blocks in the cache they leave the pool, 64 at a time. `None`: the limit, so that none leaves, and no mapping is lost, until the pool is
    /// [shrunk](crate::PagePool::shrink) or destroyed.
    pub high: Option<usize>,
    /// Maps blocks for the device when they enter the pool, and unmaps them when they leave.
    pub dma: Option<Box<dyn DmaMap>>,
    /// How reports call the pool, such as its device's name; empty: "pool ID".
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
