//! The one word that a page handle is: where the page lies, how large it is, and whose it is.
//!
//! ```text
//!  63 62       48 47                                    12 11     4 3      0
//! +--+-----------+----------------------------------------+--------+--------+
//! |C | owner id  |  address of the page / 4096            |   0    | order  |
//! +--+-----------+----------------------------------------+--------+--------+
//! ```
//!
//! So a handle says, without reading any memory, what the fast paths ask: "is this page mine?" is a shift and a compare. A page that leads a [chain](crate::chain)
//! has C, which makes it nobody's for that question: the fast paths know nothing of chains, and cost nothing for them. User addresses have 47 bits on
//! x86-64 and 48 on AArch64 unless a program asks for more, and a region checks that it got such an address.
#![expect(unsafe_code, reason = "says that an address is not null")]

use crate::PAGE_SHIFT;
use std::ptr::NonNull;

const OWNER_SHIFT: u32 = 48;
const ADDRESS: usize = ((1 << OWNER_SHIFT) - 1) & !((1 << PAGE_SHIFT) - 1);
const ORDER: usize = 0xf;
const CHAINED: usize = 1 << (usize::BITS - 1);
/// What is looked for in what [`PageWord::found_by`] says.
pub(crate) const FOUND: usize = CHAINED | CHAINED >> 1;
/// The same as `CHAINED` in a [tag](PageWord::tag).
const CHAINED_TAG: u16 = 1 << 15;

/// A page's address with its order and its owner's id. Copying it copies no right: the handles around it do that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageWord(NonNull<u8>);

impl PageWord {
    /// `page` is the first byte of a block of `1 << order` pages; owner 0 is nobody.
    #[inline]
    pub(crate) fn new(page: NonNull<u8>, order: u8) -> Self {
        debug_assert!(page.addr().get() & !ADDRESS == 0 && usize::from(order) <= ORDER);
        Self(page.map_addr(|a| a | usize::from(order)))
    }

    #[inline]
    pub(crate) fn address(self) -> *mut u8 {
        self.0.as_ptr().map_addr(|a| a & ADDRESS)
    }

    #[inline]
    pub(crate) fn order(self) -> u8 {
        (self.0.addr().get() & ORDER) as u8
    }

    #[inline]
    pub(crate) fn size(self) -> usize {
        1 << (PAGE_SHIFT + u32::from(self.order()))
    }

    #[inline]
    pub(crate) fn owner(self) -> u16 {
        self.tag() & !CHAINED_TAG
    }

    /// The owner's id, and whether the page leads a chain: what is compared where both are asked at once.
    #[inline]
    pub(crate) fn tag(self) -> u16 {
        (self.0.addr().get() >> OWNER_SHIFT) as u16
    }

    /// Whether other pages follow this one.
    #[inline]
    pub(crate) fn leads_chain(self) -> bool {
        self.0.addr().get() & CHAINED != 0
    }

    /// Has a bit of [`FOUND`] if the page leads a chain, or if no bit of `mask` (a part of an address) is in its address. Without a branch, so that it is soon asked of many.
    #[inline]
    pub(crate) fn found_by(self, mask: usize) -> usize {
        // Nothing of both: 0 - 1 has all bits. A chain: at least 2^63 - 1. Else less than 2^48.
        (self.0.addr().get() & (mask | CHAINED)).wrapping_sub(1)
    }

    /// The word of the same page when others follow it.
    pub(crate) fn chained(self) -> Self {
        Self(self.0.map_addr(|a| a | CHAINED))
    }

    /// The word of the same page when nothing follows it.
    pub(crate) fn unchained(self) -> Self {
        let word = self.0.as_ptr().map_addr(|a| a & !CHAINED);
        // SAFETY: the address, which is kept, is not null.
        Self(unsafe { NonNull::new_unchecked(word) })
    }

    /// The word of a page without an owner, for this one.
    #[inline]
    pub(crate) fn marked(self, mark: Mark) -> Self {
        debug_assert_eq!(self.tag(), 0);
        Self(self.0.map_addr(|a| a | mark.0))
    }

    /// The word without its owner, if that is the one with the mark.
    #[inline]
    pub(crate) fn unmarked(self, mark: Mark) -> Option<Self> {
        let word = self.0.as_ptr().map_addr(|a| a ^ mark.0);
        // SAFETY: the address, which is kept, is not null.
        (word.addr() >> OWNER_SHIFT == 0).then_some(Self(unsafe { NonNull::new_unchecked(word) }))
    }

    /// Whether the page is of the owner with that mark.
    #[inline]
    pub(crate) fn has(self, mark: Mark) -> bool {
        Self::all_have(std::iter::once(self), mark)
    }

    /// Whether all of them are. Written so that the compiler needs no branch per page, and takes several at once.
    #[inline]
    pub(crate) fn all_have(words: impl Iterator<Item = Self>, mark: Mark) -> bool {
        words.fold(0, |differ, word| differ | (word.0.addr().get() ^ mark.0)) >> OWNER_SHIFT == 0
    }

    #[inline]
    pub(crate) fn unowned(self) -> Self {
        let word = self.0.as_ptr().map_addr(|a| a & ((1 << OWNER_SHIFT) - 1));
        // SAFETY: the address, which is kept, is not null.
        Self(unsafe { NonNull::new_unchecked(word) })
    }
}

/// The owner's id in `tag`, and whether the page leads a chain.
pub(crate) fn untag(tag: u16) -> (u16, bool) {
    (tag & !CHAINED_TAG, tag & CHAINED_TAG != 0)
}

/// An owner's id in the place where words have it, so that the fast paths need not move it there.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    pub(crate) fn of(owner: u16) -> Self {
        Self(usize::from(owner) << OWNER_SHIFT)
    }
}

impl PageWord {
    /// One of the single pages of the block; of nobody.
    #[cfg(feature = "debug_pages")]
    pub(crate) fn part(self, index: usize) -> Self {
        let page = self.address().wrapping_add(index << PAGE_SHIFT);
        Self::new(NonNull::new(page).expect("a page of a block is not at address 0"), 0)
    }

    pub(crate) fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// Null is no page; anything else must have come from [`as_ptr`](Self::as_ptr).
    pub(crate) fn from_ptr(word: *mut u8) -> Option<Self> {
        NonNull::new(word).map(Self)
    }
}
