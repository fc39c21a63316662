//! `ptr_ring`: a bounded ring that moves values between two threads, in batches.
//!
//! After the kernel's `include/linux/ptr_ring.h`, with two differences. The kernel's sides find "full" and "empty" by NULL slots and have a batched
//! consume only; here each side owns an index and keeps a copy of the other's, so a batch of any length is published by one
//! release store and costs the reader one cache miss for the index, on either side. And the two sides are values: whoever has the [`Producer`] is
//! the producer, so no lock is needed to be the only one. (For several producers put it behind a mutex, which is what the kernel's `producer_lock` is.)
#![expect(unsafe_code, reason = "slots are handed from one thread to another by index")]

use crate::prefetch::prefetchw;
use crate::sync::{Arc, AtomicUsize, CachePadded, Ordering, UnsafeCell};
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

struct Ring<T> {
    /// How many values were ever produced, modulo 2^64. Written by the producer only.
    head: CachePadded<AtomicUsize>,
    /// How many values were ever consumed. Written by the consumer only. `head - tail <= slots.len()` at all times.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
}

/// Whether it is full is said by the indices.
type Slot<T> = UnsafeCell<MaybeUninit<T>>;

// SAFETY: a slot is touched by the producer while it is free and by the consumer while it is full; the release stores of
// `head` and `tail` hand it over. Values move between threads, hence `T: Send`.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; the ring owns the values in it.
unsafe impl<T: Send> Send for Ring<T> {}

/// The slots of the ring, at hand: going through the ring would be one more load, which waits for another, on the way of every page.
struct Slots<T>(NonNull<[Slot<T>]>);

// SAFETY: a pointer into the ring, which is Sync if `T` is Send.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T> Slots<T> {
    /// # Safety
    /// `ring` outlives it.
    unsafe fn of(ring: &Ring<T>) -> Self {
        Self(NonNull::from(&*ring.slots))
    }

    #[inline]
    fn all(&self) -> &[Slot<T>] {
        // SAFETY: the ring is there, as `of` was promised, and its slots are shared by cells.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn at(&self, index: usize) -> &Slot<T> {
        &self.all()[index & (self.len() - 1)]
    }

    /// Asks for the lines of `count` slots from `index` on, to write.
    #[inline]
    fn prefetchw(&self, index: usize, count: usize) {
        let per_line = (64 / size_of::<Slot<T>>().max(1)).max(1);
        (0..count).step_by(per_line).for_each(|i| prefetchw(self.at(index.wrapping_add(i))));
    }

    /// The `count` slots from `index` on: up to the end of the array, and what is left from its begin.
    #[inline]
    fn run(&self, index: usize, count: usize) -> [&[Slot<T>]; 2] {
        let (front, back) = self.all().split_at(index & (self.len() - 1));
        let straight = count.min(back.len());
        [&back[..straight], &front[..count - straight]]
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (mut tail, head) = (self.tail.0.load(Ordering::Relaxed), self.head.0.load(Ordering::Relaxed));
        while tail != head {
            // SAFETY: both sides are gone, and the slots from tail to head are full.
            self.slots[tail & (self.slots.len() - 1)].with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            tail = tail.wrapping_add(1);
        }
    }
}

/// The side that puts values in. One thread at a time has it.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    slots: Slots<T>,
    /// Our own index, and the last one seen of the consumer. `Cell` also makes the producer `!Sync`.
    head: Cell<usize>,
    tail: Cell<usize>,
}

/// The side that takes values out. One thread at a time has it.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    slots: Slots<T>,
    head: Cell<usize>,
    tail: Cell<usize>,
}

/// A ring with room for at least `capacity` values, as its two sides.
///
/// # Panics
/// If `capacity` is above 2^63, or there is no memory for so many.
pub fn ptr_ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1).checked_next_power_of_two().expect("a ring has at most 2^63 places");
    let ring = Arc::new(Ring {
        head: CachePadded(AtomicUsize::new(0)),
        tail: CachePadded(AtomicUsize::new(0)),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    // SAFETY: each side keeps the ring beside its pointer to the slots.
    let slots = || unsafe { Slots::of(&ring) };
    let producer = Producer { ring: ring.clone(), slots: slots(), head: Cell::new(0), tail: Cell::new(0) };
    let consumer = Consumer { ring: ring.clone(), slots: slots(), head: Cell::new(0), tail: Cell::new(0) };
    (producer, consumer)
}

impl<T: Send> Producer<T> {
    /// How many values the ring can hold.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Room for at least `wanted` values if there is that much, else all the room there is. Asks the other side only when its last known index does not do.
    #[inline]
    fn room(&self, wanted: usize) -> usize {
        let room = self.capacity() - self.head.get().wrapping_sub(self.tail.get());
        if room >= wanted {
            return room;
        }
        // Acquire: the consumer has moved its values out of the slots it gives back.
        self.tail.set(self.ring.tail.0.load(Ordering::Acquire));
        self.capacity() - self.head.get().wrapping_sub(self.tail.get())
    }

    /// Writes `value` at `index`, which must be free.
    #[inline]
    fn write(&self, index: usize, value: T) {
        // SAFETY: `index` is in [head, tail + capacity): free, and ours until `head` passes it.
        self.slots.at(index).with_mut(|slot| unsafe { (*slot).write(value) });
    }

    #[inline]
    fn publish(&self, head: usize) {
        self.head.set(head);
        // Release: the slots are written before the consumer may see them.
        self.ring.head.0.store(head, Ordering::Release);
    }

    /// Puts one value in, or gives it back when the ring is full.
    #[inline]
    pub fn produce(&self, value: T) -> Result<(), T> {
        if self.room(1) == 0 {
            return Err(value);
        }
        let head = self.head.get();
        self.write(head, value);
        self.publish(head.wrapping_add(1));
        Ok(())
    }

    /// Moves values from the front of `values` into the ring, as many as fit, and tells how many. They become visible together.
    #[inline]
    pub fn produce_batch(&self, values: &mut Vec<T>) -> usize {
        let count = values.len().min(self.room(values.len()));
        if count == 0 {
            return 0;
        }
        let (head, rest) = (self.head.get(), values.len() - count);
        let slots = self.slots.run(head, count);
        // SAFETY: the vector gives its values up before they are read, each once; the first `count` go into slots in [head, tail + capacity), which are
        // free, and ours until `head` passes them; the rest moves to the front and is the vector's again.
        unsafe {
            values.set_len(0);
            let mut value = values.as_mut_ptr();
            for straight in slots {
                for slot in straight {
                    slot.with_mut(|slot| (*slot).write(value.read()));
                    value = value.add(1);
                }
            }
            std::ptr::copy(value, values.as_mut_ptr(), rest);
            values.set_len(rest);
        }
        self.publish(head.wrapping_add(count));
        self.slots.prefetchw(head.wrapping_add(count), count);
        count
    }

    /// Whether no value fits.
    pub fn is_full(&self) -> bool {
        self.room(1) == 0
    }

    /// How many values fit now.
    pub fn free(&self) -> usize {
        self.room(usize::MAX)
    }
}

impl<T: Send> Consumer<T> {
    #[inline]
    fn filled(&self, wanted: usize) -> usize {
        let filled = self.head.get().wrapping_sub(self.tail.get());
        if filled >= wanted {
            return filled;
        }
        // Acquire: what was written into the slots before `head` passed them.
        self.head.set(self.ring.head.0.load(Ordering::Acquire));
        self.head.get().wrapping_sub(self.tail.get())
    }

    #[inline]
    fn read(&self, index: usize) -> T {
        // SAFETY: `index` is in [tail, head): full, and ours until `tail` passes it; it is read once, as the caller passes it now.
        self.slots.at(index).with(|slot| unsafe { (*slot).assume_init_read() })
    }

    #[inline]
    fn release(&self, tail: usize) {
        self.tail.set(tail);
        // Release: the values have been moved out before the producer may write there.
        self.ring.tail.0.store(tail, Ordering::Release);
    }

    /// Takes one value out, or `None` when the ring is empty.
    #[inline]
    pub fn consume(&self) -> Option<T> {
        if self.filled(1) == 0 {
            return None;
        }
        let tail = self.tail.get();
        let value = self.read(tail);
        self.release(tail.wrapping_add(1));
        Some(value)
    }

    /// Moves at most `max` values to the end of `out` and tells how many. Their slots are given back together.
    #[inline]
    pub fn consume_batch(&self, out: &mut Vec<T>, max: usize) -> usize {
        let count = max.min(self.filled(max));
        if count == 0 {
            return 0;
        }
        out.reserve(count); // the only step that could panic comes before anything is moved
        let tail = self.tail.get();
        for slots in self.slots.run(tail, count) {
            // SAFETY: these slots are in [tail, head): full, and ours until `tail` passes them; each is read once, as it does now.
            out.extend(slots.iter().map(|slot| slot.with(|slot| unsafe { (*slot).assume_init_read() })));
        }
        self.release(tail.wrapping_add(count));
        count
    }

    /// How many values were ever put in, modulo 2^64.
    pub(crate) fn produced(&self) -> usize {
        // Acquire: what the producer did before.
        self.ring.head.0.load(Ordering::Acquire)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.filled(1) == 0
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("head", &self.head.get()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("tail", &self.tail.get()).finish_non_exhaustive()
    }
}
