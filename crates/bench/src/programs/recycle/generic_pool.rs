//! The kernel's page_pool (`net/core/page_pool.c`): a generic pool, to which holders give back what they know to be its.

use super::memory::{Memory, RxRing};
use super::scheme::{Scheme, Tally};
use waterwheel_mm::{Consumer, FrozenPage, PageRef, Producer, TooManyOwners, Zone, ptr_ring};
use waterwheel_page_pool::REFILL;

/// Pages of the direct cache (`PP_ALLOC_CACHE_SIZE`).
const CACHE: usize = 128;
/// Pages of the ring behind it (the default of `pool_size`).
const BEHIND: usize = 1024;

/// Pages stay mapped while they are the pool's. Who lets go calls the pool: a page that nobody else holds goes into the cache, or the ring behind it, or, where
/// both are full, is unmapped and freed; a page that somebody else holds is unmapped and leaves the pool.
pub(super) struct GenericPool {
    memory: Memory,
    ring: RxRing,
    cache: Vec<FrozenPage>,
    put: Producer<FrozenPage>,
    take: Consumer<FrozenPage>,
}

impl GenericPool {
    pub(super) fn new(zone: &Zone) -> Result<Self, TooManyOwners> {
        let (put, take) = ptr_ring(BEHIND);
        let cache = Vec::with_capacity(CACHE);
        Ok(Self { memory: Memory::new(zone)?, ring: RxRing::new(), cache, put, take })
    }

    #[cold]
    fn refill(&mut self) -> Option<FrozenPage> {
        if self.take.consume_batch(&mut self.cache, REFILL) == 0 {
            self.memory.alloc_bulk(REFILL, &mut self.cache);
            self.cache.iter().for_each(|page| self.memory.map(page.number()));
        }
        self.cache.pop()
    }

    #[inline]
    fn recycle(&mut self, page: FrozenPage) {
        if self.cache.len() < CACHE {
            self.cache.push(page);
        } else if let Err(page) = self.put.produce(page) {
            self.memory.unmap(page.number());
            self.memory.free(page);
        }
    }
}

impl Scheme for GenericPool {
    type Held = PageRef;

    #[inline]
    fn receive(&mut self) -> Option<PageRef> {
        let page = match self.cache.pop() {
            Some(page) => page,
            None => self.refill()?,
        };
        let page = self.memory.bind(page);
        Some(self.ring.exchange(page)?.share())
    }

    #[inline]
    fn get_page(&self, held: &PageRef) -> PageRef {
        held.clone()
    }

    #[inline]
    fn let_go(&mut self, held: PageRef) {
        match held.try_unique() {
            Ok(page) => {
                if let Some(page) = self.memory.unbind(page) {
                    self.recycle(page);
                }
            }
            Err(shared) => {
                self.memory.unmap(shared.number());
                self.memory.put_page(shared);
            }
        }
    }

    #[inline]
    fn put_page(&mut self, held: PageRef) {
        self.memory.put_page(held);
    }

    fn tally(&self) -> Tally {
        self.memory.tally
    }
}
