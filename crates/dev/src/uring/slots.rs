//! What the kernel has of ours for each request: pages, and the small structures that say where they are.

use arrayvec::ArrayVec;
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

/// One request whose memory must stay where it is until the kernel has completed it. Boxed, and used again.
pub(super) struct Slot {
    pub(super) key: u64,
    pub(super) request: Request,
    pub(super) parts: ArrayVec<PostedPart, PARTS>,
    pub(super) iov: [libc::iovec; PARTS],
    pub(super) msg: libc::msghdr,
    pub(super) address: Option<SocketAddrAny>,
}

/// What a slot is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Free,
    Receive,
    Send,
    /// A zero-copy send; `accepted` once the kernel has taken it, and only the notification is missing.
    SendZc {
        accepted: bool,
    },
    Connect,
}

/// All slots; as many as there ever were requests at a time.
#[derive(Default)]
pub(super) struct Slots {
    #[expect(clippy::vec_box, reason = "the kernel knows their addresses while the vector grows")]
    all: Vec<Box<Slot>>,
    free: Vec<u32>,
    /// Pages in slots.
    pub(super) pages: usize,
}

impl Slots {
    /// A slot for `request`, empty. Its memory does not move.
    pub(super) fn take(&mut self, key: u64, request: Request) -> (u32, &mut Slot) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(Slot::new());
            self.all.len() as u32 - 1
        });
        let slot = &mut self.all[index as usize];
        (slot.key, slot.request) = (key, request);
        (index, slot)
    }

    /// The slot of a request that is under way.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Slot> {
        self.all.get_mut(index as usize).map(|slot| &mut **slot).filter(|slot| slot.request != Request::Free)
    }

    /// The request is done: the slot is free again, and what it had is the caller's.
    pub(super) fn finish(&mut self, index: u32) -> ArrayVec<PostedPart, PARTS> {
        let slot = &mut self.all[index as usize];
        slot.request = Request::Free;
        self.free.push(index);
        let parts = slot.parts.take();
        self.pages -= parts.len();
        parts
    }

    /// Slots in use.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.all.iter().flat_map(|slot| &slot.parts).for_each(|part| account.posted(&part.posted));
    }

    /// Gives everything up that the kernel still has: the zone quarantines it. Tells how many pages of 4 KiB.
    pub(super) fn abandon(&mut self) -> usize {
        self.pages = 0;
        self.free.clear();
        self.all.drain(..).flat_map(|mut slot| slot.parts.take()).map(|part| 1 << part.posted.order()).sum()
    }
}

impl Slot {
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
        Box::new(Self {
            key: 0,
            request: Request::Free,
            parts: ArrayVec::new(),
            iov: [nothing; PARTS],
            msg,
            address: None,
        })
    }

    /// Bytes of all parts.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len as usize).sum()
    }
}
