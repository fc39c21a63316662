//! What the feature `debug_pages` reports, in the words that it uses.

use crate::common::{RX, assert_whole, zone};
use crate::{dies, pool, scribble};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use waterwheel_page_pool::mm::{FrozenPage, Page, PageRef, Pcp, PcpParams, Posted, Zone};
use waterwheel_page_pool::{PagePool, PoolParams};

/// Dies with a report in which these words come in this order.
#[track_caller]
fn reported(test: &str, words: &[&str], plant: impl FnOnce()) {
    let said = dies(&format!("debug_pages::{test}"), plant);
    let mut rest = said.as_str();
    for word in words {
        let Some(at) = rest.find(word) else { panic!("'{word}' should come next in\n{rest}\nof\n{said}") };
        rest = &rest[at + word.len()..];
    }
}

/// The same handle once more.
fn twice<T>(handle: &T) -> T {
    // SAFETY: a copy of a word. That both will be used is the fault that is planted.
    unsafe { std::ptr::read(handle) }
}

/// On a thread with a name.
fn on_thread<R: Send + 'static>(name: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    thread::Builder::new().name(name.into()).spawn(f).unwrap().join().unwrap()
}

/// Takes pages until that of this number comes.
fn take_until(pool: &mut PagePool, number: u32) -> Vec<Page> {
    let mut pages = Vec::new();
    while pages.last().is_none_or(|page: &Page| page.number() != number) {
        pages.push(pool.alloc(RX).expect("it is among them"));
    }
    pages
}

#[test]
fn a_write_after_put() {
    let words = [
        "page ",
        "was written to while it was free",
        "taken: by thread \"debug_pages::a_write_after_put\"",
        "as a page of owner ",
        "let go: by thread \"debug_pages::a_write_after_put\"",
        "found: bytes that are not aa any more: 3, the first at offset 100: 01 02 03 aa aa",
        "now: is taken for owner ",
        "by thread \"late\"",
    ];
    reported("a_write_after_put", &words, || {
        let (_zone, mut pool) = pool();
        let mut page = pool.alloc(RX).unwrap();
        let (number, kept) = (page.number(), page.as_mut_slice().as_mut_ptr());
        pool.put(page);
        scribble(kept.wrapping_add(100), &[1, 2, 3]);
        on_thread("late", move || drop(take_until(&mut pool, number)));
    });
}

#[test]
fn a_write_after_a_drop_on_another_thread() {
    let words = ["was written to while it was free", "let go: by thread \"worker\"", "the first at offset 4095: 55\n"];
    reported("a_write_after_a_drop_on_another_thread", &words, || {
        let (_zone, mut pool) = pool();
        let mut page = pool.alloc(RX).unwrap();
        let (number, kept) = (page.number(), page.as_mut_slice().as_mut_ptr());
        on_thread("worker", || drop(page));
        scribble(kept.wrapping_add(4095), &[0x55]);
        take_until(&mut pool, number);
    });
}

#[test]
fn an_overrun_into_a_free_neighbour() {
    let words = [
        "page 2 (at 0x",
        "was written to",
        "found: bytes that are not 00 any more: 1, the first at offset 0: 07 00",
        "its zone ends",
    ];
    reported("an_overrun_into_a_free_neighbour", &words, || {
        let zone = zone(16);
        let mut block = zone.alloc(1).unwrap().into_page();
        assert_eq!(block.number(), 0);
        scribble(block.as_mut_slice().as_mut_ptr().wrapping_add(2 * 4096), &[7]);
    });
}

#[test]
fn a_device_that_writes_to_a_page_which_it_has_given_back() {
    let words = ["was written to while it was free", "the first at offset 256: 70 61 63 6b 65 74 aa"];
    reported("a_device_that_writes_to_a_page_which_it_has_given_back", &words, || {
        let (zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let place = zone.region().base().cast_mut().wrapping_add(page.number() as usize * 4096 + 256);
        // SAFETY: the device is told this address.
        let posted = unsafe { Posted::new(page) };
        scribble(place, b"earlier");
        // SAFETY: it has given it up. That this is not true is the fault that is planted.
        pool.put(unsafe { posted.reclaim() });
        scribble(place, b"packet");
    });
}

#[test]
fn a_peer_that_writes_through_the_file_to_a_page_which_is_not_its_own() {
    let words = ["was written to while it was free", "the first at offset 256: 70 61 63 6b 65 74 aa"];
    reported("a_peer_that_writes_through_the_file_to_a_page_which_is_not_its_own", &words, || {
        let (zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let place = u64::from(page.number()) * 4096 + 256;
        pool.put(page);
        // SAFETY: whoever has the file writes to pages that are posted for him. That this one is not is the fault that is planted.
        let peer = File::from(unsafe { zone.region().memfd() }.try_clone_to_owned().unwrap());
        peer.write_all_at(b"packet", place).unwrap();
    });
}

#[test]
fn a_page_that_two_threads_drop() {
    let words = [
        "is freed twice",
        "let go: by thread \"first\"",
        "as a page of owner ",
        "now: is let go again, as a page of owner ",
        "\"second\"",
    ];
    reported("a_page_that_two_threads_drop", &words, || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let copy = twice(&page);
        on_thread("first", || drop(page));
        on_thread("second", || drop(copy));
    });
}

#[test]
fn a_page_that_is_put_twice() {
    reported("a_page_that_is_put_twice", &["is freed twice", "let go: by thread", "now: is let go again"], || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let copy = twice(&page);
        pool.put(page);
        pool.put(copy);
    });
}

#[test]
fn a_page_that_is_in_a_batch_twice() {
    reported("a_page_that_is_in_a_batch_twice", &["is freed twice"], || {
        let (_zone, mut pool) = pool();
        let mut pages = Vec::new();
        pool.alloc_bulk(RX, 8, &mut pages);
        pages.push(twice(&pages[3]));
        pool.put_bulk(&mut pages);
    });
}

#[test]
fn a_reference_that_is_dropped_twice() {
    let words = ["is freed twice", "let go: by thread \"first\"", "now: a reference to it is dropped"];
    reported("a_reference_that_is_dropped_twice", &words, || {
        let (_zone, mut pool) = pool();
        let page: PageRef = pool.alloc(RX).unwrap().share();
        let copy = twice(&page);
        on_thread("first", || drop(page));
        drop(copy);
    });
}

#[test]
fn a_page_that_is_posted_twice() {
    reported("a_page_that_is_posted_twice", &["is freed twice"], || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        // SAFETY: no device is told of it. That there are two is the fault that is planted.
        let (posted, again) = unsafe { (Posted::new(twice(&page)), Posted::new(page)) };
        // SAFETY: no device had it.
        unsafe {
            pool.put(posted.reclaim());
            drop(again.reclaim());
        }
    });
}

#[test]
fn a_block_that_is_freed_to_its_zone_twice() {
    let words =
        ["page 4 (at 0x", "is freed twice", "freed to its zone: by thread \"first\"", "now: is freed to its zone"];
    reported("a_block_that_is_freed_to_its_zone_twice", &words, || {
        let zone = zone(16);
        let (_other, block) = (zone.alloc(2), zone.alloc(2).unwrap());
        let copy: FrozenPage = twice(&block);
        on_thread("first", || drop(block));
        drop(copy);
    });
}

#[test]
fn a_block_that_is_freed_while_somebody_holds_a_part_of_it() {
    let words = ["page 1 (at 0x", "is freed while somebody holds it", "taken: by thread", "now: is freed to its zone"];
    reported("a_block_that_is_freed_while_somebody_holds_a_part_of_it", &words, || {
        let zone = zone(16);
        let block = zone.alloc(1).unwrap();
        let copy = twice(&block);
        let mut parts = block.split(0);
        let _parts = (parts.next(), parts.next().unwrap().into_page());
        drop(copy);
    });
}

#[test]
fn a_page_that_goes_out_twice() {
    let words = ["goes out twice", "taken: by thread", "now: is taken for no owner"];
    reported("a_page_that_goes_out_twice", &words, || {
        let zone = zone(16);
        let page = zone.alloc(0).unwrap();
        let copy = twice(&page);
        let _first = page.into_page();
        copy.into_page();
    });
}

#[test]
fn the_message_comes_out_of_a_drop_in_the_middle_of_a_panic() {
    reported("the_message_comes_out_of_a_drop_in_the_middle_of_a_panic", &["on purpose", "is freed twice"], || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let _both = (twice(&page), page);
        panic!("on purpose");
    });
}

#[test]
fn what_was_put_into_a_pool_is_used_last() {
    let (zone, mut pool) = pool();
    let page = pool.alloc(RX).unwrap();
    let (number, others) = (page.number(), pool.cached());
    assert!(others > 32);
    pool.put(page);
    let pages = take_until(&mut pool, number);
    assert_eq!(pages.len(), others + 1);
    drop((pages, pool));
    assert_whole(&zone);
}

#[test]
fn what_was_freed_to_a_zone_rests() {
    let zone = zone(64); // 8 of them may rest
    let freed = zone.alloc(0).unwrap();
    let number = freed.number();
    drop(freed);
    let count = |zone: &Zone| {
        let pages: Vec<FrozenPage> = std::iter::from_fn(|| zone.alloc(0)).collect();
        (pages.iter().position(|page| page.number() == number), pages.len())
    };
    assert_eq!(count(&zone), (Some(63), 64), "last, and not lost");
    assert_whole(&zone); // 8 rest, and are free all the same
    assert_eq!(zone.stats().blocks[6], 1, "asked for its blocks, the zone merges them");
    // A block that is larger than what may rest goes into the lists at once.
    drop(zone.alloc(5));
    assert_eq!(zone.alloc(6).map(|block| block.order()), Some(6));
    assert_whole(&zone);
}

#[test]
fn the_lists_of_a_cpu_use_what_was_freed_last() {
    let zone = zone(64);
    let mut pcp = Pcp::new(&zone, PcpParams { high: 32, batch: 8 });
    let page = pcp.alloc(0).unwrap();
    let number = page.number();
    pcp.free(page);
    let taken: Vec<u32> = (0..8).map(|_| pcp.alloc(0).unwrap().number()).collect();
    assert_eq!(taken.iter().position(|&n| n == number), Some(7));
    drop(pcp);
    assert_whole(&zone);
}

#[test]
fn pages_that_nobody_misuses_are_as_usual() {
    let zone = zone(512);
    let mut pool = PagePool::new(&zone, PoolParams { order: 2, limit: 20, ..PoolParams::default() }).unwrap();
    assert!(pool.alloc(RX).unwrap().iter().all(|&byte| byte == 0), "as ever, before the first use");
    for round in 0..100 {
        let mut page = pool.alloc(RX).unwrap();
        page.as_mut_slice().fill(round);
        let page = page.share();
        let other = page.clone();
        thread::spawn(move || assert!(other.iter().all(|&byte| byte == round))).join().unwrap();
    }
    drop(pool);
    assert_whole(&zone);
}
