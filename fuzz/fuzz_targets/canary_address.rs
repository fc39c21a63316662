//! A planted bug: behind a word that only the coverage can lead to, a freed byte is read. It must be found, by AddressSanitizer.
#![no_main]
#![expect(unsafe_code, reason = "it is the bug")]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = input.to_vec();
    let first = bytes.as_ptr();
    if bytes.starts_with(b"wheel") {
        drop(bytes);
        // SAFETY: none. That is the bug.
        std::hint::black_box(unsafe { first.read_volatile() });
    }
});
