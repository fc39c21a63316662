//! Packets that are larger than a page: a first part, which programs see, and its fragments behind it (the kernel's XDP multi-buffer).
//!
//! The pages form a [chain](waterwheel_page_pool::mm::Chain), so that a packet stays one value of 16 bytes however many pages it has; the range that goes with each says where in it the bytes lie.

use super::{AdjustError, HEADROOM, MIN_LEN, Place, XdpBuff, XdpFrame, outside};
use crate::device::Traffic;
use std::iter::once;
use std::ops::Range;
use waterwheel_page_pool::mm::{Account, PAGE_SIZE, Page, RegionId};
use waterwheel_page_pool::{Direction, PagePool};

/// Most fragments behind the first part (the kernel's `MAX_SKB_FRAGS`).
pub const MAX_FRAGS: usize = 17;

impl XdpBuff {
    /// Whether there are fragments behind the first part (`xdp_buff_has_frags`).
    #[inline]
    pub fn has_frags(&self) -> bool {
        self.place.frags() > 0
    }

    /// How many.
    #[inline]
    pub fn frag_count(&self) -> usize {
        usize::from(self.place.frags())
    }

    /// Bytes of all parts (`xdp_get_buff_len`).
    #[inline]
    pub fn total_len(&self) -> usize {
        if self.has_frags() { self.len() + self.frags().map(<[u8]>::len).sum::<usize>() } else { self.len() }
    }

    /// The bytes of the fragments, in order.
    pub fn frags(&self) -> impl Iterator<Item = &[u8]> {
        self.page.chain().map(|part| part.bytes())
    }

    /// The same, to write.
    pub fn frags_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.page.chain_mut()
    }

    /// The bytes of the first part and of the fragments, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        once(self.data()).chain(self.frags())
    }

    /// Puts `len` bytes at `offset` of `page` behind the last part. What follows that page, if it led the fragments of another packet, goes home.
    ///
    /// # Errors
    /// The page, if there are [`MAX_FRAGS`] fragments already.
    ///
    /// # Panics
    /// As [`new`](Self::new): if they do not lie in the page.
    pub fn push_frag(&mut self, page: Page, offset: usize, len: usize) -> Result<(), Page> {
        if offset > page.size() || len > page.size() - offset || offset.max(len) > usize::from(u16::MAX) {
            outside(page.size(), offset, len);
        }
        if self.frag_count() == MAX_FRAGS {
            return Err(page);
        }
        self.page.append(page.alone(), offset..offset + len);
        self.place = self.place.with_frags(self.place.frags() + 1);
        Ok(())
    }

    /// Takes the last fragment off: its page, and where in it the bytes lie.
    fn pop_frag(&mut self) -> Option<(Page, Range<usize>)> {
        let last = self.page.take_last()?;
        self.place = self.place.with_frags(self.place.frags() - 1);
        Some(last)
    }

    /// The longest packet that pages of `pool` can hold, in bytes.
    pub fn longest(pool: &PagePool) -> usize {
        let part = |room: usize| room.min(usize::from(u16::MAX));
        let size = PAGE_SIZE << pool.order();
        part(size - HEADROOM) + MAX_FRAGS * part(size)
    }

    /// A packet of `len` bytes, in as many pages as they need: [`HEADROOM`] in front of the first part, fragments from the start of their pages on. The bytes are
    /// what they were.
    ///
    /// `None` when there are not enough pages, or it is longer than the [`longest`](Self::longest).
    pub fn of_len(pool: &mut PagePool, direction: Direction, len: usize) -> Option<Self> {
        let room = |size: usize| size.min(usize::from(u16::MAX));
        let size = PAGE_SIZE << pool.order();
        let mut packet = Self::with_len(pool.alloc(direction)?, len.min(room(size - HEADROOM)));
        let mut left = len - packet.len();
        while left > 0 {
            let part = left.min(room(size));
            let page = if packet.frag_count() < MAX_FRAGS { pool.alloc(direction) } else { None };
            let Some(page) = page else {
                pool.put(packet.into_page());
                return None;
            };
            let _ = packet.push_frag(page, 0, part);
            left -= part;
        }
        Some(packet)
    }

    /// A packet with these bytes: see [`of_len`](Self::of_len).
    pub fn copy_from(pool: &mut PagePool, direction: Direction, bytes: &[u8]) -> Option<Self> {
        let mut packet = Self::of_len(pool, direction, bytes.len())?;
        packet.store_bytes(0, bytes);
        Some(packet)
    }

    /// A packet with the same bytes: see [`of_len`](Self::of_len).
    pub fn duplicate(&self, pool: &mut PagePool, direction: Direction) -> Option<Self> {
        let mut copy = Self::of_len(pool, direction, self.total_len())?;
        let mut offset = 0;
        for part in self.parts() {
            copy.store_bytes(offset, part);
            offset += part.len();
        }
        Some(copy)
    }

    /// Whether all its pages are of that region.
    pub fn is_of(&self, region: RegionId) -> bool {
        self.page.region_id() == region && self.page.chain().all(|part| part.region_id() == region)
    }

    /// Copies bytes out of the packet, from `offset` on, across its parts (`bpf_xdp_load_bytes`). Tells whether it has so many; else nothing is copied.
    pub fn load_bytes(&self, offset: usize, out: &mut [u8]) -> bool {
        let fits = offset.checked_add(out.len()).is_some_and(|end| end <= self.total_len());
        if fits {
            let mut left = out;
            for source in skip(self.parts(), offset) {
                let n = source.len().min(left.len());
                let (now, later) = left.split_at_mut(n);
                now.copy_from_slice(&source[..n]);
                left = later;
            }
        }
        fits
    }

    /// Copies bytes into the packet, from `offset` on, across its parts (`bpf_xdp_store_bytes`). Tells whether it has so many; else nothing is copied.
    pub fn store_bytes(&mut self, mut offset: usize, mut bytes: &[u8]) -> bool {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.total_len());
        if fits {
            let mut write = |part: &mut [u8]| {
                let start = offset.min(part.len());
                let n = bytes.len().min(part.len() - start);
                let (now, later) = bytes.split_at(n);
                part[start..start + n].copy_from_slice(now);
                (offset, bytes) = (offset - start, later);
            };
            write(self.data_mut());
            self.frags_mut().for_each(write);
        }
        fits
    }

    /// Moves the end of a packet that has fragments: within the page of the last one, or back across several, whose pages go home.
    pub(super) fn adjust_frags(&mut self, delta: i32) -> Result<(), AdjustError> {
        let refuse = AdjustError { delta };
        if delta >= 0 {
            let (mut page, old) = self.pop_frag().ok_or(refuse)?;
            let end = old.end + delta as usize;
            let grows = end <= page.size() && end - old.start <= usize::from(u16::MAX);
            if grows {
                page.as_mut_slice()[old.end..end].fill(0);
            }
            let len = if grows { end - old.start } else { old.len() };
            let _ = self.push_frag(page, old.start, len);
            return if grows { Ok(()) } else { Err(refuse) };
        }
        let mut less = delta.unsigned_abs() as usize;
        if self.total_len().checked_sub(less).is_none_or(|len| len < MIN_LEN) || self.len() < MIN_LEN {
            return Err(refuse);
        }
        while less > 0 {
            let Some((page, old)) = self.pop_frag() else {
                self.place = self.place.with_len(self.place.len() - less as u16); // checked above
                break;
            };
            let stays = old.len().saturating_sub(less);
            less -= old.len() - stays;
            if stays > 0 {
                let _ = self.push_frag(page, old.start, stays);
            }
        }
        Ok(())
    }

    /// Marks the pages of all parts as held by a device, those that are of the zone whose pages are counted.
    pub fn account(&self, account: &mut Account) {
        account.queued(&self.page);
    }
}

/// What is left of `parts` behind the first `offset` bytes.
fn skip<'a>(parts: impl Iterator<Item = &'a [u8]>, mut offset: usize) -> impl Iterator<Item = &'a [u8]> {
    parts.map(move |part| {
        let start = offset.min(part.len());
        offset -= start;
        &part[start..]
    })
}

impl XdpFrame {
    /// Whether there are fragments behind the first part.
    #[inline]
    pub fn has_frags(&self) -> bool {
        self.0.has_frags()
    }

    /// How many.
    #[inline]
    pub fn frag_count(&self) -> usize {
        self.0.frag_count()
    }

    /// Bytes of all parts.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.0.total_len()
    }

    /// The bytes of the fragments, in order.
    pub fn frags(&self) -> impl Iterator<Item = &[u8]> {
        self.0.frags()
    }

    /// The bytes of the first part and of the fragments, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.parts()
    }

    /// Copies bytes out of the packet: see [`XdpBuff::load_bytes`].
    pub fn load_bytes(&self, offset: usize, out: &mut [u8]) -> bool {
        self.0.load_bytes(offset, out)
    }

    /// Whether all its pages are of that region.
    pub fn is_of(&self, region: RegionId) -> bool {
        self.0.is_of(region)
    }

    /// The same packet in pages of `pool`: see [`XdpBuff::duplicate`].
    pub fn duplicate(&self, pool: &mut PagePool, direction: Direction) -> Option<Self> {
        self.0.duplicate(pool, direction).map(Self)
    }

    /// Marks the pages of all parts: see [`XdpBuff::account`].
    pub fn account(&self, account: &mut Account) {
        self.0.account(account);
    }

    /// Takes the packet apart, for devices that send one page after the other: each part as a frame without fragments.
    pub fn into_parts(self) -> IntoParts {
        IntoParts(Some(self.0))
    }
}

/// The parts of a packet that was taken apart. What is not taken out goes home by its drop.
#[derive(Debug)]
pub struct IntoParts(Option<XdpBuff>);

impl Iterator for IntoParts {
    type Item = XdpFrame;

    fn next(&mut self) -> Option<XdpFrame> {
        let mut part = self.0.take()?;
        if let Some((page, bytes)) = part.page.unchain() {
            self.0 = Some(XdpBuff { page, place: Place::of(&bytes).with_frags(part.place.frags() - 1) });
            part.place = part.place.with_frags(0);
        }
        Some(XdpFrame(part))
    }
}

impl Traffic {
    /// These packets and all their bytes.
    #[inline]
    pub fn of(packets: &[XdpBuff]) -> Self {
        Self::sum(packets.len(), packets.iter())
    }

    /// These frames and all their bytes.
    #[inline]
    pub fn of_frames(frames: &[XdpFrame]) -> Self {
        Self::sum(frames.len(), frames.iter().map(|frame| &frame.0))
    }

    /// Mostly no packet of a batch has fragments; so that is asked once, of all places together.
    #[inline]
    fn sum<'a>(packets: usize, all: impl Iterator<Item = &'a XdpBuff> + Clone) -> Self {
        let (mut bytes, mut places) = (0, 0);
        for packet in all.clone() {
            bytes += packet.len() as u64;
            places |= packet.place.0;
        }
        if Place(places).frags() > 0 {
            bytes = all.map(|packet| packet.total_len() as u64).sum();
        }
        Self { packets: packets as u64, bytes }
    }
}
