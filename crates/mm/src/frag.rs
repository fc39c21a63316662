//! Fragments: several small packets in one page, by biased references.
//!
//! After page_pool's fragments (`net/core/page_pool.c`, `pp_ref_count` and `frag_users`): the page is given a large count at once, each fragment takes one of
//! it without an atomic, and what was not handed out is subtracted when the page is full.
#![expect(unsafe_code, reason = "byte ranges of one page that several holders write")]

use crate::PAGE_SIZE;
use crate::account::Account;
use crate::chain::Chain;
use crate::page::{Page, put_page};
use crate::word::PageWord;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// References that a page has while it is being cut. More than a page has bytes, so that they cannot run out before the page does.
const BIAS: u32 = 1 << 24;
const _: () = assert!(BIAS as usize > PAGE_SIZE << crate::MAX_ORDER);

/// A page that is being cut into fragments, from its start to its end.
pub struct FragPage {
    word: PageWord,
    used: u32,
    taken: u32,
}

/// An exclusive byte range of a page, to read and to write.
/// When the last fragment of a page is dropped, the page goes back to its pool.
pub struct PageFrag {
    word: PageWord,
    offset: u32,
    len: u32,
}

// SAFETY: the references that it stands for are counted in the page's metadata, atomically.
unsafe impl Send for FragPage {}
// SAFETY: `&FragPage` gives numbers only.
unsafe impl Sync for FragPage {}
// SAFETY: exclusive ownership of plain bytes; the put is atomic.
unsafe impl Send for PageFrag {}
// SAFETY: `&PageFrag` reads bytes that only its owner can write.
unsafe impl Sync for PageFrag {}

impl FragPage {
    /// Begins to cut `page`.
    pub fn new(page: Page) -> Self {
        let word = page.share_biased(BIAS);
        Self { word, used: 0, taken: 0 }
    }

    /// Marks the page, and what follows it: whoever cuts it shares it with those who have its fragments.
    pub fn account(&self, account: &mut Account) {
        let rest = Chain::behind(&self.word).map(|part| part.0);
        for word in std::iter::once(self.word).chain(rest) {
            if crate::zone::id_of(word) == account.zone().id() {
                account.held_by_user(crate::zone::number_of(word.address()), word.order());
            }
        }
    }

    /// Bytes that are left.
    pub fn room(&self) -> usize {
        self.word.size() - self.used as usize
    }

    /// The next `len` bytes, beginning at an address that is a multiple of `align` (a power of two), or `None` when the page has no such room: also where `align` is above the size of the page, to
    /// which a page is aligned.
    ///
    /// # Panics
    /// If `align` is not a power of two, or `len` is 0.
    pub fn cut(&mut self, len: usize, align: usize) -> Option<PageFrag> {
        assert!(align.is_power_of_two() && len > 0, "fragments have a length, and a power of two as alignment");
        let size = self.word.size();
        if align > size {
            return None;
        }
        let offset = (self.used as usize).checked_next_multiple_of(align)?;
        let end = offset.checked_add(len).filter(|&end| end <= size)?;
        self.used = end as u32; // a block has at most 4 MiB
        self.taken += 1;
        Some(PageFrag { word: self.word, offset: offset as u32, len: len as u32 })
    }
}

impl Drop for FragPage {
    fn drop(&mut self) {
        put_page(self.word, BIAS - self.taken);
    }
}

impl PageFrag {
    /// Where in the page it begins.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Index of the page in its region.
    pub fn number(&self) -> u32 {
        crate::zone::number_of(self.word.address())
    }

    /// log2 of the number of 4 KiB pages of the block that it lies in.
    pub fn order(&self) -> u8 {
        self.word.order()
    }

    /// Names the region that it lies in.
    pub fn region_id(&self) -> crate::RegionId {
        crate::zone::id_of(self.word)
    }
}

impl Deref for PageFrag {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the page (`cut`), the page is kept by our reference, and no other fragment has a byte of it.
        unsafe { std::slice::from_raw_parts(self.word.address().add(self.offset as usize), self.len as usize) }
    }
}

impl DerefMut for PageFrag {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.word.address().add(self.offset as usize), self.len as usize) }
    }
}

impl Drop for PageFrag {
    fn drop(&mut self) {
        put_page(self.word, 1);
    }
}

impl fmt::Debug for PageFrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageFrag")
            .field("number", &self.number())
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish()
    }
}

impl fmt::Debug for FragPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FragPage").field("used", &self.used).field("taken", &self.taken).finish_non_exhaustive()
    }
}
