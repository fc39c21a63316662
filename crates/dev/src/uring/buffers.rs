#![expect(unsafe_code, reason = "a ring of pages that the kernel takes buffers from")]
//! The buffer ring: pages that wait for whatever a socket receives next (`IORING_REGISTER_PBUF_RING`, Linux 5.19).
//!
//! The ring is an array in memory that both sides see; we write entries and its tail, the kernel takes entries from its head. A page that is in it is [`Posted`]. The id
//! under which the kernel knows it is its place in the ring, so that the buffers of a bundle are neighbours.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use waterwheel_xdp::{Account, Direction, Page, PagePool, Posted};

use crate::ring;

/// Pages that the kernel may write to, by their place in the ring.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    posted: Box<[Option<Posted>]>,
    count: usize,
    tail: u16,
    headroom: u32,
}

// SAFETY: the owner of a mapping; the pages are `Send`.
unsafe impl Send for Buffers {}

impl Buffers {
    /// An empty ring for `size` pages; what is received begins `headroom` bytes into its page.
    ///
    /// # Errors
    /// EINVAL: the size is none of a power of two up to 32768. ENOMEM: no memory.
    pub(super) fn new(size: u16, headroom: u32) -> std::io::Result<Self> {
        if !size.is_power_of_two() {
            return Err(rustix::io::Errno::INVAL.into());
        }
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping, which `Drop` unmaps. The kernel pins its memory while the ring is registered, so unmapping it early harms nobody.
        let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), Self::bytes(size.into()), prot, flags)? };
        let entries = NonNull::new(memory.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { entries, posted: (0..size).map(|_| None).collect(), count: 0, tail: 0, headroom })
    }

    fn bytes(size: usize) -> usize {
        size * size_of::<BufRingEntry>()
    }

    /// The address to register, and the number of entries.
    pub(super) fn memory(&self) -> (u64, u16) {
        (self.entries.as_ptr().addr() as u64, self.posted.len() as u16)
    }

    /// Pages in the ring.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The same in pages of 4 KiB.
    pub(super) fn pages(&self) -> usize {
        self.posted.iter().flatten().map(|posted| 1 << posted.order()).sum()
    }

    /// Places in the ring.
    pub(super) fn capacity(&self) -> usize {
        self.posted.len()
    }

    /// Posts pages of `pool` until `target` are there, or there are no more. Pages that are no longer than the headroom are none.
    pub(super) fn fill(&mut self, pool: &mut PagePool, target: usize) {
        let wanted = target.min(self.capacity()).saturating_sub(self.count);
        if wanted == 0 {
            return;
        }
        let mask = self.capacity() - 1;
        for page in pool.hand_out(Direction::Rx, wanted) {
            let place = usize::from(self.tail) & mask;
            if self.posted[place].is_some() {
                break; // taken by the kernel, which has not said so yet; the page goes home by its drop
            }
            let Some(room) = page.as_slice().get(self.headroom as usize..).filter(|room| !room.is_empty()) else {
                break; // nothing but headroom
            };
            let (address, len) = (room.as_ptr().addr() as u64, room.len() as u32);
            // SAFETY: the table keeps the page until the kernel gives it up, and the kernel is given this page's bytes.
            self.posted[place] = Some(unsafe { Posted::new(page) });
            // SAFETY: a place of the mapping that the kernel does not look at before the tail is behind it.
            let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
            entry.set_addr(address);
            entry.set_len(len);
            entry.set_bid(place as u16);
            self.tail = self.tail.wrapping_add(1);
            self.count += 1;
        }
        // SAFETY: the tail lies in an unused part of the first entry; it is aligned, and shared with the kernel as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        ring::publish(tail, self.tail);
    }

    /// Takes the page out that the kernel knows as `id`, and how many bytes the kernel took it for: it may shorten a buffer to what it expects to come. `None` when it has no such page: it
    /// is not believed.
    ///
    /// # Safety
    /// A completion names `id`: the kernel has given the page up.
    pub(super) unsafe fn take(&mut self, id: u16) -> Option<(Page, u32)> {
        let posted = self.posted.get_mut(usize::from(id))?.take()?;
        self.count -= 1;
        // SAFETY: by contract.
        let page = unsafe { posted.reclaim() };
        // SAFETY: a place of the mapping, which the kernel has left behind; what it wrote there it wrote before the completion.
        let len = unsafe { &*self.entries.as_ptr().add(usize::from(id)) }.len();
        let most = page.size() as u32 - self.headroom;
        Some((page, len.min(most)))
    }

    /// The id behind `id` in the ring: the next buffer of a bundle.
    pub(super) fn next(&self, id: u16) -> u16 {
        ((usize::from(id) + 1) & (self.capacity() - 1)) as u16
    }

    /// Takes all pages back.
    ///
    /// # Safety
    /// The ring is not registered any more, and nothing is being received: the kernel cannot write to its pages.
    pub(super) unsafe fn reclaim(&mut self, mut home: impl FnMut(Page)) {
        for posted in self.posted.iter_mut().filter_map(Option::take) {
            // SAFETY: by contract.
            home(unsafe { posted.reclaim() });
        }
        self.count = 0;
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.posted.iter().flatten().for_each(|page| account.posted(page));
    }
}

impl Drop for Buffers {
    /// Pages that are still posted are quarantined by their own drop.
    fn drop(&mut self) {
        // SAFETY: our mapping; see `new`.
        let _ = unsafe { munmap(self.entries.as_ptr().cast(), Self::bytes(self.posted.len())) };
    }
}
