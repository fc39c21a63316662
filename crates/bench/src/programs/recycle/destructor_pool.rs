//! The pool with a destructor: whoever lets go last, and wherever, the page goes home. [`PagePool`] as it is.

use super::memory::{Iommu, RxRing};
use super::scheme::{Scheme, Tally};
use waterwheel_mm::{PageRef, Zone};
use waterwheel_page_pool::{Direction, PagePool, PoolError, PoolParams};

pub(super) struct DestructorPool {
    pool: PagePool,
    ring: RxRing,
    way: Way,
}

/// How holders let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By plain drop, as one who knows nothing of the pool, on whatever thread.
    Drop,
    /// By giving the page to the pool, where it is at hand and nobody else holds the page.
    Put,
}

impl DestructorPool {
    /// `limit`: pages that the pool may have, on the ring and with holders included.
    pub(super) fn new(zone: &Zone, limit: usize, way: Way) -> Result<Self, PoolError> {
        let params = PoolParams { limit, dma: Some(Box::new(Iommu::new(zone))), ..PoolParams::default() };
        Ok(Self { pool: PagePool::new(zone, params)?, ring: RxRing::new(), way })
    }
}

impl Scheme for DestructorPool {
    type Held = PageRef;

    #[inline]
    fn receive(&mut self) -> Option<PageRef> {
        Some(self.ring.exchange(self.pool.alloc(Direction::Rx)?)?.share())
    }

    #[inline]
    fn get_page(&self, held: &PageRef) -> PageRef {
        held.clone()
    }

    #[inline]
    fn let_go(&mut self, held: PageRef) {
        match self.way {
            Way::Drop => drop(held),
            Way::Put => match held.try_unique() {
                Ok(page) => self.pool.put(page),
                Err(shared) => drop(shared),
            },
        }
    }

    #[inline]
    fn put_page(&mut self, held: PageRef) {
        drop(held);
    }

    fn tally(&self) -> Tally {
        let stats = self.pool.stats();
        Tally { allocated: stats.hold, freed: stats.release, maps: stats.dma_maps, unmaps: stats.dma_unmaps }
    }
}
