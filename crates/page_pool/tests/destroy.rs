//! The end of a pool while its pages are out, and the words of its statistics.

mod common;

use common::{RX, TX, assert_balance, assert_whole, node_zone, pool, take, zone};
use std::sync::mpsc::channel;
use std::thread;
use waterwheel_page_pool::mm::Page;
use waterwheel_page_pool::{PagePool, PoolParams, PoolStats};

#[test]
fn pages_out_on_other_threads_for_a_while_are_freed_when_they_come() {
    let zone = zone(512);
    let mut pool = pool(&zone, 512);
    let mut threads = Vec::new();
    let mut wakers = Vec::new();
    for i in 0..4usize {
        let (wake, sleep) = channel::<()>();
        let pages = take(&mut pool, if i % 2 == 0 { RX } else { TX }, 50);
        wakers.push(wake);
        threads.push(thread::spawn(move || {
            let (now, later) = pages.split_at(0);
            assert!(now.is_empty());
            let shared: Vec<_> = later.iter().map(Page::number).collect();
            let _ = sleep.recv();
            drop(pages);
            shared.len()
        }));
    }
    assert_eq!(pool.outstanding(), 200);
    assert_balance(&zone, &mut pool, 200);
    drop(pool);
    assert_eq!(zone.stats().free, 312);
    for (i, (wake, thread)) in wakers.into_iter().zip(threads).enumerate() {
        drop(wake);
        assert_eq!(thread.join().unwrap(), 50);
        assert_eq!(zone.stats().free, 312 + 50 * (i + 1));
    }
    assert_whole(&zone);
}

#[test]
fn pools_come_and_go_while_threads_hold_pages_of_many() {
    let zone = zone(2048);
    let (send, receive) = channel::<Vec<Page>>();
    let holder = thread::spawn(move || {
        let mut held = std::collections::VecDeque::new();
        for pages in receive {
            held.push_back(pages);
            if held.len() > 10 {
                held.pop_front();
            }
        }
    });
    for round in 0..500 {
        let mut pool = pool(&zone, 64);
        let mut pages = Vec::new();
        pool.alloc_bulk(RX, 1 + round % 16, &mut pages);
        pages.truncate(pages.len() - pages.len() / 3);
        send.send(pages).unwrap();
    }
    drop(send);
    holder.join().unwrap();
    assert_whole(&zone);
}

#[test]
fn the_zone_may_be_dropped_first() {
    let zone = zone(64);
    let start = format!("{:x}-", zone.region().base().addr());
    let mut pool = pool(&zone, 64);
    let mut page = pool.alloc(RX).unwrap();
    assert_eq!(pool.zone().id(), zone.id());
    drop(zone);
    drop(pool);
    page.as_mut_slice().fill(1);
    assert!(std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| line.starts_with(&start)));
    drop(page);
}

#[test]
fn a_pool_can_be_given_to_another_thread() {
    let zone = zone(512);
    let mut pool = pool(&zone, 512);
    for _ in 0..10 {
        let here = take(&mut pool, RX, 30);
        pool = thread::spawn(move || {
            let there = take(&mut pool, TX, 30);
            drop(pool.take_back(here));
            drop(there);
            pool
        })
        .join()
        .unwrap();
        assert_eq!(pool.outstanding(), 0);
        assert_balance(&zone, &mut pool, 0);
    }
    drop(pool);
    assert_whole(&zone);
}

/// What `scenario` moved.
fn moved(pool: &mut PagePool, scenario: impl FnOnce(&mut PagePool)) -> PoolStats {
    let before = pool.stats();
    scenario(pool);
    let after = pool.stats();
    PoolStats {
        alloc_fast: after.alloc_fast - before.alloc_fast,
        alloc_slow: after.alloc_slow - before.alloc_slow,
        alloc_slow_high_order: after.alloc_slow_high_order - before.alloc_slow_high_order,
        alloc_empty: after.alloc_empty - before.alloc_empty,
        alloc_refill: after.alloc_refill - before.alloc_refill,
        alloc_waive: after.alloc_waive - before.alloc_waive,
        alloc_failed: after.alloc_failed - before.alloc_failed,
        recycle_cached: after.recycle_cached - before.recycle_cached,
        recycle_cache_full: after.recycle_cache_full - before.recycle_cache_full,
        recycle_ring: after.recycle_ring - before.recycle_ring,
        recycle_ring_full: after.recycle_ring_full - before.recycle_ring_full,
        hold: after.hold - before.hold,
        release: after.release - before.release,
        dma_maps: after.dma_maps - before.dma_maps,
        dma_unmaps: after.dma_unmaps - before.dma_unmaps,
    }
}

#[test]
fn every_word_of_the_statistics_moves_for_its_reason_alone() {
    let none = PoolStats::default();
    let zone = zone(6000);
    let mut pool = pool(&zone, 6000);
    let mut held = Vec::new();

    let first = moved(&mut pool, |pool| held.push(pool.alloc(RX).unwrap()));
    assert_eq!(first, PoolStats { alloc_slow: 1, alloc_empty: 1, hold: 64, ..none });
    let cached = moved(&mut pool, |pool| held.extend(take(pool, RX, 63)));
    assert_eq!(cached, PoolStats { alloc_fast: 63, ..none });
    let put = moved(&mut pool, |pool| drop(pool.take_back(held.drain(..10))));
    assert_eq!(put, PoolStats { recycle_cached: 10, ..none });
    drop(take(&mut pool, RX, 10)); // the cache is empty again, and ten are on their way
    let refill = moved(&mut pool, |pool| held.push(pool.alloc(TX).unwrap()));
    assert_eq!(refill, PoolStats { alloc_fast: 1, alloc_refill: 1, recycle_ring: 10, ..none });
    let shrunk = moved(&mut pool, |pool| pool.shrink(0));
    assert_eq!(shrunk, PoolStats { release: 9, ..none });

    let all = take(&mut pool, RX, 5000);
    let burst = moved(&mut pool, |_| drop(all));
    assert_eq!(burst, PoolStats { recycle_ring_full: 5000 - 4096, ..none });

    let mut rest: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
    let still = moved(&mut pool, |pool| assert!(pool.alloc(RX).is_none()));
    assert_eq!(still, none, "it said no before, and nothing has changed");
    pool.put(rest.pop().unwrap());
    rest.push(pool.alloc(RX).unwrap());
    let failed = moved(&mut pool, |pool| assert!(pool.alloc(RX).is_none()));
    assert_eq!(failed, PoolStats { alloc_failed: 1, alloc_empty: 1, ..none });
    drop((rest, held, pool));
    assert_whole(&zone);
}

#[test]
fn the_words_of_high_marks_orders_and_nodes() {
    let none = PoolStats::default();
    let (near, far) = (node_zone(256, 0), node_zone(256, 1));
    let params = PoolParams { order: 1, high: Some(8), limit: 64, ..PoolParams::default() };
    let mut pool = PagePool::new(&near, params).unwrap();
    let mut pages = Vec::new();
    let first = moved(&mut pool, |pool| pages = take(pool, RX, 64));
    let high_order = PoolStats { alloc_slow: 1, alloc_slow_high_order: 1, alloc_empty: 1, hold: 64, ..none };
    assert_eq!(first, PoolStats { alloc_fast: 63, ..high_order });
    let spilled = moved(&mut pool, |pool| drop(pool.take_back(pages.drain(..9))));
    assert_eq!(spilled, PoolStats { recycle_cached: 9, recycle_cache_full: 1, release: 1, ..none });
    pool.set_zone(&far).unwrap();
    let waived = moved(&mut pool, |pool| pool.put(pages.pop().unwrap()));
    assert_eq!(waived, PoolStats { recycle_cached: 1, alloc_waive: 1, release: 1, ..none });
    drop((pool, pages));
    assert_whole(&near);
    assert_whole(&far);
}
