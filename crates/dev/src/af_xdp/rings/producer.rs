//! The side that fills slots.

use std::sync::atomic::Ordering;

use super::{Entry, RingMemory};
use crate::ring;

/// `XDP_RING_NEED_WAKEUP`: the kernel sleeps until a system call wakes it.
const NEED_WAKEUP: u32 = 1;

/// The producing end of a ring: fill and tx in user space.
#[derive(Debug)]
pub struct Producer<E> {
    ring: RingMemory<E>,
    /// The next slot to fill. Ours alone; the shared index follows at [`Reserve::submit`].
    next: u32,
    /// The first slot that is not free, as far as known: the other side's index plus the ring's size.
    limit: u32,
    /// Since the last look whether the other side sleeps nothing was given to it.
    told: bool,
    corrupt: u64,
}

impl<E: Entry> Producer<E> {
    /// Takes the producing end of a ring where it stands.
    #[must_use]
    pub fn new(ring: RingMemory<E>) -> Self {
        let next = ring.producer().load(Ordering::Relaxed);
        Self { next, limit: next, ring, told: true, corrupt: 0 }
    }

    /// Slots in the ring.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.ring.size()
    }

    /// Free slots; looks at the other side's index only when fewer than `wanted` are known to be free.
    #[inline]
    pub fn free(&mut self, wanted: u32) -> u32 {
        let known = self.limit.wrapping_sub(self.next);
        if known >= wanted { known } else { self.refresh() }
    }

    #[cold]
    fn refresh(&mut self) -> u32 {
        let Some(free) = ring::ahead(self.ring.consumer(), self.next.wrapping_sub(self.size()), self.size()) else {
            // Only a peer that breaks the protocol gets here. Nothing is free until its index makes sense again.
            self.corrupt += 1;
            self.limit = self.next;
            return 0;
        };
        self.limit = self.next.wrapping_add(free);
        free
    }

    /// Slots filled and not yet taken by the other side; one look at its index.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.ring.consumer().load(Ordering::Relaxed)).min(self.size())
    }

    /// Up to `wanted` free slots to be filled now. Nothing is visible to the other side before [`Reserve::submit`]; dropped without it, nothing happened.
    #[inline]
    pub fn reserve(&mut self, wanted: u32) -> Reserve<'_, E> {
        let room = self.free(wanted).min(wanted);
        Reserve { end: self.next.wrapping_add(room), at: self.next, producer: self }
    }

    /// True when the other side must be woken by a system call.
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&mut self) -> bool {
        let told = std::mem::replace(&mut self.told, true);
        let wish = |flags| if told { ring::wish(flags) } else { ring::asked(flags) };
        self.ring.flags().is_none_or(|flags| wish(flags) & NEED_WAKEUP != 0)
    }

    /// For tests, which play the other side.
    #[cfg(test)]
    pub(in crate::af_xdp) fn memory(&self) -> &RingMemory<E> {
        &self.ring
    }

    /// How often the other side's index made no sense.
    #[must_use]
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }
}

/// Slots of a [`Producer`] being filled.
#[derive(Debug)]
pub struct Reserve<'a, E: Entry> {
    producer: &'a mut Producer<E>,
    at: u32,
    end: u32,
}

impl<E: Entry> Reserve<'_, E> {
    /// Slots that are left to fill.
    #[inline]
    #[must_use]
    pub fn room(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }

    /// Fills the next slot.
    ///
    /// # Errors
    /// Gives the entry back when there is no [`room`](Self::room).
    #[inline]
    pub fn push(&mut self, entry: E) -> Result<(), E> {
        if self.at == self.end {
            return Err(entry);
        }
        entry.store(self.producer.ring.slot(self.at));
        self.at = self.at.wrapping_add(1);
        Ok(())
    }

    /// Shows the filled slots to the other side. Answers how many.
    #[inline]
    pub fn submit(self) -> u32 {
        let filled = self.at.wrapping_sub(self.producer.next);
        if filled > 0 {
            self.producer.next = self.at;
            self.producer.told = false;
            ring::publish(self.producer.ring.producer(), self.at);
        }
        filled
    }
}
