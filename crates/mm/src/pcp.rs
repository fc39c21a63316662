//! Per-CPU page lists: pages of orders 0 to 3 that one CPU, or rather one thread, has at hand without taking the zone's lock.
//!
//! After the kernel's `struct per_cpu_pages` (`mm/page_alloc.c`; orders 0..3 since 44042b449872). The kernel finds the list of the running CPU and locks it; here the list is
//! a value, and who has it is alone with it.

use crate::debug;
use crate::page::FrozenPage;
use crate::stats::{Count, PerCpu};
use crate::zone::Zone;
use std::fmt;

/// Highest order that is kept in lists (the kernel's `PAGE_ALLOC_COSTLY_ORDER`).
pub const PCP_MAX_ORDER: u8 = 3;

/// How many pages a list holds and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcpParams {
    /// Above this many 4 KiB pages in the list of one order, a batch goes back to the zone.
    pub high: usize,
    /// Pages (4 KiB) that are taken from and given to the zone at once.
    pub batch: usize,
}

impl PcpParams {
    /// What the talk's curve showed: its knee is at 128 pages. (Linux 4.11 had high 186, batch 31: sampled at powers of two the knee reads as 128.)
    pub const TALK: Self = Self { high: 128, batch: 32 };
    /// Linux 4.11 on a common machine: batch 31, high 6 * batch.
    pub const LINUX_4_11: Self = Self { high: 186, batch: 31 };
}

impl Default for PcpParams {
    /// In the manner of Linux 6.18: batch 63. Its `high` tunes itself between 4 * batch and a part of the zone; here it is 16 * batch, 4 MiB.
    fn default() -> Self {
        Self { high: 16 * 63, batch: 63 }
    }
}

/// The lists of one CPU, in front of a zone. `C` says how allocations are counted. On cache lines of its own, as the next CPU's may lie beside it.
#[repr(align(128))] // as `CachePadded`
pub struct Pcp<C: Count = PerCpu> {
    zone: Zone,
    params: PcpParams,
    lists: [Vec<FrozenPage>; PCP_MAX_ORDER as usize + 1],
    allocated: C,
    freed: C,
}

impl Pcp {
    /// Empty lists in front of `zone`.
    pub fn new(zone: &Zone, params: PcpParams) -> Self {
        Self::counted(zone, params, PerCpu::default(), PerCpu::default())
    }
}

impl<C: Count> Pcp<C> {
    /// As [`new`](Pcp::new), counting in the given way.
    pub fn counted(zone: &Zone, params: PcpParams, allocated: C, freed: C) -> Self {
        // More than the zone has is never in a list.
        let batch = params.batch.clamp(1, zone.region().pages());
        let params = PcpParams { batch, high: params.high.clamp(batch, zone.region().pages()) };
        let list = |order: usize| Vec::with_capacity((params.high >> order) + params.batch + 1);
        Self { zone: zone.clone(), params, lists: std::array::from_fn(list), allocated, freed }
    }

    /// The zone behind the lists.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// A block of `1 << order` pages; from the zone itself above [`PCP_MAX_ORDER`]. `None`: there is none.
    #[inline]
    pub fn alloc(&mut self, order: u8) -> Option<FrozenPage> {
        let page = match self.lists.get_mut(usize::from(order)) {
            Some(list) => {
                debug::oldest_first(list, 1);
                match list.pop() {
                    Some(page) => page,
                    None => self.refill(order)?,
                }
            }
            None => self.zone.alloc(order)?,
        };
        self.allocated.add(1);
        Some(page)
    }

    /// Appends up to `count` single pages to `out` and tells how many.
    pub fn alloc_bulk(&mut self, count: usize, out: &mut Vec<FrozenPage>) -> usize {
        let list = &mut self.lists[0];
        let at_hand = count.min(list.len());
        debug::oldest_first(list, at_hand);
        out.extend(list.drain(list.len() - at_hand..));
        let got = at_hand + if at_hand < count { self.zone.alloc_bulk(0, count - at_hand, out) } else { 0 };
        self.allocated.add(got as u64);
        got
    }

    /// Gives a block back. A page of another zone goes there.
    #[inline]
    pub fn free(&mut self, page: FrozenPage) {
        self.freed.add(1);
        let order = page.order();
        if order > PCP_MAX_ORDER || page.region_id() != self.zone.id() {
            return; // its drop frees it
        }
        let list = &mut self.lists[usize::from(order)];
        list.push(page);
        if list.len() > self.params.high >> order {
            self.flush(order);
        }
    }

    /// Gives all of `pages` back.
    pub fn free_bulk(&mut self, pages: &mut Vec<FrozenPage>) {
        for page in pages.drain(..) {
            self.free(page);
        }
    }

    /// Gives everything in the lists to the zone.
    pub fn drain(&mut self) {
        for list in &mut self.lists {
            self.zone.free_bulk(list.drain(..));
        }
    }

    /// Pages (4 KiB) in the lists.
    pub fn pages(&self) -> usize {
        self.lists.iter().enumerate().map(|(order, list)| list.len() << order).sum()
    }

    /// Blocks allocated and freed through these lists, as far as they are counted.
    pub fn counts(&self) -> (u64, u64) {
        (self.allocated.get(), self.freed.get())
    }

    /// Marks the pages in the lists.
    pub fn account(&self, account: &mut crate::Account) {
        self.lists.iter().flatten().for_each(|page| account.frozen(page));
    }

    #[cold]
    fn refill(&mut self, order: u8) -> Option<FrozenPage> {
        let batch = (self.params.batch >> order).max(1);
        let list = &mut self.lists[usize::from(order)];
        self.zone.alloc_bulk(order, batch, list);
        list.pop()
    }

    /// Gives the batch that lies coldest to the zone: the bottom of the stack.
    #[cold]
    fn flush(&mut self, order: u8) {
        let list = &mut self.lists[usize::from(order)];
        let batch = (self.params.batch >> order).clamp(1, list.len());
        self.zone.free_bulk(list.drain(..batch));
    }
}

impl<C: Count> Drop for Pcp<C> {
    fn drop(&mut self) {
        self.drain();
    }
}

impl<C: Count> fmt::Debug for Pcp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pcp").field("params", &self.params).field("pages", &self.pages()).finish_non_exhaustive()
    }
}
