//! What the rebuilt schemes stand on: the page allocator of one CPU, pages that are mapped for a device, and the device's receive ring.

use super::scheme::{RING, Tally};
use waterwheel_mm::{
    Destructor, FrozenPage, Home, Owner, PAGE_SIZE, Page, PageRef, Pcp, PcpParams, TooManyOwners, Zone,
};
use waterwheel_page_pool::{DmaAddr, DmaError, DmaMap};

/// The page allocator of one CPU, and the device that pages are mapped for.
pub(super) struct Memory {
    lists: Pcp,
    owner: Owner,
    iommu: Iommu,
    pub(super) tally: Tally,
}

/// For pages that only the allocator owns: who lets go last frees.
struct Free;

impl Destructor for Free {
    fn last_put(&self, page: FrozenPage, _: Home<'_>) {
        drop(page);
    }
}

impl Memory {
    pub(super) fn new(zone: &Zone) -> Result<Self, TooManyOwners> {
        let (owner, lists) = (Owner::register(Free)?, Pcp::new(zone, PcpParams::default()));
        Ok(Self { lists, owner, iommu: Iommu::new(zone), tally: Tally::default() })
    }

    /// A page from the allocator.
    #[inline]
    pub(super) fn alloc(&mut self) -> Option<FrozenPage> {
        let page = self.lists.alloc(0)?;
        self.tally.allocated += 1;
        Some(page)
    }

    /// Many of them.
    pub(super) fn alloc_bulk(&mut self, count: usize, out: &mut Vec<FrozenPage>) -> usize {
        let got = self.lists.alloc_bulk(count, out);
        self.tally.allocated += got as u64;
        got
    }

    /// A page from the allocator, mapped.
    #[inline]
    pub(super) fn alloc_mapped(&mut self) -> Option<Page> {
        let page = self.alloc()?;
        self.map(page.number());
        Some(self.bind(page))
    }

    #[inline]
    pub(super) fn free(&mut self, page: FrozenPage) {
        self.tally.freed += 1;
        self.lists.free(page);
    }

    /// One holder less; the last one frees the page, to the lists of this CPU.
    #[inline]
    pub(super) fn put_page(&mut self, page: PageRef) {
        if let Ok(page) = page.try_unique()
            && let Ok(page) = self.owner.unbind(page)
        {
            self.free(page);
        }
    }

    #[inline]
    pub(super) fn bind(&mut self, page: FrozenPage) -> Page {
        self.owner.bind(page)
    }

    /// The page without its owner. `None`: it is of another, and has gone there.
    #[inline]
    pub(super) fn unbind(&mut self, page: Page) -> Option<FrozenPage> {
        self.owner.unbind(page).ok()
    }

    #[inline]
    pub(super) fn map(&mut self, number: u32) {
        self.tally.maps += 1;
        self.iommu.enter(number);
    }

    #[inline]
    pub(super) fn unmap(&mut self, number: u32) {
        self.tally.unmaps += 1;
        self.iommu.leave(number);
    }
}

/// A device's table of the pages that it may write to. Mapping is one store, and so is unmapping: real ones also walk tables, wait and invalidate.
pub(super) struct Iommu(Vec<u64>);

/// The entry is valid, the device may read and write.
const VALID: u64 = 0b11;

impl Iommu {
    pub(super) fn new(zone: &Zone) -> Self {
        Self(vec![0; zone.region().pages()])
    }

    #[inline]
    fn enter(&mut self, number: u32) {
        self.0[number as usize] = (u64::from(number) * PAGE_SIZE as u64) | VALID;
    }

    #[inline]
    fn leave(&mut self, number: u32) {
        self.0[number as usize] = 0;
    }
}

impl DmaMap for Iommu {
    fn map(&mut self, _: &Zone, number: u32, _: usize) -> Result<DmaAddr, DmaError> {
        self.enter(number);
        Ok(DmaAddr(u64::from(number) * PAGE_SIZE as u64))
    }

    fn unmap(&mut self, addr: DmaAddr, _: usize) {
        self.leave((addr.0 / PAGE_SIZE as u64) as u32);
    }
}

/// The receive ring: pages that the device has.
pub(super) struct RxRing {
    posted: Box<[Option<Page>]>,
    next: usize,
}

impl RxRing {
    pub(super) fn new() -> Self {
        Self { posted: (0..RING).map(|_| None).collect(), next: 0 }
    }

    /// A packet has come into the page that was posted longest ago: posts `page` in its place, and gives that one. `None`: the ring was not full yet.
    #[inline]
    pub(super) fn exchange(&mut self, page: Page) -> Option<Page> {
        let mut arrived = self.posted[self.next].replace(page);
        self.next = (self.next + 1) % RING;
        arrived.iter_mut().for_each(receive_into);
        arrived
    }
}

/// What the device does: it writes to the first cache line.
#[inline]
pub(super) fn receive_into(page: &mut Page) {
    page.as_mut_slice()[0] = 0x45;
}
