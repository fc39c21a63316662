//! The end that packets are copied out of.

use waterwheel_xdp::{Direction, HEADROOM, Page, PagePool, Traffic, XdpBuff};

use super::fault::Fault;
use super::memory::Desc;
use super::params::Role;
use super::rings::{AHEAD, BUFFER, Buffers, ETHERNET_HEADER, End, NEXT};

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
    /// The other side's index when it was read last; it was checked then.
    known: u16,
    /// There was no page for what is there.
    starved: bool,
}

impl Rx {
    /// Nothing is received yet; a client offers all of its buffers.
    pub(super) fn new(mut end: End) -> Self {
        end.next = 0;
        let mut rx = Self { end, seen: 0, known: 0, starved: false };
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
        // The other side's index, which its CPU writes all the time, is looked at only when too little is known to be there.
        let mut available = self.known.wrapping_sub(self.end.next);
        if usize::from(available) < budget {
            available = self.end.ahead_of(self.end.next, self.end.ring.slots())?;
            self.known = self.end.next.wrapping_add(available);
        }
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
            if end.wrapping_sub(at) > AHEAD {
                self.prefetch(at.wrapping_add(AHEAD)); // not further: what is not there yet is being written
            }
            match self.packet(at, end, pages, counts) {
                Ok(Next::Packet(packet, next)) => {
                    batch.push(packet);
                    at = next;
                }
                Ok(Next::Dropped(next)) => at = next,
                Ok(Next::Unfinished) => {
                    unfinished = true;
                    self.known = at; // the rest of it is news
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

    /// What has come and was not taken out.
    pub(super) fn untaken(&self) -> Traffic {
        let there = self.end.ahead_of(self.end.next, self.end.ring.slots()).unwrap_or(0);
        self.end.traffic(self.end.next, self.end.next.wrapping_add(there))
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
pub(super) fn room(page: &Page) -> usize {
    (page.size() - HEADROOM).min(u16::MAX.into())
}
