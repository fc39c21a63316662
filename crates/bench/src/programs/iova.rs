//! A device's way of mapping pages, for programs that have no device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use waterwheel_mm::{PAGE_SIZE, Zone};
use waterwheel_page_pool::{DmaAddr, DmaError, DmaMap};

/// What is said of it in the rows.
pub(crate) const ABOUT: &str = "mapped page by page: an entry of an IOVA table written, and cleared when the page leaves (there is no IOMMU here, whose invalidation would cost more)";

const VALID: u64 = 1;
/// Where the device's addresses begin.
const BASE: u64 = 1 << 40;

/// A table as a driver in user space keeps it for a device that sees one zone: one entry per page, written before the device may be told the address, cleared before the page is somebody else's.
pub(crate) struct IovaTable {
    entries: Box<[AtomicU64]>,
    maps: Arc<AtomicU64>,
}

impl IovaTable {
    /// For the pages of a zone of so many, and where its maps are counted.
    pub(crate) fn new(pages: usize) -> (Self, Arc<AtomicU64>) {
        let maps = Arc::new(AtomicU64::new(0));
        (Self { entries: (0..pages).map(|_| AtomicU64::new(0)).collect(), maps: maps.clone() }, maps)
    }
}

impl DmaMap for IovaTable {
    fn map(&mut self, zone: &Zone, number: u32, _bytes: usize) -> Result<DmaAddr, DmaError> {
        let offset = u64::from(number) * PAGE_SIZE as u64;
        let entry = self.entries.get(number as usize).ok_or_else(|| DmaError("the table ends before it".into()))?;
        entry.store((zone.region().base().addr() as u64 + offset) | VALID, Ordering::Release);
        self.maps.store(self.maps.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // one thread: not a locked instruction in what is measured
        Ok(DmaAddr(BASE + offset))
    }

    fn unmap(&mut self, addr: DmaAddr, _bytes: usize) {
        let number = (addr.0 - BASE) / PAGE_SIZE as u64;
        if let Some(entry) = self.entries.get(number as usize) {
            entry.store(0, Ordering::Release);
        }
    }
}
