//! The pools of one thread, as the way home of pages that the thread has in hand.

use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::Page;

/// Puts pages back into the pool that owns them: by its cache when it is a pool of this thread, else by dropping them.
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
        match self.pools.get_mut(self.last) {
            Some(pool) if pool.owns(&page) => pool.put(page),
            _ => self.put_elsewhere(page),
        }
    }

    /// Sends many pages home.
    #[inline]
    pub fn put_bulk(&mut self, pages: impl IntoIterator<Item = Page>) {
        pages.into_iter().for_each(|page| self.put(page));
    }

    fn put_elsewhere(&mut self, page: Page) {
        if let Some(i) = self.pools.iter().position(|pool| pool.owns(&page)) {
            self.last = i;
            self.pools[i].put(page);
        } // else: its drop calls the destructor
    }
}
