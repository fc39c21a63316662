//! Pages on their way home beside the lanes: a lock-free list that many threads push to, and that is taken whole.
#![expect(unsafe_code, reason = "makes page handles of the words that were pushed")]

use crate::page::{FrozenPage, meta};
use crate::sync::{AtomicPtr, Ordering};
use crate::word::PageWord;
use std::ptr;

/// A stack (Treiber, 1986) from which everything is taken at once, so no element can come back while another thread looks at it: no ABA.
/// The pages are linked through their metadata.
pub(crate) struct RemoteList {
    head: AtomicPtr<u8>,
}

impl RemoteList {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Puts a page in, from any thread.
    pub(crate) fn push(&self, page: FrozenPage) {
        let word = page.into_word();
        let link = &meta(word).link;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            // Release: the link is written before the page can be found.
            match self.head.compare_exchange_weak(head, word.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Moves all pages to the end of `out` and tells how many.
    pub(crate) fn take_all(&self, out: &mut Vec<FrozenPage>) -> usize {
        if self.head.load(Ordering::Relaxed).is_null() {
            return 0;
        }
        // Acquire: the links of what is taken.
        let mut head = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let before = out.len();
        while let Some(word) = PageWord::from_ptr(head) {
            head = meta(word).link.load(Ordering::Relaxed);
            // SAFETY: `push` took the handle apart, and the swap gave the whole chain to us alone.
            out.push(unsafe { FrozenPage::from_word(word) });
        }
        out.len() - before
    }
}
