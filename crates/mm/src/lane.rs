//! A lane: the way home from one thread to one owner. See [`owner`](crate::owner).

use crate::owner::Slot;
use crate::page::FrozenPage;
use crate::ptr_ring::{Consumer, Producer, ptr_ring};
use crate::sync::{AtomicBool, AtomicU64, CachePadded, Ordering};
use std::cell::OnceCell;
use std::sync::Arc;

/// Pages that a lane holds. A burst beyond that takes the shared list.
const LANE: usize = 4096;

/// The returning thread's end. Dropped when the thread ends.
pub(crate) struct Lane {
    pages: Producer<FrozenPage>,
    shared: Arc<Shared>,
}

/// What owner and thread both see of a lane beside its ring.
pub(crate) struct Shared {
    /// Pages whose destructor call has returned on this thread. Written by the thread only.
    released: CachePadded<AtomicU64>,
    /// The thread has ended.
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn released(&self) -> u64 {
        self.released.0.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Lane {
    pub(crate) fn new() -> (Self, Consumer<FrozenPage>, Arc<Shared>) {
        let (pages, end) = ptr_ring(LANE);
        let shared = Arc::new(Shared { released: CachePadded(AtomicU64::new(0)), closed: AtomicBool::new(false) });
        (Self { pages, shared: shared.clone() }, end, shared)
    }

    #[inline]
    pub(crate) fn send(&self, page: FrozenPage) -> Result<(), FrozenPage> {
        self.pages.produce(page)
    }

    #[inline]
    pub(crate) fn add_released(&self) {
        let released = &self.shared.released.0;
        // One writer, so no locked instruction. Release: the page is in the lane, or gone its way, before it counts as released.
        released.store(released.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Release: after the last page and the last count.
        self.shared.closed.store(true, Ordering::Release);
    }
}

/// A thread's lanes by owner id, in two steps of 64 so that a thread pays for what it uses.
struct Lanes([OnceCell<Box<[OnceCell<Lane>; 64]>>; 64]);

thread_local! {
    static LANES: Lanes = const { Lanes([const { OnceCell::new() }; 64]) };
}

/// Runs `f` with the calling thread's lane to `slot`, opening it the first time; not at all where the thread's locals are gone already.
#[inline]
pub(crate) fn with(slot: &Slot, f: impl FnOnce(&Lane)) {
    let id = usize::from(slot.id());
    let _ = LANES.try_with(|lanes| {
        let chunk = lanes.0[id / 64].get_or_init(|| Box::new([const { OnceCell::new() }; 64]));
        f(chunk[id % 64].get_or_init(|| slot.open_lane()));
    });
}
