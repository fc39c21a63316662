//! Owners: who is called when the last holder of a page lets go, and how pages travel home.
//!
//! This is the hook that the talk asked for: "upon page reach refcnt == 0 call a device specific destructor callback; this call is allowed to steal the page". A page
//! handle carries the id of its owner ("callback can be a table lookup id"); the table's entries are *slots*.
//!
//! **The way home.** Each thread that drops pages of an owner has a *lane* to it: a ring with one producer (this thread) and one consumer (the
//! owner). Sending a page home is two stores, whatever the number of returning threads, and the owner can fetch it at any time, also when the thread
//! then sleeps for ever. A full lane, and a thread whose thread-locals are gone, use the slot's shared list instead: one compare-exchange per page.
//!
//! **Giving ids back.** An id is reused only when nothing of its owner is out any more, else an old page would call a new pool. So each slot knows
//!
//! ```text
//! outstanding = bound (by the owner, minus what it unbound) - sum over threads of released
//! ```
//!
//! and each thread adds to its own `released` after its call of the destructor has returned. When an owner is dropped, the slot is *sealed*; from then on
//! whoever releases a page drains the lanes into the zone, and whoever finds `outstanding == 0` retires the slot. Between "release, then look whether it is
//! sealed" and "seal, then look what was released" stands an asymmetric fence, so one of the two sees the other.
//!
//! Slots and lanes are reused, never freed while somebody could look at them: a late look is harmless.

use crate::bulk::move_tail;
use crate::lane::{Lane, LaneEnds};
use crate::lanes;
use crate::page::{FrozenPage, Page};
use crate::remote::RemoteList;
use crate::sealed::OwnerWatch;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, UnsafeCell, asymmetric, global, lock};
use crate::word::{Mark, PageWord};
use std::fmt;
use std::sync::OnceLock;

/// Number of owners that can be registered at a time. Ids run from 1. (2^n - 1. Under loom and shuttle it is small, as each execution makes the table anew.)
pub const MAX_OWNERS: usize = if cfg!(loom) {
    3
} else if cfg!(shuttle) {
    15
} else {
    4095
};

/// What happens when the last holder of a page lets go.
pub trait Destructor: Send + Sync + 'static {
    /// `page` has no holder any more, and is the destructor's: it may send it `home` to the owner, keep it ("steal" it), or drop it, which frees it.
    ///
    /// Called on the thread that let go last, whichever that is, with no lock held. As it is a [`FrozenPage`] that is given, dropping it cannot run a destructor again.
    fn last_put(&self, page: FrozenPage, home: Home<'_>);

    /// Whether all that [`last_put`](Self::last_put) does is to send the page home. Asked once, at registration; the call can be spared then.
    fn only_sends_home(&self) -> bool {
        false
    }
}

/// The way from the thread that let go to the owner.
pub struct Home<'a> {
    slot: &'a Slot,
    lane: Option<&'a Lane>,
}

impl Home<'_> {
    /// Sends the page to the owner, who finds it in [`Owner::collect`].
    #[inline]
    pub fn send(self, page: FrozenPage) {
        let page = match self.lane {
            Some(lane) => match lane.send_unreleased(page) {
                Ok(()) => return,
                Err(page) => page,
            },
            None => page,
        };
        self.slot.overflowed.fetch_add(1, Ordering::Relaxed);
        self.slot.remote.push(page);
    }
}

/// One entry of the table.
pub(crate) struct Slot {
    id: u16,
    destructor: DestructorCell,
    /// The destructor only sends pages home. Written as the destructor is.
    only_sends_home: AtomicBool,
    /// The owner is gone; pages of it may still be out.
    sealed: AtomicBool,
    /// Lanes that threads have opened and the owner has not taken over yet.
    new_lanes: AtomicU32,
    /// Pages on their way home beside the lanes.
    remote: RemoteList,
    overflowed: AtomicU64,
    /// Pages released by threads without a lane.
    released_astray: AtomicU64,
    state: Mutex<State>,
}

/// The cell of a slot's destructor. It is written when no page of the slot is out, and read by those who hold one.
struct DestructorCell(UnsafeCell<Option<Box<dyn Destructor>>>);

#[derive(Default)]
struct State {
    /// Lanes opened lately; all lanes while the slot has no owner.
    lanes: LaneEnds,
    /// Set at sealing: pages that were bound and not unbound, ever since the slot exists.
    bound: u64,
    /// There is an owner, or pages of it are out.
    in_use: bool,
    /// Owners that the slot has had.
    epoch: u64,
}

global! {
    static TABLE: [OnceLock<Slot>; MAX_OWNERS + 1] = [const { OnceLock::new() }; MAX_OWNERS + 1];
}
global! {
    static FREE_IDS: Mutex<Ids> = Mutex::new(Ids { free: Vec::new(), unused: 1 });
}

struct Ids {
    free: Vec<u16>,
    /// Ids from here on were never used.
    unused: u16,
}

/// All places are taken: this many owners exist, or their pages are still out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_OWNERS} page owners exist already, or still have pages out")]
pub struct TooManyOwners;

/// The owner of pages: the token with which they are bound to a destructor and fetched when they come home. Being the owner is having this value.
///
/// Dropping it seals the slot: pages that come back later are freed to their zone.
pub struct Owner {
    slot: &'static Slot,
    /// The slot's id, as its pages carry it.
    mark: Mark,
    lanes: LaneEnds,
    /// Pages ever bound, ever since the slot exists.
    bound: u64,
    /// Pages ever unbound by this owner.
    unbound: u64,
    /// What `bound` began with.
    base: u64,
    /// What the slot had counted as overflowed before.
    overflowed_before: u64,
}

impl Owner {
    /// Puts `destructor` into the table.
    pub fn register(destructor: impl Destructor) -> Result<Self, TooManyOwners> {
        asymmetric::init();
        let id = {
            let mut ids = lock(&FREE_IDS);
            match ids.free.pop() {
                Some(id) => id,
                None if usize::from(ids.unused) <= MAX_OWNERS => {
                    ids.unused += 1;
                    ids.unused - 1
                }
                None => return Err(TooManyOwners),
            }
        };
        let slot = TABLE[usize::from(id)].get_or_init(|| Slot::new(id));
        let mut state = lock(&slot.state);
        slot.only_sends_home.store(destructor.only_sends_home(), Ordering::Relaxed);
        slot.destructor.set(Some(Box::new(destructor)), &state);
        slot.sealed.store(false, Ordering::Relaxed);
        state.in_use = true;
        state.epoch += 1;
        slot.new_lanes.store(0, Ordering::Relaxed);
        let lanes = std::mem::take(&mut state.lanes);
        let overflowed_before = slot.overflowed.load(Ordering::Relaxed); // nobody adds to it now
        Ok(Self {
            slot,
            mark: Mark::of(id),
            lanes,
            bound: state.bound,
            unbound: 0,
            base: state.bound,
            overflowed_before,
        })
    }

    /// The id that its pages carry.
    #[inline]
    pub fn id(&self) -> u16 {
        self.slot.id
    }

    /// Makes `page` a page of this owner.
    #[inline]
    pub fn bind(&mut self, page: FrozenPage) -> Page {
        self.bound += 1;
        page.bind(self.mark)
    }

    /// Takes a page back without calling the destructor; a page of somebody else is refused.
    #[inline]
    pub fn unbind(&mut self, page: Page) -> Result<FrozenPage, Page> {
        let page = page.unbind_from(self.mark)?;
        self.count_unbound(1);
        Ok(page)
    }

    /// Ownership needs the difference of the two counts only, which is what `waterwheel-mm-uncounted` keeps; statistics need both.
    #[inline(always)]
    fn count_unbound(&mut self, pages: usize) {
        if cfg!(feature = "uncounted") {
            self.bound -= pages as u64;
        } else {
            self.unbound += pages as u64;
        }
    }

    /// As [`bind`](Self::bind), for many: the last `count` of `pages` go to the end of `out`.
    #[inline]
    pub fn bind_bulk(&mut self, pages: &mut Vec<FrozenPage>, count: usize, out: &mut Vec<Page>) {
        let (mark, before) = (self.mark, out.len());
        move_tail(pages, count, out, |page| page.bind(mark));
        self.bound += (out.len() - before) as u64;
    }

    /// As [`unbind`](Self::unbind), for many: the pages of this owner go to the end of `out`, those of others stay.
    #[inline]
    pub fn unbind_bulk(&mut self, pages: &mut Vec<Page>, out: &mut Vec<FrozenPage>) {
        let (mark, before) = (self.mark, out.len());
        // Two loops without a branch per page are faster than one with.
        if PageWord::all_have(pages.iter().map(Page::word), mark) {
            move_tail(pages, usize::MAX, out, Page::unbind);
        } else {
            self.unbind_some(pages, out);
        }
        self.count_unbound(out.len() - before);
    }

    #[cold]
    fn unbind_some(&self, pages: &mut Vec<Page>, out: &mut Vec<FrozenPage>) {
        out.reserve(pages.len()); // nothing may fail half-way
        out.extend(pages.extract_if(.., |page| page.word().has(self.mark)).map(Page::unbind));
    }

    /// Moves up to `max` pages that were [sent home](Home::send) to the end of `out`, and tells how many. (The pages beside the lanes, if it
    /// comes to them, are taken all at once.)
    pub fn collect(&mut self, out: &mut Vec<FrozenPage>, max: usize) -> usize {
        self.adopt_lanes();
        self.lanes.collect(&self.slot.remote, out, max)
    }

    /// Pages bound to this owner that somebody holds, or that are on their way home and whose release is not finished.
    pub fn outstanding(&mut self) -> u64 {
        self.adopt_lanes();
        // Modulo 2^64, as what lanes have released is.
        (self.bound - self.unbound).wrapping_sub(self.slot.released_by(&self.lanes))
    }

    /// Tells, when the owner is gone, how many of its pages are still out.
    pub fn watch(&self) -> OwnerWatch {
        OwnerWatch { slot: self.slot, epoch: lock(&self.slot.state).epoch }
    }

    /// How many pages were ever [bound](Self::bind) and [unbound](Self::unbind) by this owner: all that statistics need to know of the fast paths.
    pub fn counts(&self) -> (u64, u64) {
        (self.bound - self.base, self.unbound)
    }

    /// How many pages of this owner took the shared list, because a lane was full or a thread was ending.
    pub fn overflowed(&self) -> u64 {
        self.slot.overflowed.load(Ordering::Relaxed) - self.overflowed_before
    }

    #[inline]
    fn adopt_lanes(&mut self) {
        if self.slot.new_lanes.load(Ordering::Relaxed) != 0 {
            let mut state = lock(&self.slot.state);
            self.slot.new_lanes.store(0, Ordering::Relaxed);
            self.lanes.append(&mut state.lanes);
            self.lanes.fold(&self.slot.remote);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.slot.state);
            state.lanes.append(&mut self.lanes);
            state.bound = self.bound - self.unbound;
            self.slot.sealed.store(true, Ordering::Relaxed);
        }
        asymmetric::heavy();
        self.slot.settle();
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("id", &self.slot.id).field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

/// The slot of that owner; owner 0 has none.
pub(crate) fn slot(owner: u16) -> Option<&'static Slot> {
    TABLE[usize::from(owner) & MAX_OWNERS].get()
}

impl Slot {
    fn new(id: u16) -> Self {
        Self {
            id,
            only_sends_home: AtomicBool::new(false),
            destructor: DestructorCell(UnsafeCell::new(None)),
            sealed: AtomicBool::new(false),
            new_lanes: AtomicU32::new(0),
            remote: RemoteList::new(),
            overflowed: AtomicU64::new(0),
            released_astray: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        }
    }

    /// Opens the lane of the calling thread. Called once per thread and slot.
    #[cold]
    pub(crate) fn open_lane(&'static self) -> Lane {
        let (lane, end) = Lane::new(self);
        let mut state = lock(&self.state);
        state.lanes.fold(&self.remote); // the owner may not look for long
        state.lanes.push(end);
        self.new_lanes.fetch_add(1, Ordering::Relaxed);
        lane
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// Pages that are still out of the owner of that epoch; `None` while it is there.
    pub(crate) fn left_of(&self, epoch: u64) -> Option<u64> {
        let state = lock(&self.state);
        if state.epoch != epoch || !state.in_use {
            return Some(0);
        }
        let sealed = self.sealed.load(Ordering::Relaxed); // written under the lock
        sealed.then(|| state.bound.wrapping_sub(self.released_by(&state.lanes)))
    }

    #[inline]
    pub(crate) fn only_sends_home(&self) -> bool {
        self.only_sends_home.load(Ordering::Relaxed)
    }

    /// A page of this slot has lost its last holder.
    #[cold]
    pub(crate) fn last_put(&'static self, page: FrozenPage) {
        let mut page = Some(page);
        lanes::with(self, |lane| {
            if let Some(page) = page.take() {
                self.destructor.call(page, Home { slot: self, lane: Some(lane) });
                lane.add_released(1);
            }
        });
        if let Some(page) = page {
            self.last_put_astray(page);
        }
        self.released();
    }

    /// The same on a thread that has no lanes any more.
    pub(crate) fn last_put_astray(&'static self, page: FrozenPage) {
        self.destructor.call(page, Home { slot: self, lane: None });
        // Release: as in `Lane::add_released`.
        self.released_astray.fetch_add(1, Ordering::Release);
    }

    /// Pages released through `lanes`, which are all there are, and beside them; modulo 2^64.
    fn released_by(&self, lanes: &LaneEnds) -> u64 {
        lanes.released().wrapping_add(self.released_astray.load(Ordering::Acquire))
    }

    /// After a release: if the owner is gone, somebody has to settle.
    #[inline]
    pub(crate) fn released(&self) {
        asymmetric::light();
        if self.sealed.load(Ordering::Relaxed) {
            self.settle();
        }
    }

    /// For a sealed slot: frees what has come home, and retires the slot when nothing is out any more.
    #[cold]
    fn settle(&self) {
        let mut homecomers = Vec::new();
        let mut destructor = None;
        {
            let mut state = lock(&self.state);
            if !(self.sealed.load(Ordering::Relaxed) && state.in_use) {
                return; // somebody was faster
            }
            let released = self.released_by(&state.lanes); // before the pages are fetched: what it counts is among them
            state.lanes.collect(&self.remote, &mut homecomers, usize::MAX);
            if released == state.bound {
                // Every page is back and every call of the destructor has returned: nobody looks at it any more.
                destructor = self.destructor.set(None, &state);
                state.in_use = false;
            }
        }
        // Outside of the lock: freeing may unmap a region, and a destructor's drop may do anything.
        drop(homecomers);
        if destructor.is_some() {
            lock(&FREE_IDS).free.push(self.id); // before the drop, which may panic
        }
        drop(destructor);
    }
}

#[expect(unsafe_code, reason = "the destructor is read without a lock by those who hold a page of its slot")]
mod destructor_cell {
    use super::{Destructor, DestructorCell, FrozenPage, Home, State};
    use crate::sync::MutexGuard;

    // SAFETY: written under the slot's lock while no page of the slot is out, read by holders of such pages only; destructors are Send + Sync.
    unsafe impl Sync for DestructorCell {}
    // SAFETY: destructors are Send.
    unsafe impl Send for DestructorCell {}

    impl DestructorCell {
        /// Replaces the destructor. The caller has made sure, under the lock, that no page of the slot is out.
        pub(super) fn set(
            &self,
            destructor: Option<Box<dyn Destructor>>,
            _proof: &MutexGuard<'_, State>,
        ) -> Option<Box<dyn Destructor>> {
            // SAFETY: no page is out and no call under way (`outstanding == 0`), so nobody reads; the lock excludes other writers.
            self.0.with_mut(|cell| unsafe { std::mem::replace(&mut *cell, destructor) })
        }

        /// Calls it for a page of the slot that has no holder any more and is not counted as released yet.
        #[inline]
        pub(super) fn call(&self, page: FrozenPage, home: Home<'_>) {
            self.0.with(|cell| {
                // SAFETY: as this page is not released yet, the slot is not retired, and the destructor stays what it was when the page was bound.
                if let Some(destructor) = unsafe { &*cell } {
                    destructor.last_put(page, home);
                }
            });
        }
    }
}
