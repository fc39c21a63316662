//! Mappings for the device, kept as long as a page is the pool's.
//!
//! The kernel's pool maps a page when it enters and unmaps it when it leaves, and finds all mappings by an index at destroy, when pages are still out and the device is
//! about to go (ee62ce7a1d90, Linux 6.16). Here the index is the page's number.

use waterwheel_mm::{FrozenPage, RegionId, Zone};

/// The address under which the device knows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DmaAddr(pub u64);

/// The device refused a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mapping memory for the device failed: {0}")]
pub struct DmaError(pub String);

/// How a device maps memory: what the kernel's `dma_map_page`, VFIO's `MAP_DMA`, or a registration with a kernel socket does.
pub trait DmaMap: Send {
    /// A device that registers whole regions does so here, and returns the address of the zone's page 0.
    /// Then [`map`](Self::map) is not called.
    fn map_region(&mut self, zone: &Zone) -> Result<Option<DmaAddr>, DmaError> {
        let _ = zone;
        Ok(None)
    }

    /// Undoes `map_region`, when the pool is destroyed.
    fn unmap_region(&mut self, addr: DmaAddr) {
        let _ = addr;
    }

    /// Maps the block of `bytes` at page `number` of `zone`. (A pool can have pages of several zones: the same number may come once for each.)
    fn map(&mut self, zone: &Zone, number: u32, bytes: usize) -> Result<DmaAddr, DmaError>;

    /// Undoes `map`.
    /// When the pool is destroyed, also for pages that are out: the device is still there, and must not touch them any more.
    fn unmap(&mut self, addr: DmaAddr, bytes: usize);
}

/// A pool's mappings.
pub(crate) struct Mappings {
    map: Box<dyn DmaMap>,
    regions: Vec<RegionMap>,
    bytes: usize,
    pub(crate) maps: u64,
    pub(crate) unmaps: u64,
}

/// The mappings of one region's pages.
struct RegionMap {
    /// Kept: the device knows this memory, and another region must not come to lie there.
    zone: Zone,
    /// Address of page 0 where the region is mapped as a whole.
    whole: Option<DmaAddr>,
    /// By page number, where it is mapped page by page.
    pages: Vec<Option<DmaAddr>>,
}

impl Mappings {
    pub(crate) fn new(map: Box<dyn DmaMap>, zone: &Zone, bytes: usize) -> Result<Self, DmaError> {
        let mut mappings = Self { map, regions: Vec::new(), bytes, maps: 0, unmaps: 0 };
        mappings.add_region(zone)?;
        Ok(mappings)
    }

    /// Prepares for pages of `zone`.
    pub(crate) fn add_region(&mut self, zone: &Zone) -> Result<(), DmaError> {
        if self.regions.iter().all(|r| r.zone.id() != zone.id()) {
            let whole = self.map.map_region(zone)?;
            if let Some(addr) = whole.filter(|addr| addr.0.checked_add(zone.region().len() as u64).is_none()) {
                self.map.unmap_region(addr);
                return Err(DmaError(format!("the region would end beyond the addresses that there are: {addr:?}")));
            }
            self.maps += u64::from(whole.is_some());
            let pages = if whole.is_some() { Vec::new() } else { vec![None; zone.region().pages()] };
            self.regions.push(RegionMap { zone: zone.clone(), whole, pages });
        }
        Ok(())
    }

    pub(crate) fn addr(&self, region: RegionId, number: u32) -> Option<DmaAddr> {
        let map = self.regions.iter().find(|r| r.zone.id() == region)?;
        match map.whole {
            Some(DmaAddr(base)) => Some(DmaAddr(base + u64::from(number) * waterwheel_mm::PAGE_SIZE as u64)),
            None => *map.pages.get(number as usize)?,
        }
    }

    /// Maps a page that enters the pool.
    pub(crate) fn enter(&mut self, page: &FrozenPage) -> Result<(), DmaError> {
        let region = self.regions.iter_mut().find(|r| r.zone.id() == page.region_id());
        if let Some(region) = region.filter(|r| r.whole.is_none()) {
            region.pages[page.number() as usize] = Some(self.map.map(&region.zone, page.number(), self.bytes)?);
            self.maps += 1;
        }
        Ok(())
    }

    /// Unmaps a page that leaves the pool.
    pub(crate) fn leave(&mut self, page: &FrozenPage) {
        let region = self.regions.iter_mut().find(|r| r.zone.id() == page.region_id());
        let addr = region.and_then(|r| r.pages.get_mut(page.number() as usize)).and_then(Option::take);
        if let Some(addr) = addr {
            self.map.unmap(addr, self.bytes);
            self.unmaps += 1;
        }
    }
}

impl Drop for Mappings {
    /// Unmaps everything by index: also what is out.
    fn drop(&mut self) {
        for region in &mut self.regions {
            region.pages.iter_mut().filter_map(Option::take).for_each(|addr| self.map.unmap(addr, self.bytes));
            if let Some(addr) = region.whole {
                self.map.unmap_region(addr);
            }
        }
    }
}
