//! A lane: the way home from one thread to one owner. See [`owner`](crate::owner).

use crate::bulk::move_tail;
use crate::owner::Slot;
use crate::page::{FrozenPage, Page};
use crate::ptr_ring::{Consumer, Producer, ptr_ring};
use crate::remote::RemoteList;
use crate::sync::{Arc, AtomicBool, AtomicU64, CachePadded, Ordering};
use std::cell::Cell;

/// Pages that a lane holds. A burst beyond that takes the shared list. (Under loom and shuttle a burst is two pages.)
const LANE: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// The returning thread's end. Dropped when the thread ends.
pub(crate) struct Lane {
    pages: Producer<FrozenPage>,
    shared: Arc<Shared>,
    slot: &'static Slot,
    /// Used in one call, and kept for its memory.
    hand: Cell<Vec<FrozenPage>>,
}

/// The owner's end.
pub(crate) struct LaneEnd {
    pages: Consumer<FrozenPage>,
    shared: Arc<Shared>,
}

/// What both ends see beside the ring.
struct Shared {
    /// What is to be added to the number of pages ever sent so that the sum is the number of pages released. Modulo 2^64; written by the thread only.
    balance: CachePadded<AtomicU64>,
    /// The thread has ended.
    closed: AtomicBool,
}

impl Lane {
    pub(crate) fn new(slot: &'static Slot) -> (Self, LaneEnd) {
        let (pages, end) = ptr_ring(LANE);
        let shared = Arc::new(Shared { balance: CachePadded(AtomicU64::new(0)), closed: AtomicBool::new(false) });
        (Self { pages, shared: shared.clone(), slot, hand: Cell::default() }, LaneEnd { pages: end, shared })
    }

    /// Sends a page, which is released by that.
    #[inline]
    pub(crate) fn send(&self, page: FrozenPage) -> Result<(), FrozenPage> {
        self.pages.produce(page)
    }

    /// Sends the last `count` of `pages`, and gives those to `full` for which there is no room.
    pub(crate) fn send_bulk(&self, pages: &mut Vec<Page>, count: usize, full: impl FnMut(FrozenPage)) {
        let mut hand = self.hand.take();
        move_tail(pages, count, &mut hand, Page::unbind);
        self.pages.produce_batch(&mut hand);
        hand.drain(..).for_each(full);
        self.hand.set(hand);
    }

    /// Sends a page that is not released yet: the destructor that sends it has not returned. [`add_released`](Self::add_released) says when it has.
    pub(crate) fn send_unreleased(&self, page: FrozenPage) -> Result<(), FrozenPage> {
        self.add_released(-1); // first, so that it never counts as released by being in the ring
        let sent = self.send(page);
        if sent.is_err() {
            self.add_released(1);
        }
        sent
    }

    /// Counts `n` pages as released beside those that were sent.
    pub(crate) fn add_released(&self, n: i64) {
        let balance = &self.shared.balance.0;
        // One writer, so no locked instruction. Release: the pages have gone their ways before they count as released.
        balance.store(balance.load(Ordering::Relaxed).wrapping_add_signed(n), Ordering::Release);
    }

    pub(crate) fn slot(&self) -> &'static Slot {
        self.slot
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Release: after the last page and the last count.
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl LaneEnd {
    /// Pages that this thread has released, modulo 2^64. In a moment when it is releasing it may be too few (even one below zero), never too many.
    fn released(&self) -> u64 {
        // In this order: who sees a page in the ring also sees what was taken off the balance for it before.
        let sent = self.pages.produced() as u64;
        sent.wrapping_add(self.shared.balance.0.load(Ordering::Acquire))
    }

    /// Whether the thread has ended. What it sent before can be seen then.
    fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

/// The owner's ends of all lanes to it.
#[derive(Default)]
pub(crate) struct LaneEnds {
    ends: Vec<LaneEnd>,
    /// Released through lanes that are gone: closed and empty.
    folded: u64,
    /// Which is asked first the next time.
    next: usize,
}

impl LaneEnds {
    /// Takes a new lane.
    pub(crate) fn push(&mut self, end: LaneEnd) {
        self.ends.push(end);
    }

    /// Takes over all of `other`.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.ends.append(&mut other.ends);
        self.folded = self.folded.wrapping_add(std::mem::take(&mut other.folded));
    }

    /// Lets the lanes of threads that have ended go; what is in them goes `beside` the lanes. So an owner that fetches nothing for long has no more lanes than there are threads.
    pub(crate) fn fold(&mut self, beside: &RemoteList) {
        let folded = &mut self.folded;
        self.ends.retain(|end| {
            let open = !end.is_closed();
            if !open {
                std::iter::from_fn(|| end.pages.consume()).for_each(|page| beside.push(page));
                *folded = folded.wrapping_add(end.released());
            }
            open
        });
        self.next = self.next.min(self.ends.len());
    }

    /// How many lanes there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Pages that were released through lanes, modulo 2^64, with [`LaneEnd::released`]'s reservation.
    pub(crate) fn released(&self) -> u64 {
        self.ends.iter().map(LaneEnd::released).fold(self.folded, u64::wrapping_add)
    }

    /// Moves up to `max` pages to the end of `out`, and tells how many; those `beside` the lanes all at once. Each call goes on behind the lane where the last one
    /// ended, so that none waits for ever behind a busy one.
    pub(crate) fn collect(&mut self, beside: &RemoteList, out: &mut Vec<FrozenPage>, max: usize) -> usize {
        let mut got = 0;
        for _ in 0..=self.ends.len() {
            if got >= max {
                break;
            }
            let Some(end) = self.ends.get(self.next) else {
                self.next = 0;
                got += beside.take_all(out);
                continue;
            };
            got += end.pages.consume_batch(out, max - got);
            // In this order: who has ended has sent everything before.
            if end.is_closed() && end.pages.is_empty() {
                // In order, so that this round asks each of the others once.
                self.folded = self.folded.wrapping_add(self.ends.remove(self.next).released());
            } else {
                self.next += 1;
            }
        }
        got
    }
}
