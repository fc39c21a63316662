//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use waterwheel_page_pool::mm::{Account, HugePages, PAGE_SIZE, Page, Users, Zone, ZoneParams};
use waterwheel_page_pool::{Direction, DmaAddr, DmaError, DmaMap, PagePool, PoolParams};

pub(crate) const RX: Direction = Direction::Rx;
pub(crate) const TX: Direction = Direction::Tx;

/// A zone of small pages: the machine's huge pages are not for tests.
pub(crate) fn zone(pages: usize) -> Zone {
    node_zone(pages, 0)
}

/// A zone that says it is of `node`.
pub(crate) fn node_zone(pages: usize, node: u32) -> Zone {
    let params = ZoneParams { pages, huge_pages: HugePages::Never, node: Some(node), ..ZoneParams::default() };
    Zone::new(&params).expect("a test zone needs little memory")
}

/// A pool with all but one parameter as usual.
pub(crate) fn pool(zone: &Zone, limit: usize) -> PagePool {
    PagePool::new(zone, PoolParams { limit, ..PoolParams::default() }).expect("a pool")
}

/// `count` pages, which the pool must have.
#[track_caller]
pub(crate) fn take(pool: &mut PagePool, direction: Direction, count: usize) -> Vec<Page> {
    let mut pages = Vec::new();
    assert_eq!(pool.alloc_bulk(direction, count, &mut pages), count);
    pages
}

/// The end of every test: all pages are free.
#[track_caller]
pub(crate) fn assert_whole(zone: &Zone) {
    let account = Account::open(zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

/// While a pool is there: its pages and those that users hold are all that is not free.
#[track_caller]
pub(crate) fn assert_balance(zone: &Zone, pool: &mut PagePool, out: usize) {
    let mut account = Account::open(zone);
    pool.account(&mut account);
    let account = account.close(Users::Alive);
    assert_eq!((account.held_by_users, account.conflicts), (out, 0), "{account:?}");
    assert_eq!(account.free + account.frozen + out, account.total);
    let cached = pool.cached() << pool.order();
    assert_eq!(pool.stats().inflight() << pool.order(), (cached + out) as u64, "{:?}", pool.stats());
}

/// A device that maps page by page, or whole regions, and writes down what it was asked for.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) mapped: BTreeMap<u64, usize>,
    pub(crate) regions: Vec<u64>,
    pub(crate) map_calls: usize,
    pub(crate) unmap_calls: usize,
    /// Pages that it refuses.
    pub(crate) refused: Vec<u32>,
    pub(crate) refuse_regions: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Device {
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) whole: bool,
}

impl Device {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Pages that are mapped now.
    pub(crate) fn mapped(&self) -> usize {
        self.book().mapped.len()
    }

    /// Regions that are mapped now.
    pub(crate) fn regions(&self) -> usize {
        self.book().regions.len()
    }

    /// Calls of `map` and `map_region` ever.
    pub(crate) fn maps(&self) -> usize {
        self.book().map_calls
    }

    /// Calls of `unmap` and `unmap_region` ever.
    pub(crate) fn unmaps(&self) -> usize {
        self.book().unmap_calls
    }
}

/// Where this device sees page 0.
pub(crate) const BUS: u64 = 0x8_0000_0000;

impl DmaMap for Device {
    fn map_region(&mut self, zone: &Zone) -> Result<Option<DmaAddr>, DmaError> {
        let mut book = self.book();
        if book.refuse_regions {
            return Err(DmaError("no room in the IOMMU".to_owned()));
        }
        if !self.whole {
            return Ok(None);
        }
        let base = BUS + u64::from(zone.node()) * BUS;
        book.regions.push(base);
        book.map_calls += 1;
        Ok(Some(DmaAddr(base)))
    }

    fn unmap_region(&mut self, addr: DmaAddr) {
        let mut book = self.book();
        book.unmap_calls += 1;
        let place = book.regions.iter().position(|base| *base == addr.0).expect("mapped, and once");
        book.regions.remove(place);
    }

    fn map(&mut self, zone: &Zone, number: u32, bytes: usize) -> Result<DmaAddr, DmaError> {
        assert!(!self.whole, "the region is mapped as a whole");
        let mut book = self.book();
        if book.refused.contains(&number) {
            return Err(DmaError("on purpose".to_owned()));
        }
        book.map_calls += 1;
        let addr = BUS + u64::from(zone.node()) * BUS + u64::from(number) * PAGE_SIZE as u64;
        assert_eq!(book.mapped.insert(addr, bytes), None, "page {number} was mapped already");
        Ok(DmaAddr(addr))
    }

    fn unmap(&mut self, addr: DmaAddr, bytes: usize) {
        let mut book = self.book();
        book.unmap_calls += 1;
        assert_eq!(book.mapped.remove(&addr.0), Some(bytes), "unmapped, though not mapped");
    }
}
