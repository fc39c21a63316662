//! Packets as [`Bytes`], which most asynchronous code in Rust takes, and back.
//!
//! Out: the page itself goes, nothing is copied, and whoever drops the last of the `Bytes`, on whatever thread, sends it home. Each page costs one small allocation (the owner and a count of `bytes`).
//! Back: a copy into pages of a pool. `Bytes` cannot be asked for its owner, so a page that went out as one comes back by its drop, not as a page.

use super::{IntoParts, XdpBuff, XdpFrame};
use bytes::{Buf, Bytes};
use waterwheel_page_pool::{Direction, PagePool};

impl AsRef<[u8]> for XdpFrame {
    /// The bytes of the first part.
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

impl XdpFrame {
    /// The packet as a chain of `Bytes`, one for each part, without a copy.
    pub fn into_bytes(self) -> PacketBytes {
        let left = self.total_len();
        let mut parts = self.into_parts();
        let first = parts.next().map(Bytes::from_owner).unwrap_or_default();
        PacketBytes { first, rest: Parts(parts), left }
    }
}

impl From<XdpFrame> for PacketBytes {
    fn from(frame: XdpFrame) -> Self {
        frame.into_bytes()
    }
}

/// The bytes of a packet, part by part: a [`Buf`], and an iterator over [`Bytes`]. What is not taken out goes home by its drop.
#[derive(Debug)]
pub struct PacketBytes {
    /// What is left of the part that is being read.
    first: Bytes,
    rest: Parts,
    /// Bytes in all of them.
    left: usize,
}

/// The parts behind it. They become `Bytes` when it is their turn.
#[derive(Debug)]
struct Parts(IntoParts);

impl PacketBytes {
    /// All bytes as one: without a copy where the packet has one part, or one is left.
    pub fn into_one(mut self) -> Bytes {
        self.copy_to_bytes(self.left)
    }

    /// Goes on to the next part that has bytes.
    fn next_part(&mut self) {
        while self.first.is_empty()
            && let Some(part) = self.rest.0.next()
        {
            self.first = Bytes::from_owner(part);
        }
    }
}

impl Buf for PacketBytes {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    /// # Panics
    /// Beyond the end.
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "{count} bytes of {} cannot be skipped", self.left);
        self.left -= count;
        loop {
            let now = count.min(self.first.len());
            self.first.advance(now);
            count -= now;
            self.next_part();
            if count == 0 {
                return;
            }
        }
    }

    /// Without a copy where they lie in one part.
    ///
    /// # Panics
    /// Beyond the end.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.left, "{len} bytes of {} cannot be taken", self.left);
        if len <= self.first.len() {
            let taken = self.first.split_to(len);
            self.left -= len;
            self.next_part();
            return taken;
        }
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let now = (len - all.len()).min(self.first.len());
            all.extend_from_slice(&self.first[..now]);
            self.advance(now);
        }
        all.into()
    }
}

impl Iterator for PacketBytes {
    type Item = Bytes;

    /// What is left of the current part, then the next ones.
    fn next(&mut self) -> Option<Bytes> {
        (self.left > 0).then(|| self.copy_to_bytes(self.first.len()))
    }
}

impl XdpBuff {
    /// A packet with the bytes that are left in `bytes`, copied into as many pages of `pool` as they need: as [`copy_from`](Self::copy_from), which is for a slice.
    ///
    /// `None`, and nothing is read, when there are not enough pages, or the bytes do not fit into a packet.
    pub fn copy_from_buf(pool: &mut PagePool, direction: Direction, bytes: &mut impl Buf) -> Option<Self> {
        let mut packet = Self::of_len(pool, direction, bytes.remaining())?;
        bytes.copy_to_slice(packet.data_mut());
        packet.frags_mut().for_each(|part| bytes.copy_to_slice(part));
        Some(packet)
    }
}
