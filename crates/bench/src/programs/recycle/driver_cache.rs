//! Opportunistic recycling through a queue of the driver's own (as mlx5 had until it took to page_pool).

use super::memory::{Memory, RxRing};
use super::scheme::{Scheme, Tally};
use std::collections::VecDeque;
use waterwheel_mm::{Page, PageRef, TooManyOwners, Zone};

/// Places in the queue.
const CACHE: usize = 256;

/// The driver keeps a reference to each page that it has handed up, in a queue. It looks at the head only: a page that somebody holds there blocks all
/// that came free behind it. When the queue is full, pages are unmapped and put as they are handed up.
pub(super) struct DriverCache {
    memory: Memory,
    ring: RxRing,
    cache: VecDeque<PageRef>,
}

impl DriverCache {
    pub(super) fn new(zone: &Zone) -> Result<Self, TooManyOwners> {
        Ok(Self { memory: Memory::new(zone)?, ring: RxRing::new(), cache: VecDeque::with_capacity(CACHE) })
    }

    /// The page at the head of the queue, if nobody else holds it.
    #[inline]
    fn head(&mut self) -> Option<Page> {
        match self.cache.pop_front()?.try_unique() {
            Ok(page) => Some(page),
            Err(busy) => {
                self.cache.push_front(busy);
                None
            }
        }
    }
}

impl Scheme for DriverCache {
    type Held = PageRef;

    #[inline]
    fn receive(&mut self) -> Option<PageRef> {
        let page = match self.head() {
            Some(page) => page,
            None => self.memory.alloc_mapped()?,
        };
        let packet = self.ring.exchange(page)?.share();
        if self.cache.len() < CACHE {
            self.cache.push_back(packet.clone());
        } else {
            self.memory.unmap(packet.number());
        }
        Some(packet)
    }

    #[inline]
    fn get_page(&self, held: &PageRef) -> PageRef {
        held.clone()
    }

    #[inline]
    fn let_go(&mut self, held: PageRef) {
        self.memory.put_page(held);
    }

    #[inline]
    fn put_page(&mut self, held: PageRef) {
        self.memory.put_page(held);
    }

    fn tally(&self) -> Tally {
        self.memory.tally
    }
}
