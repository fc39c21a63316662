//! Opportunistic recycling, with the receive ring itself as the queue (the talk: "Intel drivers use RX ring itself for this queue").

use super::memory::{Memory, receive_into};
use super::scheme::{RING, Scheme, Tally};
use waterwheel_mm::{Page, PageRef, TooManyOwners, Zone};

/// The driver keeps a reference to each page that it has handed up, in the page's place in the ring. When the ring has come round to that place, it asks whether
/// the reference is the only one: then the page is posted again, else it is unmapped and put, with its packet still in flight, and a new one is allocated.
///
/// It asks as late as can be, when the buffer is needed: a page has the time of a whole ring to come free. (A driver must post some buffers ahead.)
pub(super) struct IntelRing {
    memory: Memory,
    ring: Box<[Option<PageRef>]>,
    next: usize,
}

impl IntelRing {
    pub(super) fn new(zone: &Zone) -> Result<Self, TooManyOwners> {
        Ok(Self { memory: Memory::new(zone)?, ring: (0..RING).map(|_| None).collect(), next: 0 })
    }

    /// The page to be posted in the next place.
    #[inline]
    fn refill(&mut self) -> Option<Page> {
        let busy = match self.ring[self.next].take().map(PageRef::try_unique) {
            Some(Ok(page)) => return Some(page),
            Some(Err(busy)) => busy,
            None => return self.memory.alloc_mapped(),
        };
        self.memory.unmap(busy.number());
        self.memory.put_page(busy);
        self.memory.alloc_mapped()
    }
}

impl Scheme for IntelRing {
    type Held = PageRef;

    #[inline]
    fn receive(&mut self) -> Option<PageRef> {
        let mut page = self.refill()?;
        receive_into(&mut page);
        let kept = page.share();
        let packet = kept.clone();
        self.ring[self.next] = Some(kept);
        self.next = (self.next + 1) % RING;
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
