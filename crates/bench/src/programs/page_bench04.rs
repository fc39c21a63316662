//! `page_bench04`: many pages with one call, against one call each.

use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{self, Peer, Work};
use crate::programs::setup::{self, outstanding};
use std::hint::black_box;
use waterwheel_mm::{FrozenPage, Pcp, PcpParams, Zone};
use waterwheel_page_pool::{Direction, PagePool};

/// The sizes of the original.
const SIZES: [usize; 9] = [1, 2, 3, 4, 8, 16, 32, 64, 128];
/// Pages of the zone and of the pool.
const PAGES: usize = 4096;

pub(crate) fn program() -> Program {
    let case = |n: usize| Case::new(format!("bulk {n}"), "bulk", n as u32, move |group| measure(group, n));
    Program {
        name: "page_bench04",
        about: "1 to 128 pages allocated with one call and freed with one call, per page; beside it as many with one call each",
        answers: "page_bench04_bulk.c; slide \"Page allocator bulk API benchmarks\"",
        notes: vec![
            "`single`: N pages by N calls, then freed by N calls, so that only the calls differ; the original's single is N = 1. The peers are measured in bulk here, and singly in page_bench02",
            "zone: nobody else has a page of it, so that its blocks are whole: each round splits one of order 10 and merges it again, which N pages share",
        ],
        cases: SIZES.map(case).into(),
    }
}

/// First the calls for one page, then those for many with the peers', so that nobody's many single calls are held against a call for many.
fn measure(group: &mut Group<'_, '_>, n: usize) -> Result<(), Interrupted> {
    let step = n as u64;
    if let Some(zone) = setup::zone(group, "zone, single", PAGES) {
        let body = outstanding(zone, n, |zone, _| zone.alloc(0), |_, page| drop(page));
        group.ours("zone, single", "alloc and free, each under the zone's lock", step, body);
    }
    if let Some(zone) = setup::zone(group, "pcp, single", PAGES) {
        let body = outstanding(Pcp::new(&zone, PcpParams::default()), n, |pcp, _| pcp.alloc(0), Pcp::free);
        group.ours("pcp, single", "alloc + free through the lists of one CPU (counting on)", step, body);
    }
    if let Some(pool) = setup::pool(group, "pool, single", PAGES) {
        let body = outstanding(pool, n, |pool, _| pool.alloc(Direction::Rx), PagePool::put);
        group.ours("pool, single", "page from the pool and back by its owner", step, body);
    }
    group.measure()?;
    if let Some(zone) = setup::zone(group, "zone, bulk", PAGES) {
        let work = "alloc_bulk + free_bulk, each under the zone's lock once";
        group.ours("zone, bulk", work, step, zone_bulk(zone, n));
    }
    if let Some(zone) = setup::zone(group, "pcp, bulk", PAGES) {
        let pcp = Pcp::new(&zone, PcpParams::default());
        let work = "alloc_bulk + free_bulk through the lists of one CPU (counting on)";
        group.ours("pcp, bulk", work, step, pcp_bulk(pcp, n));
    }
    if let Some(pool) = setup::pool(group, "pool, bulk", PAGES) {
        let work = "alloc_bulk + put_bulk: pages from the pool and back by their owner";
        group.ours("pool, bulk", work, step, pool_bulk(pool, n));
    }
    peers::add(group, &[Peer::Mempool, Peer::Mbuf], Work { count: n, bulk: true, touch: false });
    group.measure()
}

fn zone_bulk(mut zone: Zone, n: usize) -> impl FnMut(u64) {
    let mut store: Vec<FrozenPage> = Vec::with_capacity(n);
    move |loops| {
        for _ in 0..loops {
            let zone = black_box(&mut zone);
            zone.alloc_bulk(0, n, &mut store);
            zone.free_bulk(black_box(&mut store).drain(..));
        }
    }
}

pub(super) fn pcp_bulk(mut pcp: Pcp, n: usize) -> impl FnMut(u64) {
    let mut store = Vec::with_capacity(n);
    move |loops| {
        for _ in 0..loops {
            let pcp = black_box(&mut pcp);
            pcp.alloc_bulk(n, &mut store);
            pcp.free_bulk(black_box(&mut store));
        }
    }
}

pub(super) fn pool_bulk(mut pool: PagePool, n: usize) -> impl FnMut(u64) {
    let mut store = Vec::with_capacity(n);
    move |loops| {
        for _ in 0..loops {
            let pool = black_box(&mut pool);
            pool.alloc_bulk(Direction::Rx, n, &mut store);
            pool.put_bulk(black_box(&mut store));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::{Account, Users, ZoneParams};
    use waterwheel_page_pool::PoolParams;

    #[test]
    fn every_page_comes_home() {
        let zone = Zone::new(&ZoneParams::pages(PAGES)).expect("a zone");
        for n in SIZES {
            zone_bulk(zone.clone(), n)(10);
            pcp_bulk(Pcp::new(&zone, PcpParams::default()), n)(10);
            pool_bulk(PagePool::new(&zone, PoolParams::default()).expect("a pool"), n)(10);
            let account = Account::open(&zone).close(Users::Gone);
            assert!(account.is_whole(), "{n}: {account:?}");
        }
    }
}
