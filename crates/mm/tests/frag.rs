//! Fragments: exclusive ranges of one page, and the page that goes home with the last of them.

mod common;

use common::{Rng, SendHome, assert_whole, bound, collect_all, zone};
use waterwheel_mm::{FragPage, Owner, PAGE_SIZE, PageFrag};

#[test]
fn ranges_are_aligned_inside_and_apart() {
    let zone = zone(8);
    let mut rng = Rng(5);
    for order in [0, 3] {
        for _ in 0..200 {
            let block = zone.alloc(order).unwrap().into_page();
            let number = block.number();
            let mut page = FragPage::new(block);
            let size = PAGE_SIZE << order;
            let mut frags: Vec<PageFrag> = Vec::new();
            let mut end = 0usize;
            loop {
                let (len, align) = (1 + rng.below(600), 1 << rng.below(9));
                let start = end.next_multiple_of(align);
                let Some(frag) = page.cut(len, align) else {
                    assert!(start + len > size, "{len} bytes would have fitted at {start}");
                    break;
                };
                assert_eq!((frag.offset(), frag.len(), frag.as_ptr().addr() % align), (start, len, 0));
                assert_eq!((frag.number(), frag.order()), (number, order));
                end = start + len;
                assert_eq!(page.room(), size - end);
                frags.push(frag);
            }
            for (i, frag) in frags.iter_mut().enumerate() {
                frag.fill(i as u8);
            }
            drop(page); // cut no more; the ranges stay
            assert!(frags.iter().enumerate().all(|(i, frag)| frag.iter().all(|byte| *byte == i as u8)));
        }
    }
    assert_whole(&zone);
}

#[test]
fn the_last_byte_can_be_had_and_no_more() {
    let zone = zone(1);
    let mut page = FragPage::new(zone.alloc(0).unwrap().into_page());
    let most = page.cut(PAGE_SIZE - 1, 1).unwrap();
    assert!(page.cut(2, 1).is_none() && page.cut(1, 2).is_none());
    assert_eq!(page.cut(1, 1).unwrap().offset(), PAGE_SIZE - 1);
    assert_eq!((page.room(), page.cut(1, 1).is_none()), (0, true));
    for (len, align) in [(usize::MAX, 1), (1, 1 << 63), (usize::MAX, 1 << 63), (PAGE_SIZE + 1, 1)] {
        assert!(page.cut(len, align).is_none());
    }
    drop((page, most));
    assert_whole(&zone);
    let mut page = FragPage::new(zone.alloc(0).unwrap().into_page());
    for align in [2 * PAGE_SIZE, 1 << 40, 1 << 63] {
        assert!(page.cut(1, align).is_none(), "a page is aligned to its own size, and to no more");
    }
    drop(page.cut(PAGE_SIZE, PAGE_SIZE).expect("a fresh page is one fragment"));
    drop(page);
    assert_whole(&zone);
}

#[test]
fn a_page_of_single_bytes() {
    let zone = zone(1);
    let mut page = FragPage::new(zone.alloc(0).unwrap().into_page());
    let mut frags: Vec<_> = std::iter::from_fn(|| page.cut(1, 1)).collect();
    assert_eq!(frags.len(), PAGE_SIZE);
    frags.iter_mut().enumerate().for_each(|(i, frag)| frag[0] = i as u8);
    assert!(frags.iter().enumerate().all(|(i, frag)| frag[0] == i as u8));
    drop((frags, page));
    assert_whole(&zone);
}

#[test]
fn the_page_comes_home_with_the_last_of_cutter_and_fragments() {
    let zone = zone(4);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    for (round, cutter_last) in [false, true, false, true].into_iter().enumerate() {
        let mut page = FragPage::new(bound(&zone, &mut owner));
        let (first, second) = (page.cut(2048, 64).unwrap(), page.cut(2048, 64).unwrap());
        assert_eq!(first.number(), second.number());
        drop(second);
        if cutter_last {
            drop(first);
            assert_eq!(home.calls(), round, "it could be cut further");
            drop(page);
        } else {
            drop(page);
            assert_eq!(home.calls(), round);
            drop(first);
        }
        assert_eq!((home.calls(), owner.outstanding(), collect_all(&mut owner)), (round + 1, 0, 1));
    }
    drop(FragPage::new(bound(&zone, &mut owner))); // never cut
    assert_eq!((home.calls(), collect_all(&mut owner)), (5, 1));
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn several_threads_write_their_ranges_of_one_page() {
    let zone = zone(4);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    for _ in 0..200 {
        let mut page = FragPage::new(bound(&zone, &mut owner));
        std::thread::scope(|scope| {
            for mark in 0..4u8 {
                let mut mine: Vec<_> = (0..7).map(|_| page.cut(100 + usize::from(mark), 4).unwrap()).collect();
                scope.spawn(move || {
                    mine.iter_mut().for_each(|frag| frag.fill(mark));
                    std::thread::yield_now();
                    assert!(mine.iter().all(|frag| frag.iter().all(|byte| *byte == mark)));
                });
            }
            drop(page); // races with the fragments
        });
        common::until(|| owner.outstanding() == 0);
        assert_eq!(collect_all(&mut owner), 1);
    }
    assert_eq!(home.calls(), 200);
    drop(owner);
    assert_whole(&zone);
}

#[test]
#[should_panic(expected = "fragments have a length, and a power of two as alignment")]
fn an_empty_fragment_is_a_mistake() {
    drop(FragPage::new(zone(1).alloc(0).unwrap().into_page()).cut(0, 1));
}

#[test]
#[should_panic(expected = "fragments have a length, and a power of two as alignment")]
fn an_odd_alignment_is_a_mistake() {
    drop(FragPage::new(zone(1).alloc(0).unwrap().into_page()).cut(1, 3));
}
