//! What loom explores of the way home: the real owners, slots, lanes, lists and handles, with pages that loom can make.
//!
//! Here a page is no memory of a zone but an allocation that begins with its metadata; `page` takes this module for the zone. Its bytes are a cell: loom reports two accesses of which
//! neither comes before the other. Run with `RUSTFLAGS="--cfg loom" cargo test -p waterwheel-mm --lib --release`.
#![expect(unsafe_code, reason = "tests: pages for loom, found by address")]

mod home;

use crate::meta::{FROZEN, PageMeta};
use crate::page::{FrozenPage, Page};
use crate::refcount::Refcount;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, UnsafeCell};
use crate::word::{Mark, PageWord};
use std::cell;
use std::ptr::{self, NonNull};

#[repr(C, align(4096))]
struct ModelPage {
    meta: PageMeta,
    bytes: Cell,
}

/// Something that may be written by one thread alone, or read by many. That there is an access is what loom checks against the others.
struct Cell(UnsafeCell<()>);

// SAFETY: nothing is in it.
unsafe impl Sync for Cell {}
// SAFETY: as above.
unsafe impl Send for Cell {}

impl Cell {
    fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

thread_local! {
    /// Pages that are not freed. (Of std: all threads of an execution run on one.)
    static OUT: cell::Cell<usize> = const { cell::Cell::new(0) };
}

/// A new page.
fn page() -> FrozenPage {
    OUT.set(OUT.get() + 1);
    let meta = PageMeta {
        refcount: Refcount::new(0),
        next: AtomicU32::new(0),
        prev: AtomicU32::new(0),
        state: AtomicU8::new(FROZEN),
        order: AtomicU8::new(0),
        link: AtomicPtr::new(ptr::null_mut()),
        range: AtomicU64::new(0),
    };
    let page = Box::leak(Box::new(ModelPage { meta, bytes: Cell::new() }));
    // SAFETY: the page is new, and this is its only handle.
    unsafe { FrozenPage::from_word(PageWord::new(NonNull::from(page).cast(), 0)) }
}

/// Writes to a page.
fn write(page: FrozenPage) -> FrozenPage {
    let word = page.into_word();
    // SAFETY: a page of this module whose handle was just taken apart, and which has one again.
    unsafe {
        (*word.address().cast::<ModelPage>()).bytes.write();
        FrozenPage::from_word(word)
    }
}

/// As its holder.
fn write_held(page: Page) -> Page {
    let owner = page.owner_id();
    write(page.unbind()).bind(Mark::of(owner))
}

pub(crate) fn meta_of(page: *mut u8) -> *const PageMeta {
    page.cast::<PageMeta>()
}

pub(crate) fn number_of(page: *mut u8) -> u32 {
    (page.addr() / crate::PAGE_SIZE) as u32
}

/// No model asks for the region of a page.
pub(crate) fn id_of(_: PageWord) -> crate::RegionId {
    unreachable!("pages of a model are in no region");
}

pub(crate) fn free(word: PageWord) {
    // SAFETY: words are made by `page`, and this was the last handle.
    let page = unsafe { Box::from_raw(word.address().cast::<ModelPage>()) };
    page.bytes.write();
    OUT.set(OUT.get() - 1);
}

pub(crate) fn quarantine(word: PageWord) {
    free(word);
}

/// No page of a model is followed.
pub(crate) fn history_of(_: &PageWord) -> Option<(&crate::history::History, u32)> {
    None
}

pub(crate) fn release(_: PageWord) {
    unreachable!("no model takes a page out of quarantine");
}
