//! `page_pool_simple`: pages from the pool and back, the three ways of the original and the ways of a program.

use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{self, Loop, Peer, Work};
use crate::programs::iova::{self, IovaTable};
use crate::programs::setup::{self, outstanding};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use waterwheel_mm::Page;
use waterwheel_page_pool::{Direction, PagePool, PoolParams};
use waterwheel_xdp::XdpBuff;

/// Pages out at a time in the case to be quoted: a NAPI budget.
const BUDGET: usize = 64;
/// The original's pool: as many as the kernel's return ring takes.
const LIMIT: usize = 1024;
/// Where the peers initialise a packet's header, with and without.
const PEERS: [Peer; 4] = [Peer::Mempool, Peer::Mbuf, Peer::LargeMbuf, Peer::Mimalloc];

pub(crate) fn program() -> Program {
    Program {
        name: "page_pool_simple",
        about: "a page from the pool and back: by its owner (fast), by Drop through the return path (ring), from the zone and back to it (slow); with DMA mapping, counted",
        answers: "bench_page_pool_simple.c; slides \"Generalize problem statement\", \"Even more generic\"",
        notes: vec![
            "quote `64 pages`: 64 out, the first line of each written. With a single page out, what was just stored is loaded back at once, and where counters lie decides by \
             several times, on both sides: fast and ring are there as the original has them",
            "`page` writes the first line of the page: with 4 KiB between them, those of 64 pages all fall into one set of a level 1 cache. `frame` writes the first line of the \
             packet, which is where a device would have put it: behind the head room, and spread over 16 sets (as DPDK's objects lie, with their headers between them). \
             DPDK's in turn run at one of two speeds (some 7.5 and 14 ns for rte_pktmbuf), from process to process, by where its objects come to lie: compare several runs",
            "DPDK's objects are in transparent huge pages; ours are in huge pages where some are reserved, else in pages of 4 KiB: see the facts of the machine",
            "the kernel's page_pool of 6.19, in LOCKed increments: fast 0.97, ring 1.85, slow 8.1; without mapping, one page out. Its slow path frees one page at a time (as `1 page`)",
        ],
        cases: vec![
            Case::new("64 pages", "pool", BUDGET as u32, |group| {
                measure(group, &[PAGE_PUT, PAGE_DROP, FRAME_PUT, FRAME_DROP], BUDGET)
            }),
            Case::new("fast", "pool, one page", 0, |group| measure(group, &[PAGE_PUT, FRAME_PUT], 1)),
            Case::new("ring", "pool, one page", 1, |group| measure(group, &[PAGE_DROP, FRAME_DROP], 1)),
            Case::new("slow", "pool, one page", 2, slow),
        ],
    }
}

/// What a page carries on its way, and how it comes home.
pub(super) struct Way {
    pub(super) name: &'static str,
    work: &'static str,
    /// A loop with so many pages out, with or without a write to each.
    pub(super) body: fn(PagePool, usize, bool) -> Loop,
}

pub(super) const PAGE_PUT: Way = Way {
    name: "page, put",
    work: "PagePool::alloc + put: the bare page, back by its owner",
    body: |pool, n, touch| Box::new(outstanding(pool, n, page(touch), |pool, page| pool.put(page))),
};
pub(super) const PAGE_DROP: Way = Way {
    name: "page, Drop",
    work: "PagePool::alloc + drop: the bare page, back through the return path of this thread",
    body: |pool, n, touch| Box::new(outstanding(pool, n, page(touch), |_, page| drop(page))),
};
pub(crate) const FRAME_PUT: Way = Way {
    name: "frame, put",
    work: "a page as a frame (head room, offset, length), taken apart again, back by its owner",
    body: |pool, n, touch| Box::new(outstanding(pool, n, frame(touch), |pool, buff| pool.put(buff.into_page()))),
};
pub(crate) const FRAME_DROP: Way = Way {
    name: "frame, Drop",
    work: "a page as a frame (head room, offset, length), back through the return path of this thread",
    body: |pool, n, touch| Box::new(outstanding(pool, n, frame(touch), |_, buff| drop(buff))),
};

fn page(touch: bool) -> impl FnMut(&mut PagePool, u64) -> Option<Page> {
    move |pool, i| {
        let mut page = pool.alloc(Direction::Rx)?;
        if touch {
            page.as_mut_slice()[..8].copy_from_slice(&i.to_ne_bytes());
        }
        Some(page)
    }
}

fn frame(touch: bool) -> impl FnMut(&mut PagePool, u64) -> Option<XdpBuff> {
    move |pool, i| {
        let mut buff = XdpBuff::with_len(pool.alloc(Direction::Rx)?, 64);
        if touch {
            buff.data_mut()[..8].copy_from_slice(&i.to_ne_bytes());
        }
        Some(buff)
    }
}

/// `n` pages out at a time; written where there are many. The pool maps, which in the steady state it never has to.
fn measure(group: &mut Group<'_, '_>, ways: &[Way], n: usize) -> Result<(), Interrupted> {
    let touch = n > 1; // one buffer again and again would have its line at hand anyway
    let mut counts = Vec::new();
    for way in ways {
        let Some((pool, _)) = mapped(group, way.name, LIMIT, None) else { continue };
        let Some((counted, maps)) = mapped(group, way.name, LIMIT, None) else { continue };
        let touched = if touch { "; the first line of the packet is written" } else { "" };
        group.ours(
            way.name,
            format!("{}{touched}; the pool maps for a device (maps/page)", way.work),
            n as u64,
            (way.body)(pool, n, touch),
        );
        counts.push((way.name, maps_per_page((way.body)(counted, n, touch), n, &maps)));
    }
    peers::add(group, &PEERS, Work { count: n, bulk: false, touch });
    group.measure()?;
    counts.into_iter().for_each(|(name, maps)| group.count(name, "maps/page", maps));
    Ok(())
}

/// Pages that the pool does not have: each comes from the zone and leaves for it. One at a time, and 64, which the zone gives and takes under one lock.
fn slow(group: &mut Group<'_, '_>) -> Result<(), Interrupted> {
    let mut counts = Vec::new();
    for (n, with, without) in [(1, "1 page, mapped", "1 page"), (BUDGET, "64 pages, mapped", "64 pages")] {
        let work =
            "alloc + put with a cache that is empty when asked and full when given: page from the zone and back to it";
        let high = Some(n - 1);
        if let Some(pool) = setup::pool_with(group, without, PoolParams { limit: n, high, ..PoolParams::default() }) {
            group.ours(
                without,
                format!("{work}, {n} under one lock; not mapped"),
                n as u64,
                (PAGE_PUT.body)(pool, n, false),
            );
        }
        let Some((pool, _)) = mapped(group, with, n, high) else { continue };
        let Some((counted, maps)) = mapped(group, with, n, high) else { continue };
        group.ours(
            with,
            format!("{work}, {n} under one lock; {}", iova::ABOUT),
            n as u64,
            (PAGE_PUT.body)(pool, n, false),
        );
        counts.push((with, maps_per_page((PAGE_PUT.body)(counted, n, false), n, &maps)));
    }
    group.measure()?;
    counts.into_iter().for_each(|(name, maps)| group.count(name, "maps/page", maps));
    Ok(())
}

/// A pool that maps, and where it counts.
fn mapped(
    group: &mut Group<'_, '_>,
    name: &str,
    limit: usize,
    high: Option<usize>,
) -> Option<(PagePool, Arc<AtomicU64>)> {
    let (table, maps) = IovaTable::new(limit + 1024);
    let params = PoolParams { limit, high, dma: Some(Box::new(table)), ..PoolParams::default() };
    Some((setup::pool_with(group, name, params)?, maps))
}

/// How often a page is mapped in the steady state, counted in a run of its own.
fn maps_per_page(mut body: Loop, n: usize, maps: &AtomicU64) -> f64 {
    const LOOPS: u64 = 1000;
    body(LOOPS); // the pages that the pool keeps come in and are mapped
    let before = maps.load(Ordering::Relaxed);
    body(LOOPS);
    (maps.load(Ordering::Relaxed) - before) as f64 / (LOOPS * n as u64) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::{Account, Users, Zone, ZoneParams};

    fn zone() -> Zone {
        Zone::new(&ZoneParams::pages(2048)).expect("a zone")
    }

    fn pool(zone: &Zone, limit: usize, high: Option<usize>) -> (PagePool, Arc<AtomicU64>) {
        let (table, maps) = IovaTable::new(zone.region().pages());
        let params = PoolParams { limit, high, dma: Some(Box::new(table)), ..PoolParams::default() };
        (PagePool::new(zone, params).expect("a pool"), maps)
    }

    #[test]
    fn every_way_leads_home() {
        for way in [PAGE_PUT, PAGE_DROP, FRAME_PUT, FRAME_DROP] {
            for touch in [false, true] {
                let zone = zone();
                (way.body)(pool(&zone, LIMIT, None).0, BUDGET, touch)(100);
                let account = Account::open(&zone).close(Users::Gone);
                assert!(account.is_whole(), "{}: {account:?}", way.name);
            }
        }
    }

    #[test]
    fn pages_are_mapped_once_or_each_time() {
        let maps = |way: &Way, n: usize, limit, high| {
            let (pool, maps) = pool(&zone(), limit, high);
            maps_per_page((way.body)(pool, n, false), n, &maps)
        };
        for way in [PAGE_PUT, PAGE_DROP, FRAME_PUT, FRAME_DROP] {
            assert_eq!([maps(&way, 1, LIMIT, None), maps(&way, BUDGET, LIMIT, None)], [0.0, 0.0], "{}", way.name);
        }
        for n in [1, BUDGET] {
            assert_eq!(maps(&PAGE_PUT, n, n, Some(n - 1)), 1.0);
        }
    }
}
