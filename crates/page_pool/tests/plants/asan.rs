//! What AddressSanitizer reports. It is told of the place where a page is let go, so there is one test for each way to let go of one.

use crate::common::RX;
use crate::{dies, pool, scribble};
use std::thread;
use waterwheel_page_pool::mm::{FragPage, Posted};

/// Dies with a report of an access that has this size and is of this kind.
#[track_caller]
fn reported(test: &str, access: &str, plant: impl FnOnce()) {
    let said = dies(&format!("asan::{test}"), plant);
    assert!(said.contains("AddressSanitizer: use-after-poison") && said.contains(access), "{said}");
}

/// Reads what it may not.
fn peek(place: *const u8) -> u8 {
    // SAFETY: mapped memory. That it is nobody's is the fault that is planted.
    unsafe { place.read_volatile() }
}

#[test]
fn a_read_after_put() {
    reported("a_read_after_put", "READ of size 1", || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let kept = page.as_ptr();
        assert_eq!(peek(kept.wrapping_add(4095)), 0);
        pool.put(page);
        peek(kept.wrapping_add(4095));
    });
}

#[test]
fn a_read_after_a_put_in_bulk() {
    reported("a_read_after_a_put_in_bulk", "READ of size 1", || {
        let (_zone, mut pool) = pool();
        let mut pages = Vec::new();
        pool.alloc_bulk(RX, 32, &mut pages);
        let kept = pages[17].as_ptr();
        pool.put_bulk(&mut pages);
        peek(kept);
    });
}

#[test]
fn a_write_after_a_drop_on_another_thread() {
    reported("a_write_after_a_drop_on_another_thread", "WRITE of size 1", || {
        let (_zone, mut pool) = pool();
        let mut page = pool.alloc(RX).unwrap();
        let kept = page.as_mut_slice().as_mut_ptr();
        thread::spawn(move || drop(page)).join().unwrap();
        scribble(kept, &[1]);
    });
}

#[test]
fn a_read_after_the_last_reference() {
    reported("a_read_after_the_last_reference", "READ of size 1", || {
        let (_zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap().share();
        let (kept, other) = (page.as_ptr(), page.clone());
        drop(page);
        peek(kept); // this one may be read
        thread::spawn(move || drop(other)).join().unwrap();
        peek(kept);
    });
}

#[test]
fn a_write_to_a_fragment_whose_page_went_home() {
    reported("a_write_to_a_fragment_whose_page_went_home", "WRITE of size 1", || {
        let (_zone, mut pool) = pool();
        let mut page = FragPage::new(pool.alloc(RX).unwrap());
        let (mut first, second) = (page.cut(100, 64).unwrap(), page.cut(100, 64).unwrap());
        let kept = first.as_mut_ptr();
        drop((page, first));
        scribble(kept, &[1]); // not his any more, but the page is still out: this one cannot be seen
        drop(second);
        scribble(kept, &[1]);
    });
}

#[test]
fn an_overrun_into_a_free_neighbour() {
    reported("an_overrun_into_a_free_neighbour", "WRITE of size 1", || {
        let (zone, _pool) = pool();
        let mut block = zone.alloc(1).unwrap().into_page();
        assert!(block.number() + 2 < 512);
        let start = block.as_mut_slice().as_mut_ptr();
        scribble(start.wrapping_add(2 * 4096 - 1), &[1, 2]); // the second byte is one too many
    });
}

#[test]
fn a_device_that_writes_to_a_page_which_it_has_given_back() {
    reported("a_device_that_writes_to_a_page_which_it_has_given_back", "WRITE of size 1", || {
        let (zone, mut pool) = pool();
        let page = pool.alloc(RX).unwrap();
        let posted_at = u64::from(page.number()) * 4096; // as AF_XDP names it
        // SAFETY: the device below is told this address; nobody else is.
        let posted = unsafe { Posted::new(page) };
        let device = |offset: u64| {
            let base = zone.region().base().cast_mut();
            scribble(base.wrapping_add((posted_at + offset) as usize), b"packet");
        };
        device(256);
        // SAFETY: it has given it up. That this is not true is the fault that is planted.
        let page = unsafe { posted.reclaim() };
        assert_eq!(&page[256..262], b"packet");
        pool.put(page);
        device(256);
    });
}

#[test]
fn a_read_of_a_page_that_was_never_handed_out() {
    reported("a_read_of_a_page_that_was_never_handed_out", "READ of size 1", || {
        let (zone, _pool) = pool();
        peek(zone.region().base().wrapping_add(511 * 4096));
    });
}

#[test]
fn memory_is_as_any_other_when_its_zone_is_gone() {
    let zone = crate::common::zone(512);
    let (base, len) = (zone.region().base(), zone.region().len());
    drop(zone);
    // SAFETY: a plain question about addresses.
    let poisoned = unsafe { __asan_region_is_poisoned(base.cast(), len) };
    assert!(poisoned.is_null());
}

unsafe extern "C" {
    fn __asan_region_is_poisoned(start: *const std::ffi::c_void, bytes: usize) -> *const std::ffi::c_void;
}
