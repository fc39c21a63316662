#![expect(unsafe_code, reason = "a promise about another program, and pages that it may write to")]
//! Peers that are trusted: packets stay where they are.
//!
//! A client gives such a peer the region of its zone, and descriptors lead to the pool's own pages. A page that is in a ring is [`Posted`]: it has left the pool, and nobody looks at it. It
//! comes back when the peer's index says so; or when the connection has ended *and* the peer has closed its end of the socket, for until then it may be in the midst of a copy. (Of
//! a process that dies, the kernel takes away the memory before it closes the files; DPDK closes the socket first, and its burst under way ends some microseconds later, which is
//! why we wait a little longer.) A peer that keeps its end open for a second keeps the pages, too: they are quarantined.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use waterwheel_xdp::mm::PAGE_SIZE;
use waterwheel_xdp::{
    Account, Direction, DropReason, Drops, HEADROOM, MAX_FRAGS, Page, PagePool, Posted, Traffic, XdpBuff, XdpFrame,
    Zone,
};

use super::channel::Channel;
use super::fault::Fault;
use super::memory::Desc;
use super::rings::{ETHERNET_HEADER, End, NEXT};
use super::rx::{RxCounts, room};

/// The region of the zone; the rings are in region 0.
pub(super) const ZONE: u16 = 1;
/// Empty pages are posted so many at once.
const FILL_BATCH: usize = 32;
/// How long a peer that was disconnected may keep its end of the socket.
const PARTING: Duration = Duration::from_secs(1);
/// So long after it was closed no burst is under way there any more.
const GRACE: Duration = Duration::from_millis(10);

/// The promise that the peer is trusted. It cannot be made by accident: see [`Trust::peer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(());

impl Trust {
    /// The peer is trusted with the memory.
    ///
    /// A client then gives the peer the *whole region* of its zone, and packets are sent from, and received into, the pool's own pages without a copy. A server then takes memory
    /// that its client can take away (files without seals, huge pages).
    ///
    /// # Safety
    /// For as long as it is connected, and until it has closed its end of the socket, every peer of every interface that is opened with this, or a copy of it,
    /// - writes only into the buffers that it was given for packets, and gives each back once (else it changes bytes that safe code reads as `&[u8]`, in pages of any device of the zone: a
    ///   data race, and undefined behaviour);
    /// - takes nothing away of memory that it gave (else this process dies of SIGBUS).
    ///
    /// Nothing here can check that: it is a promise about another program. This library's servers keep it, and DPDK's `net_memif` does.
    #[must_use]
    pub unsafe fn peer() -> Self {
        Self(())
    }
}

/// The memory of a zone, as a file for the peer.
pub(super) fn memory_of(zone: &Zone) -> BorrowedFd<'_> {
    // SAFETY: an interface lends a zone only where it has a `Trust`, whose contract says that the peer writes to nothing but the pages that are posted for it.
    unsafe { zone.region().memfd() }
}

/// Pages in a ring, by slot. All that moves pages to the peer and back is here.
#[derive(Debug)]
struct Table {
    zone: Zone,
    slots: Vec<Option<Posted>>,
}

impl Table {
    fn new(zone: &Zone, slots: u16) -> Self {
        Self { zone: zone.clone(), slots: (0..slots).map(|_| None).collect() }
    }

    /// Moves a page of the zone to the peer, and tells where it finds the page's first byte.
    fn post(&mut self, index: u16, page: Page) -> u32 {
        let offset = page.number() << 12; // the zone has at most 2^32 bytes
        let slot = usize::from(index) % self.slots.len();
        // SAFETY: the table keeps it until the peer gives it up. The peer is told this page's place, and writes to no other: by the contract of `Trust::peer`.
        self.slots[slot] = Some(unsafe { Posted::new(page) });
        offset
    }

    /// # Safety
    /// The peer has given up what was posted there.
    unsafe fn take(&mut self, index: u16) -> Option<Page> {
        let slot = usize::from(index) % self.slots.len();
        // SAFETY: by contract.
        self.slots[slot].take().map(|posted| unsafe { posted.reclaim() })
    }

    fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn account(&self, account: &mut Account) {
        self.slots.iter().flatten().for_each(|page| account.posted(page));
    }
}

/// The end that pages with packets go into.
#[derive(Debug)]
pub(super) struct LentTx {
    pub(super) end: End,
    table: Table,
    /// The first page that the peer has not taken.
    oldest: u16,
    news: bool,
}

impl LentTx {
    pub(super) fn new(end: End, zone: &Zone) -> Self {
        let table = Table::new(zone, end.ring.slots());
        Self { end, table, oldest: 0, news: false }
    }

    /// Hands home what the peer has taken. Tells how many pages.
    pub(super) fn complete(&mut self, mut home: impl FnMut(Page)) -> Result<usize, Fault> {
        let taken = self.end.ahead_of(self.oldest, self.end.next.wrapping_sub(self.oldest))?;
        for _ in 0..taken {
            // SAFETY: the peer's index, read with Acquire, is behind this slot: it has done with the page.
            unsafe { self.table.take(self.oldest) }.into_iter().for_each(&mut home);
            self.oldest = self.oldest.wrapping_add(1);
        }
        Ok(taken.into())
    }

    /// Slots that are free, as of the last [`complete`](Self::complete).
    pub(super) fn room(&self) -> u16 {
        self.end.ring.slots() - self.left()
    }

    /// Slots that the peer has not taken.
    pub(super) fn left(&self) -> u16 {
        self.end.next.wrapping_sub(self.oldest)
    }

    /// What the peer has not taken.
    pub(super) fn untaken(&self) -> Traffic {
        let taken = self.end.ahead_of(self.oldest, self.left()).unwrap_or(0);
        self.end.traffic(self.oldest.wrapping_add(taken), self.end.next)
    }

    /// Posts packets from the front of `frames`, as many as have room. What lies in another region is copied into pages of `pool`, and counted.
    pub(super) fn send(
        &mut self,
        pool: &mut PagePool,
        frames: &mut Vec<XdpFrame>,
        traffic: &mut Traffic,
        drops: &mut Drops,
        copied: &mut u64,
    ) {
        let mut room = usize::from(self.room());
        let slots = usize::from(self.end.ring.slots());
        let zone = self.table.zone.id();
        let needs = |frame: &XdpFrame| if frame.is_of(zone) { 1 + frame.frag_count() } else { copied_parts(frame) };
        let fits = |frame: &&XdpFrame| {
            let parts = needs(frame);
            let fits = parts <= room || parts > slots;
            room -= if parts > slots { 0 } else { parts.min(room) };
            fits
        };
        let count = frames.iter().take_while(fits).count();
        let begin = self.end.next;
        for frame in frames.drain(..count) {
            let len = frame.total_len();
            if len < ETHERNET_HEADER || needs(&frame) > slots {
                drops.add(if len < ETHERNET_HEADER { DropReason::Malformed } else { DropReason::FrameTooLong }, 1);
                pool.put(frame.into_page());
                continue;
            }
            let frame = if frame.is_of(zone) {
                frame
            } else {
                let copy = frame.duplicate(pool, Direction::Tx).filter(|copy| copy.is_of(zone));
                pool.put(frame.into_page());
                let Some(copy) = copy else {
                    drops.add(DropReason::ForeignPage, 1);
                    continue;
                };
                *copied += 1;
                copy
            };
            traffic.add(len);
            let mut parts = frame.into_parts().peekable();
            let end = &mut self.end;
            while let Some(part) = parts.next() {
                let (page, bytes) = part.into_place();
                let (within, length) = (bytes.start as u32, bytes.len() as u32);
                let offset = self.table.post(end.next, page) + within;
                let flags = if parts.peek().is_some() { NEXT } else { 0 };
                end.ring.set_desc(end.next, Desc { flags, region: ZONE, length, offset });
                end.next = end.next.wrapping_add(1);
            }
        }
        if self.end.next != begin {
            self.end.publish(self.end.next);
            self.news = true;
        }
    }

    pub(super) fn notify(&mut self) -> bool {
        std::mem::take(&mut self.news) && self.end.wake()
    }
}

/// The end that empty pages go into, and packets come out of.
#[derive(Debug)]
pub(super) struct LentRx {
    pub(super) end: End,
    table: Table,
    /// Behind the last page that is posted.
    posted: u16,
    begun: Option<XdpBuff>,
    /// What is left of a packet that is too long.
    spoilt: bool,
}

impl LentRx {
    pub(super) fn new(end: End, zone: &Zone) -> Self {
        end.mask(true);
        let table = Table::new(zone, end.ring.slots());
        Self { end, table, posted: 0, begun: None, spoilt: false }
    }

    /// Takes up to `budget` packets, and posts empty pages.
    pub(super) fn receive(
        &mut self,
        pool: &mut PagePool,
        batch: &mut Vec<XdpBuff>,
        budget: usize,
        counts: &mut RxCounts,
    ) -> Result<(), Fault> {
        let available = self.end.ahead_of(self.end.next, self.posted.wrapping_sub(self.end.next))?;
        let full = batch.len() + budget;
        for _ in 0..available {
            if batch.len() == full {
                break;
            }
            let desc = self.end.ring.desc(self.end.next);
            // SAFETY: the peer's index, read with Acquire, is behind this slot: it has filled the page and done with it.
            let page = unsafe { self.table.take(self.end.next) };
            self.end.next = self.end.next.wrapping_add(1);
            let Some(page) = page else { continue }; // cannot be: every slot up to `posted` has one
            if desc.flags & !NEXT != 0 || desc.length as usize > room(&page) {
                pool.put(page);
                return Err(Fault::Descriptor);
            }
            if let Some(packet) = self.go_on(pool, page, desc, counts) {
                batch.push(packet);
            }
        }
        self.fill(pool);
        Ok(())
    }

    /// The next part of a packet; the packet, when that was the last one.
    fn go_on(&mut self, pool: &mut PagePool, page: Page, desc: Desc, counts: &mut RxCounts) -> Option<XdpBuff> {
        let (len, last) = (desc.length as usize, desc.flags & NEXT == 0);
        match &mut self.begun {
            _ if self.spoilt => pool.put(page),
            None => self.begun = Some(XdpBuff::new(page, HEADROOM, len)),
            Some(packet) if packet.frag_count() < MAX_FRAGS => drop(packet.push_frag(page, HEADROOM, len)),
            Some(_) => {
                pool.put(page);
                self.spoilt = true;
            }
        }
        if !last {
            return None;
        }
        let packet = self.begun.take();
        let count = match &packet {
            _ if std::mem::take(&mut self.spoilt) => &mut counts.too_long,
            Some(packet) if packet.total_len() < ETHERNET_HEADER => &mut counts.short,
            _ => return packet,
        };
        *count += 1;
        packet.into_iter().for_each(|packet| pool.put(packet.into_page()));
        None
    }

    /// Posts empty pages; a quarter of a small pool is left to packets that are under way.
    fn fill(&mut self, pool: &mut PagePool) {
        let there = usize::from(self.posted.wrapping_sub(self.end.next));
        let target = (pool.limit() - pool.limit() / 4).min(self.end.ring.slots().into());
        let wanted = target.saturating_sub(there);
        if wanted < FILL_BATCH.min(target) && there > 0 {
            return;
        }
        let zone = self.table.zone.id();
        for page in pool.hand_out(Direction::Rx, wanted) {
            if page.region_id() != zone {
                continue; // the pool was moved to another region
            }
            let length = room(&page) as u32;
            let offset = self.table.post(self.posted, page) + HEADROOM as u32;
            self.end.ring.set_desc(self.posted, Desc { flags: 0, region: ZONE, length, offset });
            self.posted = self.posted.wrapping_add(1);
        }
        self.end.publish(self.posted);
    }

    /// What has come and was not taken out.
    pub(super) fn untaken(&self) -> Traffic {
        let there = self.end.ahead_of(self.end.next, self.posted.wrapping_sub(self.end.next)).unwrap_or(0);
        self.end.traffic(self.end.next, self.end.next.wrapping_add(there))
    }

    pub(super) fn has_more(&self) -> bool {
        self.end.has_news(self.end.next)
    }

    /// Too few pages are posted.
    pub(super) fn is_starved(&self) -> bool {
        usize::from(self.posted.wrapping_sub(self.end.next)) < FILL_BATCH.min(self.end.ring.slots().into())
    }
}

/// Pages that a copy of the frame has at most.
fn copied_parts(frame: &XdpFrame) -> usize {
    1 + frame.total_len().saturating_sub(PAGE_SIZE - HEADROOM).div_ceil(PAGE_SIZE)
}

/// Pages of a connection that has ended, until its peer is gone.
#[derive(Debug)]
pub(super) struct Parting {
    channel: Channel,
    until: Instant,
    closed: Option<Instant>,
    tables: Vec<Table>,
    /// Not with the peer.
    begun: Option<XdpBuff>,
}

impl Parting {
    pub(super) fn new(channel: Channel, rx: Option<LentRx>, tx: Option<LentTx>) -> Self {
        channel.finish();
        let mut begun = None;
        let rx = rx.map(|mut rx| {
            begun = rx.begun.take();
            rx.table
        });
        let tables = rx.into_iter().chain(tx.map(|tx| tx.table)).collect();
        Self { channel, until: Instant::now() + PARTING, closed: None, tables, begun }
    }

    /// Hands everything home if the peer is gone; tells whether it is.
    pub(super) fn reclaim(&mut self, mut home: impl FnMut(Page)) -> bool {
        if let Some(packet) = self.begun.take() {
            home(packet.into_page());
        }
        if self.closed.is_none() && self.channel.is_closed_there() {
            self.closed = Some(Instant::now());
        }
        if self.closed.is_none_or(|closed| closed.elapsed() < GRACE) {
            return false;
        }
        for table in &mut self.tables {
            for index in 0..table.slots.len() as u16 {
                // SAFETY: the peer has closed its end: it is dead, its memory with it, or has let go of the memory, by the contract of `Trust::peer`.
                unsafe { table.take(index) }.into_iter().for_each(&mut home);
            }
        }
        true
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.closed.is_none() && Instant::now() > self.until
    }

    /// Pages that are with the peer.
    pub(super) fn count(&self) -> usize {
        self.tables.iter().map(Table::count).sum()
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.tables.iter().for_each(|table| table.account(account));
        self.begun.iter().for_each(|packet| packet.account(account));
    }
}

impl LentRx {
    pub(super) fn count(&self) -> usize {
        self.table.count() + self.begun.as_ref().map_or(0, |packet| 1 + packet.frag_count())
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.table.account(account);
        self.begun.iter().for_each(|packet| packet.account(account));
    }
}

impl LentTx {
    pub(super) fn count(&self) -> usize {
        self.table.count()
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.table.account(account);
    }
}
