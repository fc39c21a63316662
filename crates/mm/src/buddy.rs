//! The buddy allocator: free blocks of 1, 2, 4 … 1024 pages; a block is split when no smaller one is there, and merged with its buddy when both are free.
//!
//! After Knowlton (CACM 8(10), 1965) and the kernel's `mm/page_alloc.c`. It knows page numbers and metadata only, and is called under its zone's lock.
//!
//! Equations that hold between calls: `free == sum over order of blocks(order) << order`, and a page's state is `FREE` exactly at the head of a block in a list.

use crate::debug::{self, Resting};
use crate::meta::{FREE, FROZEN, PageMeta, QUARANTINED};
use crate::region::Region;
use crate::sync::Ordering::Relaxed;
use crate::{MAX_ORDER, ORDERS};

/// Free blocks of one region.
#[derive(Debug)]
pub(crate) struct Buddy {
    /// First block of each order's list: page number + 1, or 0.
    heads: [u32; ORDERS],
    blocks: [usize; ORDERS],
    /// Free pages.
    free: usize,
    /// Pages that will never come back.
    quarantined: usize,
    /// Free blocks that are in no list yet.
    resting: Resting,
}

impl Buddy {
    /// All pages of `region`, free.
    pub(crate) fn new(region: &Region) -> Self {
        let resting = Resting::new(region);
        let mut buddy = Self { heads: [0; ORDERS], blocks: [0; ORDERS], free: 0, quarantined: 0, resting };
        let (mut number, end) = (0, region.pages() as u32);
        while number < end {
            let aligned = number.trailing_zeros().min(u32::from(MAX_ORDER)) as u8;
            let order = aligned.min((end - number).ilog2() as u8);
            buddy.push(region, number, order);
            number += 1 << order;
        }
        buddy.free = region.pages();
        buddy
    }

    pub(crate) fn free_pages(&self) -> usize {
        self.free
    }

    pub(crate) fn quarantined(&self) -> usize {
        self.quarantined
    }

    /// Free blocks of each order.
    pub(crate) fn blocks(&self) -> [usize; ORDERS] {
        self.blocks
    }

    /// A block of `order`, claimed.
    pub(crate) fn alloc(&mut self, region: &Region, order: u8) -> Option<u32> {
        loop {
            if let Some(from) = (order..=MAX_ORDER).find(|&o| self.heads[usize::from(o)] != 0) {
                return Some(self.take(region, from, order));
            }
            if !self.wake(region) {
                return None;
            }
        }
    }

    /// The largest block at hand of at most `order`, or one of `order` cut from a larger one: small blocks go out first, large ones stay whole.
    pub(crate) fn alloc_upto(&mut self, region: &Region, order: u8) -> Option<(u32, u8)> {
        if let Some(o) = (0..=order).rev().find(|&o| self.heads[usize::from(o)] != 0) {
            return Some((self.take(region, o, o), o));
        }
        if let Some(from) = (order + 1..=MAX_ORDER).find(|&o| self.heads[usize::from(o)] != 0) {
            return Some((self.take(region, from, order), order));
        }
        if self.wake(region) { self.alloc_upto(region, order) } else { None }
    }

    /// Takes the first block of order `from`, gives back what is more than `order`, and claims the rest.
    fn take(&mut self, region: &Region, from: u8, order: u8) -> u32 {
        let number = self.heads[usize::from(from)] - 1;
        self.unlink(region, number, from);
        for half in (order..from).rev() {
            self.push(region, number + (1 << half), half);
        }
        self.free -= 1 << order;
        debug::from_zone(region, number, order);
        number
    }

    /// Takes a block back.
    pub(crate) fn free(&mut self, region: &Region, number: u32, order: u8) {
        debug::to_zone(region, number, order);
        self.free += 1 << order;
        let mut ready = self.resting.pass(region, (number, order));
        while let Some((number, order)) = ready {
            self.insert(region, number, order);
            ready = self.resting.overdue(region);
        }
    }

    /// Puts the blocks that rest into the lists, and tells whether there were any.
    pub(crate) fn wake(&mut self, region: &Region) -> bool {
        let mut any = false;
        while let Some((number, order)) = self.resting.oldest(region) {
            self.insert(region, number, order);
            any = true;
        }
        any
    }

    /// Puts a free block into the lists, merged with its buddies.
    fn insert(&mut self, region: &Region, number: u32, order: u8) {
        let (mut number, mut order) = (number, order);
        while order < MAX_ORDER {
            let buddy = number ^ (1 << order);
            if buddy as usize >= region.pages() {
                break;
            }
            let meta = region.meta(buddy);
            if meta.state.load(Relaxed) != FREE || meta.order.load(Relaxed) != order {
                break;
            }
            self.unlink(region, buddy, order);
            number &= buddy;
            order += 1;
        }
        self.push(region, number, order);
    }

    /// Takes a block out of use: it is neither free nor anybody's.
    pub(crate) fn quarantine(&mut self, region: &Region, number: u32, order: u8) {
        let meta = region.meta(number);
        meta.state.store(QUARANTINED, Relaxed);
        meta.order.store(order, Relaxed);
        self.quarantined += 1 << order;
    }

    /// Puts a block back into use: it is somebody's again.
    pub(crate) fn release(&mut self, region: &Region, number: u32, order: u8) {
        let meta = region.meta(number);
        assert_eq!(meta.state.load(Relaxed), QUARANTINED, "page {number} is not in quarantine");
        meta.state.store(FROZEN, Relaxed);
        self.quarantined -= 1 << order;
    }

    fn push(&mut self, region: &Region, number: u32, order: u8) {
        let head = &mut self.heads[usize::from(order)];
        let meta = region.meta(number);
        if *head != 0 {
            region.meta(*head - 1).prev.store(number + 1, Relaxed);
        }
        meta.next.store(*head, Relaxed);
        meta.prev.store(0, Relaxed);
        meta.order.store(order, Relaxed);
        meta.state.store(FREE, Relaxed);
        *head = number + 1;
        self.blocks[usize::from(order)] += 1;
    }

    /// Takes a block out of its list. This is where it is claimed: a block that is not free here would be handed out twice.
    fn unlink(&mut self, region: &Region, number: u32, order: u8) {
        let meta = region.meta(number);
        claim(meta, number, order);
        let (prev, next) = (meta.prev.load(Relaxed), meta.next.load(Relaxed));
        match prev {
            0 => self.heads[usize::from(order)] = next,
            p => region.meta(p - 1).next.store(next, Relaxed),
        }
        if next != 0 {
            region.meta(next - 1).prev.store(prev, Relaxed);
        }
        self.blocks[usize::from(order)] -= 1;
    }
}

/// FREE -> FROZEN, once per block. Going on after a failure would alias memory.
fn claim(meta: &PageMeta, number: u32, order: u8) {
    let (state, found) = (meta.state.load(Relaxed), meta.order.load(Relaxed));
    assert!(
        state == FREE && found == order,
        "the buddy lists are corrupt: page {number} in the list of order {order} has state {state} and order {found}"
    );
    meta.state.store(FROZEN, Relaxed);
}
