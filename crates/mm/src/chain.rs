//! Chains: a page with others behind it, for what is larger than a page.
//!
//! The first page leads the rest wherever it goes, and whoever lets it go lets all of them go, each to its own home. (DPDK's mbufs are linked so, by `next`; the kernel's
//! `skb_frag_t` are an array.) The links lie in the metadata, so that no byte of a page is taken for them. The handle of the first page says that it leads a chain
//! ([`word`](crate::word)); a page alone pays nothing for it.
//!
//! With each page behind the first goes the range of its bytes that is meant: where in the page a packet goes on. It is looked at once, when the page is put there, and stands in the metadata from then
//! on: whoever reads it need not ask again whether it lies in the page.
#![expect(unsafe_code, reason = "makes handles of the words in the links, and borrows the bytes of their pages")]

use crate::page::{FrozenPage, Page, PageRef, meta};
use crate::sync::Ordering::Relaxed;
use crate::word::PageWord;
use std::marker::PhantomData;
use std::ops::Range;

// All accesses are relaxed: who has the only handle of the first page has the links of all, and who gets the handle, or shares it, gets them with it.

/// The word in a page's link, which is one of a page if the page leads a chain.
fn next_word(word: PageWord) -> Option<PageWord> {
    if word.leads_chain() { PageWord::from_ptr(meta(word).link.load(Relaxed)) } else { None }
}

/// Takes what follows the page with that word, whose bit is the caller's to clear.
pub(crate) fn take_rest(word: PageWord) -> Option<Page> {
    // SAFETY: `append` took the handle apart; the caller has the only handle of the first page, and does not look at its link again.
    next_word(word).map(|next| unsafe { Page::from_word(next) })
}

/// What followed a page that led a chain and is frozen now, so that its word does not say so any more.
pub(crate) fn rest_of_frozen(page: &FrozenPage) -> Page {
    take_rest(page.word().chained()).expect("a page that leads a chain has another behind it")
}

/// The range as it stands in the metadata. A block has at most 4 MiB.
fn packed(bytes: &Range<usize>) -> u64 {
    bytes.start as u64 | (bytes.end as u64) << 32
}

/// What was said of the page behind the one with that word.
fn range_behind(word: PageWord) -> Range<usize> {
    let bytes = meta(word).range.load(Relaxed);
    bytes as u32 as usize..(bytes >> 32) as usize
}

/// Lets the pages of a chain go one after the other, however long it is.
pub(crate) fn release(first: Page) {
    let mut rest = Some(first);
    while let Some(mut page) = rest {
        rest = page.unchain().map(|(next, _)| next);
    }
}

/// Puts behind the pages that lead chains those that follow them: for who handles pages one by one.
pub fn dissolve(pages: &mut Vec<Page>) {
    let mut i = 0;
    while i < pages.len() {
        if let Some((next, _)) = pages[i].unchain() {
            pages.push(next); // its own chain is looked at when its turn comes
        }
        i += 1;
    }
}

impl Page {
    /// Whether other pages follow this one.
    #[inline]
    pub fn leads_chain(&self) -> bool {
        self.word().leads_chain()
    }

    /// Puts `page`, and what follows it, behind the last page of this one's chain. `bytes`: which of its bytes are meant.
    ///
    /// # Panics
    /// If `page` has no such bytes.
    pub fn append(&mut self, page: Page, bytes: Range<usize>) {
        assert!(
            bytes.start <= bytes.end && bytes.end <= page.size(),
            "the bytes {bytes:?} do not lie in a page of {}",
            page.size()
        );
        let [holder, last] = self.walk();
        meta(last).link.store(page.into_word().as_ptr(), Relaxed);
        meta(last).range.store(packed(&bytes), Relaxed);
        self.rewrite(holder, last.chained());
    }

    /// The page alone: what follows it goes home.
    pub fn alone(mut self) -> Page {
        if let Some((rest, _)) = self.unchain() {
            release(rest);
        }
        self
    }

    /// Takes off what follows: the next page, which leads the others now, and which of its bytes are meant.
    pub fn unchain(&mut self) -> Option<(Page, Range<usize>)> {
        let word = self.word();
        let next = take_rest(word)?;
        self.set_word(word.unchained());
        Some((next, range_behind(word)))
    }

    /// Takes the last page of the chain off, and tells which of its bytes are meant.
    pub fn take_last(&mut self) -> Option<(Page, Range<usize>)> {
        let mut holder = self.word();
        let mut last_but_one = self.word();
        for part in self.chain().filter(|part| part.0.leads_chain()) {
            (holder, last_but_one) = (last_but_one, part.0);
        }
        let last = take_rest(last_but_one)?;
        self.rewrite(holder, last_but_one.unchained());
        Some((last, range_behind(last_but_one)))
    }

    /// The last page of the chain, and before it the one whose link has its word: this page twice where it is alone.
    fn walk(&self) -> [PageWord; 2] {
        self.chain().fold([self.word(); 2], |[_, before], part| [before, part.0])
    }

    /// Gives a page of the chain the `word` that it has from now on. It lies in the link of `holder`, or, for this page, in the handle.
    fn rewrite(&mut self, holder: PageWord, word: PageWord) {
        if word.address() == self.word().address() {
            self.set_word(word);
        } else {
            meta(holder).link.store(word.as_ptr(), Relaxed);
        }
    }

    /// The pages behind this one, in order.
    pub fn chain(&self) -> Chain<'_> {
        Chain { word: self.word(), of: PhantomData }
    }

    /// Of each, the bytes that are meant, to write.
    pub fn chain_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        Chain { word: self.word(), of: PhantomData }.map(|Part(word, bytes, _)| {
            // SAFETY: mapped, initialised memory; the chain, whose only handle is borrowed exclusively, has each page once.
            let page = unsafe { std::slice::from_raw_parts_mut(word.address(), word.size()) };
            &mut page[bytes]
        })
    }
}

impl PageRef {
    /// The pages behind this one, in order.
    pub fn chain(&self) -> Chain<'_> {
        Chain { word: self.word(), of: PhantomData }
    }
}

/// The pages behind another, borrowed.
pub struct Chain<'a> {
    /// Of the page before.
    word: PageWord,
    of: PhantomData<&'a Page>,
}

/// A page in a chain, borrowed.
pub struct Part<'a>(pub(crate) PageWord, Range<usize>, PhantomData<&'a Page>);

// SAFETY: as `&Page`.
unsafe impl Send for Chain<'_> {}
// SAFETY: as `&Page`.
unsafe impl Send for Part<'_> {}

impl<'a> Chain<'a> {
    /// The pages behind the one with that word, of which the caller has a handle.
    pub(crate) fn behind(word: &'a PageWord) -> Self {
        Self { word: *word, of: PhantomData }
    }
}

impl<'a> Iterator for Chain<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let word = next_word(self.word)?;
        let bytes = range_behind(self.word);
        self.word = word;
        Some(Part(word, bytes, PhantomData))
    }
}

impl<'a> Part<'a> {
    /// All bytes of the page.
    pub fn as_slice(&self) -> &'a [u8] {
        // SAFETY: mapped, initialised memory of `size` bytes, which the borrowed first page keeps, and keeps from being written to.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.size()) }
    }

    /// Which of them are meant.
    pub fn range(&self) -> Range<usize> {
        self.1.clone()
    }

    /// Those.
    pub fn bytes(&self) -> &'a [u8] {
        &self.as_slice()[self.range()]
    }
}
