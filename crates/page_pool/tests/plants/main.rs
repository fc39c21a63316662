//! Planted faults: each must be caught, by AddressSanitizer or by the feature `debug_pages`, whichever this is built with. See `mm::debug`.
//! Where it is built with both, AddressSanitizer is the one to report: it sees an access at once, and the other sees later what it has done.
//!
//! Safe code cannot do what these do. They play C code and hardware: an address that is kept too long, a handle that is made twice.
#![cfg(any(asan, feature = "debug_pages"))]
#![expect(unsafe_code, reason = "tests: misuse pages as only unsafe code can")]

#[cfg(asan)]
mod asan;
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(feature = "debug_pages", not(asan)))]
mod debug_pages;

use std::process::Command;
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::Zone;

/// Runs `plant` in a process of its own, which must die of it, and answers what that process said last. `test` is the path of the test that asks.
#[track_caller]
fn dies(test: &str, plant: impl FnOnce()) -> String {
    const PLANT: &str = "WATERWHEEL_PLANT";
    if std::env::var_os(PLANT).is_some() {
        plant();
        std::process::exit(0); // it was not caught
    }
    let this = std::env::current_exe().expect("this test");
    let mut child = Command::new(this);
    child.args([test, "--exact", "--nocapture"]).env(PLANT, "1").env_remove("RUST_BACKTRACE");
    let output = child.env("ASAN_OPTIONS", "detect_leaks=0:symbolize=0").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "the planted fault was not caught\n{said}");
    println!("{said}");
    said
}

/// A zone and a pool of it, which has taken its first pages.
fn pool() -> (Zone, PagePool) {
    let zone = common::zone(512);
    let mut pool = common::pool(&zone, 256);
    let page = pool.alloc(common::RX).expect("512 pages are free");
    pool.put(page);
    (zone, pool)
}

/// Writes where it may not.
fn scribble(place: *mut u8, bytes: &[u8]) {
    for (i, &byte) in bytes.iter().enumerate() {
        // SAFETY: mapped memory. That it is somebody else's is the fault that is planted.
        unsafe { place.add(i).write_volatile(byte) }
    }
}
