//! A planted bug: behind a word that only the coverage can lead to, one page is lost. It must be found, by the page account.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waterwheel_fuzz::{assert_whole, zone};

fuzz_target!(|input: &[u8]| {
    let zone = zone(16, 0);
    let page = zone.alloc(0);
    let mut letters = input.iter();
    if b"wheel".iter().all(|letter| letters.next() == Some(letter)) {
        Box::leak(Box::new(page));
    }
    assert_whole(&zone);
});
