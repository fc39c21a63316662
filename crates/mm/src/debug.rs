//! Watching the pages: what a build can have that looks for those who use a page which is not theirs.
//!
//! Safe code cannot do that. Hardware, the kernel, C code and unsafe code can: by an address kept too long, a length too large, a handle made twice. The bytes of a page have
//! a holder from the moment when it is bound until it is let go, and are nobody's while it is frozen: in a zone, a list, a cache or a ring. Two kinds of
//! builds make something of that. Every other build has none of it, not an instruction and not a byte.
//!
//! **The feature `debug_pages`**, after the kernel's `PAGE_POISONING` and `PAGE_OWNER`:
//! - a page that is let go is filled with `0xaa`, and when it goes out again, or its zone ends, each byte must be as it was left;
//! - a page that was freed stays out of use for a while: the zone keeps the last eighth of its pages that were freed (4096 at most) off its lists until it has nothing else, and
//!   caches hand out first what lies longest in them ([`oldest_first`]);
//! - a page that is let go twice, or handed out twice, is noticed.
//!
//! Each names the page, the bytes that were found, and who did what to it last: thread, owner, and how long ago. It is written to stderr, with a backtrace if
//! `RUST_BACKTRACE` is set, and then the process is aborted: memory is corrupt, pages are mostly let go inside of a `Drop`, and a panic there may end without a word.
//!
//! **AddressSanitizer** (`RUSTFLAGS="-Zsanitizer=address --cfg asan"`, a nightly compiler, and `--target`): it knows of mapped memory only that it is mapped, so it is told which
//! pages are nobody's, and reports the first access to one as `use-after-poison`, reads too. Both can be had at once.

use crate::page::FrozenPage;
use crate::region::Region;
use crate::word::PageWord;

#[cfg(any(asan, feature = "debug_pages"))]
mod bytes;
#[cfg(feature = "debug_pages")]
mod report;
mod resting;
#[cfg(feature = "debug_pages")]
mod trace;

pub(crate) use resting::Resting;
#[cfg(feature = "debug_pages")]
pub(crate) use trace::Trace;

#[cfg(all(loom, any(asan, feature = "debug_pages")))]
compile_error!("loom has pages of its own: build it without the feature `debug_pages` and without `--cfg asan`");
#[cfg(all(shuttle, feature = "debug_pages"))]
compile_error!("what `debug_pages` writes down is no step for shuttle: build it without that feature");

/// With the feature `debug_pages`: brings the first `count` pages to the end, where a stack is popped, so that what was put in last is used last. Without it: nothing.
///
/// For caches of one's own, before pages are taken from them.
#[inline(always)]
pub fn oldest_first(pages: &mut [FrozenPage], count: usize) {
    if cfg!(feature = "debug_pages") {
        pages.rotate_left(count.min(pages.len()));
    }
}

/// The region is there; all pages are nobody's.
#[inline(always)]
pub(crate) fn mapped(region: &Region) {
    #[cfg(asan)]
    bytes::poison_region(region);
    let _ = region;
}

/// The region goes; all pages are nobody's.
#[inline(always)]
pub(crate) fn unmapping(region: &Region) {
    #[cfg(asan)]
    bytes::unpoison_region(region); // whatever comes to lie there next
    #[cfg(feature = "debug_pages")]
    trace::unmapping(region);
    let _ = region;
}

/// A frozen page gets a holder: the owner that `word` names.
#[inline(always)]
pub(crate) fn held(word: PageWord) {
    #[cfg(asan)]
    bytes::unpoison(word);
    #[cfg(feature = "debug_pages")]
    trace::held(word);
    let _ = word;
}

/// The last holder of a page of the owner that `word` names lets go: from here on it is frozen.
#[inline(always)]
pub(crate) fn let_go(word: PageWord) {
    #[cfg(feature = "debug_pages")]
    trace::let_go(word);
    #[cfg(asan)]
    bytes::poison(word);
    let _ = word;
}

/// One of several holders lets go.
#[inline(always)]
pub(crate) fn put(word: PageWord) {
    #[cfg(feature = "debug_pages")]
    trace::put(word);
    let _ = word;
}

/// A block leaves the lists of its zone.
#[inline(always)]
pub(crate) fn from_zone(region: &Region, number: u32, order: u8) {
    #[cfg(feature = "debug_pages")]
    trace::from_zone(region, number, order);
    let _ = (region, number, order);
}

/// A block is freed to its zone.
#[inline(always)]
pub(crate) fn to_zone(region: &Region, number: u32, order: u8) {
    #[cfg(feature = "debug_pages")]
    trace::to_zone(region, number, order);
    let _ = (region, number, order);
}
