//! Pages: the handles, whose type is the state of the page.
//!
//! | handle | meaning | dropping it |
//! |---|---|---|
//! | [`FrozenPage`] | allocated, refcount 0: what zones, lists, caches and rings hold | frees it to its zone |
//! | [`Page`] | refcount 1, sole owner | calls the destructor of its owner; without one, frees it |
//! | [`PageRef`] | shared; `Clone` is get_page | put_page; the last one calls the destructor |
//! | [`PageFrag`](crate::PageFrag) | exclusive byte range of a shared page | put; the last one calls the destructor |
//! | [`Posted`] | handed to hardware or to the kernel, which may write to it | puts it into quarantine, never frees it |
#![expect(unsafe_code, reason = "pages are memory that is found by address")]

use crate::chain::{self, Part};
use crate::meta::PageMeta;
#[cfg(all(test, loom))]
use crate::model as zone;
use crate::word::{Mark, PageWord};
#[cfg(not(all(test, loom)))]
use crate::zone;
use crate::{debug, prefetch, release};
use std::fmt;
use std::ops::Deref;

const _: () = assert!(size_of::<Option<Page>>() == 8 && size_of::<Option<Posted>>() == 8);

/// A free block of `1 << order` pages that has left the buddy lists. Its bytes belong to nobody.
///
/// Dropping it gives it back to its zone, from any thread.
pub struct FrozenPage(PageWord);

/// One page, or one block of `1 << order` pages, that nobody else holds. Its holder may read and write its bytes.
///
/// It is a handle of 8 bytes and may go to any thread.
/// [`share`](Page::share) makes it a [`PageRef`], which can be cloned.
///
/// Dropping it calls the destructor of its pool ([`Destructor::last_put`](crate::Destructor::last_put)), which takes the page back.
/// A page that belongs to no pool goes to its zone.
pub struct Page(PageWord);

/// A shared page: one of several holders, who may all read its bytes.
/// On any thread, whoever drops the last one sends the page back to its pool.
///
/// `Clone` is the kernel's get_page, `Drop` its put_page.
/// [`try_unique`](PageRef::try_unique) makes a [`Page`] of the last one, to write again.
pub struct PageRef(PageWord);

/// A page that hardware or the kernel holds and may write to: nobody looks at its bytes until it is [reclaimed](Posted::reclaim).
///
/// Dropping it never frees the page, as the other side may still write to it: it is quarantined, and counted by the zone.
pub struct Posted(PageWord);

// SAFETY: a frozen page is memory that nobody refers to; any thread may hold it or free it (the zone locks).
unsafe impl Send for FrozenPage {}
// SAFETY: `&FrozenPage` gives numbers only.
unsafe impl Sync for FrozenPage {}
// SAFETY: sole ownership of plain bytes; dropping may happen on any thread (see `owner`).
unsafe impl Send for Page {}
// SAFETY: `&Page` reads bytes only.
unsafe impl Sync for Page {}
// SAFETY: shared bytes are read only, the count is atomic.
unsafe impl Send for PageRef {}
// SAFETY: as above.
unsafe impl Sync for PageRef {}
// SAFETY: a number until it is reclaimed.
unsafe impl Send for Posted {}
// SAFETY: as above.
unsafe impl Sync for Posted {}

/// The metadata of a page that is out of the buddy lists.
#[inline]
pub(crate) fn meta<'a>(word: PageWord) -> &'a PageMeta {
    // SAFETY: words are made by zones, from pages of their region, and the region stays mapped while a page of it is out.
    unsafe { &*zone::meta_of(word.address()) }
}

/// What all handles can say of their page.
macro_rules! facts {
    ($handle:ty) => {
        impl $handle {
            /// log2 of the number of 4 KiB pages.
            #[inline]
            pub fn order(&self) -> u8 {
                self.0.order()
            }

            /// Bytes: 4096 << order.
            #[inline]
            pub fn size(&self) -> usize {
                self.0.size()
            }

            /// Index of the (first) page in its region.
            #[inline]
            pub fn number(&self) -> u32 {
                zone::number_of(self.0.address())
            }

            /// Names the region that the page lies in: equal for two pages exactly if they share a region. See [`Zone::id`](crate::Zone::id).
            #[inline]
            pub fn region_id(&self) -> crate::RegionId {
                zone::id_of(self.0)
            }
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($handle))
                    .field("number", &self.number())
                    .field("order", &self.order())
                    .field("owner", &self.0.owner())
                    .finish()
            }
        }
    };
}
facts!(FrozenPage);
facts!(Page);
facts!(PageRef);
facts!(Posted);
facts!(Part<'_>);

/// Takes the word out of a handle without running its `Drop`.
macro_rules! into_word {
    ($handle:expr) => {{
        let handle = std::mem::ManuallyDrop::new($handle);
        handle.0
    }};
}

impl FrozenPage {
    /// # Safety
    /// The block is claimed, and this is its only handle.
    #[inline]
    pub(crate) unsafe fn from_word(word: PageWord) -> Self {
        debug_assert_eq!(word.tag(), 0);
        Self(word)
    }

    #[inline]
    pub(crate) fn into_word(self) -> PageWord {
        into_word!(self)
    }

    pub(crate) fn word(&self) -> PageWord {
        self.0
    }

    /// Makes it a page that belongs to no pool: dropping it frees it to its zone.
    #[inline]
    pub fn into_page(self) -> Page {
        hold(self.into_word())
    }

    /// Makes it a page of the pool with that mark.
    #[inline]
    pub(crate) fn bind(self, mark: Mark) -> Page {
        hold(self.into_word().marked(mark))
    }

    /// Cuts the block into blocks of a lower order, in order of address. No claim and no metadata is needed: who has the whole has the parts.
    ///
    /// # Panics
    /// If `order` is higher than the block's.
    pub fn split(self, order: u8) -> impl Iterator<Item = FrozenPage> {
        assert!(order <= self.order(), "a block of order {} cannot be split into order {order}", self.order());
        let parts = 1usize << (self.order() - order);
        let address = self.into_word().address();
        SplitPages { address, order, left: parts }
    }
}

/// The rest of a block that is being split; what is not asked for is freed.
struct SplitPages {
    address: *mut u8,
    order: u8,
    left: usize,
}

impl Iterator for SplitPages {
    type Item = FrozenPage;

    #[inline]
    fn next(&mut self) -> Option<FrozenPage> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        // SAFETY: the parts lie in the block that was given to `split`, one after the other, and each is handed out once.
        unsafe {
            let page = std::ptr::NonNull::new_unchecked(self.address);
            self.address = self.address.wrapping_add(crate::PAGE_SIZE << self.order);
            Some(FrozenPage(PageWord::new(page, self.order)))
        }
    }
}

impl Drop for SplitPages {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl Drop for FrozenPage {
    fn drop(&mut self) {
        zone::free(self.0);
    }
}

impl Page {
    /// The bytes. They are zero before the first use; later, they are what the last user left there.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped, initialised memory of `size` bytes; sole owner, borrowed.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.size()) }
    }

    /// The bytes, to write.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.address(), self.0.size()) }
    }

    /// The id of the pool that it goes back to; 0 for none.
    #[inline]
    pub fn owner_id(&self) -> u16 {
        self.0.owner()
    }

    /// Makes it shared. Nobody may write to it until it is [unique](PageRef::try_unique) again.
    #[inline]
    pub fn share(self) -> PageRef {
        PageRef(self.share_biased(1))
    }

    /// As [`share`](Self::share), with `count` references at once; the caller accounts for them.
    #[inline]
    pub(crate) fn share_biased(self, count: u32) -> PageWord {
        meta(self.0).refcount.share(count);
        self.into_word()
    }

    /// Replaces the word by one of the same page.
    pub(crate) fn set_word(&mut self, word: PageWord) {
        debug_assert_eq!(word.unchained().as_ptr(), self.0.unchained().as_ptr());
        self.0 = word;
    }

    /// # Safety
    /// The page is held, and this is its only handle.
    pub(crate) unsafe fn from_word(word: PageWord) -> Self {
        Self(word)
    }

    /// Takes the page back from its pool's keeping, without calling the destructor. The caller settles the pool's account.
    #[inline]
    pub(crate) fn unbind(self) -> FrozenPage {
        freeze(into_word!(self))
    }

    /// The same, if it is of the pool with that mark.
    #[inline]
    pub(crate) fn unbind_from(self, mark: Mark) -> Result<FrozenPage, Page> {
        match self.0.unmarked(mark) {
            Some(word) => {
                debug::let_go(self.0); // as `freeze` does
                let _ = self.into_word();
                Ok(FrozenPage(word))
            }
            None => Err(self),
        }
    }

    #[inline]
    pub(crate) fn word(&self) -> PageWord {
        self.0
    }

    #[inline]
    pub(crate) fn into_word(self) -> PageWord {
        into_word!(self)
    }
}

impl Deref for Page {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for Page {
    #[inline]
    fn drop(&mut self) {
        last_put(self.0);
    }
}

/// From here on the bytes are a holder's. Every [`Page`] that was frozen comes from here, so this is where those who watch look.
#[inline]
fn hold(word: PageWord) -> Page {
    debug::held(word);
    Page(word)
}

/// From here on the bytes are nobody's: the other end of [`hold`]. (Who knows the word without its owner already tells `debug` alone.)
#[inline]
fn freeze(word: PageWord) -> FrozenPage {
    debug::let_go(word);
    FrozenPage(word.unowned())
}

/// The handle that was dropped was the last one.
#[inline]
fn last_put(word: PageWord) {
    release::last_put(word.tag(), freeze(word));
}

/// `n` references to `word`'s page less; the last one calls the destructor.
#[inline]
pub(crate) fn put_page(word: PageWord, n: u32) {
    debug::put(word);
    if meta(word).refcount.put(n) {
        last_put(word);
    }
}

impl PageRef {
    pub(crate) fn word(&self) -> PageWord {
        self.0
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped, initialised memory of `size` bytes; while it is shared nobody writes.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.size()) }
    }

    /// Asks the CPU for the cache line of the page's count, to write: for who will drop the reference soon, and got it from another CPU.
    #[inline]
    pub fn prefetchw(&self) {
        prefetch::prefetchw(meta(self.0));
    }

    /// The page, to write, if nobody else holds it (its reference count is 1). Otherwise the reference comes back.
    ///
    /// The count is read with Acquire.
    /// With Relaxed, reads of other holders could still be under way when we begin to write:
    /// a data race that x86 hides.
    #[inline]
    pub fn try_unique(self) -> Result<Page, PageRef> {
        if meta(self.0).refcount.try_unique() { Ok(Page(into_word!(self))) } else { Err(self) }
    }
}

impl Clone for PageRef {
    #[inline]
    fn clone(&self) -> Self {
        meta(self.0).refcount.get();
        PageRef(self.0)
    }
}

impl Deref for PageRef {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for PageRef {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for PageRef {
    #[inline]
    fn drop(&mut self) {
        put_page(self.0, 1);
    }
}

impl From<Page> for PageRef {
    fn from(page: Page) -> Self {
        page.share()
    }
}

impl TryFrom<PageRef> for Page {
    type Error = PageRef;
    fn try_from(page: PageRef) -> Result<Page, PageRef> {
        page.try_unique()
    }
}

impl Posted {
    /// Hands a page over to hardware or the kernel.
    ///
    /// # Safety
    /// From now on the other side may write to the page, and to nothing else: the caller gives it this page's address and length. The caller
    /// keeps the `Posted` until the other side has given the page up.
    #[inline]
    pub unsafe fn new(page: Page) -> Self {
        Posted(page.into_word())
    }

    /// Takes the page back.
    ///
    /// # Safety
    /// The other side has given it up (a descriptor in a ring of its own says so, or it was closed and can write no more), and what it wrote is visible
    /// here (the ring's index was read with Acquire).
    #[inline]
    pub unsafe fn reclaim(self) -> Page {
        Page(into_word!(self))
    }
}

impl Posted {
    /// Takes off what followed the page when it was posted.
    pub(crate) fn take_rest(&mut self) -> Option<Page> {
        let rest = chain::take_rest(self.0);
        self.0 = self.0.unchained();
        rest
    }

    pub(crate) fn word(&self) -> PageWord {
        self.0
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        drop(self.take_rest()); // the other side knew of this page alone
        zone::quarantine(self.0);
    }
}
