//! Mappings: made when a page enters, kept while it is the pool's, undone once.

mod common;

use common::{BUS, Device, RX, TX, assert_balance, assert_whole, node_zone, take, zone};
use std::sync::{Arc, Mutex};
use waterwheel_page_pool::mm::{PAGE_SIZE, Page, Zone};
use waterwheel_page_pool::{DmaAddr, DmaError, DmaMap, PagePool, PoolError, PoolParams};

fn mapped_pool(zone: &Zone, device: &Device, params: PoolParams) -> PagePool {
    PagePool::new(zone, PoolParams { dma: Some(Box::new(device.clone())), ..params }).unwrap()
}

#[test]
fn pages_are_mapped_when_they_enter_and_not_again() {
    let zone = zone(512);
    let device = Device::default();
    let mut pool = mapped_pool(&zone, &device, PoolParams::default());
    let pages = take(&mut pool, RX, 100);
    assert_eq!((device.mapped(), pool.stats().dma_maps), (128, 128));
    for page in &pages {
        let addr = BUS + u64::from(page.number()) * PAGE_SIZE as u64;
        assert_eq!(pool.dma_addr(page), Some(DmaAddr(addr)));
        assert_eq!(device.book().mapped[&addr], PAGE_SIZE);
    }
    drop(pool.take_back(pages));
    for _ in 0..1000 {
        let (rx, tx) = (take(&mut pool, RX, 64), take(&mut pool, TX, 32));
        drop(pool.take_back(rx));
        drop(tx);
    }
    assert_eq!((device.maps(), device.unmaps()), (128, 0), "the steady state maps nothing");
    pool.shrink(28);
    assert_eq!((device.unmaps(), device.mapped(), pool.stats().dma_unmaps), (100, 28, 100));
    drop(pool);
    assert_eq!((device.unmaps(), device.mapped()), (128, 0));
    assert_whole(&zone);
}

#[test]
fn a_device_that_maps_regions_is_asked_once() {
    let zone = node_zone(512, 2);
    let device = Device { whole: true, ..Device::default() };
    let mut pool = mapped_pool(&zone, &device, PoolParams { order: 1, ..PoolParams::default() });
    let pages = take(&mut pool, RX, 200);
    for page in &pages {
        assert_eq!(pool.dma_addr(page), Some(DmaAddr(3 * BUS + u64::from(page.number()) * PAGE_SIZE as u64)));
    }
    drop(pages);
    pool.shrink(0);
    assert_eq!((device.maps(), pool.stats().dma_maps, device.unmaps()), (1, 1, 0));
    let out = pool.alloc(RX);
    drop(pool);
    assert_eq!((device.regions(), device.unmaps()), (0, 1));
    drop(out);
    assert_whole(&zone);
}

#[test]
fn blocks_are_mapped_in_their_whole_length() {
    let zone = zone(64);
    let device = Device::default();
    let mut pool = mapped_pool(&zone, &device, PoolParams { order: 2, limit: 3, ..PoolParams::default() });
    let pages = take(&mut pool, RX, 3);
    assert!(device.book().mapped.values().eq([&(4 * PAGE_SIZE); 3]));
    drop((pages, pool));
    assert!(device.mapped() == 0);
    assert_whole(&zone);
}

#[test]
fn destroy_unmaps_also_what_is_out_once_each() {
    let zone = zone(512);
    let device = Device::default();
    let mut pool = mapped_pool(&zone, &device, PoolParams::default());
    let mut pages = take(&mut pool, RX, 100);
    let shared: Vec<_> = pages.split_off(50).into_iter().map(Page::share).collect();
    drop(pages.split_off(30)); // on the way home
    drop(pool);
    assert_eq!((device.mapped(), device.unmaps()), (0, 128));
    std::thread::spawn(move || drop(shared)).join().unwrap();
    drop(pages);
    assert_eq!(device.unmaps(), 128);
    assert_whole(&zone);
}

#[test]
fn pages_that_cannot_be_mapped_are_put_back_and_skipped() {
    let zone = zone(64);
    let device = Device::default();
    device.book().refused = (0..64).filter(|number| number % 3 == 0).collect();
    let mut pool = mapped_pool(&zone, &device, PoolParams::default());
    let pages: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
    assert_eq!((pages.len(), zone.stats().free), (42, 22));
    assert!(pages.iter().all(|page| page.number() % 3 != 0));
    assert_balance(&zone, &mut pool, 42);
    device.book().refused = (0..64).collect();
    assert!(pool.alloc(RX).is_none());
    device.book().refused.clear();
    assert!(pool.alloc(RX).is_some());
    drop((pages, pool));
    assert!(device.mapped() == 0);
    assert_whole(&zone);
}

#[test]
fn a_region_that_cannot_be_mapped_is_an_error_and_changes_nothing() {
    let (near, far) = (node_zone(64, 0), node_zone(64, 1));
    let device = Device::default();
    device.book().refuse_regions = true;
    let params = PoolParams { dma: Some(Box::new(device.clone())), ..PoolParams::default() };
    let error = PagePool::new(&near, params).unwrap_err();
    assert!(matches!(error, PoolError::Dma(_)));
    assert_eq!(error.to_string(), "mapping memory for the device failed: no room in the IOMMU");
    device.book().refuse_regions = false;
    let mut pool = mapped_pool(&near, &device, PoolParams::default());
    let page = pool.alloc(RX).unwrap();
    device.book().refuse_regions = true;
    let error: DmaError = pool.set_zone(&far).unwrap_err();
    assert_eq!(error, DmaError("no room in the IOMMU".to_owned()));
    assert_eq!((pool.zone().id(), pool.cached()), (near.id(), 63));
    assert_balance(&near, &mut pool, 1);
    drop((page, pool));
    assert_whole(&near);
    assert_whole(&far);
}

#[test]
fn pages_of_both_nodes_are_unmapped_where_they_are() {
    for whole in [false, true] {
        let (near, far) = (node_zone(64, 0), node_zone(64, 7));
        let device = Device { whole, ..Device::default() };
        let params = PoolParams { limit: 32, ..PoolParams::default() };
        let mut pool = mapped_pool(&near, &device, params);
        let old = take(&mut pool, RX, 8);
        pool.set_zone(&far).unwrap();
        assert!(device.mapped() == if whole { 0 } else { 8 });
        drop(old); // home, and on to its zone
        pool.shrink(usize::MAX);
        assert!(device.mapped() == 0);
        let new = take(&mut pool, RX, 8);
        if whole {
            let addr = 8 * BUS + u64::from(new[0].number()) * PAGE_SIZE as u64;
            assert_eq!((pool.dma_addr(&new[0]), device.regions()), (Some(DmaAddr(addr)), 2));
        }
        drop(pool);
        assert!(device.mapped() == 0 && device.regions() == 0);
        drop(new);
        assert_whole(&near);
        assert_whole(&far);
    }
}

#[test]
fn memory_that_a_device_has_mapped_stays_though_its_zone_has_gone() {
    let (near, far) = (node_zone(64, 0), node_zone(64, 1));
    let device = Device { whole: true, ..Device::default() };
    let mut pool = mapped_pool(&near, &device, PoolParams::default());
    drop(pool.alloc(RX));
    pool.set_zone(&far).unwrap();
    pool.shrink(0);
    let old = near.id();
    drop(near);
    // Were the memory gone, another region could come to lie there, and the pool would take it for the mapped one.
    let others: Vec<Zone> = (0..4).map(|_| zone(64)).collect();
    assert!(others.iter().all(|other| other.id() != old));
    drop(pool);
    assert!(device.regions() == 0);
    assert_whole(&far);
}

/// Drops the page that is out while the pool is unmapping it.
struct Late {
    out: Arc<Mutex<Option<Page>>>,
    zone: Zone,
    seen: Arc<Mutex<Option<(usize, usize)>>>,
}

impl DmaMap for Late {
    fn map(&mut self, _: &Zone, number: u32, _: usize) -> Result<DmaAddr, DmaError> {
        Ok(DmaAddr(number.into()))
    }

    fn unmap(&mut self, addr: DmaAddr, _: usize) {
        let mut out = self.out.lock().unwrap();
        if out.as_ref().is_some_and(|page| u64::from(page.number()) == addr.0) {
            let before = self.zone.stats().free;
            drop(out.take());
            *self.seen.lock().unwrap() = Some((before, self.zone.stats().free));
        }
    }
}

#[test]
fn no_page_is_anybody_elses_before_it_is_unmapped() {
    let zone = zone(64);
    let (out, seen) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let late = Late { out: out.clone(), zone: zone.clone(), seen: seen.clone() };
    let mut pool = PagePool::new(&zone, PoolParams { dma: Some(Box::new(late)), ..PoolParams::default() }).unwrap();
    *out.lock().unwrap() = pool.alloc(RX);
    drop(pool);
    let (before, after) = seen.lock().unwrap().expect("it was unmapped");
    assert_eq!(before, after, "the page went to the zone while the device could still write to it");
    assert_whole(&zone);
}

/// A device whose answer cannot be true.
struct Beyond(u64);

impl DmaMap for Beyond {
    fn map_region(&mut self, _: &Zone) -> Result<Option<DmaAddr>, DmaError> {
        Ok(Some(DmaAddr(self.0)))
    }

    fn map(&mut self, _: &Zone, _: u32, _: usize) -> Result<DmaAddr, DmaError> {
        unreachable!("it maps regions");
    }

    fn unmap(&mut self, _: DmaAddr, _: usize) {}
}

#[test]
fn a_region_does_not_end_beyond_the_devices_addresses() {
    let zone = zone(16);
    let pool = |base| {
        PagePool::new(&zone, PoolParams { dma: Some(Box::new(Beyond(base))), limit: 16, ..PoolParams::default() })
    };
    let len = 16 * PAGE_SIZE as u64;
    for base in [u64::MAX, u64::MAX - len + 1] {
        assert!(matches!(pool(base), Err(PoolError::Dma(_))), "{base:x}");
    }
    let mut highest = pool(u64::MAX - len).unwrap();
    let pages = take(&mut highest, RX, 16);
    let ends = pages.iter().map(|page| highest.dma_addr(page).unwrap().0 + PAGE_SIZE as u64);
    assert_eq!(ends.max(), Some(u64::MAX));
    drop((pages, highest));
    assert_whole(&zone);
}
