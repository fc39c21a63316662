//! The cache: what stays, what leaves, and pages of others.

mod common;

use common::{RX, TX, assert_balance, assert_whole, node_zone, pool, take, zone};
use std::panic::{AssertUnwindSafe, catch_unwind};
use waterwheel_page_pool::mm::{Account, MAX_ORDER, PAGE_SIZE, Page, PageFrag, Users};
use waterwheel_page_pool::{PagePool, PoolParams, REFILL};

#[test]
fn last_in_first_out() {
    let zone = zone(512);
    let mut pool = pool(&zone, 512);
    let pages = take(&mut pool, RX, 10);
    let numbers: Vec<u32> = pages.iter().map(Page::number).collect();
    drop(pool.take_back(pages));
    let again: Vec<u32> = (0..10).map(|_| pool.alloc(RX).unwrap()).map(|page| page.number()).collect();
    if cfg!(feature = "debug_pages") {
        assert!(again.iter().all(|number| !numbers.contains(number)), "what was put back last is used last");
    } else {
        assert!(again.iter().eq(numbers.iter().rev()));
    }
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn without_a_high_mark_a_burst_of_any_size_stays() {
    let zone = zone(2048);
    let mut pool = pool(&zone, 2048);
    for _ in 0..3 {
        let burst = take(&mut pool, RX, 2048);
        drop(pool.take_back(burst));
    }
    let stats = pool.stats();
    assert_eq!((pool.cached(), stats.hold, stats.release, stats.recycle_cache_full), (2048, 2048, 0, 0));
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn above_the_high_mark_a_batch_leaves() {
    let zone = zone(512);
    let params = PoolParams { limit: 512, high: Some(100), ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).unwrap();
    let mut pages = take(&mut pool, RX, 256);
    pages.drain(..100).for_each(|page| pool.put(page));
    assert_eq!((pool.cached(), pool.stats().release), (100, 0));
    pool.put(pages.pop().unwrap());
    assert_eq!((pool.cached(), pool.stats().release), (101 - REFILL, REFILL as u64));
    assert_eq!(pool.stats().recycle_cache_full, REFILL as u64);
    assert_balance(&zone, &mut pool, 155);
    // The return path is cut at the mark as well.
    std::thread::spawn(move || drop(pages)).join().unwrap();
    assert_balance(&zone, &mut pool, 0);
    assert_eq!((pool.cached(), zone.stats().free), (100, 412));
    assert_eq!(pool.stats().recycle_cache_full, pool.stats().release);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn a_small_high_mark_and_none_at_all() {
    for high in [0, 1, 10] {
        let zone = zone(512);
        let mut pool = PagePool::new(&zone, PoolParams { high: Some(high), ..PoolParams::default() }).unwrap();
        for _ in 0..10 {
            let pages = take(&mut pool, RX, 100);
            drop(pool.take_back(pages));
            assert!(pool.cached() <= high, "{}", pool.cached());
            let pages = take(&mut pool, TX, 3);
            std::thread::spawn(move || drop(pages)).join().unwrap();
        }
        assert_balance(&zone, &mut pool, 0);
        drop(pool);
        assert_whole(&zone);
    }
}

#[test]
fn shrinking_fetches_what_is_on_its_way_and_keeps_what_it_is_told() {
    let zone = zone(512);
    let mut pool = pool(&zone, 512);
    let mut pages = take(&mut pool, RX, 200);
    let kept = pages.split_off(150);
    std::thread::spawn(move || drop(pages)).join().unwrap();
    pool.shrink(20);
    assert_eq!((pool.cached(), zone.stats().free), (20, 512 - 70));
    pool.shrink(1000);
    assert_eq!(pool.cached(), 20, "it does not grow by that");
    assert_balance(&zone, &mut pool, 50);
    pool.shrink(0);
    assert_eq!((pool.cached(), pool.stats().inflight()), (0, 50));
    drop((kept, pool));
    assert_whole(&zone);
}

#[test]
fn a_page_of_another_pool_is_sent_home() {
    let (zone, other_zone) = (zone(128), common::zone(64));
    let (mut mine, mut other, mut third) = (pool(&zone, 64), pool(&other_zone, 64), pool(&zone, 64));
    let (page, same_zone) = (other.alloc(RX).unwrap(), third.alloc(RX).unwrap());
    assert!(!mine.owns(&page) && other.owns(&page) && !mine.owns(&same_zone));
    mine.put(page);
    mine.put(same_zone);
    let nobodys = zone.alloc(0).unwrap().into_page();
    assert!(!mine.owns(&nobodys));
    mine.put(nobodys); // freed
    assert_eq!((mine.cached(), mine.stats().recycle_cached), (0, 0));
    assert_eq!((other.outstanding(), third.outstanding()), (0, 0));
    assert_balance(&other_zone, &mut other, 0);
    drop((mine, other, third));
    assert_whole(&zone);
    assert_whole(&other_zone);
}

#[test]
fn of_many_pages_only_the_own_are_kept() {
    let zone = zone(512);
    let (mut mine, mut other) = (pool(&zone, 128), pool(&zone, 128));
    for room in [0, 200] {
        let mut pages = Vec::with_capacity(room);
        for _ in 0..10 {
            assert_eq!(mine.alloc_bulk(RX, 3, &mut pages) + other.alloc_bulk(RX, 2, &mut pages), 5);
            pages.push(zone.alloc(0).unwrap().into_page()); // nobody's
        }
        let before = mine.cached();
        mine.put_bulk(&mut pages);
        assert_eq!((pages.len(), mine.cached() - before, mine.outstanding()), (30, 30, 0));
        assert!(pages.iter().all(|page| !mine.owns(page)));
        // By value: what is not the pool's comes back, and goes home when it is dropped.
        pages.extend(mine.hand_out(RX, 7));
        let strangers = mine.take_back(pages);
        assert_eq!(strangers.len(), 30);
        drop(strangers);
        assert_eq!((mine.outstanding(), other.outstanding()), (0, 0));
        mine.put_bulk(&mut Vec::new());
    }
    assert_eq!(mine.stats().recycle_cached, 74);
    drop((mine, other));
    assert_whole(&zone);
}

#[test]
fn after_a_change_of_node_old_pages_leave_and_new_ones_stay() {
    let (near, far) = (node_zone(256, 0), node_zone(256, 1));
    let mut pool = pool(&near, 256);
    let mut old = take(&mut pool, RX, 90);
    let elsewhere = old.split_off(60);
    let held = old.split_off(40);
    pool.set_zone(&far).unwrap();
    assert_eq!(
        (pool.zone().node(), pool.cached(), near.stats().free),
        (1, 0, 256 - 90),
        "the cache is of the old node"
    );
    let new = take(&mut pool, RX, 30);
    assert!(new.iter().all(|page| page.region_id() == far.id()));
    drop(pool.take_back(old)); // 40 by the owner
    std::thread::spawn(move || drop(elsewhere)).join().unwrap(); // 30 by the return path
    drop(pool.take_back(new));
    pool.shrink(usize::MAX);
    assert_eq!((pool.stats().alloc_waive, near.stats().free), (70, 256 - 20));
    assert_eq!((pool.stats().inflight(), pool.cached()), (REFILL as u64 + 20, REFILL));
    pool.set_zone(&far).unwrap(); // no change
    assert_eq!(pool.cached(), REFILL);
    drop(pool);
    drop(held);
    assert_whole(&near);
    assert_whole(&far);
}

#[test]
fn all_that_comes_home_may_be_of_the_old_node() {
    let (near, far) = (node_zone(128, 0), node_zone(128, 1));
    let mut pool = pool(&near, 128);
    let pages = take(&mut pool, RX, 128);
    pool.set_zone(&far).unwrap();
    drop(pages); // the return path, of this thread
    let page = pool.alloc(RX).expect("the new zone has pages");
    assert_eq!(page.region_id(), far.id());
    assert_eq!(pool.stats().alloc_waive, 64, "one batch was looked at");
    drop((page, pool));
    assert_whole(&near);
    assert_whole(&far);
}

#[test]
fn a_larger_zone_raises_the_high_mark_to_what_the_limit_allows() {
    let (small, large) = (node_zone(64, 0), node_zone(1024, 1));
    let mut pool = pool(&small, 1000);
    pool.set_zone(&large).unwrap();
    let burst = take(&mut pool, RX, 1000);
    drop(pool.take_back(burst));
    assert_eq!((pool.cached(), pool.stats().release), (1000, 0), "no high mark was asked for");
    drop(pool);
    assert_whole(&small);
    assert_whole(&large);
}

#[test]
fn what_has_come_home_is_fetched_in_batches_whoever_asks_for_how_little() {
    let zone = zone(512);
    let floors = PoolParams { limit: 512, floor_rx: 8, floor_tx: 8, ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, floors).unwrap();
    let (rx, tx) = (take(&mut pool, RX, 200), take(&mut pool, TX, 200));
    pool.shrink(0);
    drop((rx, tx));
    let before = pool.stats();
    let mut page = Vec::new();
    assert_eq!(pool.alloc_bulk(RX, 1, &mut page), 1);
    let after = pool.stats();
    assert_eq!(
        (after.recycle_ring - before.recycle_ring, pool.cached()),
        (REFILL as u64, REFILL - 1),
        "of one direction"
    );
    assert_eq!((after.alloc_refill - before.alloc_refill, after.alloc_slow - before.alloc_slow), (1, 0));
    // Where one direction has too few, the other one fills up the batch, and no more.
    page.extend(take(&mut pool, RX, 190));
    page.extend(take(&mut pool, RX, 2));
    let fetched = pool.stats().recycle_ring - before.recycle_ring;
    assert_eq!(fetched, 64 + 127 + 64, "the last time 9 of rx and 55 of tx");
    drop((page, pool));
    assert_whole(&zone);
}

#[test]
fn fragments_share_pages_and_give_them_back() {
    let zone = zone(64);
    let mut pool = pool(&zone, 64);
    let mut frags: Vec<_> = (0..40).map(|_| pool.alloc_frag(1000, 64).unwrap()).collect();
    assert_eq!(pool.outstanding(), 10, "four to a page");
    for (i, frag) in frags.iter_mut().enumerate() {
        assert_eq!((frag.len(), frag.as_ptr().addr() % 64), (1000, 0));
        frag.fill(i as u8);
    }
    assert!(frags.iter().enumerate().all(|(i, frag)| frag.iter().all(|byte| *byte == i as u8)));
    assert!(pool.alloc_frag(4097, 1).is_none());
    assert_eq!(pool.stats().alloc_failed, 1);
    assert_eq!(pool.alloc_frag(4096, 4096).unwrap().offset(), 0);
    std::thread::spawn(move || drop(frags)).join().unwrap();
    assert_eq!(pool.outstanding(), 1, "the one that is being cut");
    drop(pool);
    assert_whole(&zone);
}

/// For every size and order: what is given begins where it was asked to, or nothing is given.
#[test]
fn fragments_are_aligned_as_they_were_asked_for_or_are_not_there() {
    for order in 0..=MAX_ORDER {
        let zone = zone(2 << order);
        let mut pool = PagePool::new(&zone, PoolParams { order, limit: 2, ..PoolParams::default() }).unwrap();
        let size = PAGE_SIZE << order;
        for align in [1, 64, 4096, size / 2, size, 2 * size, 1 << 40, 1 << 63] {
            for len in [1, 64, PAGE_SIZE, size - 1, size, size + 1, usize::MAX - 1, usize::MAX] {
                let frag = pool.alloc_frag(len, align);
                assert_eq!(frag.is_some(), len <= size && align <= size, "{len} bytes at {align}, order {order}");
                if let Some(mut frag) = frag {
                    assert_eq!((frag.len(), frag.as_ptr().addr() % align), (len, 0), "{len} at {align}, order {order}");
                    assert!(frag.offset() + len <= size);
                    (frag[0], frag[len - 1]) = (1, 1);
                }
            }
        }
        for (len, align) in [(0, 1), (1, 0), (1, 3), (0, 0), (usize::MAX, usize::MAX)] {
            let refused = catch_unwind(AssertUnwindSafe(|| pool.alloc_frag(len, align).is_some()));
            assert!(refused.is_err(), "{len} bytes at {align}");
        }
        drop(pool);
        assert_whole(&zone);
    }
}

#[test]
fn fragments_end_with_the_limit() {
    let zone = zone(64);
    let mut pool = pool(&zone, 3);
    let frags: Vec<_> = std::iter::from_fn(|| pool.alloc_frag(2048, 1)).collect();
    assert_eq!((frags.len(), pool.stats().alloc_failed), (6, 1));
    drop(frags);
    let frag = pool.alloc_frag(2048, 1).unwrap();
    let account = |pool: &mut PagePool, frag: Option<&PageFrag>| {
        let mut account = Account::open(&zone);
        pool.account(&mut account);
        frag.iter().for_each(|frag| account.held_by_user(frag.number(), frag.order()));
        account.close(Users::Gone)
    };
    assert_eq!(frag.region_id(), zone.id());
    let with_frag = account(&mut pool, Some(&frag));
    drop(frag);
    let alone = account(&mut pool, None);
    assert_eq!(with_frag, alone, "the pool that cuts the page holds it, too");
    assert_eq!((alone.held_by_users, alone.frozen, alone.leaked, alone.conflicts), (1, 2, 0, 0), "{alone:?}");
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn neighbours_share_no_cache_line() {
    assert!(align_of::<PagePool>() >= 128);
}
