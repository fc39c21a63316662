//! The side that fills slots.

use std::sync::atomic::Ordering;

use super::{Entry, RingMemory};

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
    corrupt: u64,
}

impl<E: Entry> Producer<E> {
    /// Takes the producing end of a ring where it stands.
    #[must_use]
    pub fn new(ring: RingMemory<E>) -> Self {
        let next = ring.producer().load(Ordering::Relaxed);
        Self { next, limit: next, ring, corrupt: 0 }
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
        // Acquire: what the other side did with the slots it gives back happens before we write them again.
        let consumer = self.ring.consumer().load(Ordering::Acquire);
        let used = self.next.wrapping_sub(consumer);
        if used > self.size() {
            // Only a peer that breaks the protocol gets here. Nothing is free until its index makes sense again.
            self.corrupt += 1;
            self.limit = self.next;
            return 0;
        }
        self.limit = consumer.wrapping_add(self.size());
        self.size() - used
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
    pub fn needs_wakeup(&self) -> bool {
        self.ring.flags().is_none_or(|flags| flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0)
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
            // Release: the slots, and the packets they name, are written before the index says so.
            self.producer.ring.producer().store(self.at, Ordering::Release);
        }
        filled
    }
}
