//! Blocks that were freed lately, which a zone does not hand out yet.

#[cfg(feature = "debug_pages")]
use crate::meta::{FROZEN, RESTING};
use crate::region::Region;
#[cfg(feature = "debug_pages")]
use crate::sync::Ordering::Relaxed;
#[cfg(feature = "debug_pages")]
use std::collections::VecDeque;

/// A block: its number and its order.
type Block = (u32, u8);

/// First in, first out; as the kernel's KASAN keeps freed objects, so that who uses one meets its poison and not the next holder's bytes.
#[cfg(feature = "debug_pages")]
#[derive(Debug)]
pub(crate) struct Resting {
    blocks: VecDeque<Block>,
    /// Their pages, and how many they may be.
    pages: usize,
    most: usize,
}

#[cfg(feature = "debug_pages")]
impl Resting {
    pub(crate) fn new(region: &Region) -> Self {
        let most = (region.pages() / 8).min(4096);
        // Never grows, as it is used under the zone's lock.
        Self { blocks: VecDeque::with_capacity(most + 1), pages: 0, most }
    }

    /// A block comes; one that has rested long enough may go.
    pub(crate) fn pass(&mut self, region: &Region, (number, order): Block) -> Option<Block> {
        let meta = region.meta(number);
        meta.state.store(RESTING, Relaxed);
        meta.order.store(order, Relaxed);
        self.blocks.push_back((number, order));
        self.pages += 1 << order;
        self.overdue(region)
    }

    /// One more that may go.
    pub(crate) fn overdue(&mut self, region: &Region) -> Option<Block> {
        if self.pages > self.most { self.oldest(region) } else { None }
    }

    /// One that must go, as its zone has nothing else.
    pub(crate) fn oldest(&mut self, region: &Region) -> Option<Block> {
        let (number, order) = self.blocks.pop_front()?;
        region.meta(number).state.store(FROZEN, Relaxed); // as a block that comes to the lists at once
        self.pages -= 1 << order;
        Some((number, order))
    }
}

/// Nothing rests.
#[cfg(not(feature = "debug_pages"))]
#[derive(Debug)]
pub(crate) struct Resting;

#[cfg(not(feature = "debug_pages"))]
impl Resting {
    pub(crate) fn new(_: &Region) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn pass(&mut self, _: &Region, block: Block) -> Option<Block> {
        Some(block)
    }

    #[inline(always)]
    pub(crate) fn overdue(&mut self, _: &Region) -> Option<Block> {
        None
    }

    #[inline(always)]
    pub(crate) fn oldest(&mut self, _: &Region) -> Option<Block> {
        None
    }
}
