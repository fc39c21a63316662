//! The rings of one queue: what both ends have. Packets are copied [out of](super::rx) the one, and [into](super::tx) the other.
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

use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use waterwheel_xdp::Traffic;

use super::closer::Foreign;
use super::event;
use super::fault::Fault;
use super::memory::{Desc, Memory, Ring};
use super::params::Role;
use crate::ring;

/// `MEMIF_DESC_FLAG_NEXT`: the packet goes on in the next descriptor. There is no other flag.
pub(super) const NEXT: u16 = 1;
/// `MEMIF_RING_FLAG_MASK_INT`: do not wake me.
const MASK_INT: u16 = 1;
/// Bytes that every frame has.
pub(super) const ETHERNET_HEADER: usize = 14;
/// So many packets ahead the memory is asked for.
pub(super) const AHEAD: u16 = 16;

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
    pub(super) event: Arc<Foreign>,
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
        ring::ahead(self.theirs(), behind, most).ok_or(Fault::Index)
    }

    /// What lies in the slots from `begin` to `end`: packets that end there, and bytes. Nobody vouches for what a peer has described.
    pub(super) fn traffic(&self, begin: u16, end: u16) -> Traffic {
        let mut traffic = Traffic::default();
        for behind in 0..end.wrapping_sub(begin).min(self.ring.slots()) {
            let desc = self.ring.desc(begin.wrapping_add(behind));
            traffic.packets += u64::from(desc.flags & NEXT == 0);
            traffic.bytes += u64::from(desc.length.min(u16::MAX.into()));
        }
        traffic
    }

    /// Shows the other side what was done up to `index`.
    #[inline]
    pub(super) fn publish(&self, index: u16) {
        ring::publish(self.ours(), index);
    }

    /// Whether the other side's index is not `seen`.
    pub(super) fn has_news(&self, seen: u16) -> bool {
        ring::moved(self.theirs(), seen)
    }

    /// Whether the other side shall wake us. Who goes to sleep asks for it, then looks once more.
    pub(super) fn mask(&self, masked: bool) {
        if masked { ring::unask(self.ring.flags(), MASK_INT) } else { ring::ask(self.ring.flags(), 0) }
    }

    /// Wakes the other side, which was given something, if it wants to be woken. Tells whether it does.
    #[inline]
    pub(super) fn wake(&self) -> bool {
        let wakes = ring::asked(self.ring.flags()) & MASK_INT == 0;
        if wakes {
            event::set(&*self.event);
        }
        wakes
    }

    /// The buffer of a slot that is empty: region, offset, bytes.
    #[inline]
    pub(super) fn buffer(&self, index: u16) -> Result<Desc, Fault> {
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
    pub(super) fn part(&self, index: u16) -> Result<Desc, Fault> {
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
