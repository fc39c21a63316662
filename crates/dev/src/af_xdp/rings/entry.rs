//! What a slot of a ring holds.

use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of slot. Slots are made of 64-bit words, loaded and stored relaxed: the ring's indices order them.
pub trait Entry: Copy {
    /// Words per slot.
    const WORDS: usize;
    /// Reads a slot of [`WORDS`](Self::WORDS) words.
    fn load(slot: &[AtomicU64]) -> Self;
    /// Writes a slot of [`WORDS`](Self::WORDS) words.
    fn store(self, slot: &[AtomicU64]);
}

/// A byte offset into the UMEM: the slot of fill and completion rings.
impl Entry for u64 {
    const WORDS: usize = 1;

    #[inline]
    fn load(slot: &[AtomicU64]) -> Self {
        slot[0].load(Ordering::Relaxed)
    }

    #[inline]
    fn store(self, slot: &[AtomicU64]) {
        slot[0].store(self, Ordering::Relaxed);
    }
}

/// `struct xdp_desc` (`include/uapi/linux/if_xdp.h`): the slot of rx and tx rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Desc {
    /// Byte offset of the packet's first byte in the UMEM.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// `XDP_PKT_CONTD` when the packet goes on in the next descriptor; 0 for the packets that we send.
    pub options: u32,
}

impl Entry for Desc {
    const WORDS: usize = 2;

    #[inline]
    fn load(slot: &[AtomicU64]) -> Self {
        let [l0, l1, l2, l3, o0, o1, o2, o3] = slot[1].load(Ordering::Relaxed).to_ne_bytes();
        Self {
            addr: slot[0].load(Ordering::Relaxed),
            len: u32::from_ne_bytes([l0, l1, l2, l3]),
            options: u32::from_ne_bytes([o0, o1, o2, o3]),
        }
    }

    #[inline]
    fn store(self, slot: &[AtomicU64]) {
        let ([l0, l1, l2, l3], [o0, o1, o2, o3]) = (self.len.to_ne_bytes(), self.options.to_ne_bytes());
        slot[0].store(self.addr, Ordering::Relaxed);
        slot[1].store(u64::from_ne_bytes([l0, l1, l2, l3, o0, o1, o2, o3]), Ordering::Relaxed);
    }
}
