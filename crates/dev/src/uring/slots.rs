//! Requests that are under way, and what the kernel has of ours for each: pages, and the small structures that say where they are.

use arrayvec::ArrayVec;
use rustix::io::Errno;
use rustix::net::SocketAddrAny;
use waterwheel_xdp::{Account, MAX_FRAGS, Page, Posted};

/// Pages that one send takes at most: those of a packet.
pub const PARTS: usize = 1 + MAX_FRAGS;

/// Bytes in a page: what was received, and is to be sent. They lie in it.
#[derive(Debug)]
pub struct Part {
    pub(crate) page: Page,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Part {
    /// The `len` bytes at `offset` of `page`.
    ///
    /// # Panics
    /// If they do not lie in it.
    pub fn new(page: Page, offset: usize, len: usize) -> Self {
        let size = page.size();
        assert!(offset <= size && len <= size - offset, "{len} bytes at {offset} do not lie in a page of {size}");
        Self { page, offset: offset as u32, len: len as u32 } // a page has at most 4 MiB
    }

    /// The page.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The page, without what is said of its bytes.
    pub fn into_page(self) -> Page {
        self.page
    }

    /// Where in the page the bytes begin.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "a part has bytes; the question is never asked")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// The bytes. This is the last look at where they lie before the kernel is told.
    pub fn bytes(&self) -> &[u8] {
        &self.page.as_slice()[self.offset()..self.offset() + self.len()]
    }
}

/// A [`Part`] that the kernel has.
#[derive(Debug)]
pub(super) struct PostedPart {
    pub(super) posted: Posted,
    pub(super) offset: u32,
    pub(super) len: u32,
}

const INDEX_BITS: u32 = 24;
const GENERATION: u64 = u64::MAX >> INDEX_BITS;

/// A request of one ring: what can be cancelled while it is under way. Once its last event was told it names nothing, whoever has its place then.
///
/// To the kernel it is the user data of the request: the place of its slot, and how many requests had the slot before. With 40 bits for them a ring that does nothing
/// else than use one slot a million times in a second takes twelve days until two have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op(u64);

impl Op {
    fn new(index: u32, generation: u64) -> Self {
        Self(generation << INDEX_BITS | u64::from(index))
    }

    /// What a completion has as its user data.
    pub(super) fn of(user_data: u64) -> Self {
        Self(user_data)
    }

    pub(super) fn user_data(self) -> u64 {
        self.0
    }

    fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    fn generation(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Accept,
    Connect,
    Watch,
    /// Into pages of the buffer ring.
    Receive,
    /// Into a page of its own.
    ReceiveInto,
    Send,
    SendZc(Zc),
}

/// How far a zero-copy send is. The kernel says what has become of it, and then, unless that came without `F_MORE`, that the network holds its pages no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zc {
    /// Nothing was said.
    Asked,
    /// The network has it, which was told as an event; its pages are out.
    Held,
    /// It was refused, or cut. That is told when the network has let go: what is left is to be sent, and lies in these pages.
    Left(Result<u32, Errno>),
    /// The network has let go before anything else was said.
    Early { copied: bool },
}

/// What the kernel follows pointers to: it stays where it is until the request is done. Boxed, and used again.
pub(super) struct Memory {
    pub(super) parts: ArrayVec<PostedPart, PARTS>,
    pub(super) iov: [libc::iovec; PARTS],
    pub(super) msg: libc::msghdr,
    pub(super) address: Option<SocketAddrAny>,
}

/// A place for a request.
pub(super) struct Slot {
    pub(super) key: u64,
    /// `None`: it is free.
    pub(super) request: Option<Request>,
    /// Its end was asked for.
    pub(super) cancelled: bool,
    generation: u64,
    memory: Option<Box<Memory>>,
}

/// All slots; as many as there ever were requests at a time.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
    #[expect(clippy::vec_box, reason = "the kernel knows their addresses while they move from here into slots")]
    spare: Vec<Box<Memory>>,
    /// Pages in slots.
    pub(super) pages: usize,
    /// Requests that may take pages out of the buffer ring.
    pub(super) receiving: usize,
}

impl Slots {
    /// A slot for `request`.
    pub(super) fn take(&mut self, key: u64, request: Request) -> Op {
        let index = self.free.pop().unwrap_or_else(|| {
            assert!(self.all.len() < 1 << INDEX_BITS, "a ring has at most 2^{INDEX_BITS} requests at a time");
            // The generations begin at 1: no request has the user data 0.
            self.all.push(Slot { key: 0, request: None, cancelled: false, generation: 1, memory: None });
            self.all.len() as u32 - 1
        });
        let slot = &mut self.all[index as usize];
        (slot.key, slot.request, slot.cancelled) = (key, Some(request), false);
        self.receiving += usize::from(request == Request::Receive);
        Op::new(index, slot.generation)
    }

    /// The same with memory, which is empty and does not move.
    pub(super) fn take_with_memory(&mut self, key: u64, request: Request) -> (Op, &mut Memory) {
        let op = self.take(key, request);
        let memory = self.spare.pop().unwrap_or_else(Memory::new);
        (op, self.all[op.index()].memory.insert(memory))
    }

    /// The slot of `op`, if it is still under way.
    pub(super) fn get(&mut self, op: Op) -> Option<&mut Slot> {
        self.all.get_mut(op.index()).filter(|slot| slot.generation == op.generation() && slot.request.is_some())
    }

    /// `op` is done: the slot is free again, and the pages that it had are the caller's.
    pub(super) fn finish(&mut self, op: Op) -> ArrayVec<PostedPart, PARTS> {
        let Some(slot) = self.get(op) else { return ArrayVec::new() };
        let (receiving, memory) = (slot.request.take() == Some(Request::Receive), slot.memory.take());
        slot.generation = (slot.generation % GENERATION) + 1;
        self.free.push(op.index() as u32);
        self.receiving -= usize::from(receiving);
        let Some(mut memory) = memory else { return ArrayVec::new() };
        let parts = memory.parts.take();
        self.spare.push(memory);
        self.pages -= parts.len();
        parts
    }

    /// Slots in use.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    fn posted(&self) -> impl Iterator<Item = &Posted> {
        let parts = self.all.iter().filter_map(|slot| slot.memory.as_ref()).flat_map(|memory| &memory.parts);
        parts.map(|part| &part.posted)
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.posted().for_each(|page| account.posted(page));
    }

    /// Gives up all pages that the kernel still has: the zone quarantines them. Tells how many pages of 4 KiB. The rest stays as it is: what was not submitted yet still points to it.
    pub(super) fn abandon(&mut self) -> usize {
        let pages = self.posted().map(|page| 1 << page.order()).sum();
        self.all.iter_mut().filter_map(|slot| slot.memory.as_mut()).for_each(|memory| memory.parts.clear());
        self.pages = 0;
        pages
    }
}

impl Slot {
    /// Pages that it has.
    pub(super) fn pages(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.parts.len())
    }

    /// Bytes of all its parts.
    pub(super) fn len(&self) -> u32 {
        self.memory.iter().flat_map(|memory| &memory.parts).map(|part| part.len).sum()
    }
}

impl Memory {
    fn new() -> Box<Self> {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let msg = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Box::new(Self { parts: ArrayVec::new(), iov: [nothing; PARTS], msg, address: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_done_has_nothing_of_the_next_in_its_slot() {
        let mut slots = Slots::default();
        let first = slots.take(7, Request::Watch);
        slots.finish(first);
        for _ in 0..1000 {
            let next = slots.take(8, Request::Receive);
            assert_ne!(next, first);
            assert_eq!((next.index(), slots.len(), slots.receiving), (first.index(), 1, 1));
            assert!(slots.get(first).is_none() && slots.finish(first).is_empty());
            assert_eq!(slots.get(next).map(|slot| slot.key), Some(8));
            slots.finish(next);
            assert!(slots.get(next).is_none());
        }
        assert_eq!((slots.len(), slots.receiving), (0, 0));
    }

    #[test]
    fn generations_begin_again_at_one_and_keep_their_place() {
        let mut slots = Slots::default();
        let ops = [(); 3].map(|()| slots.take(0, Request::Watch));
        slots.all[1].generation = GENERATION;
        let last = Op::new(1, GENERATION);
        assert_eq!((last.index(), last.generation()), (1, GENERATION));
        slots.finish(last);
        let next = slots.take(0, Request::Watch);
        assert_eq!((next.index(), next.generation()), (1, 1));
        assert!(slots.get(last).is_none() && ops.iter().all(|op| slots.get(*op).is_some()));
        assert!(slots.get(Op::of(0)).is_none() && slots.get(Op::of(u64::MAX)).is_none());
    }
}
