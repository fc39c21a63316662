#![expect(
    unsafe_code,
    reason = "the rings of an AF_XDP socket are memory shared with the kernel, reached through pointers"
)]
//! The memory under one ring: two indices, a flag word and the slots.
//!
//! Everything in it is an atomic, because the other side (the kernel, or a test that plays the kernel) writes at any time. The rules by which the two sides take
//! turns are in [`super::Producer`] and [`super::Consumer`], which are safe code.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::xdp::XdpRingOffset;

use super::Entry;

/// Words of plain memory before the slots: each index has a cache line of its own, as in the kernel's `struct xdp_ring` (`net/xdp/xsk_queue.h`).
const PLAIN_HEADER: usize = 24;

/// One ring's memory, holding slots of the kind `E`.
#[derive(Debug)]
pub struct RingMemory<E> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    slots: NonNull<AtomicU64>,
    size: u32,
    _backing: Backing,
    _entry: PhantomData<fn() -> E>,
}

// SAFETY: the pointers lead into `_backing`, which moves along and is freed only with this value; what they lead to are atomics, so any thread may use them.
unsafe impl<E> Send for RingMemory<E> {}

#[derive(Debug)]
enum Backing {
    Kernel { address: NonNull<std::ffi::c_void>, len: usize },
    Plain { _words: Arc<[AtomicU64]> },
}

impl Drop for Backing {
    fn drop(&mut self) {
        if let Self::Kernel { address, len } = *self {
            // SAFETY: `address` and `len` are those of a mapping made by `RingMemory::map`, and the pointers into it die with this value.
            // An error would mean that it is not mapped; there is nothing to be done about that here.
            let _ = unsafe { munmap(address.as_ptr(), len) };
        }
    }
}

impl<E: Entry> RingMemory<E> {
    /// Maps a ring of `size` slots of the AF_XDP socket `fd`: `page_offset` is one of the `XDP_*_PGOFF_*`, `offsets` what the kernel answered to
    /// `XDP_MMAP_OFFSETS` for this ring.
    ///
    /// # Errors
    /// What `mmap` says, or `EPROTO` when the kernel's offsets do not describe a ring.
    pub(in crate::af_xdp) fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> Result<Self, Errno> {
        let field = |offset: u64, bytes: usize, align: usize| -> Result<usize, Errno> {
            let offset = usize::try_from(offset).map_err(|_| Errno::PROTO)?;
            if offset % align == 0 && bytes > 0 { Ok(offset) } else { Err(Errno::PROTO) }
        };
        let desc = field(offsets.desc, 8, 8)?;
        let len = desc + size as usize * E::WORDS * size_of::<u64>();
        let index = |offset: u64| -> Result<usize, Errno> {
            let at = field(offset, 4, 4)?;
            if at + 4 <= len { Ok(at) } else { Err(Errno::PROTO) }
        };
        let (producer, consumer) = (index(offsets.producer)?, index(offsets.consumer)?);
        let flags = offsets.flags.map(index).transpose()?;

        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anybody has.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                page_offset,
            )?
        };
        let address = NonNull::new(address).ok_or(Errno::NOMEM)?;
        let backing = Backing::Kernel { address, len };
        // SAFETY: all offsets were checked above to be aligned and to end inside the `len` bytes of the mapping.
        let at = |offset: usize| unsafe { address.byte_add(offset) };
        Ok(Self {
            producer: at(producer).cast(),
            consumer: at(consumer).cast(),
            flags: flags.map(|offset| at(offset).cast()),
            slots: at(desc).cast(),
            size,
            _backing: backing,
            _entry: PhantomData,
        })
    }

    /// Two views of one ring in plain memory, one for each side: what tests and fuzzers use to play the kernel.
    ///
    /// # Panics
    /// When `size` is not a power of two.
    #[must_use]
    pub fn pair(size: u32) -> (Self, Self) {
        assert!(size.is_power_of_two(), "a ring of {size} slots: the size must be a power of two");
        let words: Arc<[AtomicU64]> = (0..PLAIN_HEADER + size as usize * E::WORDS).map(|_| AtomicU64::new(0)).collect();
        (Self::plain(Arc::clone(&words), size), Self::plain(words, size))
    }

    fn plain(words: Arc<[AtomicU64]>, size: u32) -> Self {
        assert!(words.len() == PLAIN_HEADER + size as usize * E::WORDS);
        let base = NonNull::from(&*words).cast::<AtomicU64>();
        // SAFETY: words 0, 8, 16 and 24 lie inside `words`, whose length was just checked. The three index words are only ever used as 32 bits.
        let at = |word: usize| unsafe { base.add(word) };
        Self {
            producer: at(0).cast(),
            consumer: at(8).cast(),
            flags: Some(at(16).cast()),
            slots: at(PLAIN_HEADER),
            size,
            _backing: Backing::Plain { _words: words },
            _entry: PhantomData,
        }
    }

    /// Slots in the ring, a power of two.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The index of the next slot that the producing side will fill; free running, it wraps at 2^32.
    #[inline]
    #[must_use]
    pub fn producer(&self) -> &AtomicU32 {
        // SAFETY: set from a checked offset into `_backing`, which lives as long as `self`.
        unsafe { self.producer.as_ref() }
    }

    /// The index of the next slot that the consuming side will take; free running, it wraps at 2^32.
    #[inline]
    #[must_use]
    pub fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    /// The flag word (`XDP_RING_NEED_WAKEUP`); kernels before 5.4 have none.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> Option<&AtomicU32> {
        // SAFETY: as in `producer`.
        self.flags.map(|flags| unsafe { flags.as_ref() })
    }

    /// The words of the slot that a free running index stands for.
    #[inline]
    #[must_use]
    pub fn slot(&self, index: u32) -> &[AtomicU64] {
        let slot = (index & (self.size - 1)) as usize;
        // SAFETY: `slot < size` because size is a power of two, and the backing has `size * E::WORDS` words from `slots` on; they are atomics, written by
        // both sides.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().add(slot * E::WORDS), E::WORDS) }
    }
}
