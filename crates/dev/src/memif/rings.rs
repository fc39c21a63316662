//! The two rings of one queue: packets are copied out of the one and into the other.
//!
//! A ring has two indices, which run freely and wrap at 2^16. The *head* is the client's and the *tail* the server's, in both directions:
//!
//! | direction | head | tail |
//! |---|---|---|
//! | to the server | behind the last packet that the client has put in | behind the last one that the server has taken out |
//! | to the client | behind the last empty buffer that the client has put in | behind the last one that the server has filled |
//!
//! So each side has one index, here `next`, and what is between it and the other side's index is ours to use: packets to take out, or buffers to fill. The other side's index is never
//! believed further than the ring is long, and what it writes into descriptors is read once, checked, and used as it was read.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use waterwheel_xdp::{Direction, DropReason, Drops, HEADROOM, Page, PagePool, Traffic, XdpBuff, XdpFrame};

use super::event;
use super::fault::Fault;
use super::memory::{Desc, Memory, Ring};
use super::params::Role;

/// `MEMIF_DESC_FLAG_NEXT`: the packet goes on in the next descriptor. There is no other flag.
pub(super) const NEXT: u16 = 1;
/// `MEMIF_RING_FLAG_MASK_INT`: do not wake me.
const MASK_INT: u16 = 1;
/// Bytes that every frame has.
pub(super) const ETHERNET_HEADER: usize = 14;
/// So many packets ahead the memory is asked for.
const AHEAD: u16 = 6;

/// Whose buffers the descriptors of a ring lead to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Buffers {
    /// The client's, who is the other side: a descriptor says where.
    Theirs,
    /// Ours, as we are the client: a slot has its buffer.
    Ours {
        /// Offset of the first one in region 0.
        first: u32,
    },
}

/// Bytes of a buffer of ours. DPDK's servers write up to so many without a look at the descriptor.
pub(super) const BUFFER: u32 = 2048;
/// From one buffer to the next: not a power of two, so that the first lines of buffers do not share one set of a cache.
pub(super) const STRIDE: u32 = BUFFER + 64;

/// What both ends of a ring have.
#[derive(Debug)]
pub(super) struct End {
    pub(super) ring: Ring,
    pub(super) memory: Arc<Memory>,
    pub(super) event: Arc<OwnedFd>,
    pub(super) role: Role,
    pub(super) buffers: Buffers,
    /// Our index.
    pub(super) next: u16,
}

impl End {
    #[inline]
    pub(super) fn ours(&self) -> &AtomicU16 {
        match self.role {
            Role::Client => self.ring.head(),
            Role::Server => self.ring.tail(),
        }
    }

    #[inline]
    pub(super) fn theirs(&self) -> &AtomicU16 {
        match self.role {
            Role::Client => self.ring.tail(),
            Role::Server => self.ring.head(),
        }
    }

    /// How far the other side is ahead of `behind`, at most `most`.
    #[inline]
    pub(super) fn ahead_of(&self, behind: u16, most: u16) -> Result<u16, Fault> {
        let ahead = self.theirs().load(Ordering::Acquire).wrapping_sub(behind);
        if ahead <= most { Ok(ahead) } else { Err(Fault::Index) }
    }

    /// Shows the other side what was done up to `index`.
    #[inline]
    pub(super) fn publish(&self, index: u16) {
        self.ours().store(index, Ordering::Release);
    }

    /// Whether the other side's index is not `seen`.
    pub(super) fn has_news(&self, seen: u16) -> bool {
        self.theirs().load(Ordering::Acquire) != seen
    }

    /// Whether the other side shall wake us. Who goes to sleep asks for it, then looks once more.
    pub(super) fn mask(&self, masked: bool) {
        self.ring.flags().store(if masked { MASK_INT } else { 0 }, Ordering::Relaxed);
        if !masked {
            fence(Ordering::SeqCst); // between this store and the look that follows
        }
    }

    /// Wakes the other side, which was given something, if it wants to be woken. Tells whether it does.
    #[inline]
    pub(super) fn wake(&self) -> bool {
        fence(Ordering::SeqCst); // between the index that was stored and the look at the flag
        let wakes = self.ring.flags().load(Ordering::Relaxed) & MASK_INT == 0;
        if wakes {
            event::set(&self.event);
        }
        wakes
    }

    /// The buffer of a slot that is empty: region, offset, bytes.
    #[inline]
    fn buffer(&self, index: u16) -> Result<Desc, Fault> {
        match self.buffers {
            Buffers::Ours { first } => {
                let slot = u32::from(index & (self.ring.slots() - 1));
                Ok(Desc { flags: 0, region: 0, length: BUFFER, offset: first + slot * STRIDE })
            }
            Buffers::Theirs => {
                let desc = self.ring.desc(index);
                let fits = self.memory.has(desc.region, desc.offset.into(), desc.length as usize);
                if fits && desc.length > 0 { Ok(desc) } else { Err(Fault::Descriptor) }
            }
        }
    }

    /// The part of a packet in a slot.
    #[inline]
    fn part(&self, index: u16) -> Result<Desc, Fault> {
        let said = self.ring.desc(index);
        let desc = match self.buffers {
            Buffers::Theirs => said,
            // Where it lies we know better than the descriptor.
            Buffers::Ours { .. } => Desc { flags: said.flags, length: said.length, ..self.buffer(index)? },
        };
        let fits = match self.buffers {
            Buffers::Theirs => self.memory.has(desc.region, desc.offset.into(), desc.length as usize),
            Buffers::Ours { .. } => desc.length <= BUFFER,
        };
        if fits && desc.flags & !NEXT == 0 { Ok(desc) } else { Err(Fault::Descriptor) }
    }
}

/// What the receiving end counts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RxCounts {
    /// Longer than a page holds.
    pub(super) too_long: u64,
    /// Shorter than an Ethernet header.
    pub(super) short: u64,
}

/// The end that packets come out of.
#[derive(Debug)]
pub(super) struct Rx {
    pub(super) end: End,
    /// Up to here it was looked at: beyond `next` only when the last packet is not there as a whole.
    seen: u16,
    /// There was no page for what is there.
    starved: bool,
}

impl Rx {
    /// Nothing is received yet; a client offers all of its buffers.
    pub(super) fn new(mut end: End) -> Self {
        end.next = 0;
        let mut rx = Self { end, seen: 0, starved: false };
        rx.end.mask(true);
        if rx.end.role == Role::Client {
            for index in 0..rx.end.ring.slots() {
                if let Ok(buffer) = rx.end.buffer(index) {
                    rx.end.ring.set_desc(index, buffer);
                }
            }
        }
        rx.publish();
        rx
    }

    /// Takes up to `budget` packets, each copied into pages of `pool`.
    #[inline]
    pub(super) fn receive(
        &mut self,
        pages: &mut Pages<'_>,
        batch: &mut Vec<XdpBuff>,
        budget: usize,
        counts: &mut RxCounts,
    ) -> Result<(), Fault> {
        let available = self.end.ahead_of(self.end.next, self.end.ring.slots())?;
        let wanted = budget.min(available.into());
        self.starved = false;
        if wanted == 0 {
            return Ok(());
        }
        pages.fetch(wanted);
        let (begin, end) = (self.end.next, self.end.next.wrapping_add(available));
        for index in 0..available.min(AHEAD) {
            self.prefetch(begin.wrapping_add(index));
        }
        let mut at = begin;
        let mut unfinished = false;
        let mut result = Ok(());
        for _ in 0..wanted {
            if at == end {
                break;
            }
            self.prefetch(at.wrapping_add(AHEAD));
            match self.packet(at, end, pages, counts) {
                Ok(Next::Packet(packet, next)) => {
                    batch.push(packet);
                    at = next;
                }
                Ok(Next::Dropped(next)) => at = next,
                Ok(Next::Unfinished) => {
                    unfinished = true;
                    break;
                }
                Ok(Next::NoPage) => {
                    self.starved = true;
                    break;
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
        }
        if at != begin {
            self.give_back(at);
        }
        self.seen = if unfinished { end } else { at };
        pages.put_back();
        result
    }

    /// The packet at `at`, copied into a page.
    #[inline]
    fn packet(&self, at: u16, end: u16, pages: &mut Pages<'_>, counts: &mut RxCounts) -> Result<Next, Fault> {
        let part = self.end.part(at)?;
        let len = part.length as usize;
        let Some(page) = pages.next() else { return Ok(Next::NoPage) };
        if part.flags & NEXT != 0 || len > room(&page) {
            return self.chain(at, end, page, pages, counts);
        }
        if len < ETHERNET_HEADER {
            counts.short += 1;
            pages.give_back(page);
            return Ok(Next::Dropped(at.wrapping_add(1)));
        }
        let mut packet = XdpBuff::with_len(page, len);
        if !self.end.memory.read(part.region, part.offset.into(), packet.data_mut()) {
            return Err(Fault::Descriptor);
        }
        Ok(Next::Packet(packet, at.wrapping_add(1)))
    }

    /// The same for a packet of several descriptors, or of several pages.
    #[inline(never)]
    fn chain(
        &self,
        at: u16,
        end: u16,
        page: Page,
        pages: &mut Pages<'_>,
        counts: &mut RxCounts,
    ) -> Result<Next, Fault> {
        let Some((parts, total)) = self.measure(at, end)? else {
            pages.give_back(page);
            return Ok(Next::Unfinished);
        };
        let next = at.wrapping_add(parts);
        if !(ETHERNET_HEADER as u64..=XdpBuff::longest(pages.pool) as u64).contains(&total) {
            let count = if total < ETHERNET_HEADER as u64 { &mut counts.short } else { &mut counts.too_long };
            *count += 1;
            pages.give_back(page);
            return Ok(Next::Dropped(next));
        }
        let first = (total as usize).min(room(&page));
        let mut packet = XdpBuff::with_len(page, first);
        let mut left = total as usize - first;
        while left > 0 {
            let Some(page) = pages.next() else {
                pages.give_back(packet.into_page());
                return Ok(Next::NoPage);
            };
            let here = left.min(page.size()).min(u16::MAX.into());
            let _ = packet.push_frag(page, 0, here); // not longer than the longest
            left -= here;
        }
        let mut source = Source { end: &self.end, at, left: parts, part: Desc::default() };
        source.fill(packet.data_mut())?;
        packet.frags_mut().try_for_each(|frag| source.fill(frag))?;
        Ok(Next::Packet(packet, next))
    }

    /// Descriptors and bytes of the packet that begins at `at`; nothing when its end is not there yet.
    fn measure(&self, at: u16, end: u16) -> Result<Option<(u16, u64)>, Fault> {
        let (mut parts, mut total) = (0u16, 0u64);
        loop {
            let index = at.wrapping_add(parts);
            if index == end {
                // Nobody can end a chain that fills the ring.
                return if parts == self.end.ring.slots() { Err(Fault::Descriptor) } else { Ok(None) };
            }
            let part = self.end.part(index)?;
            parts += 1;
            total += u64::from(part.length);
            if part.flags & NEXT == 0 {
                return Ok(Some((parts, total)));
            }
        }
    }

    /// Asks for the memory of the packet at `index`, which need not be there.
    #[inline]
    fn prefetch(&self, index: u16) {
        let place = match self.end.buffers {
            Buffers::Ours { .. } => self.end.buffer(index).unwrap_or_default(),
            Buffers::Theirs => self.end.ring.desc(index),
        };
        self.end.memory.prefetch(place.region, place.offset.into());
    }

    /// Everything up to `at` is taken out.
    #[inline]
    fn give_back(&mut self, at: u16) {
        if self.end.role == Role::Client {
            let mut index = self.end.next;
            while index != at {
                self.end.ring.set_length(index, Desc { flags: 0, region: 0, length: BUFFER, offset: 0 });
                index = index.wrapping_add(1);
            }
        }
        self.end.next = at;
        self.publish();
    }

    #[inline]
    fn publish(&mut self) {
        let all = if self.end.role == Role::Client { self.end.ring.slots() } else { 0 };
        self.end.publish(self.end.next.wrapping_add(all));
    }

    /// Whether something has come since the last look.
    pub(super) fn has_more(&self) -> bool {
        self.end.has_news(self.end.next) && self.end.has_news(self.seen) || self.starved
    }

    /// There are packets, and there was no page for them.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }
}

/// What became of the packet at an index, and where the next one begins.
enum Next {
    Packet(XdpBuff, u16),
    /// It was counted.
    Dropped(u16),
    /// Its end is not there yet.
    Unfinished,
    NoPage,
}

/// Empty pages: those that were fetched at once, then more of the pool's.
pub(super) struct Pages<'a> {
    pub(super) pool: &'a mut PagePool,
    /// Empty between two calls.
    pub(super) spare: &'a mut Vec<Page>,
}

impl Pages<'_> {
    /// Fetches pages, so that `count` are at hand.
    #[inline]
    pub(super) fn fetch(&mut self, count: usize) {
        self.pool.alloc_bulk(Direction::Rx, count, self.spare);
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<Page> {
        self.spare.pop().or_else(|| self.pool.alloc(Direction::Rx))
    }

    #[inline]
    pub(super) fn give_back(&mut self, page: Page) {
        self.pool.put(page);
    }

    /// What was fetched and not used goes home.
    #[inline]
    fn put_back(&mut self) {
        if !self.spare.is_empty() {
            self.pool.put_bulk(self.spare);
        }
    }
}

/// The bytes of a packet, from descriptor to descriptor. They are looked at a second time here, and may have changed: then they lead somewhere else in the memory, or too few are there.
struct Source<'a> {
    end: &'a End,
    at: u16,
    left: u16,
    /// What is left of the descriptor before `at`.
    part: Desc,
}

impl Source<'_> {
    fn fill(&mut self, mut to: &mut [u8]) -> Result<(), Fault> {
        while !to.is_empty() {
            if self.part.length == 0 {
                self.left = self.left.checked_sub(1).ok_or(Fault::Descriptor)?;
                self.part = self.end.part(self.at)?;
                self.at = self.at.wrapping_add(1);
                continue;
            }
            let (here, rest) = to.split_at_mut(to.len().min(self.part.length as usize));
            if !self.end.memory.read(self.part.region, self.part.offset.into(), here) {
                return Err(Fault::Descriptor);
            }
            self.part.length -= here.len() as u32;
            self.part.offset = self.part.offset.saturating_add(here.len() as u32);
            to = rest;
        }
        Ok(())
    }
}

/// Bytes of a packet that a page holds behind the head room.
fn room(page: &Page) -> usize {
    (page.size() - HEADROOM).min(u16::MAX.into())
}

/// The end that packets go into.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) end: End,
    /// Slots that are ours to fill, as far as we know.
    room: u16,
    /// Something was put in, of which the other side was not told.
    news: bool,
}

impl Tx {
    pub(super) fn new(mut end: End) -> Self {
        end.next = 0;
        end.publish(0);
        Self { end, room: 0, news: false }
    }

    /// Slots that can be filled now.
    pub(super) fn room(&mut self) -> Result<u16, Fault> {
        let slots = self.end.ring.slots();
        self.room = match self.end.role {
            Role::Client => self.end.ahead_of(self.end.next.wrapping_sub(slots), slots)?,
            Role::Server => self.end.ahead_of(self.end.next, slots)?,
        };
        Ok(self.room)
    }

    /// Slots that the other side has not taken out.
    pub(super) fn left(&self) -> u64 {
        u64::from(self.end.ring.slots() - self.room)
    }

    /// Copies packets from the front of `frames` into the ring, as many as have room. Tells how many are done with, and adds what was sent to `traffic`.
    #[inline]
    pub(super) fn send(
        &mut self,
        frames: &[XdpFrame],
        traffic: &mut Traffic,
        drops: &mut Drops,
    ) -> Result<usize, Fault> {
        if usize::from(self.room) < frames.len() {
            self.room()?;
        }
        for index in 0..self.room.min(AHEAD) {
            self.prefetch(self.end.next.wrapping_add(index));
        }
        let begin = self.end.next;
        let mut result = Ok(());
        let mut done = 0;
        for frame in frames {
            self.prefetch(self.end.next.wrapping_add(AHEAD));
            let sent = if frame.has_frags() { self.put_parts(frame.parts()) } else { self.put(frame.data()) };
            match sent {
                Ok(true) => traffic.add(frame.total_len()),
                Ok(false) if frame.total_len() < ETHERNET_HEADER => drops.add(DropReason::Malformed, 1),
                Ok(false) if self.can_never_hold(frame.total_len()) => drops.add(DropReason::FrameTooLong, 1),
                Ok(false) => break,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
            done += 1;
        }
        if self.end.next != begin {
            self.end.publish(self.end.next);
            self.news = true;
        }
        result.map(|()| done)
    }

    /// Copies one packet. False: it has no room, or is no packet.
    #[inline]
    fn put(&mut self, packet: &[u8]) -> Result<bool, Fault> {
        if self.room == 0 || packet.len() < ETHERNET_HEADER {
            return Ok(false);
        }
        let buffer = self.end.buffer(self.end.next)?;
        if packet.len() > buffer.length as usize {
            return self.put_parts(std::iter::once(packet));
        }
        if !self.end.memory.write(buffer.region, buffer.offset.into(), packet) {
            return Err(Fault::Descriptor);
        }
        self.describe(self.end.next, Desc { flags: 0, length: packet.len() as u32, ..buffer });
        self.end.next = self.end.next.wrapping_add(1);
        self.room -= 1;
        Ok(true)
    }

    /// The same for a packet in several parts, or one that needs several buffers; they are filled one after the other.
    #[inline(never)]
    fn put_parts<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Result<bool, Fault> {
        let mut total = 0;
        let mut used = 0u16;
        let mut buffer = Desc::default(); // a full one, as it were
        let mut filled = 0;
        for mut part in parts {
            total += part.len();
            while !part.is_empty() {
                if filled == buffer.length {
                    if used > 0 {
                        self.describe(self.end.next.wrapping_add(used - 1), Desc { flags: NEXT, ..buffer });
                    }
                    if used == self.room {
                        return Ok(false); // nothing of it was published
                    }
                    buffer = self.end.buffer(self.end.next.wrapping_add(used))?;
                    (filled, used) = (0, used + 1);
                }
                let (here, behind) = part.split_at(part.len().min((buffer.length - filled) as usize));
                if !self.end.memory.write(buffer.region, u64::from(buffer.offset) + u64::from(filled), here) {
                    return Err(Fault::Descriptor);
                }
                filled += here.len() as u32;
                part = behind;
            }
        }
        if total < ETHERNET_HEADER {
            return Ok(false);
        }
        self.describe(self.end.next.wrapping_add(used - 1), Desc { flags: 0, length: filled, ..buffer });
        self.end.next = self.end.next.wrapping_add(used);
        self.room -= used;
        Ok(true)
    }

    #[inline]
    fn describe(&self, index: u16, desc: Desc) {
        match self.end.buffers {
            Buffers::Ours { .. } => self.end.ring.set_desc(index, desc),
            Buffers::Theirs => self.end.ring.set_length(index, desc),
        }
    }

    /// Whether a packet of `len` bytes did not fit into the ring although it was empty.
    fn can_never_hold(&self, len: usize) -> bool {
        let slots = self.end.ring.slots();
        match self.end.buffers {
            Buffers::Ours { .. } => len.div_ceil(BUFFER as usize) > slots.into(),
            Buffers::Theirs => self.room == slots,
        }
    }

    #[inline]
    fn prefetch(&self, index: u16) {
        let place = match self.end.buffers {
            Buffers::Ours { .. } => self.end.buffer(index).unwrap_or_default(),
            Buffers::Theirs => self.end.ring.desc(index),
        };
        self.end.memory.prefetchw(place.region, place.offset.into());
    }

    /// Wakes the other side, if there is news for it and it wants to be woken. Tells whether it did.
    #[inline]
    pub(super) fn notify(&mut self) -> bool {
        std::mem::take(&mut self.news) && self.end.wake()
    }
}
