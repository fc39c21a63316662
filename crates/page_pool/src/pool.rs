//! The pool.

use crate::dma::{DmaAddr, DmaError, Mappings};
use crate::params::{Direction, PoolError, PoolParams};
use crate::recycle::Recycle;
use crate::stalled::{self, Left};
use crate::stats::PoolStats;
use crate::trace::Trace;
use std::slice;
use std::time::Instant;
use waterwheel_mm::debug::oldest_first;
use waterwheel_mm::{
    Account, FragPage, FrozenPage, MAX_ORDER, Owner, PAGE_SIZE, Page, PageFrag, RegionId, Sampling, Zone, dissolve,
};

/// Pages that are fetched at once, from the return path or from the zone (the kernel's `PP_ALLOC_CACHE_REFILL`; a NAPI budget).
pub const REFILL: usize = 64;

/// A pool of pages for one device queue.
///
/// One thread at a time has the pool. Its pages may go to any thread, and whoever drops one sends it back.
///
/// The cache is one stack, last in first out. Its top is what the kernel calls the direct cache.
/// It may grow to the pool's limit, so the part below is a reserve that takes a burst of returns.
/// The zone is asked only when the stack is empty and nothing has come back.
/// So in the steady state, the stack is as deep as the traffic needs.
// On cache lines of its own (two, as x86 fetches them in pairs): the next one may be another thread's.
#[repr(C, align(128))] // what the fast paths touch comes first
pub struct PagePool {
    cache: Vec<FrozenPage>,
    /// Up to here the cache takes pages without a second look: the high mark; 0 while pages of another zone may come, and where pages are followed.
    room: usize,
    /// Pages are not simply given out: there are floors (and `tx`), or pages are followed.
    careful: bool,
    pub(crate) rx: Owner,
    /// Pages of the transmit direction, where floors ask to tell them apart.
    pub(crate) tx: Option<Owner>,
    /// Above this the cache spills.
    high: usize,
    /// The high mark that was asked for.
    high_wanted: Option<usize>,
    /// Where new pages come from.
    pub(crate) zone: Zone,
    /// Its pages are followed.
    pub(crate) trace: Option<Trace>,
    pub(crate) name: String,
    /// Pages of another zone may be out, as the node was changed.
    mixed: bool,
    limits: Limits,
    dma: Option<Mappings>,
    frag: Option<FragPage>,
    /// Used in one call, and kept for its memory.
    hand: Vec<Page>,
    stats: PoolStats,
    /// How many pages it had given out when it refused the last time.
    refused_at: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    order: u8,
    limit: u64,
    floor_rx: u64,
    floor_tx: u64,
}

impl PagePool {
    /// A pool in front of `zone`. It takes no page from there until it is asked for one.
    pub fn new(zone: &Zone, params: PoolParams) -> Result<Self, PoolError> {
        let PoolParams { order, limit, floor_rx, floor_tx, high, dma, name } = params;
        if order > MAX_ORDER {
            return Err(PoolError::Order(order));
        }
        if floor_rx.checked_add(floor_tx).is_none_or(|floors| floors > limit) {
            return Err(PoolError::Floors { rx: floor_rx, tx: floor_tx, limit });
        }
        let blocks = limit.min(zone.region().pages() >> order);
        let dma = dma.map(|map| Mappings::new(map, zone, PAGE_SIZE << order)).transpose()?;
        let floors = floor_rx > 0 || floor_tx > 0;
        let high_wanted = high;
        let high = high_wanted.unwrap_or(blocks).min(blocks);
        let trace = Trace::of(zone, &name);
        let owner = || Owner::register(Recycle { trace });
        let rx = owner()?;
        let name = if name.is_empty() { format!("pool {}", rx.id()) } else { name };
        Ok(Self {
            cache: Vec::with_capacity(blocks + REFILL),
            room: if trace.is_some() { 0 } else { high },
            careful: floors || trace.is_some(),
            rx,
            tx: if floors { Some(owner()?) } else { None },
            high,
            high_wanted,
            zone: zone.clone(),
            trace,
            name,
            mixed: false,
            limits: Limits { order, limit: limit as u64, floor_rx: floor_rx as u64, floor_tx: floor_tx as u64 },
            dma,
            frag: None,
            hand: Vec::with_capacity(4 * REFILL),
            stats: PoolStats::default(),
            refused_at: None,
        })
    }

    /// A page, or `None` when the limit is reached, a floor is in the way, or the zone is empty.
    /// `None` is a normal answer, and is counted.
    #[inline]
    pub fn alloc(&mut self, direction: Direction) -> Option<Page> {
        oldest_first(&mut self.cache, 1);
        if self.careful {
            return self.alloc_carefully(direction);
        }
        let page = self.take()?;
        Some(self.rx.bind(page))
    }

    #[inline(never)]
    fn alloc_carefully(&mut self, direction: Direction) -> Option<Page> {
        if self.allowed(direction, 1) == 0 {
            self.refuse();
            return None;
        }
        let page = self.take()?;
        let page = self.owner(direction).bind(page);
        if let Some(trace) = &self.trace {
            trace.gave_out(slice::from_ref(&page));
        }
        Some(page)
    }

    /// Appends up to `count` pages to `out`, and returns how many.
    #[inline]
    pub fn alloc_bulk(&mut self, direction: Direction, count: usize, out: &mut Vec<Page>) -> usize {
        if self.careful {
            return self.alloc_bulk_carefully(direction, count, out);
        }
        self.alloc_up_to(count, direction, count, out)
    }

    #[inline(never)]
    fn alloc_bulk_carefully(&mut self, direction: Direction, count: usize, out: &mut Vec<Page>) -> usize {
        let (wanted, before) = (self.allowed(direction, count), out.len());
        let got = self.alloc_up_to(wanted, direction, count, out);
        if let Some(trace) = &self.trace {
            trace.gave_out(&out[before..]);
        }
        got
    }

    /// Of the `count` pages that are asked for, the `wanted` that may be had.
    #[inline]
    fn alloc_up_to(&mut self, wanted: usize, direction: Direction, count: usize, out: &mut Vec<Page>) -> usize {
        let before = out.len();
        loop {
            let left = wanted - (out.len() - before);
            oldest_first(&mut self.cache, left);
            let owner = match (&mut self.tx, direction) {
                (Some(tx), Direction::Tx) => tx,
                _ => &mut self.rx,
            };
            owner.bind_bulk(&mut self.cache, left, out);
            let got = out.len() - before;
            if got == wanted || !self.refill(wanted - got) {
                if got < count {
                    self.refuse();
                }
                return got;
            }
        }
    }

    /// As [`alloc_bulk`](Self::alloc_bulk), as an iterator. Pages that you do not take out of it go back to the pool.
    #[inline]
    pub fn hand_out(&mut self, direction: Direction, count: usize) -> std::vec::Drain<'_, Page> {
        let mut hand = std::mem::take(&mut self.hand);
        self.alloc_bulk(direction, count, &mut hand);
        self.hand = hand;
        self.hand.drain(..)
    }

    /// Takes a page back, into the cache, without an atomic operation. A page of another pool goes to that pool.
    /// The pages of a chain go one by one.
    #[inline]
    pub fn put(&mut self, page: Page) {
        match self.rx.unbind(page) {
            Ok(page) => self.keep(page),
            Err(page) => self.put_other(page),
        }
    }

    /// As [`put`](Self::put), for many pages. It takes its own out of `pages`.
    /// Those of other pools stay there, and go back to their pools when you drop them.
    #[inline]
    pub fn put_bulk(&mut self, pages: &mut Vec<Page>) {
        let before = self.cache.len();
        self.rx.unbind_bulk(pages, &mut self.cache);
        if !pages.is_empty() {
            self.unbind_others(pages);
        }
        if self.cache.len() > self.room {
            self.tidy_returned(before);
        }
    }

    /// What the receiving owner did not take: chains, and pages of the other direction.
    #[inline(never)]
    fn unbind_others(&mut self, pages: &mut Vec<Page>) {
        if pages.iter().any(Page::leads_chain) {
            dissolve(pages);
            self.rx.unbind_bulk(pages, &mut self.cache);
        }
        if let Some(tx) = &mut self.tx {
            tx.unbind_bulk(pages, &mut self.cache);
        }
    }

    /// As [`put_bulk`](Self::put_bulk), for an iterator of pages.
    /// It returns those of other pools, which go back to their pools when they are dropped.
    #[inline]
    pub fn take_back(&mut self, pages: impl IntoIterator<Item = Page>) -> std::vec::Drain<'_, Page> {
        let mut hand = std::mem::take(&mut self.hand);
        hand.extend(pages);
        self.put_bulk(&mut hand);
        self.hand = hand;
        self.hand.drain(..)
    }

    /// Whether the page belongs to this pool.
    #[inline]
    pub fn owns(&self, page: &Page) -> bool {
        page.owner_id() == self.rx.id() || self.tx.as_ref().is_some_and(|tx| tx.id() == page.owner_id())
    }

    /// An exclusive range of `len` bytes in a page that is shared with other fragments; its address is a multiple of `align`.
    ///
    /// `None` when there is no page, or `len` does not fit into one, or `align` is above the size of one.
    ///
    /// # Panics
    /// If `len` is 0 or `align` not a power of two.
    pub fn alloc_frag(&mut self, len: usize, align: usize) -> Option<PageFrag> {
        assert!(align.is_power_of_two() && len > 0, "fragments have a length, and a power of two as alignment");
        if let Some(frag) = self.frag.as_mut().and_then(|page| page.cut(len, align)) {
            return Some(frag);
        }
        if len.max(align) > PAGE_SIZE << self.limits.order {
            self.refuse();
            return None;
        }
        let mut page = FragPage::new(self.alloc(Direction::Rx)?);
        let frag = page.cut(len, align);
        self.frag = Some(page);
        frag
    }

    /// The address under which the device knows the page, where the pool maps.
    pub fn dma_addr(&self, page: &Page) -> Option<DmaAddr> {
        self.dma.as_ref()?.addr(page.region_id(), page.number())
    }

    /// From now on pages come from `zone`, and pages of the former zone are not recycled any more.
    /// For a device whose CPU has moved to another NUMA node (the kernel's `page_pool_update_nid`).
    ///
    /// # Errors
    /// The device cannot map the new zone's region. Nothing has changed then.
    pub fn set_zone(&mut self, zone: &Zone) -> Result<(), DmaError> {
        if zone.id() == self.zone.id() {
            return Ok(());
        }
        if let Some(dma) = &mut self.dma {
            dma.add_region(zone)?;
        }
        self.release(self.cache.len());
        self.zone = zone.clone();
        self.mixed = true;
        let blocks = self.limit().min(zone.region().pages() >> self.limits.order);
        self.cache.reserve(blocks + REFILL); // it does not grow while packets pass
        self.high = self.high_wanted.unwrap_or(blocks).min(blocks);
        self.room = 0;
        if let Some(trace) = &mut self.trace {
            trace.sampling = Sampling::ALL; // of both zones: their pages know
        }
        Ok(())
    }

    /// Gives pages back to the zone until at most `keep` are in the cache, for when memory is short.
    pub fn shrink(&mut self, keep: usize) {
        self.collect(usize::MAX);
        self.release(self.cache.len().saturating_sub(keep));
    }

    /// The zone that new pages come from.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Each block has `1 << order` pages.
    pub fn order(&self) -> u8 {
        self.limits.order
    }

    /// The most pages that the pool may have.
    pub fn limit(&self) -> usize {
        self.limits.limit as usize
    }

    /// Pages in the cache.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Pages that somebody holds, or that are on their way back.
    pub fn outstanding(&mut self) -> u64 {
        self.rx.outstanding() + self.tx.as_mut().map_or(0, Owner::outstanding)
    }

    /// Counters.
    pub fn stats(&self) -> PoolStats {
        let owners = || std::iter::once(&self.rx).chain(&self.tx);
        let bound = self.given_out();
        let unbound: u64 = owners().map(|owner| owner.counts().1).sum();
        PoolStats {
            alloc_fast: bound - self.stats.alloc_slow,
            recycle_cached: unbound,
            recycle_ring_full: owners().map(Owner::overflowed).sum(),
            dma_maps: self.dma.as_ref().map_or(0, |dma| dma.maps),
            dma_unmaps: self.dma.as_ref().map_or(0, |dma| dma.unmaps),
            ..self.stats
        }
    }

    /// For the page account: marks the pages in the cache, and the one that is being cut into fragments.
    /// Pages on their way back are fetched first.
    pub fn account(&mut self, account: &mut Account) {
        let before = self.cache.len();
        self.fetch(usize::MAX);
        self.cache.iter().for_each(|page| account.frozen(page));
        if let Some(page) = &self.frag {
            page.account(account);
        }
        self.tidy(before); // not earlier: what the zone gets now it did not have when the account was opened
    }

    /// A page out of the cache, which is filled when it is empty.
    #[inline]
    fn take(&mut self) -> Option<FrozenPage> {
        match self.cache.pop() {
            Some(page) => Some(page),
            None => self.refill_one(),
        }
    }

    #[inline]
    fn owner(&mut self, direction: Direction) -> &mut Owner {
        match (&mut self.tx, direction) {
            (Some(tx), Direction::Tx) => tx,
            _ => &mut self.rx,
        }
    }

    /// How many of `count` pages `direction` may take: the other one's floor, less what it has out already, is not for it.
    fn allowed(&mut self, direction: Direction, count: usize) -> usize {
        let Some(tx) = &mut self.tx else { return count };
        let (rx, tx) = (self.rx.outstanding(), tx.outstanding());
        let Limits { limit, floor_rx, floor_tx, .. } = self.limits;
        let (mine, reserved) = match direction {
            Direction::Rx => (rx, floor_tx.max(tx)),
            Direction::Tx => (tx, floor_rx.max(rx)),
        };
        limit.saturating_sub(reserved + mine).min(count as u64) as usize
    }

    #[inline]
    fn keep(&mut self, page: FrozenPage) {
        if self.cache.len() < self.room {
            self.cache.push(page);
        } else {
            self.keep_or_let_go(page);
        }
    }

    #[cold]
    fn keep_or_let_go(&mut self, page: FrozenPage) {
        if let Some(trace) = &self.trace {
            trace.got_back(slice::from_ref(&page));
        }
        if self.mixed && page.region_id() != self.zone.id() {
            self.stats.alloc_waive += 1;
            self.let_go(page);
            return;
        }
        self.cache.push(page);
        if self.cache.len() > self.high {
            self.spill();
        }
    }

    #[cold]
    fn put_other(&mut self, page: Page) {
        if page.leads_chain() {
            let mut rest = Some(page);
            while let Some(mut page) = rest {
                rest = page.unchain().map(|(next, _)| next);
                self.put(page);
            }
            return;
        }
        let page = match &mut self.tx {
            Some(tx) => match tx.unbind(page) {
                Ok(page) => return self.keep(page),
                Err(page) => page,
            },
            None => page,
        };
        drop(page); // its own pool's destructor sends it home
    }

    /// The slow path of one page.
    #[cold]
    fn refill_one(&mut self) -> Option<FrozenPage> {
        if !self.refill(REFILL) {
            self.refuse();
        }
        self.cache.pop()
    }

    /// The pool has less than is asked for. Who asks again and again meanwhile is counted once: what was given out tells whether anything has changed, and is counted in any case.
    #[cold]
    fn refuse(&mut self) {
        if !self.is_dry() {
            self.refused_at = Some(self.given_out());
            self.stats.alloc_failed += 1;
        }
    }

    /// Whether it had less than was asked for the last time.
    /// Then it is no use to poll a device that needs pages until some have come back.
    pub fn is_dry(&self) -> bool {
        self.refused_at == Some(self.given_out())
    }

    /// Pages given out so far.
    fn given_out(&self) -> u64 {
        self.rx.counts().0 + self.tx.as_ref().map_or(0, |tx| tx.counts().0)
    }

    /// Fills the empty cache: with what has come home, else from the zone. Tells whether there is anything.
    #[cold]
    fn refill(&mut self, wanted: usize) -> bool {
        if self.collect(wanted.max(REFILL)) > 0 {
            self.stats.alloc_refill += 1;
            return !self.cache.is_empty() || self.grow(); // all of it may have been of another node
        }
        let grown = self.grow();
        self.stats.alloc_empty += u64::from(grown || !self.is_dry());
        grown
    }

    /// Takes a batch from the zone, within the limit, and maps it.
    fn grow(&mut self) -> bool {
        let room = self.limits.limit - self.stats.inflight();
        let count = room.min(REFILL as u64) as usize;
        let got = self.zone.alloc_bulk(self.limits.order, count, &mut self.cache);
        self.stats.hold += got as u64;
        if let Some(dma) = &mut self.dma {
            let before = self.cache.len() - got;
            let mut i = before;
            while i < self.cache.len() {
                if dma.enter(&self.cache[i]).is_ok() {
                    i += 1;
                } else {
                    drop(self.cache.swap_remove(i)); // as the kernel: a page that cannot be mapped is put back and skipped
                    self.stats.release += 1;
                }
            }
        }
        if self.cache.is_empty() {
            return false;
        }
        self.stats.alloc_slow += 1;
        self.stats.alloc_slow_high_order += u64::from(self.limits.order > 0);
        true
    }

    /// Moves up to `max` pages that have come home into the cache; tells how many came.
    fn collect(&mut self, max: usize) -> usize {
        let before = self.cache.len();
        let got = self.fetch(max);
        self.tidy(before);
        got
    }

    /// The first half of `collect`: the cache may have pages now that do not belong there.
    fn fetch(&mut self, max: usize) -> usize {
        let mut got = self.rx.collect(&mut self.cache, max);
        if let Some(tx) = &mut self.tx {
            got += tx.collect(&mut self.cache, max - got.min(max));
        }
        self.stats.recycle_ring += got as u64;
        got
    }

    /// The second half: of what came, from `start` on, lets other zones' pages go, and of all what is above the high mark.
    fn tidy(&mut self, start: usize) {
        if self.mixed {
            self.waive_from(start);
        }
        if self.cache.len() > self.high {
            self.stats.recycle_cache_full += (self.cache.len() - self.high) as u64;
            self.release(self.cache.len() - self.high);
        }
    }

    /// The same for what the owner has put there.
    fn tidy_returned(&mut self, start: usize) {
        if let Some(trace) = &self.trace {
            trace.got_back(&self.cache[start..]);
        }
        self.tidy(start);
    }

    /// Lets those pages from `start` on go that are not of the current zone.
    fn waive_from(&mut self, start: usize) {
        let home: RegionId = self.zone.id();
        let mut i = start;
        while i < self.cache.len() {
            if self.cache[i].region_id() == home {
                i += 1;
            } else {
                let page = self.cache.swap_remove(i);
                self.stats.alloc_waive += 1;
                self.let_go(page);
            }
        }
    }

    /// The cache is above its high mark: what lies coldest leaves.
    #[cold]
    fn spill(&mut self) {
        let count = REFILL.min(self.cache.len());
        self.stats.recycle_cache_full += count as u64;
        self.release(count);
    }

    /// Unmaps the `count` coldest pages of the cache and gives them to the zone.
    fn release(&mut self, count: usize) {
        if let Some(dma) = &mut self.dma {
            self.cache[..count].iter().for_each(|page| dma.leave(page));
        }
        self.stats.release += count as u64;
        self.zone.free_bulk(self.cache.drain(..count));
    }

    /// One page leaves the pool.
    fn let_go(&mut self, page: FrozenPage) {
        if let Some(dma) = &mut self.dma {
            dma.leave(&page);
        }
        self.stats.release += 1;
        drop(page);
    }
}

impl PagePool {
    /// Pages are out, and the pool goes.
    #[cold]
    fn leave(&self) {
        let owners = std::iter::once(&self.rx).chain(&self.tx).map(|owner| (owner.id(), owner.watch())).collect();
        let (id, name, zone) = (self.id(), self.name.clone(), self.zone.downgrade());
        stalled::leave(Left { id, name, owners, zone, since: Instant::now() });
    }
}

impl Drop for PagePool {
    /// Destroy: what is at home goes to the zone; the rest is unmapped where it is, while the device is still there, and goes to the zone when it is dropped.
    fn drop(&mut self) {
        self.frag = None;
        self.shrink(0);
        if self.outstanding() > 0 {
            self.leave();
        }
        self.dma = None; // before the owners go: from then on what comes back is the zone's, and so anybody's
    }
}

impl std::fmt::Debug for PagePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagePool")
            .field("id", &self.rx.id())
            .field("limits", &self.limits)
            .field("cached", &self.cache.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
