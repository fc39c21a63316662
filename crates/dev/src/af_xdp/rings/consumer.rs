//! The side that empties slots.

use std::sync::atomic::Ordering;

use super::{Entry, RingMemory};
use crate::ring;

/// The consuming end of a ring: rx and completion in user space.
#[derive(Debug)]
pub struct Consumer<E> {
    ring: RingMemory<E>,
    /// The next slot to take. Ours alone; the shared index follows when a [`Peek`] is dropped.
    next: u32,
    /// The first slot that is not filled yet, as far as known.
    limit: u32,
    corrupt: u64,
}

impl<E: Entry> Consumer<E> {
    /// Takes the consuming end of a ring where it stands.
    #[must_use]
    pub fn new(ring: RingMemory<E>) -> Self {
        let next = ring.consumer().load(Ordering::Relaxed);
        Self { next, limit: next, ring, corrupt: 0 }
    }

    /// Slots in the ring.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.ring.size()
    }

    /// Filled slots; looks at the other side's index only when none is known.
    #[inline]
    pub fn available(&mut self) -> u32 {
        let known = self.limit.wrapping_sub(self.next);
        if known > 0 { known } else { self.refresh() }
    }

    fn refresh(&mut self) -> u32 {
        let Some(filled) = ring::ahead(self.ring.producer(), self.next, self.size()) else {
            // Only a peer that breaks the protocol gets here. Nothing is taken until its index makes sense again.
            self.corrupt += 1;
            return 0;
        };
        self.limit = self.next.wrapping_add(filled);
        filled
    }

    /// True when the other side has filled nothing that was not taken; does not change the cached index.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limit == self.next && !ring::moved(self.ring.producer(), self.next)
    }

    /// Up to `wanted` filled slots, in order. The ones that were read go back to the other side when the [`Peek`] is dropped.
    #[inline]
    pub fn peek(&mut self, wanted: u32) -> Peek<'_, E> {
        let count = self.available().min(wanted);
        Peek { at: self.next, end: self.next.wrapping_add(count), consumer: self }
    }

    /// How often the other side's index made no sense.
    #[must_use]
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }
}

/// Slots of a [`Consumer`] being read: an iterator over copies of them.
#[derive(Debug)]
pub struct Peek<'a, E: Entry> {
    consumer: &'a mut Consumer<E>,
    at: u32,
    end: u32,
}

impl<E: Entry> Iterator for Peek<'_, E> {
    type Item = E;

    #[inline]
    fn next(&mut self) -> Option<E> {
        if self.at == self.end {
            return None;
        }
        let entry = E::load(self.consumer.ring.slot(self.at));
        self.at = self.at.wrapping_add(1);
        Some(entry)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.wrapping_sub(self.at) as usize;
        (left, Some(left))
    }
}

impl<E: Entry> ExactSizeIterator for Peek<'_, E> {}

impl<E: Entry> Drop for Peek<'_, E> {
    #[inline]
    fn drop(&mut self) {
        if self.at != self.consumer.next {
            self.consumer.next = self.at;
            ring::publish(self.consumer.ring.consumer(), self.at);
        }
    }
}
