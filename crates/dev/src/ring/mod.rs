//! How two sides take turns on a ring that they share: under the rings of AF_XDP, those of memif, and io_uring's ring of buffers.
//!
//! | step | who | how |
//! |---|---|---|
//! | [`publish`] | who has filled, or emptied, slots | its index is stored behind what it did with them (Release) |
//! | [`ahead`] | who wants slots | the other side's index is loaded before they are touched (Acquire), and is believed only so far as a ring goes |
//! | [`moved`] | who looks whether there is anything at all | a look that orders nothing: [`ahead`] follows |
//! | [`ask`], then [`moved`] | who goes to sleep | the wish to be woken is stored, *then* the index is looked at |
//! | [`publish`], then [`asked`] | who has news | the index is stored, *then* the wish is looked at |
//!
//! The last two stand against each other: each side stores one word and loads another, which neither Release nor Acquire keeps in order, nor any CPU by itself. A fence on both sides does: at least
//! one of them sees what the other has stored, and so nobody sleeps over news.
//!
//! There is no memory here, and no ring: the words are wherever the driver has them, of the size that the other side expects. Loom has words of its own, and tries every order (`tests.rs`).

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

#[cfg(test)]
mod tests;

/// A word in shared memory: an index that runs freely and wraps, or flags.
pub(crate) trait Word {
    /// What it holds.
    type Value: Copy + PartialOrd;
    /// Loads it.
    fn load(&self, order: Ordering) -> Self::Value;
    /// Stores it.
    fn store(&self, value: Self::Value, order: Ordering);
    /// `to - from`, over the wrap.
    fn distance(from: Self::Value, to: Self::Value) -> Self::Value;
    /// A fence between words of this kind.
    fn fence(order: Ordering);
}

macro_rules! word {
    ($atomic:ty, $value:ty, $fence:path) => {
        impl Word for $atomic {
            type Value = $value;
            #[inline]
            fn load(&self, order: Ordering) -> $value {
                <$atomic>::load(self, order)
            }
            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                <$atomic>::store(self, value, order);
            }
            #[inline]
            fn distance(from: $value, to: $value) -> $value {
                to.wrapping_sub(from)
            }
            #[inline]
            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}
word!(AtomicU16, u16, fence);
word!(AtomicU32, u32, fence);
#[cfg(test)]
use word;

/// Shows the other side everything up to `index`, which is ours: slots that were filled, or taken out.
#[inline]
pub(crate) fn publish<W: Word>(ours: &W, index: W::Value) {
    // Release: what was done with the slots, and with the packets that they name, is done before the index says so.
    ours.store(index, Ordering::Release);
}

/// How far the other side's index is ahead of `behind`. Nothing when that is more than `most`: such an index cannot be.
#[inline]
pub(crate) fn ahead<W: Word>(theirs: &W, behind: W::Value, most: W::Value) -> Option<W::Value> {
    // Acquire: what the other side did with the slots below its index is done before we touch them.
    let ahead = W::distance(behind, theirs.load(Ordering::Acquire));
    (ahead <= most).then_some(ahead)
}

/// Whether the other side's index is not `seen`. Says nothing about slots: ask how far it is [`ahead`].
#[inline]
pub(crate) fn moved<W: Word>(theirs: &W, seen: W::Value) -> bool {
    theirs.load(Ordering::Relaxed) != seen
}

/// Stores the wish to be woken. Who asked looks once more whether something has [`moved`], and then sleeps.
#[inline]
pub(crate) fn ask<W: Word>(flags: &W, wish: W::Value) {
    flags.store(wish, Ordering::Relaxed);
    W::fence(Ordering::SeqCst); // between the wish and the look that follows
}

/// Takes the wish back: who is awake sees everything itself.
#[inline]
pub(crate) fn unask<W: Word>(flags: &W, none: W::Value) {
    flags.store(none, Ordering::Relaxed);
}

/// The other side's wish, after something was [published](publish).
#[inline]
pub(crate) fn asked<W: Word>(flags: &W) -> W::Value {
    W::fence(Ordering::SeqCst); // between the index that was stored and the look at the wish
    wish(flags)
}

/// The other side's wish, when nothing was published since it was [asked](asked) for.
#[inline]
pub(crate) fn wish<W: Word>(flags: &W) -> W::Value {
    flags.load(Ordering::Relaxed)
}
