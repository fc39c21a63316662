//! No recycling: each page comes from the allocator and goes back there, mapped and unmapped.

use super::memory::{Memory, RxRing};
use super::scheme::{Scheme, Tally};
use waterwheel_mm::{PageRef, TooManyOwners, Zone};

pub(super) struct AllocatorOnly {
    memory: Memory,
    ring: RxRing,
}

impl AllocatorOnly {
    pub(super) fn new(zone: &Zone) -> Result<Self, TooManyOwners> {
        Ok(Self { memory: Memory::new(zone)?, ring: RxRing::new() })
    }
}

impl Scheme for AllocatorOnly {
    type Held = PageRef;

    #[inline]
    fn receive(&mut self) -> Option<PageRef> {
        let packet = self.ring.exchange(self.memory.alloc_mapped()?)?.share();
        self.memory.unmap(packet.number());
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
