//! What a pool gives and refuses: the limit, the floors, the zone.

mod common;

use common::{RX, TX, assert_balance, assert_whole, pool, take, zone};
use waterwheel_page_pool::{PagePool, PoolError, PoolParams, REFILL};

#[test]
fn no_more_than_the_limit_is_the_pools_at_any_time() {
    for limit in [0, 1, 63, 64, 65, 200] {
        let zone = zone(512);
        let mut pool = pool(&zone, limit);
        let mut pages: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
        assert_eq!((pages.len(), pool.limit()), (limit, limit));
        assert_eq!((zone.stats().free, pool.stats().alloc_failed), (512 - limit, 1));
        if let Some(page) = pages.pop() {
            pool.put(page);
            pages.extend(pool.alloc(TX)); // without floors the directions are one
        }
        assert_eq!(pages.len(), limit);
        assert_balance(&zone, &mut pool, limit);
        drop((pages, pool));
        assert_whole(&zone);
    }
}

#[test]
fn pages_in_the_cache_count_for_the_limit() {
    let zone = zone(512);
    let mut pool = pool(&zone, 100);
    let pages = take(&mut pool, RX, 10);
    assert_eq!((pool.cached(), pool.stats().inflight()), (REFILL - 10, REFILL as u64));
    let more = take(&mut pool, RX, 90);
    assert!(pool.alloc(RX).is_none());
    assert_balance(&zone, &mut pool, 100);
    drop((pool, pages, more)); // the pool first
    assert_whole(&zone);
}

#[test]
fn the_zone_may_have_less_than_the_limit() {
    let zone = zone(100);
    let mut pool = pool(&zone, 1000);
    let mut pages = Vec::new();
    assert_eq!(pool.alloc_bulk(RX, 150, &mut pages), 100);
    assert_eq!(pool.stats().alloc_failed, 1, "one request, whatever it asked for");
    assert!(pool.alloc(RX).is_none());
    pages.truncate(90);
    assert_eq!(pool.alloc_bulk(RX, 20, &mut pages), 10, "those that came home");
    drop((pages, pool));
    assert_whole(&zone);
}

/// Whoever waits for pages asks for them in a loop. That is one time that there were none.
#[test]
fn who_asks_in_vain_again_and_again_is_counted_once() {
    let floors = PoolParams { limit: 4, floor_rx: 1, floor_tx: 1, ..PoolParams::default() };
    for params in [PoolParams { limit: 4, ..PoolParams::default() }, floors] {
        let zone = zone(64);
        let mut pool = PagePool::new(&zone, params).unwrap();
        let ways: [fn(&mut PagePool); 5] = [
            |pool| assert!(pool.alloc(RX).is_none()),
            |pool| assert_eq!(pool.alloc_bulk(RX, 64, &mut Vec::new()), 0),
            |pool| assert_eq!(pool.alloc_bulk(RX, usize::MAX, &mut Vec::new()), 0),
            |pool| assert_eq!(pool.hand_out(RX, 32).count(), 0),
            |pool| assert!(pool.alloc_frag(2048, 64).is_none()),
        ];
        let mut held: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
        for round in 0..100 {
            let (failed, empty) = (pool.stats().alloc_failed, pool.stats().alloc_empty);
            ways.iter().for_each(|way| way(&mut pool));
            assert_eq!((pool.stats().alloc_failed, pool.stats().alloc_empty), (failed, empty), "nothing has changed");
            assert!(pool.is_dry());
            drop(held.pop().unwrap());
            held.extend(pool.alloc(RX));
            assert!(!pool.is_dry(), "it had what was asked for last");
            ways[round % ways.len()](&mut pool);
            assert_eq!(pool.stats().alloc_failed, failed + 1, "a page has come and gone, and there is none again");
            drop(held.pop().unwrap());
            held.extend(pool.hand_out(RX, 2));
            assert_eq!(pool.stats().alloc_failed, failed + 2, "less than was asked for");
        }
        assert_eq!(pool.stats().alloc_failed, 201);
        drop((held, pool));
        assert_whole(&zone);
    }
}

#[test]
fn bulk_gives_nothing_for_nothing() {
    let zone = zone(8);
    let mut pool = pool(&zone, 8);
    assert_eq!(pool.alloc_bulk(RX, 0, &mut Vec::new()), 0);
    assert_eq!((pool.stats(), zone.stats().free), (Default::default(), 8));
    let mut pages = Vec::new();
    assert_eq!(pool.alloc_bulk(RX, usize::MAX, &mut pages), 8);
    drop((pages, pool));
    assert_whole(&zone);
}

#[test]
fn a_floor_keeps_pages_for_its_direction() {
    let zone = zone(512);
    let params = PoolParams { limit: 100, floor_rx: 30, floor_tx: 20, ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).unwrap();
    let mut rx: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
    assert_eq!(rx.len(), 80, "20 are for tx alone");
    let mut tx: Vec<_> = std::iter::from_fn(|| pool.alloc(TX)).collect();
    assert_eq!((tx.len(), pool.stats().alloc_failed), (20, 2));
    assert_balance(&zone, &mut pool, 100);
    // What rx gives back beyond its floor is for both.
    rx.drain(..60).for_each(drop);
    tx.extend(std::iter::from_fn(|| pool.alloc(TX)));
    assert_eq!(tx.len(), 70, "30 are for rx alone, of which it has 20 out");
    rx.extend(std::iter::from_fn(|| pool.alloc(RX)));
    assert_eq!(rx.len(), 30);
    tx.drain(..).for_each(|page| pool.put(page));
    assert_eq!(pool.alloc_bulk(RX, 1000, &mut rx), 50);
    drop((rx, tx, pool));
    assert_whole(&zone);
}

#[test]
fn one_floor_alone_works_both_ways() {
    for (floor_rx, floor_tx) in [(40, 0), (0, 40), (100, 0), (0, 100)] {
        let zone = zone(512);
        let params = PoolParams { limit: 100, floor_rx, floor_tx, ..PoolParams::default() };
        let mut pool = PagePool::new(&zone, params).unwrap();
        let mut pages = Vec::new();
        assert_eq!(pool.alloc_bulk(RX, 1000, &mut pages), 100 - floor_tx);
        assert_eq!(pool.alloc_bulk(TX, 1000, &mut pages), floor_tx);
        pages.drain(..).for_each(|page| pool.put(page));
        assert_eq!(pool.alloc_bulk(TX, 1000, &mut pages), 100 - floor_rx);
        assert_eq!(pool.alloc_bulk(RX, 1000, &mut pages), floor_rx);
        drop((pages, pool));
        assert_whole(&zone);
    }
}

#[test]
fn pages_of_both_directions_come_home_from_other_threads() {
    let zone = zone(512);
    let params = PoolParams { limit: 100, floor_rx: 10, floor_tx: 10, ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).unwrap();
    for _ in 0..20 {
        let (rx, tx) = (take(&mut pool, RX, 50), take(&mut pool, TX, 50));
        assert!(rx.iter().chain(&tx).all(|page| pool.owns(page)));
        assert_ne!(rx[0].owner_id(), tx[0].owner_id());
        std::thread::spawn(move || drop((rx, tx))).join().unwrap();
        assert_eq!(pool.outstanding(), 0);
    }
    assert_eq!(pool.stats().hold, 100, "the same pages all the time");
    assert_balance(&zone, &mut pool, 0);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn parameters_that_contradict_each_other_are_named() {
    let zone = zone(8);
    let error = |params| PagePool::new(&zone, params).unwrap_err();
    let default = PoolParams::default;
    let floors = error(PoolParams { limit: 10, floor_rx: 6, floor_tx: 5, ..default() });
    assert_eq!(floors.to_string(), "the floors (rx 6, tx 5) are more than the limit of 10");
    let floors = error(PoolParams { limit: usize::MAX, floor_rx: usize::MAX, floor_tx: 1, ..default() });
    assert!(matches!(floors, PoolError::Floors { .. }));
    let order = error(PoolParams { order: 11, ..default() });
    assert_eq!(order.to_string(), "a block has an order of at most 10, not 11");
    assert!(matches!(error(PoolParams { order: 255, ..default() }), PoolError::Order(255)));
    let all = PoolParams { limit: usize::MAX, high: Some(usize::MAX), ..default() };
    let mut pages = Vec::new();
    let got = PagePool::new(&zone, all).unwrap().alloc_bulk(RX, 100, &mut pages);
    assert_eq!(got, 8, "the zone is a limit too");
    drop(pages);
    assert_whole(&zone);
}

#[test]
fn blocks_of_every_order() {
    for order in [1, 3, 4, 10] {
        let zone = zone(2048);
        let mut pool = PagePool::new(&zone, PoolParams { order, limit: 10, ..PoolParams::default() }).unwrap();
        let pages: Vec<_> = std::iter::from_fn(|| pool.alloc(RX)).collect();
        assert_eq!(pages.len(), 10.min(2048 >> order));
        assert!(pages.iter().all(|page| page.size() == 4096 << order));
        assert_balance(&zone, &mut pool, pages.len() << order);
        assert_eq!(pool.stats().alloc_slow, pool.stats().alloc_slow_high_order);
        drop((pages, pool));
        assert_whole(&zone);
    }
}
