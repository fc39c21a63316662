//! The zone: the free pages of one region, behind one lock.
//!
//! It is the slow path. Whoever allocates often has a [`Pcp`](crate::Pcp) in front of it, or a pool.
#![expect(unsafe_code, reason = "finds the zone of a page by its address, and keeps itself while a page is out")]

use crate::buddy::Buddy;
use crate::history::{Event, History, Note};
use crate::names::Holder;
use crate::page::FrozenPage;
use crate::region::{self, HugePages, Region, RegionError, RegionId};
use crate::sync::{Mutex, lock};
use crate::word::PageWord;
use crate::{MAX_ORDER, ORDERS, debug};
use std::sync::{Arc, OnceLock, Weak};

pub(crate) use crate::region::{id_of, meta_of};

/// What a zone is made of.
#[derive(Debug, Clone, Default)]
pub struct ZoneParams {
    /// Number of 4 KiB pages. From 512 on rounded up to a multiple of 512 (one huge page).
    pub pages: usize,
    /// Which memory to ask for.
    pub huge_pages: HugePages,
    /// The NUMA node to bind the memory to. `None` does not bind it.
    pub bind_node: Option<u32>,
    /// The node that [`Zone::node`] reports; `bind_node` unless set.
    /// Another number makes a fake node, as the kernel's `numa=fake` does.
    pub node: Option<u32>,
}

impl ZoneParams {
    /// A zone of `pages` pages. The rest is the default.
    pub fn pages(pages: usize) -> Self {
        Self { pages, ..Self::default() }
    }
}

/// The memory that packets are made of: the free pages of one region, which is mapped once.
///
/// This is a handle, and its clones share the zone.
/// The memory is unmapped when the last handle is dropped and the last page is back,
/// whichever comes later.
///
/// A zone is behind a lock. Who allocates often puts a pool in front of it, or a [`Pcp`](crate::Pcp).
#[derive(Debug, Clone)]
pub struct Zone(Arc<Inner>);

/// A handle that does not keep the zone. A zone is there while a page of it is out.
#[derive(Debug, Clone)]
pub struct WeakZone(Weak<Inner>);

impl WeakZone {
    /// The zone, if it is still there.
    pub fn upgrade(&self) -> Option<Zone> {
        self.0.upgrade().map(Zone)
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    region: Region,
    node: u32,
    buddy: Mutex<Buddy>,
    /// What happened to its pages, where they are followed.
    history: OnceLock<History>,
}

/// How many pages are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneStats {
    /// All pages.
    pub total: usize,
    /// Pages in the buddy lists.
    pub free: usize,
    /// Pages whose device went away while it could write to them.
    pub quarantined: usize,
    /// Free blocks of each order, 0 to 10.
    pub blocks: [usize; ORDERS],
}

impl Zone {
    /// Maps a region and makes a zone of it.
    ///
    /// ```
    /// use waterwheel_mm::{Zone, ZoneParams};
    /// let zone = Zone::new(&ZoneParams::pages(64))?;
    /// let page = zone.alloc(0).expect("64 pages are free").into_page();
    /// assert_eq!((page.len(), zone.stats().free), (4096, 63));
    /// drop(page);
    /// assert_eq!(zone.stats().free, 64);
    /// # Ok::<(), waterwheel_mm::RegionError>(())
    /// ```
    pub fn new(params: &ZoneParams) -> Result<Self, RegionError> {
        let region = Region::new(params.pages, params.huge_pages, params.bind_node)?;
        let buddy = Mutex::new(Buddy::new(&region));
        let node = params.node.or(params.bind_node).unwrap_or(0);
        let inner = Arc::new(Inner { region, node, buddy, history: OnceLock::new() });
        inner.region.set_header(Arc::as_ptr(&inner).cast());
        debug::mapped(&inner.region);
        Ok(Self(inner))
    }

    /// Its memory.
    pub fn region(&self) -> &Region {
        &self.0.region
    }

    /// Names its region: what [`Page::region_id`](crate::Page::region_id) says of its pages.
    pub fn id(&self) -> RegionId {
        self.0.region.id()
    }

    /// Its NUMA node.
    pub fn node(&self) -> u32 {
        self.0.node
    }

    /// Counts, under the lock.
    pub fn stats(&self) -> ZoneStats {
        let mut buddy = lock(&self.0.buddy);
        buddy.wake(&self.0.region); // else what rests would be free, but in no block
        ZoneStats {
            total: self.0.region.pages(),
            free: buddy.free_pages(),
            quarantined: buddy.quarantined(),
            blocks: buddy.blocks(),
        }
    }

    /// A block of `1 << order` pages straight from the buddy lists, or `None` when there is none (also for an order above 10).
    pub fn alloc(&self, order: u8) -> Option<FrozenPage> {
        if order > MAX_ORDER {
            return None;
        }
        self.take(|buddy, region| {
            let number = buddy.alloc(region, order)?;
            Some(claimed(region, number, order))
        })
    }

    /// Appends up to `count` blocks of `order` to `out`, under one lock, and tells how many. Order 0 is cut from as few blocks as possible.
    pub fn alloc_bulk(&self, order: u8, count: usize, out: &mut Vec<FrozenPage>) -> usize {
        if order > MAX_ORDER {
            return 0;
        }
        out.reserve(count.min(self.0.region.pages() >> order)); // nothing may fail under the lock
        self.take(|buddy, region| {
            let mut left = count;
            while left > 0 {
                let larger = order + (left.ilog2() as u8).min(MAX_ORDER - order);
                let found = if order == 0 {
                    buddy.alloc_upto(region, larger)
                } else {
                    buddy.alloc(region, order).map(|number| (number, order))
                };
                let Some((number, got)) = found else { break };
                left -= 1 << (got - order);
                out.extend(claimed(region, number, got).split(order));
            }
            count - left
        })
    }

    /// Frees all of `pages` under one lock. Pages of another zone go to theirs.
    pub fn free_bulk(&self, pages: std::vec::Drain<'_, FrozenPage>) {
        if let Some(history) = self.0.history() {
            let mut freed = Note::new(history.sampling(), Event::Freed, Holder::NOBODY);
            freed.frozen(pages.as_slice());
        }
        let mut foreign = Vec::new(); // freed later: one zone's lock is never taken under another's
        give_back(Arc::as_ptr(&self.0), |buddy, region| {
            for page in pages {
                if page.region_id() == region.id() {
                    let (number, order) = (page.number(), page.order());
                    let _ = page.into_word();
                    buddy.free(region, number, order);
                } else {
                    foreign.push(page);
                }
            }
        });
    }

    /// A handle that keeps nothing: neither the zone nor its memory.
    pub fn downgrade(&self) -> WeakZone {
        WeakZone(Arc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Runs `f` under the lock. The zone keeps itself from the moment when the first page leaves the lists.
    fn take<R>(&self, f: impl FnOnce(&mut Buddy, &Region) -> R) -> R {
        let region = &self.0.region;
        let mut buddy = lock(&self.0.buddy);
        let whole = buddy.free_pages() == region.pages();
        let result = f(&mut buddy, region);
        if whole && buddy.free_pages() < region.pages() {
            let _kept_by_the_pages = Arc::into_raw(self.0.clone());
        }
        result
    }
}

/// The handle of a block that was just claimed.
fn claimed(region: &Region, number: u32, order: u8) -> FrozenPage {
    // SAFETY: buddy has taken the block out of its lists and claimed it; this is the only place where a handle is made of it.
    unsafe { FrozenPage::from_word(PageWord::new(region.page(number), order)) }
}

impl Drop for Inner {
    fn drop(&mut self) {
        debug::unmapping(&self.region);
    }
}

impl Inner {
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn history(&self) -> Option<&History> {
        self.history.get()
    }

    /// Once; given back if there is one already.
    pub(crate) fn set_history(&self, history: History) -> Result<(), History> {
        self.history.set(history)
    }

    pub(crate) fn with_buddy<R>(&self, f: impl FnOnce(&Buddy) -> R) -> R {
        f(&lock(&self.buddy))
    }
}

/// Runs `f`, which gives pages back, under the lock of `zone`; then lets the zone go if these were its last.
fn give_back(zone: *const Inner, f: impl FnOnce(&mut Buddy, &Region)) {
    let whole = {
        // SAFETY: the caller has a handle or a page of the zone, either of which keeps it.
        let inner = unsafe { &*zone };
        let mut buddy = lock(&inner.buddy);
        let before = buddy.free_pages();
        f(&mut buddy, &inner.region);
        before < buddy.free_pages() && buddy.free_pages() == inner.region.pages()
    };
    if whole {
        // SAFETY: `take` left one count behind when the first page went out, and all are back.
        drop(unsafe { Arc::from_raw(zone) });
    }
}

/// The zone of the page at `word`, which is out, and the page's number.
fn zone_of(word: PageWord) -> (*const Inner, u32) {
    // SAFETY: a page that is out keeps its zone, whose header was set before it handed out a page.
    let (zone, number) = unsafe { region::header_of(word.address()) };
    (zone.cast(), number)
}

/// Frees one page from its handle's drop.
pub(crate) fn free(word: PageWord) {
    let (zone, number) = zone_of(word);
    give_back(zone, |buddy, region| buddy.free(region, number, word.order()));
}

/// The histories of the zone of `word`'s page, for whoever has a handle of it, and the page's number.
pub(crate) fn history_of(word: &PageWord) -> Option<(&History, u32)> {
    let (zone, number) = zone_of(*word);
    // SAFETY: the caller has a handle of the page, which keeps the zone.
    let inner = unsafe { &*zone };
    Some((inner.history()?, number))
}

/// Takes a page out of use. Its zone stays.
pub(crate) fn quarantine(word: PageWord) {
    let (zone, number) = zone_of(word);
    give_back(zone, |buddy, region| buddy.quarantine(region, number, word.order()));
}

/// Undoes [`quarantine`].
pub(crate) fn release(word: PageWord) {
    let (zone, number) = zone_of(word);
    give_back(zone, |buddy, region| buddy.release(region, number, word.order()));
}

/// Index of the page at `address`, which is out, in its region.
#[inline]
pub(crate) fn number_of(address: *mut u8) -> u32 {
    // SAFETY: as in `zone_of`.
    unsafe { region::header_of(address) }.1
}
