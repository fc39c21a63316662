//! With whom each page is, and whether that can be: the checks of `debug_pages`.

use super::bytes;
use super::report::{Report, Stamp};
use crate::page::meta;
use crate::region::Region;
use crate::sync::{AtomicU8, AtomicU64, Ordering};
use crate::word::PageWord;

/// What a page is filled with when its last holder lets go (the kernel's `PAGE_POISON`). One that nobody has held yet is zero.
const POISON: u8 = 0xaa;

/// The zone has it. (Zero: so it begins.)
const ZONE: u8 = 0;
/// A list, a cache or a ring has it.
const FROZEN: u8 = 1;
/// Somebody holds it, who may write to it.
const HELD: u8 = 2;

/// Beside the metadata of each page: where it is, and who brought it there. Atomic, as those who look may be those who have no right to.
#[derive(Debug)]
pub(crate) struct Trace {
    state: AtomicU8,
    /// When it was last held, let go and freed to its zone, and by whom.
    held: AtomicU64,
    let_go: AtomicU64,
    zoned: AtomicU64,
}

impl Trace {
    /// Moves the page to `to`, and tells where it was.
    fn go(&self, to: u8) -> u8 {
        self.state.swap(to, Ordering::AcqRel)
    }

    /// What its bytes are while nobody holds it.
    fn pattern(&self) -> u8 {
        if self.last(&self.let_go).is_some() { POISON } else { 0 }
    }

    fn last(&self, event: &AtomicU64) -> Option<Stamp> {
        Stamp::of(event.load(Ordering::Relaxed))
    }

    fn report(&self, page: PageWord, what: &str) -> Report {
        Report::new(crate::zone::number_of(page.address()), page.address(), what)
            .line("taken", self.last(&self.held))
            .line("let go", self.last(&self.let_go))
            .line("freed to its zone", self.last(&self.zoned))
    }

    /// Nobody holds it: its bytes must be as they were left.
    fn check(&self, page: PageWord, now: impl FnOnce() -> String) {
        let pattern = self.pattern();
        if let Some((offset, count, found)) = bytes::strange(page, pattern) {
            let found: Vec<String> = found.iter().map(|byte| format!("{byte:02x}")).collect();
            self.report(page, "was written to while it was free")
                .text(
                    "found",
                    &format!(
                        "bytes that are not {pattern:02x} any more: {count}, the first at offset {offset}: {}",
                        found.join(" ")
                    ),
                )
                .now(&now())
                .abort();
        }
    }
}

/// The single pages of a block.
fn pages(word: PageWord) -> impl Iterator<Item = PageWord> {
    (0..1 << word.order()).map(move |i| word.part(i))
}

pub(super) fn held(word: PageWord) {
    let (owner, stamp) = (word.owner(), Stamp::now(word.owner()));
    for page in pages(word) {
        let trace = &meta(page).trace;
        let now = || format!("is taken for {}", Stamp::owner_name(owner));
        match trace.go(HELD) {
            FROZEN => trace.check(page, now),
            HELD => trace.report(page, "goes out twice").now(&now()).abort(),
            _ => trace.report(page, "goes out by a handle from before it was freed").now(&now()).abort(),
        }
        trace.held.store(stamp, Ordering::Relaxed);
    }
}

pub(super) fn let_go(word: PageWord) {
    let stamp = Stamp::now(word.owner());
    for page in pages(word) {
        let trace = &meta(page).trace;
        if trace.go(FROZEN) != HELD {
            let now = format!("is let go again, as a page of {}", Stamp::owner_name(word.owner()));
            trace.report(page, "is freed twice").now(&now).abort();
        }
        trace.let_go.store(stamp, Ordering::Relaxed);
    }
    bytes::fill(word, POISON);
}

pub(super) fn put(word: PageWord) {
    let trace = &meta(word).trace;
    if trace.state.load(Ordering::Acquire) != HELD {
        let now = format!("a reference to it is dropped, as a page of {}", Stamp::owner_name(word.owner()));
        trace.report(word, "is freed twice").now(&now).abort();
    }
}

pub(super) fn from_zone(region: &Region, number: u32, order: u8) {
    for page in pages(PageWord::new(region.page(number), order)) {
        let trace = &meta(page).trace;
        if trace.go(FROZEN) != ZONE {
            trace.report(page, "is in the lists of its zone, and is not free").now("leaves the lists").abort();
        }
    }
}

pub(super) fn to_zone(region: &Region, number: u32, order: u8) {
    let stamp = Stamp::now(0);
    for page in pages(PageWord::new(region.page(number), order)) {
        let (trace, now) = (&meta(page).trace, "is freed to its zone");
        match trace.go(ZONE) {
            FROZEN => {}
            HELD => trace.report(page, "is freed while somebody holds it").now(now).abort(),
            _ => trace.report(page, "is freed twice").now(now).abort(),
        }
        trace.zoned.store(stamp, Ordering::Relaxed);
    }
}

/// What is not handed out any more is looked at here.
pub(super) fn unmapping(region: &Region) {
    for number in 0..region.pages() as u32 {
        let page = PageWord::new(region.page(number), 0);
        meta(page).trace.check(page, || "its zone ends".to_owned());
    }
}
