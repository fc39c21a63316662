//! The buddy lists, through the zone: orders, alignment, splitting and merging, exhaustion, bulk, odd sizes.

mod common;

use common::{Rng, assert_whole, zone};
use waterwheel_mm::{FrozenPage, MAX_ORDER, ORDERS, PAGE_SIZE, Zone};

/// All that the zone gives of one order.
fn exhaust(zone: &Zone, order: u8) -> Vec<FrozenPage> {
    std::iter::from_fn(|| zone.alloc(order)).collect()
}

#[test]
fn every_order_is_aligned_and_can_be_exhausted() {
    for order in 0..=MAX_ORDER {
        let zone = zone(2048);
        let blocks = exhaust(&zone, order);
        assert_eq!(blocks.len(), 2048 >> order, "order {order}");
        assert_eq!(zone.stats().free, 0);
        for block in blocks {
            assert_eq!((block.order(), block.size()), (order, PAGE_SIZE << order));
            assert_eq!(block.number() % (1 << order), 0, "block {block:?}");
            let page = block.into_page();
            assert_eq!(page.as_slice().as_ptr().addr() % page.size(), 0, "the address is aligned as the number is");
        }
        assert_whole(&zone);
    }
}

#[test]
fn orders_above_ten_do_not_exist() {
    let zone = zone(2048);
    for order in [11, 12, 31, 32, 63, 64, 255] {
        assert!(zone.alloc(order).is_none());
        assert_eq!(zone.alloc_bulk(order, 5, &mut Vec::new()), 0);
    }
    assert_whole(&zone);
}

#[test]
fn a_block_is_split_in_halves_and_merged_again() {
    let zone = zone(1024);
    let mut whole = [0; ORDERS];
    whole[10] = 1;
    assert_eq!(zone.stats().blocks, whole);
    let page = zone.alloc(0).unwrap();
    let halves = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0];
    assert_eq!((zone.stats().blocks, zone.stats().free), (halves, 1023));
    drop(page);
    assert_eq!(zone.stats().blocks, whole);
    assert_whole(&zone);
}

#[test]
fn blocks_merge_with_their_buddy_and_not_with_another_neighbour() {
    let zone = zone(4);
    let mut pages = exhaust(&zone, 0);
    pages.sort_by_key(FrozenPage::number);
    let [p0, p1, p2, p3]: [FrozenPage; 4] = pages.try_into().unwrap();
    drop(p1);
    drop(p2); // a neighbour of 1, but not its buddy
    assert_eq!(zone.stats().blocks[..3], [2, 0, 0]);
    drop(p0);
    assert_eq!(zone.stats().blocks[..3], [1, 1, 0]);
    drop(p3);
    assert_eq!(zone.stats().blocks[..3], [0, 0, 1]);
    assert_whole(&zone);
}

#[test]
fn odd_regions_give_every_page_once_and_merge_back() {
    for pages in [1, 2, 3, 5, 7, 100, 511, 513, 1025] {
        let zone = zone(pages);
        let before = zone.stats();
        assert_eq!(before.total, if pages < 512 { pages } else { pages.next_multiple_of(512) });
        assert_eq!(before.blocks.iter().enumerate().map(|(order, n)| n << order).sum::<usize>(), before.total);
        let mut all = exhaust(&zone, 0);
        let mut numbers: Vec<u32> = all.iter().map(FrozenPage::number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..before.total as u32), "{pages} pages");
        let odd: Vec<_> = all.extract_if(.., |page| page.number() % 2 == 1).collect();
        drop(odd); // these cannot merge yet
        drop(all);
        assert_eq!(zone.stats(), before);
        assert_whole(&zone);
    }
}

#[test]
fn bulk_gives_what_there_is_and_every_page_once() {
    for count in [0, 1, 2, 63, 64, 65, 500, 1000, 5000] {
        let zone = zone(1000); // 1024, in blocks
        let mut out = Vec::new();
        assert_eq!(zone.alloc_bulk(0, count, &mut out), count.min(1024));
        assert_eq!((out.len(), zone.stats().free), (count.min(1024), 1024 - count.min(1024)));
        let mut numbers: Vec<u32> = out.iter().map(FrozenPage::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), out.len());
        zone.free_bulk(out.drain(..));
        assert_whole(&zone);
    }
}

#[test]
fn bulk_of_blocks_keeps_their_order() {
    let zone = zone(256);
    let _one = zone.alloc(0).unwrap();
    let mut out = Vec::new();
    assert_eq!(zone.alloc_bulk(3, 100, &mut out), 31, "one block of eight is cut");
    assert!(out.iter().all(|block| block.order() == 3 && block.number() % 8 == 0));
    zone.free_bulk(out.drain(..));
    drop(_one);
    assert_whole(&zone);
}

#[test]
fn bulk_takes_small_blocks_before_it_cuts_large_ones() {
    let zone = zone(1024);
    let mut all = exhaust(&zone, 0);
    all.sort_by_key(FrozenPage::number);
    let upper = all.split_off(512);
    let odd: Vec<_> = all.extract_if(.., |page| page.number() % 2 == 1).collect();
    drop(odd); // 256 single pages
    drop(upper); // and one block of 512
    let mut out = Vec::new();
    assert_eq!(zone.alloc_bulk(0, 100, &mut out), 100);
    assert_eq!(zone.stats().blocks[9], 1, "the large block stays whole");
    drop((out, all));
    assert_whole(&zone);
}

#[test]
fn asking_for_more_than_any_memory_is_a_normal_question() {
    let zone = zone(10);
    let mut out = Vec::new();
    assert_eq!(zone.alloc_bulk(0, usize::MAX, &mut out), 10);
    assert_eq!(zone.alloc_bulk(1, usize::MAX, &mut out), 0);
    drop(out);
    assert_whole(&zone);
}

#[test]
fn bulk_free_sends_pages_of_another_zone_there() {
    let (a, b) = (zone(8), zone(8));
    let mut pages = exhaust(&a, 0);
    pages.extend(exhaust(&b, 1));
    let mut rng = Rng(7);
    for i in (1..pages.len()).rev() {
        pages.swap(i, rng.below(i + 1));
    }
    a.free_bulk(pages.drain(..));
    assert_whole(&a);
    assert_whole(&b);
}

#[test]
fn split_covers_the_block_and_what_is_not_taken_is_freed() {
    let zone = zone(64);
    let block = zone.alloc(5).unwrap();
    let first = block.number();
    let parts: Vec<_> = block.split(3).collect();
    assert_eq!(parts.iter().map(FrozenPage::number).collect::<Vec<_>>(), [first, first + 8, first + 16, first + 24]);
    assert!(parts.iter().all(|part| part.order() == 3));
    drop(parts);
    let mut parts = zone.alloc(5).unwrap().split(0);
    let some = [parts.next(), parts.next(), parts.next()];
    assert_eq!(zone.stats().free, 32);
    drop(parts); // 29 of 32
    assert_eq!(zone.stats().free, 61);
    drop(some);
    assert_whole(&zone);
}

#[test]
#[should_panic(expected = "a block of order 1 cannot be split into order 2")]
fn splitting_upwards_is_a_mistake() {
    let zone = zone(4);
    drop(zone.alloc(1).unwrap().split(2));
}

/// Blocks that are out: no two overlap, all lie inside, and each keeps what was written into it.
struct Model {
    live: Vec<waterwheel_mm::Page>,
    taken: Vec<bool>,
}

impl Model {
    fn add(&mut self, block: FrozenPage, stamp: u64) {
        for page in block.number() as usize..block.number() as usize + (1 << block.order()) {
            assert!(!std::mem::replace(&mut self.taken[page], true), "page {page} was handed out twice");
        }
        let mut page = block.into_page();
        let mark = (stamp ^ u64::from(page.number())).to_ne_bytes();
        let end = page.len() - 8;
        page.as_mut_slice()[..8].copy_from_slice(&mark);
        page.as_mut_slice()[end..].copy_from_slice(&mark);
        self.live.push(page);
    }

    fn remove(&mut self, i: usize) {
        let page = self.live.swap_remove(i);
        assert_eq!(page[..8], page[page.len() - 8..], "somebody else wrote into block {page:?}");
        for number in page.number() as usize..page.number() as usize + (1 << page.order()) {
            assert!(std::mem::replace(&mut self.taken[number], false));
        }
    }
}

#[test]
fn a_random_walk_agrees_with_a_model() {
    for (seed, pages) in [(1, 1000), (2, 2048), (3, 37), (4, 511)] {
        let zone = zone(pages);
        let total = zone.stats().total;
        let mut model = Model { live: Vec::new(), taken: vec![false; total] };
        let mut rng = Rng(seed);
        for step in 0..20_000 {
            match rng.below(10) {
                0..=3 => {
                    if let Some(block) = zone.alloc(rng.below(8) as u8) {
                        model.add(block, step);
                    }
                }
                4 => {
                    let mut out = Vec::new();
                    zone.alloc_bulk(rng.below(3) as u8, rng.below(40), &mut out);
                    out.into_iter().for_each(|block| model.add(block, step));
                }
                5 => {
                    if let Some(block) = zone.alloc(4) {
                        block.split(rng.below(5) as u8).for_each(|part| model.add(part, step));
                    }
                }
                _ if model.live.is_empty() => {}
                _ => model.remove(rng.below(model.live.len())),
            }
            let out: usize = model.taken.iter().filter(|taken| **taken).count();
            assert_eq!(zone.stats().free, total - out);
        }
        let blocks = zone.stats().blocks;
        assert_eq!(blocks.iter().enumerate().map(|(order, n)| n << order).sum::<usize>(), zone.stats().free);
        while !model.live.is_empty() {
            model.remove(0);
        }
        assert_whole(&zone);
    }
}

#[test]
fn eight_threads_share_a_zone() {
    let zone = zone(512);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let zone = &zone;
            scope.spawn(move || {
                let mut rng = Rng(seed);
                let mut mine = Vec::new();
                for _ in 0..3000 {
                    match zone.alloc(rng.below(4) as u8) {
                        Some(block) if rng.below(3) > 0 => {
                            let mut page = block.into_page();
                            page.as_mut_slice()[..8].copy_from_slice(&seed.to_ne_bytes());
                            mine.push(page);
                        }
                        _ if mine.is_empty() => {}
                        _ => {
                            let page: waterwheel_mm::Page = mine.swap_remove(rng.below(mine.len()));
                            assert_eq!(page[..8], seed.to_ne_bytes(), "another thread has this page too");
                        }
                    }
                }
            });
        }
    });
    assert_whole(&zone);
}
