#![expect(unsafe_code, reason = "memory that another process writes at any time, reached through pointers")]
//! The memory that both sides have.
//!
//! The other side writes to it at any time, so nothing in it is ever a Rust reference to plain bytes: indices and descriptors are atomics, each loaded once and looked at
//! afterwards, and packets are copied by instructions that the compiler does not look into ([`copy`]). Every place is checked against the size of the mapping, which the
//! other side cannot change ([`super::region`]).

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::closer;

/// A ring's first word (`MEMIF_COOKIE`).
pub(super) const COOKIE: u32 = 0x03E3_1F20;
/// Where the fields of a ring lie: each index has a cache line of its own.
const FLAGS: usize = 4;
const HEAD: usize = 6;
const TAIL: usize = 64;
const DESCS: usize = 128;
/// Bytes of a descriptor.
const DESC: usize = 16;
/// A ring begins at a multiple of this, so that its descriptors are aligned.
pub(super) const RING_ALIGN: u64 = DESC as u64;

/// Bytes of a ring of `1 << log2_slots` slots.
pub(super) fn ring_bytes(log2_slots: u8) -> u64 {
    DESCS as u64 + ((DESC as u64) << log2_slots)
}

/// A buffer, or a part of a packet in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Desc {
    /// Bit 0: the packet goes on in the next descriptor.
    pub(super) flags: u16,
    pub(super) region: u16,
    pub(super) length: u32,
    pub(super) offset: u32,
}

/// All regions of one connection; unmapped, elsewhere, when the last ring of it is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    regions: Vec<Mapping>,
}

/// One region.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a size; what lies there is touched through atomics and opaque instructions only, by any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must not become shorter. `populate`: takes the memory at once.
    pub(super) fn new(file: BorrowedFd<'_>, len: usize, populate: bool) -> Result<Self, Errno> {
        let flags = if populate { MapFlags::SHARED | MapFlags::POPULATE } else { MapFlags::SHARED };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anybody has.
        let base = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0)? };
        Ok(Self { base: NonNull::new(base.cast()).ok_or(Errno::NOMEM)?, len })
    }

    /// The address of `len` bytes at `offset`, if they lie in the region.
    #[inline]
    fn at(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len as u64)?;
        // SAFETY: inside of the mapping, as the comparison says.
        (end <= self.len as u64).then(|| unsafe { self.base.add(offset as usize) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; whoever has a pointer into it holds the `Memory` that holds this.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

impl Drop for Memory {
    /// There may be gigabytes of it, whose pages go with it.
    fn drop(&mut self) {
        closer::later(std::mem::take(&mut self.regions));
    }
}

impl Memory {
    pub(super) fn new(regions: Vec<Mapping>) -> Arc<Self> {
        Arc::new(Self { regions })
    }

    /// Copies `to.len()` bytes out of the memory. False, and nothing is copied, when they do not lie in it.
    #[inline]
    pub(super) fn read(&self, region: u16, offset: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.place(region, offset, to.len()) else { return false };
        // SAFETY: `from` has `to.len()` bytes that stay mapped while `self` lives; `to` is borrowed exclusively, and is not of this mapping, which nobody has a slice of.
        unsafe { copy(from.as_ptr(), to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies `from` into the memory. False, and nothing is copied, when it has no such place.
    #[inline]
    pub(super) fn write(&self, region: u16, offset: u64, from: &[u8]) -> bool {
        let Some(to) = self.place(region, offset, from.len()) else { return false };
        // SAFETY: as in `read`, the other way.
        unsafe { copy(from.as_ptr(), to.as_ptr(), from.len()) };
        true
    }

    /// Whether there are `len` bytes at `offset` of `region`.
    #[inline]
    pub(super) fn has(&self, region: u16, offset: u64, len: usize) -> bool {
        self.place(region, offset, len).is_some()
    }

    /// Asks for the cache line at `offset`, to read.
    #[inline]
    pub(super) fn prefetch(&self, region: u16, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(place) = self.place(region, offset, 1) {
            // SAFETY: a hint; the place is mapped.
            unsafe {
                std::arch::asm!("prefetcht0 [{0}]", in(reg) place.as_ptr(), options(nostack, preserves_flags, readonly))
            };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (region, offset);
    }

    /// The same, to write.
    #[inline]
    pub(super) fn prefetchw(&self, region: u16, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(place) = self.place(region, offset, 1) {
            // SAFETY: a hint; the place is mapped.
            unsafe {
                std::arch::asm!("prefetchw [{0}]", in(reg) place.as_ptr(), options(nostack, preserves_flags, readonly))
            };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (region, offset);
    }

    #[inline]
    fn place(&self, region: u16, offset: u64, len: usize) -> Option<NonNull<u8>> {
        self.regions.get(usize::from(region))?.at(offset, len)
    }
}

/// One ring: indices, flags, descriptors. What is read of it may be anything.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<u8>,
    mask: u16,
    _memory: Arc<Memory>,
}

// SAFETY: the pointer leads into `_memory`, which moves along; what it leads to are atomics.
unsafe impl Send for Ring {}

impl Ring {
    /// The ring of `1 << log2_slots` slots at `offset`; none when it does not lie in the region, is not aligned, or has more slots than its indices can tell apart.
    pub(super) fn new(memory: &Arc<Memory>, region: u16, offset: u64, log2_slots: u8) -> Option<Self> {
        if log2_slots >= 16 || !offset.is_multiple_of(RING_ALIGN) {
            return None;
        }
        let base = memory.place(region, offset, ring_bytes(log2_slots) as usize)?;
        Some(Self { base, mask: ((1u32 << log2_slots) - 1) as u16, _memory: Arc::clone(memory) })
    }

    /// Slots: a power of two.
    #[inline]
    pub(super) fn slots(&self) -> u16 {
        self.mask + 1
    }

    pub(super) fn cookie(&self) -> &AtomicU32 {
        // SAFETY: `new` has seen that the whole ring lies in the mapping, at a multiple of 16 bytes; the mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().cast()) }
    }

    /// Bit 0: whoever receives does not want to be woken.
    #[inline]
    pub(super) fn flags(&self) -> &AtomicU16 {
        self.word(FLAGS)
    }

    /// The client's index; it wraps at 2^16.
    #[inline]
    pub(super) fn head(&self) -> &AtomicU16 {
        self.word(HEAD)
    }

    /// The server's index; it wraps at 2^16.
    #[inline]
    pub(super) fn tail(&self) -> &AtomicU16 {
        self.word(TAIL)
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: as in `cookie`; the offsets are those above.
        unsafe { AtomicU16::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The two words of the slot that a free running index stands for.
    #[inline]
    fn slot(&self, index: u16) -> [&AtomicU64; 2] {
        let offset = DESCS + usize::from(index & self.mask) * DESC;
        // SAFETY: as in `cookie`; the slot is below the number of slots, and descriptors are aligned to 16 bytes.
        unsafe {
            let slot = self.base.as_ptr().add(offset).cast::<u64>();
            [AtomicU64::from_ptr(slot), AtomicU64::from_ptr(slot.add(1))]
        }
    }

    /// Asks for the cache line of a slot, to write.
    #[inline]
    pub(super) fn prefetchw(&self, index: u16) {
        #[cfg(target_arch = "x86_64")]
        {
            let slot = std::ptr::from_ref(self.slot(index)[0]);
            // SAFETY: a hint; the slot is mapped.
            unsafe { std::arch::asm!("prefetchw [{0}]", in(reg) slot, options(nostack, preserves_flags, readonly)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// One look at a descriptor.
    #[inline]
    pub(super) fn desc(&self, index: u16) -> Desc {
        let [first, second] = self.slot(index).map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        Desc {
            flags: u16::from_ne_bytes([first[0], first[1]]),
            region: u16::from_ne_bytes([first[2], first[3]]),
            length: u32::from_ne_bytes([first[4], first[5], first[6], first[7]]),
            offset: u32::from_ne_bytes([second[0], second[1], second[2], second[3]]),
        }
    }

    /// Writes a descriptor; the private word behind it becomes 0.
    #[inline]
    pub(super) fn set_desc(&self, index: u16, desc: Desc) {
        let [first, second] = self.slot(index);
        first.store(first_word(desc), Ordering::Relaxed);
        let o = desc.offset.to_ne_bytes();
        second.store(u64::from_ne_bytes([o[0], o[1], o[2], o[3], 0, 0, 0, 0]), Ordering::Relaxed);
    }

    /// Writes flags, region and length, and leaves the offset as it is.
    #[inline]
    pub(super) fn set_length(&self, index: u16, desc: Desc) {
        self.slot(index)[0].store(first_word(desc), Ordering::Relaxed);
    }
}

#[inline]
fn first_word(desc: Desc) -> u64 {
    let (f, r, l) = (desc.flags.to_ne_bytes(), desc.region.to_ne_bytes(), desc.length.to_ne_bytes());
    u64::from_ne_bytes([f[0], f[1], r[0], r[1], l[0], l[1], l[2], l[3]])
}

/// Copies `len` bytes, one side of which another process may write meanwhile: what arrives then is any mixture, and nothing worse. The compiler is told nothing of
/// the bytes, so it can conclude nothing from them.
///
/// # Safety
/// Both sides have `len` bytes, and do not overlap.
#[inline]
#[cfg(target_arch = "x86_64")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    /// Copies 64 bytes.
    #[inline(always)]
    unsafe fn line(from: *const u8, to: *mut u8) {
        // SAFETY: by the contract of `copy`.
        unsafe {
            std::arch::asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + 32], {c}",
                "movups [{to} + 48], {d}",
                from = in(reg) from,
                to = in(reg) to,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
    /// Copies 16 bytes.
    #[inline(always)]
    unsafe fn quarter(from: *const u8, to: *mut u8) {
        // SAFETY: by the contract of `copy`.
        unsafe {
            std::arch::asm!(
                "movups {a}, [{from}]",
                "movups [{to}], {a}",
                from = in(reg) from,
                to = in(reg) to,
                a = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
    // What is left behind the last whole step ends where the copy ends: some bytes are copied twice.
    // SAFETY: each step lies within `len` bytes, as its condition says.
    unsafe {
        let mut done = 0;
        while done + 64 <= len {
            line(from.add(done), to.add(done));
            done += 64;
        }
        while done + 16 <= len {
            quarter(from.add(done), to.add(done));
            done += 16;
        }
        if done < len && len >= 16 {
            quarter(from.add(len - 16), to.add(len - 16));
        } else if done < len {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// As above, where there are no instructions of ours: volatile bytes.
///
/// # Safety
/// Both sides have `len` bytes, and do not overlap.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    for i in 0..len {
        // SAFETY: below `len`.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
}
