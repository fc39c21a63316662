//! A packet in a page: [`XdpBuff`] while a program looks at it, [`XdpFrame`] while it travels.
//!
//! ```text
//! page                                                                     page + size
//! |<-------- headroom --------->|<--------- len ---------->|<-- tailroom -->|
//! |              |<--- meta --->|                          |                |
//!                               data                       data_end
//! ```
//!
//! Both are 16 bytes, four to a cache line: the page with its owner, and where the packet lies in it.
//! A packet that is larger than a page goes on in [fragments](MAX_FRAGS).

mod frags;
#[cfg(feature = "bytes")]
mod packet_bytes;

pub use frags::{IntoParts, MAX_FRAGS};
#[cfg(feature = "bytes")]
pub use packet_bytes::PacketBytes;

use std::fmt;
use std::ops::Range;
use waterwheel_page_pool::mm::{PAGE_SIZE, Page};

/// Bytes that devices leave free in front of a packet, in which programs can put headers (the kernel's `XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;
/// Packets begin at one of so many places, a cache line (64 bytes) apart: see [`XdpBuff::with_len`].
const COLOURS: usize = 16;
/// A packet is never shortened below an Ethernet header (as in `bpf_xdp_adjust_tail`).
const MIN_LEN: usize = 14;
/// Longest metadata, in bytes; its length is a multiple of 4 (`xdp_metalen_invalid` of Linux 6.3 and later).
const MAX_META: usize = 252;

/// A packet in a page of its own, as a program sees it. The program may read and write its bytes ([`data`](Self::data),
/// [`data_mut`](Self::data_mut)) and move its ends ([`adjust_head`](Self::adjust_head), [`adjust_tail`](Self::adjust_tail)).
///
/// It owns its page. You may keep it for as long as you like; when you drop it, the page goes back to its pool.
pub struct XdpBuff {
    page: Page,
    place: Place,
}

/// Offset, length, metadata length and number of fragments in one word. A structure of exactly two words travels in two registers and is stored as two words; with its parts as
/// fields of their own it would be built in memory by small stores and loaded again whole, which no CPU forwards (some 15 cycles a packet).
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    #[inline]
    fn new(offset: u16, len: u16, meta: u16) -> Self {
        Self(u64::from(offset) | u64::from(len) << 16 | u64::from(meta) << 32)
    }

    #[inline]
    fn offset(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    fn len(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    fn meta(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline]
    fn frags(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Of bytes that lie in a page.
    ///
    /// # Panics
    /// If a number is above 65535.
    fn of(bytes: &Range<usize>) -> Self {
        let number = |n: usize| u16::try_from(n).expect("a part of a packet begins, and has its length, below 65536");
        Self::new(number(bytes.start), number(bytes.len()), 0)
    }

    fn with_frags(self, frags: u16) -> Self {
        Self(self.0 << 16 >> 16 | u64::from(frags) << 48)
    }

    #[inline]
    fn with_len(self, len: u16) -> Self {
        Self(self.0 & !(0xffff << 16) | u64::from(len) << 16)
    }

    /// The bytes of the page that it speaks of.
    fn range(self) -> Range<usize> {
        usize::from(self.offset())..usize::from(self.offset()) + usize::from(self.len())
    }
}

/// A packet on its way to a device or to another thread. Its bytes can be read, but not changed.
pub struct XdpFrame(XdpBuff);

const _: () = assert!(size_of::<XdpBuff>() == 16 && size_of::<XdpFrame>() == 16);

/// The page has no such room, or the packet would become too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet cannot be moved by {delta} bytes there")]
pub struct AdjustError {
    /// What was asked for.
    pub delta: i32,
}

/// Takes the numbers by value: an `assert` would keep them in memory for its message, stored anew for every packet.
#[cold]
#[inline(never)]
fn outside(size: usize, offset: usize, len: usize) -> ! {
    panic!("a packet of {len} bytes at {offset} does not lie in a page of {size}")
}

/// A page that is used for something else than what follows it was for.
#[cold]
#[inline(never)]
fn alone(page: Page) -> Page {
    page.alone()
}

impl XdpBuff {
    /// The packet of `len` bytes at `offset` of `page`.
    /// If the page led fragments of another packet, these go back to their pools.
    ///
    /// # Panics
    /// If it does not lie in the page, or `offset` or `len` is above 65535.
    /// A driver must check the numbers that its hardware gives it.
    #[inline]
    pub fn new(page: Page, offset: usize, len: usize) -> Self {
        // What fits into the smallest page needs no look at this one: mostly the compiler decides.
        let fits = |size: usize| offset <= size && len <= size - offset;
        if !(fits(PAGE_SIZE) || offset.max(len) <= usize::from(u16::MAX) && fits(page.size())) {
            outside(page.size(), offset, len);
        }
        let page = if page.leads_chain() { alone(page) } else { page };
        Self { page, place: Place::new(offset as u16, len as u16, 0) }
    }

    /// An empty packet behind [`HEADROOM`]; see [`set_len`](Self::set_len).
    #[inline]
    pub fn whole(page: Page) -> Self {
        Self::new(page, HEADROOM, 0)
    }

    /// A packet of `len` bytes behind at least [`HEADROOM`], for devices to write.
    ///
    /// A packet of up to 2816 bytes begins up to 15 cache lines further on.
    /// The page's address decides how many, and the tail room is shorter by them.
    /// The reason: in pages of 4 KiB, lines at equal offsets share one set of a level 1 cache,
    /// so the first lines of a batch would evict each other, all but 8. (This is slab colouring; Bonwick, "The Slab Allocator", 1994.)
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[inline]
    pub fn with_len(page: Page, len: usize) -> Self {
        let coloured = HEADROOM + page.as_slice().as_ptr().addr() / PAGE_SIZE % COLOURS * 64;
        let offset = if len <= PAGE_SIZE - HEADROOM - COLOURS * 64 { coloured } else { HEADROOM };
        Self::new(page, offset, len)
    }

    /// The bytes of the packet: of its first part, if it has [fragments](Self::frags).
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.page.as_slice()[self.offset()..self.end()]
    }

    /// The bytes of the packet, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.offset(), self.end());
        &mut self.page.as_mut_slice()[start..end]
    }

    /// The metadata in front of the packet: what a program or a device left there for whoever comes next.
    #[inline]
    pub fn meta(&self) -> &[u8] {
        &self.page.as_slice()[self.offset() - usize::from(self.place.meta())..self.offset()]
    }

    /// The same, to write.
    #[inline]
    pub fn meta_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.offset() - usize::from(self.place.meta()), self.offset());
        &mut self.page.as_mut_slice()[start..end]
    }

    /// Bytes of the packet: of its first part, if it has [fragments](Self::frags).
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a packet has bytes; the question is never asked")]
    pub fn len(&self) -> usize {
        usize::from(self.place.len())
    }

    /// Where in its page it begins.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.place.offset())
    }

    #[inline]
    fn end(&self) -> usize {
        self.offset() + self.len()
    }

    /// Bytes in front of it, metadata included.
    pub fn headroom(&self) -> usize {
        self.offset()
    }

    /// Bytes behind it.
    pub fn tailroom(&self) -> usize {
        self.page.size() - self.end()
    }

    /// Sets the length, for devices and generators. It does not touch the bytes.
    ///
    /// # Panics
    /// If the page has no such room.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        if len > self.page.size() - self.offset() || len > usize::from(u16::MAX) {
            outside(self.page.size(), self.offset(), len);
        }
        self.place = self.place.with_len(len as u16);
    }

    /// Moves the front by `delta` bytes. A negative `delta` makes room for a header, a positive one takes bytes off.
    /// The metadata moves along (`bpf_xdp_adjust_head`).
    pub fn adjust_head(&mut self, delta: i32) -> Result<(), AdjustError> {
        let refuse = AdjustError { delta };
        let front = i64::from(self.place.offset()) + i64::from(delta);
        if front < i64::from(self.place.meta()) || front > (self.end() as i64) - MIN_LEN as i64 {
            return Err(refuse);
        }
        let len = i64::from(self.place.len()) - i64::from(delta);
        let (front, len) = (u16::try_from(front).map_err(|_| refuse)?, u16::try_from(len).map_err(|_| refuse)?);
        let meta = usize::from(self.place.meta());
        if meta > 0 {
            let from = self.offset() - meta;
            self.page.as_mut_slice().copy_within(from..from + meta, usize::from(front) - meta);
        }
        self.place = Place::new(front, len, self.place.meta()).with_frags(self.place.frags());
        Ok(())
    }

    /// Moves the end by `delta` bytes (`bpf_xdp_adjust_tail`). Bytes that are gained are zero.
    /// The pages of fragments of which nothing is left go back to their pools.
    pub fn adjust_tail(&mut self, delta: i32) -> Result<(), AdjustError> {
        let refuse = AdjustError { delta };
        if self.has_frags() {
            return self.adjust_frags(delta);
        }
        let len = i64::from(self.place.len()) + i64::from(delta);
        if len < MIN_LEN as i64 || len > (self.page.size() - self.offset()) as i64 {
            return Err(refuse);
        }
        let len = u16::try_from(len).map_err(|_| refuse)?;
        let (end, new_end) = (self.end(), self.offset() + usize::from(len));
        if new_end > end {
            self.page.as_mut_slice()[end..new_end].fill(0);
        }
        self.place = self.place.with_len(len);
        Ok(())
    }

    /// Makes the metadata in front of the packet longer (negative `delta`) or shorter (`bpf_xdp_adjust_meta`).
    /// It goes in steps of 4 bytes, up to 252.
    pub fn adjust_meta(&mut self, delta: i32) -> Result<(), AdjustError> {
        let len = i64::from(self.place.meta()) - i64::from(delta);
        if len < 0 || len % 4 != 0 || len > MAX_META as i64 || len > i64::from(self.place.offset()) {
            return Err(AdjustError { delta });
        }
        self.place = Place::new(self.place.offset(), self.place.len(), len as u16).with_frags(self.place.frags());
        Ok(())
    }

    /// The page.
    #[inline]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The page, without the packet. It leads those of the fragments.
    #[inline]
    pub fn into_page(self) -> Page {
        self.page
    }
}

impl XdpFrame {
    /// The bytes of the packet: of its first part, if it has [fragments](Self::frags).
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// The metadata that was left in front of it.
    #[inline]
    pub fn meta(&self) -> &[u8] {
        self.0.meta()
    }

    /// Bytes of the packet: of its first part, if it has [fragments](Self::frags).
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "as for a buff")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Where in its page it begins.
    #[inline]
    pub fn offset(&self) -> usize {
        self.0.offset()
    }

    /// The page.
    #[inline]
    pub fn page(&self) -> &Page {
        self.0.page()
    }

    /// The page, without the packet. It leads those of the fragments.
    #[inline]
    pub fn into_page(self) -> Page {
        self.0.into_page()
    }

    /// The page, and where in it the bytes of the first part lie.
    /// Devices pass this on to hardware or to the kernel, which do not check it.
    /// So it is checked here once more that the bytes lie in the page.
    ///
    /// # Panics
    /// If they did not.
    #[inline]
    pub fn into_place(self) -> (Page, Range<usize>) {
        let (page, bytes) = (self.0.page, self.0.place.range());
        if bytes.end > page.size() {
            outside(page.size(), bytes.start, bytes.len());
        }
        (page, bytes)
    }
}

impl From<XdpBuff> for XdpFrame {
    #[inline]
    fn from(buff: XdpBuff) -> Self {
        Self(buff)
    }
}

impl From<XdpFrame> for XdpBuff {
    #[inline]
    fn from(frame: XdpFrame) -> Self {
        frame.0
    }
}

impl fmt::Debug for XdpBuff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdpBuff")
            .field("page", &self.page)
            .field("offset", &self.place.offset())
            .field("len", &self.place.len())
            .field("meta", &self.place.meta())
            .field("frags", &self.place.frags())
            .finish()
    }
}

impl fmt::Debug for XdpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("XdpFrame").field(&self.0).finish()
    }
}
