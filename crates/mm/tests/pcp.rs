//! Per-CPU lists: what they hold, what they move, how they count.

mod common;

use common::{assert_whole, zone};
use std::collections::BTreeSet;
use waterwheel_mm::stats::{Count, Off, PerCpu, Shared, SharedCounter};
use waterwheel_mm::{Account, PCP_MAX_ORDER, Pcp, PcpParams, Users};

const SMALL: PcpParams = PcpParams { high: 8, batch: 4 };

#[test]
fn an_empty_list_takes_a_batch_and_a_full_one_gives_a_batch() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, SMALL);
    let first = pcp.alloc(0).unwrap();
    assert_eq!((pcp.pages(), zone.stats().free), (3, 60), "a batch was taken, one page of it is out");
    let mut out: Vec<_> = (0..11).map(|_| pcp.alloc(0).unwrap()).collect();
    assert_eq!((pcp.pages(), zone.stats().free), (0, 52));
    out.push(first);
    for page in out.drain(..8) {
        pcp.free(page);
    }
    assert_eq!((pcp.pages(), zone.stats().free), (8, 52), "as many as `high` stay");
    pcp.free(out.pop().unwrap());
    assert_eq!((pcp.pages(), zone.stats().free), (5, 56), "the ninth sends a batch back");
    pcp.free_bulk(&mut out);
    assert!(out.is_empty());
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn the_page_that_was_freed_last_comes_first() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, SMALL);
    let (a, b) = (pcp.alloc(0).unwrap(), pcp.alloc(0).unwrap());
    let number = a.number();
    pcp.free(b);
    pcp.free(a);
    let comes_first = pcp.alloc(0).unwrap().number() == number;
    assert_eq!(comes_first, !cfg!(feature = "debug_pages"), "there it is the last one");
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn what_goes_to_the_zone_is_what_lies_longest() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, SMALL);
    let pages: Vec<_> = (0..12).map(|_| pcp.alloc(0).unwrap()).collect();
    let numbers: Vec<u32> = pages.iter().map(|page| page.number()).collect();
    pages.into_iter().take(9).for_each(|page| pcp.free(page)); // the ninth is one too many
    assert_eq!(pcp.pages(), 5);
    let stayed: BTreeSet<u32> = (0..5).map(|_| pcp.alloc(0).unwrap().number()).collect();
    assert_eq!(stayed, numbers[4..9].iter().copied().collect());
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn each_order_has_its_list_and_high_counts_pages() {
    let zone = zone(1024);
    let mut pcp = Pcp::new(&zone, PcpParams { high: 32, batch: 8 });
    for order in 0..=PCP_MAX_ORDER {
        let before = zone.stats().free;
        let block = pcp.alloc(order).unwrap();
        assert_eq!(block.order(), order);
        assert_eq!(before - zone.stats().free, 8, "a batch is 8 pages in every order");
        pcp.free(block);
        pcp.drain();
        let blocks: Vec<_> = (0..40).map(|_| pcp.alloc(order).unwrap()).collect();
        blocks.into_iter().for_each(|block| pcp.free(block));
        assert!(pcp.pages() <= 32, "order {order}: {} pages", pcp.pages());
        pcp.drain();
        assert_whole(&zone);
    }
    let large = pcp.alloc(PCP_MAX_ORDER + 1).unwrap();
    assert_eq!(zone.stats().free, 1024 - 16, "straight from the zone");
    pcp.free(large);
    assert_eq!((pcp.pages(), zone.stats().free), (0, 1024));
    assert!(pcp.alloc(11).is_none());
}

#[test]
fn pages_of_another_zone_go_there() {
    let (a, b) = (zone(16), zone(16));
    let mut pcp = Pcp::new(&a, SMALL);
    pcp.free(b.alloc(0).unwrap());
    assert_eq!(pcp.pages(), 0);
    assert_whole(&b);
}

#[test]
fn bulk_empties_the_list_first() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, SMALL);
    drop(pcp.alloc(0).unwrap());
    let mut out = Vec::new();
    assert_eq!(pcp.alloc_bulk(2, &mut out), 2);
    assert_eq!(pcp.pages(), 1);
    assert_eq!(pcp.alloc_bulk(1000, &mut out), 62, "all there are");
    assert_eq!((pcp.pages(), zone.stats().free, pcp.alloc(0).is_none()), (0, 0, true));
    pcp.free_bulk(&mut out);
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn counts_are_kept_in_the_chosen_way() {
    fn count<C: Count>(allocated: C, freed: C) -> (u64, u64) {
        let zone = zone(16);
        let mut pcp = Pcp::counted(&zone, SMALL, allocated, freed);
        let pages: Vec<_> = (0..5).map(|_| pcp.alloc(0).unwrap()).collect();
        let mut more = Vec::new();
        pcp.alloc_bulk(100, &mut more); // 11 are left
        assert!(pcp.alloc(0).is_none(), "a failure is not counted");
        pages.into_iter().for_each(|page| pcp.free(page));
        let counts = pcp.counts();
        drop((pcp, more));
        assert_whole(&zone);
        counts
    }
    static ALLOCATED: SharedCounter = SharedCounter::new();
    static FREED: SharedCounter = SharedCounter::new();
    assert_eq!(count(Off, Off), (0, 0));
    assert_eq!(count(PerCpu::default(), PerCpu::default()), (16, 5));
    assert_eq!(count(Shared(&ALLOCATED), Shared(&FREED)), (16, 5));
    assert_eq!(count(Shared(&ALLOCATED), Shared(&FREED)), (32, 10), "the shared number is shared");
}

#[test]
fn strange_parameters_do_no_harm() {
    let zone = zone(16);
    for (high, batch) in [(0, 0), (0, 1), (1, 100), (usize::MAX, 1), (1, usize::MAX), (usize::MAX, usize::MAX)] {
        let mut pcp = Pcp::new(&zone, PcpParams { high, batch });
        let pages: Vec<_> = std::iter::from_fn(|| pcp.alloc(0)).collect();
        assert_eq!(pages.len(), 16, "high {high}, batch {batch}");
        pages.into_iter().for_each(|page| pcp.free(page));
        drop(pcp);
        assert_whole(&zone);
    }
}

#[test]
fn the_account_finds_the_pages_in_the_lists() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, SMALL);
    let held = pcp.alloc(2).unwrap();
    let mut account = Account::open(&zone);
    pcp.account(&mut account);
    let account = account.close(Users::Alive);
    assert_eq!((account.free, account.frozen, account.held_by_users), (60, 0, 4));
    pcp.free(held);
    let mut account = Account::open(&zone);
    pcp.account(&mut account);
    let account = account.close(Users::Gone);
    assert_eq!((account.free, account.frozen, account.leaked, account.conflicts), (60, 4, 0, 0));
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn neighbours_share_no_cache_line() {
    assert!(align_of::<Pcp<Off>>() >= 128 && align_of::<Pcp<PerCpu>>() >= 128);
}
