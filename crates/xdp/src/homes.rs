//! The pools of one thread, by which pages that the thread has in hand go home: back to the pool that owns them.

use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::Page;

/// Sends pages home: back to the pool that owns them.
/// If that is a pool of this thread, they go straight into its cache; otherwise they are dropped.
#[derive(Debug)]
pub struct Homes<'a> {
    pools: &'a mut [PagePool],
    /// The pool that took the last page: mostly the next one's too.
    last: usize,
}

impl<'a> Homes<'a> {
    /// The way home to these pools.
    pub fn new(pools: &'a mut [PagePool]) -> Self {
        Self { pools, last: 0 }
    }

    /// Sends one page home.
    #[inline]
    pub fn put(&mut self, page: Page) {
        if let Some(i) = self.home_of(&page) {
            self.pools[i].put(page);
        } // else: its drop calls the destructor
    }

    /// Sends many pages home.
    #[inline]
    pub fn put_bulk(&mut self, pages: impl IntoIterator<Item = Page>) {
        let mut pages = pages.into_iter();
        while let Some(first) = pages.next() {
            let Some(i) = self.home_of(&first) else {
                drop(first); // its drop calls the destructor
                continue;
            };
            let (before, rest) = self.pools.split_at_mut(i);
            let Some((pool, after)) = rest.split_first_mut() else { return };
            pool.put(first);
            if pages.size_hint().1 == Some(0) {
                return; // a batch of one packet is worth nothing more
            }
            // Mostly all are of the same pool. Strangers are not collected first: that would need memory.
            for page in pool.take_back(pages) {
                if let Some(home) = before.iter_mut().chain(&mut *after).find(|pool| pool.owns(&page)) {
                    home.put(page);
                } // else: as above
            }
            return;
        }
    }

    /// Which of the pools owns the page.
    fn home_of(&mut self, page: &Page) -> Option<usize> {
        let owns = |pool: &PagePool| pool.owns(page);
        if !self.pools.get(self.last).is_some_and(owns) {
            self.last = self.pools.iter().position(owns)?;
        }
        Some(self.last)
    }
}
