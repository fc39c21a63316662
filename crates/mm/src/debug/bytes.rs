//! The bytes of pages that are nobody's.
#![expect(unsafe_code, reason = "fills pages that nobody holds, looks at them, and tells AddressSanitizer of them")]

#[cfg(asan)]
use crate::region::Region;
use crate::word::PageWord;
#[cfg(asan)]
use std::ffi::c_void;

#[cfg(asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const c_void, bytes: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, bytes: usize);
}

/// From now on AddressSanitizer reports who touches a page of the region.
#[cfg(asan)]
pub(super) fn poison_region(region: &Region) {
    // SAFETY: mapped memory, of which nobody has a page yet.
    unsafe { __asan_poison_memory_region(region.base().cast(), region.len()) }
}

/// The memory is as any other again.
#[cfg(asan)]
pub(super) fn unpoison_region(region: &Region) {
    // SAFETY: as above; all pages are back.
    unsafe { __asan_unpoison_memory_region(region.base().cast(), region.len()) }
}

/// From now on AddressSanitizer reports who touches the block.
#[cfg(asan)]
pub(super) fn poison(word: PageWord) {
    // SAFETY: pages of a region, which is mapped while they are out; nobody holds them.
    unsafe { __asan_poison_memory_region(word.address().cast_const().cast(), word.size()) }
}

/// The block may be used.
#[cfg(asan)]
pub(super) fn unpoison(word: PageWord) {
    // SAFETY: as above.
    unsafe { __asan_unpoison_memory_region(word.address().cast_const().cast(), word.size()) }
}

/// Writes `pattern` over a block that its last holder has let go.
#[cfg(feature = "debug_pages")]
pub(super) fn fill(word: PageWord, pattern: u8) {
    // SAFETY: pages of a region, which is mapped while they are out; nobody holds them.
    unsafe { word.address().write_bytes(pattern, word.size()) }
}

/// Bytes of a page that nobody holds and that are not `pattern`: where the first of them is, how many they are, and what is there and behind it.
#[cfg(feature = "debug_pages")]
pub(super) fn strange(word: PageWord, pattern: u8) -> Option<(usize, usize, Vec<u8>)> {
    let words = word.address().cast::<u64>();
    let whole = u64::from_ne_bytes([pattern; 8]);
    let count = word.size() / size_of::<u64>();
    let read = |i: usize| {
        debug_assert!(i < count);
        // SAFETY: bytes of a mapped page that the caller has to itself. Volatile, as somebody who has no right to may be writing to it.
        unsafe { words.add(i).read_volatile() }
    };
    if (0..count).fold(0, |differ, i| differ | (read(i) ^ whole)) == 0 {
        return None;
    }
    let bytes: Vec<u8> = (0..count).flat_map(|i| read(i).to_ne_bytes()).collect();
    let first = bytes.iter().position(|&byte| byte != pattern)?;
    let found = bytes.iter().filter(|&&byte| byte != pattern).count();
    Some((first, found, bytes[first..].iter().copied().take(16).collect()))
}
