//! Statistics, in the words of the kernel's page_pool (`Documentation/networking/page_pool.rst`, netlink `page-pool-stats-get`).

/// Counters of a pool since it was made, and how many pages it has.
///
/// The fast paths count nothing for them.
/// They follow from two counts (pages bound, pages unbound) that ownership needs anyway.
///
/// The kernel's `released_refcnt` is not here: a page with other holders is not released, but comes back when they let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Pages taken from the cache.
    pub alloc_fast: u64,
    /// Times that the zone had to be asked.
    pub alloc_slow: u64,
    /// The same, of order 1 and up.
    pub alloc_slow_high_order: u64,
    /// Times that cache and return path were both empty.
    /// As with `alloc_failed`, asking again and again in vain counts once.
    pub alloc_empty: u64,
    /// Times that the cache was filled from the return path.
    pub alloc_refill: u64,
    /// Pages that were not recycled, because they are of another node's zone.
    pub alloc_waive: u64,
    /// Times that the pool had less than was asked for: because of the limit, of a floor, or of an empty zone.
    ///
    /// It counts again only after a page was given out.
    /// So a loop that asks an empty pool counts once, however often it asks.
    pub alloc_failed: u64,
    /// Pages put back by the owner.
    pub recycle_cached: u64,
    /// Pages that left the pool because the cache was above its high mark.
    pub recycle_cache_full: u64,
    /// Pages that came back by the return path: they were dropped by their last holder.
    pub recycle_ring: u64,
    /// Pages for which a thread's lane was full, so that they took the shared list.
    pub recycle_ring_full: u64,
    /// Pages taken from the zone, ever.
    pub hold: u64,
    /// Pages given back to the zone, ever. The pool has `hold - release` pages: the kernel's "inflight".
    pub release: u64,
    /// Calls of [`DmaMap::map`](crate::DmaMap::map) and `map_region`.
    pub dma_maps: u64,
    /// Calls of `unmap`.
    pub dma_unmaps: u64,
}

impl PoolStats {
    /// Pages that belong to the pool: in its cache, on the way home, or out.
    pub fn inflight(&self) -> u64 {
        self.hold - self.release
    }
}
