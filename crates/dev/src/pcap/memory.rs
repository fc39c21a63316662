//! A small file that is played again and again is read once.

use waterwheel_xdp::XdpBuff;
use waterwheel_xdp::mm::Page;

use super::meta::Stamp;

/// Bytes of packets that are kept.
const MOST: usize = 16 << 20;

/// The packets of a file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: Vec<u8>,
    packets: Vec<Kept>,
    /// The longest packet.
    longest: usize,
    /// It has all of them.
    whole: bool,
    /// The next one to be given, once it has all of them.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) stamp: Stamp,
    at: usize,
    len: usize,
}

impl Memory {
    /// Keeps a packet. False: it is too much.
    pub(super) fn keep(&mut self, stamp: Stamp, data: &[u8]) -> bool {
        if self.bytes.len() + data.len() > MOST || self.packets.len() >= MOST / 32 {
            return false;
        }
        self.packets.push(Kept { stamp, at: self.bytes.len(), len: data.len() });
        self.bytes.extend_from_slice(data);
        self.longest = self.longest.max(data.len());
        true
    }

    /// The end of the file: from now on they come from here.
    pub(super) fn rewind(&mut self) {
        (self.whole, self.next) = (true, 0);
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn next(&self) -> Option<Kept> {
        self.packets.get(self.next).copied()
    }

    pub(super) fn left(&self) -> usize {
        self.packets.len() - self.next
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    pub(super) fn data(&self, kept: Kept) -> &[u8] {
        &self.bytes[kept.at..kept.at + kept.len]
    }

    /// The next ones, in these pages, of which there are no more than packets [left](Self::left).
    #[inline]
    pub(super) fn fill(&mut self, pages: impl ExactSizeIterator<Item = Page>) -> impl Iterator<Item = XdpBuff> {
        let kept = &self.packets[self.next..self.next + pages.len()];
        self.next += pages.len();
        kept.iter().zip(pages).map(|(kept, page)| {
            let mut packet = XdpBuff::with_len(page, kept.len);
            packet.data_mut().copy_from_slice(&self.bytes[kept.at..kept.at + kept.len]);
            kept.stamp.write(&mut packet);
            packet
        })
    }
}
