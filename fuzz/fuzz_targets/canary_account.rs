//! A planted bug: behind a word that only the coverage can lead to, one page is lost. It must be found, by the page account.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use waterwheel::Zone;
use waterwheel_fuzz::{assert_whole, zone};

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(16, 0));

fuzz_target!(|input: &[u8]| {
    let zone = &*ZONE;
    let page = zone.alloc(0);
    let mut letters = input.iter();
    if b"dam".iter().all(|letter| letters.next() == Some(letter)) {
        Box::leak(Box::new(page));
    } else {
        drop(page);
    }
    assert_whole(zone);
});
