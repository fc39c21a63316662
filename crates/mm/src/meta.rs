//! The metadata of a page, which lies apart from its bytes: see [`region`](crate::region).

use crate::refcount::Refcount;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

/// What is known of one page: 64 bytes, a cache line of its own, so that counting references on one page does not disturb its neighbour
/// (`struct page` of the kernel, whose size it has). All zero is the state of a page that nobody has asked for yet.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PageMeta {
    /// Number of [`PageRef`](crate::PageRef)s and [`PageFrag`](crate::PageFrag) biases; 0 while the page is frozen or has a sole owner.
    pub(crate) refcount: Refcount,
    /// Links of the free list that the block is in. Page number + 1; 0 ends the list.
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
    /// `FREE` at the head of a block in a buddy list and nowhere else; `QUARANTINED` while it is.
    pub(crate) state: AtomicU8,
    /// Order of the block, where `state` is not `FROZEN`.
    pub(crate) order: AtomicU8,
    /// The next page's word: in the list of pages on their way home ([`remote`](crate::remote)), or, while the page has a holder, in its [chain](crate::chain).
    pub(crate) link: AtomicPtr<u8>,
    /// Which bytes are meant of the next page in the chain: where they begin, and, in the upper half, where they end.
    pub(crate) range: AtomicU64,
    #[cfg(feature = "debug_pages")]
    pub(crate) trace: crate::debug::Trace,
}

/// Allocated. (Zero, so that a page which was never touched is not free by accident.)
pub(crate) const FROZEN: u8 = 0;
/// Head of a block in a buddy list.
pub(crate) const FREE: u8 = 1;
/// Was with a device when the device went away; the device may write to it still.
pub(crate) const QUARANTINED: u8 = 2;
/// Head of a free block that [rests](crate::debug) before it goes into a buddy list.
pub(crate) const RESTING: u8 = 3;

const _: () = assert!(cfg!(loom) || size_of::<PageMeta>() == 64);
