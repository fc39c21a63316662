#![expect(unsafe_code, reason = "hands pages to the kernel and takes them back")]
//! The pages that the kernel has: every exchange of pages with the rings goes through here.
//!
//! A page that is posted moves into a table, under the number of the chunk whose address the kernel was given. What the kernel says later is only used to find
//! it there again: an address beyond the memory, of a page that is not posted, or a packet that leaves its page costs a counter.
//!
//! Pages for packets to come and pages with packets to send have a table each: a completion cannot take away a page that waits for a packet.

use waterwheel_xdp::mm::{Quarantined, RegionId};
use waterwheel_xdp::{Account, Direction, HEADROOM, Page, PagePool, Posted, XdpBuff, XdpFrame, Zone};

use super::rings::{Consumer, Desc, Producer, Reserve};
use super::socket::{CHUNK, KERNEL_HEADROOM, QueueIsFree, Umem};

/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const PKT_CONTD: u32 = 1;

// What the kernel leaves in front of a packet is what programs expect there.
const _: () = assert!(KERNEL_HEADROOM == HEADROOM);

/// The kernel's pages of one socket.
#[derive(Debug)]
pub(super) struct Posts {
    zone: Zone,
    rx: Table,
    tx: Table,
    /// What there is of a packet that goes on in a descriptor which has not come yet.
    begun: Begun,
    /// Descriptors and addresses from the kernel that made no sense.
    pub(super) bad_rx: u64,
    pub(super) bad_completions: u64,
}

/// Posted pages by the number of the chunk that the kernel knows them by.
#[derive(Debug)]
struct Table {
    pages: Vec<Option<Posted>>,
    count: usize,
}

impl Posts {
    /// Nothing is posted yet. `zone`: the only memory whose pages will be.
    pub(super) fn new(zone: &Zone) -> Self {
        let chunks = zone.region().len() / CHUNK;
        Self {
            zone: zone.clone(),
            rx: Table::new(chunks),
            tx: Table::new(chunks),
            begun: Begun::Nothing,
            bad_rx: 0,
            bad_completions: 0,
        }
    }

    /// Pages of a packet that is not whole yet.
    pub(super) fn begun(&self) -> usize {
        if let Begun::Packet(packet) = &self.begun { 1 + packet.frag_count() } else { 0 }
    }

    /// The memory to register for these pages: the kernel will write only to those that are posted.
    pub(super) fn umem(&self) -> Umem {
        Umem { base: self.zone.region().base(), len: self.zone.region().len() }
    }

    /// The region that pages must be of.
    pub(super) fn region(&self) -> RegionId {
        self.zone.id()
    }

    /// Pages that wait for packets.
    pub(super) fn rx_count(&self) -> usize {
        self.rx.count
    }

    /// Pages with packets that are on their way out.
    pub(super) fn tx_count(&self) -> usize {
        self.tx.count
    }

    /// Posts up to `count` empty pages of `pool`. Answers how many.
    pub(super) fn fill(&mut self, fill: &mut Producer<u64>, pool: &mut PagePool, count: u32) -> usize {
        let region = self.region();
        let mut slots = fill.reserve(count);
        // Pages of another region: the pool was moved to one that this socket has not registered.
        let mut foreign: Vec<Page> = Vec::new();
        for page in pool.hand_out(Direction::Rx, slots.room() as usize) {
            if page.region_id() != region {
                foreign.push(page);
                continue;
            }
            let chunk = page.number();
            if self.rx.insert(chunk, page) {
                let pushed = slots.push(u64::from(chunk) * CHUNK as u64);
                debug_assert!(pushed.is_ok(), "as many were reserved");
            }
        }
        pool.put_bulk(&mut foreign);
        slots.submit() as usize
    }

    /// Takes up to `budget` packets out of the rx ring.
    pub(super) fn receive(
        &mut self,
        rx: &mut Consumer<Desc>,
        pool: &mut PagePool,
        batch: &mut Vec<XdpBuff>,
        budget: u32,
    ) {
        for desc in rx.peek(budget) {
            let (chunk, offset) = (desc.addr / CHUNK as u64, (desc.addr % CHUNK as u64) as usize);
            let goes_on = desc.options & PKT_CONTD != 0;
            // SAFETY: a descriptor in the rx ring, whose index was read with Acquire, gives up its page. Only pages for packets to come are in this table.
            let Some(page) = (unsafe { self.rx.take(chunk) }) else {
                self.bad_rx += 1;
                self.begun.spoil(pool, goes_on);
                continue;
            };
            let len = desc.len as usize;
            if len > CHUNK - offset {
                self.bad_rx += 1;
                pool.put(page);
                self.begun.spoil(pool, goes_on);
            } else if goes_on || !matches!(self.begun, Begun::Nothing) {
                match self.begun.go_on(page, offset, len, goes_on) {
                    Ok(whole) => batch.extend(whole),
                    Err(page) => {
                        self.bad_rx += 1;
                        pool.put(page);
                        self.begun.spoil(pool, goes_on);
                    }
                }
            } else {
                batch.push(XdpBuff::new(page, offset, len));
            }
        }
    }

    /// Posts one packet to send; a slot must be free. Answers its length, or the frame when it cannot be sent from where it lies: another region, or across the
    /// end of a chunk. Nor is an empty one sent: the kernel takes such a descriptor out of the ring and never completes it.
    #[inline]
    pub(super) fn send(&mut self, slots: &mut Reserve<'_, Desc>, frame: XdpFrame) -> Result<usize, XdpFrame> {
        if frame.has_frags() {
            return self.send_parts(slots, frame);
        }
        let (offset, len) = (frame.offset(), frame.len());
        let within = offset % CHUNK;
        if len == 0 || frame.page().region_id() != self.zone.id() || len > CHUNK - within || slots.room() == 0 {
            return Err(frame);
        }
        self.post(slots, frame, 0);
        Ok(len)
    }

    /// The same for a packet that has fragments: a descriptor for each part.
    #[cold]
    fn send_parts(&mut self, slots: &mut Reserve<'_, Desc>, frame: XdpFrame) -> Result<usize, XdpFrame> {
        let in_one_chunk = |part: &[u8]| !part.is_empty() && part.as_ptr().addr() % CHUNK + part.len() <= CHUNK;
        let room = slots.room() as usize > frame.frag_count();
        if !room || !frame.is_of(self.zone.id()) || !frame.parts().all(in_one_chunk) {
            return Err(frame);
        }
        let len = frame.total_len();
        let mut parts = frame.into_parts().peekable();
        while let Some(part) = parts.next() {
            self.post(slots, part, if parts.peek().is_some() { PKT_CONTD } else { 0 });
        }
        Ok(len)
    }

    /// Posts one page to send. That it can be sent was checked; that the bytes lie in the page is looked at here, for the kernel believes what it is told.
    #[inline]
    fn post(&mut self, slots: &mut Reserve<'_, Desc>, part: XdpFrame, options: u32) {
        let (page, bytes) = part.into_place();
        let (within, into, len) = (bytes.start % CHUNK, bytes.start / CHUNK, bytes.len());
        let chunk = page.number() + into as u32;
        if self.tx.insert(chunk, page) {
            let addr = u64::from(chunk) * CHUNK as u64 + within as u64;
            let pushed = slots.push(Desc { addr, len: len as u32, options });
            debug_assert!(pushed.is_ok(), "there was room");
        }
    }

    /// Takes the pages of sent packets out of the completion ring. Answers how many.
    #[inline]
    pub(super) fn complete(&mut self, completion: &mut Consumer<u64>, mut home: impl FnMut(Page)) -> usize {
        let mut count = 0;
        for addr in completion.peek(u32::MAX) {
            // SAFETY: an address in the completion ring, whose index was read with Acquire, gives up its page. Only pages of packets to send are in this table.
            match unsafe { self.tx.take(addr / CHUNK as u64) } {
                Some(page) => {
                    home(page);
                    count += 1;
                }
                None => self.bad_completions += 1,
            }
        }
        count
    }

    /// Takes everything back from a socket that is gone, as `_proof` says of its queue.
    pub(super) fn reclaim(&mut self, _proof: &QueueIsFree, mut home: impl FnMut(Page)) {
        self.begun = Begun::Nothing;
        for table in [&mut self.rx, &mut self.tx] {
            for slot in &mut table.pages {
                if let Some(posted) = slot.take() {
                    // SAFETY: no socket has the queue, so the one that these pages were posted to is gone: nobody writes to them any more.
                    home(unsafe { posted.reclaim() });
                }
            }
            table.count = 0;
        }
    }

    /// Gives everything up: what is posted goes into quarantine.
    pub(super) fn quarantine(&mut self) -> Vec<Quarantined> {
        self.begun = Begun::Nothing;
        let mut all = Vec::with_capacity(self.rx.count + self.tx.count);
        for table in [&mut self.rx, &mut self.tx] {
            all.extend(table.pages.iter_mut().filter_map(Option::take).map(Posted::quarantine));
            table.count = 0;
        }
        all
    }

    pub(super) fn account(&self, account: &mut Account) {
        for table in [&self.rx, &self.tx] {
            table.pages.iter().flatten().for_each(|page| account.posted(page));
        }
        if let Begun::Packet(packet) = &self.begun {
            packet.account(account);
        }
    }
}

/// A packet of several descriptors, of which some have come.
#[derive(Debug)]
enum Begun {
    Nothing,
    Packet(XdpBuff),
    /// It was damaged: what still comes of it is no packet.
    Spoilt,
}

impl Begun {
    /// The next part. Answers the packet when that was the last one, and the page when it cannot be taken.
    fn go_on(&mut self, page: Page, offset: usize, len: usize, goes_on: bool) -> Result<Option<XdpBuff>, Page> {
        let packet = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => XdpBuff::new(page, offset, len),
            Self::Packet(mut packet) => match packet.push_frag(page, offset, len) {
                Ok(()) => packet,
                Err(page) => {
                    *self = Self::Packet(packet);
                    return Err(page);
                }
            },
            Self::Spoilt => {
                *self = Self::Spoilt;
                return Err(page);
            }
        };
        if goes_on {
            *self = Self::Packet(packet);
            return Ok(None);
        }
        Ok(Some(packet))
    }

    /// A part of the packet was no good.
    fn spoil(&mut self, pool: &mut PagePool, goes_on: bool) {
        if let Self::Packet(packet) = std::mem::replace(self, if goes_on { Self::Spoilt } else { Self::Nothing }) {
            pool.put(packet.into_page());
        }
    }
}

/// The pages of a socket that is gone, as `_proof` says of its queue.
pub(super) fn out_of_quarantine(_proof: QueueIsFree, pages: Vec<Quarantined>) -> impl Iterator<Item = Page> {
    // SAFETY: no socket that these pages were posted to is left: nobody writes to them any more.
    pages.into_iter().map(|page| unsafe { page.release().reclaim() })
}

impl Table {
    fn new(chunks: usize) -> Self {
        Self { pages: (0..chunks).map(|_| None).collect(), count: 0 }
    }

    /// Moves a page to the kernel under `chunk`, one of its chunks. False, and the page is dropped, when the kernel has one under that number: that cannot be, as a page has one
    /// owner.
    #[inline]
    fn insert(&mut self, chunk: u32, page: Page) -> bool {
        match self.pages.get_mut(chunk as usize) {
            Some(slot @ None) => {
                // SAFETY: the table keeps it until the kernel gives it up; the caller tells the kernel an address in `chunk`, which is the page's.
                *slot = Some(unsafe { Posted::new(page) });
                self.count += 1;
                true
            }
            _ => {
                debug_assert!(false, "chunk {chunk} is posted already, or not of this region");
                false
            }
        }
    }

    /// # Safety
    /// The kernel has given up the page that it was told as `chunk`, when there is one.
    #[inline]
    unsafe fn take(&mut self, chunk: u64) -> Option<Page> {
        let posted = self.pages.get_mut(usize::try_from(chunk).ok()?)?.take()?;
        self.count -= 1;
        // SAFETY: by contract.
        Some(unsafe { posted.reclaim() })
    }
}
