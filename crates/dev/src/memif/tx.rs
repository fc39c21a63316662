//! The end that packets are copied into.

use waterwheel_xdp::{DropReason, Drops, Traffic, XdpFrame};

use super::fault::Fault;
use super::memory::Desc;
use super::params::Role;
use super::rings::{AHEAD, BUFFER, Buffers, ETHERNET_HEADER, End, NEXT};

/// A burst.
const ENOUGH: u16 = 64;

/// The end that packets go into.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) end: End,
    /// Slots that are ours to fill, as far as we know.
    room: u16,
    /// Something was put in, of which the other side was not told.
    news: bool,
}

/// Slots that are ours to fill: from `next` on, `room` of them.
#[derive(Debug, Clone, Copy)]
struct Free {
    next: u16,
    room: u16,
}

impl Tx {
    pub(super) fn new(mut end: End) -> Self {
        end.next = 0;
        end.publish(0);
        Self { end, room: 0, news: false }
    }

    /// Slots that can be filled now, as far as we know: the other side's index, which its CPU writes all the time, is looked at only when they are few.
    pub(super) fn known_room(&mut self) -> Result<u16, Fault> {
        if self.room < ENOUGH.min(self.end.ring.slots()) { self.room() } else { Ok(self.room) }
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
    pub(super) fn left(&self) -> u16 {
        self.end.ring.slots() - self.room
    }

    /// What the other side has not taken out, as far as its index is to be believed.
    pub(super) fn untaken(&mut self) -> Traffic {
        let _ = self.room(); // where it makes no sense, what was known before counts
        self.end.traffic(self.end.next.wrapping_sub(self.left()), self.end.next)
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
        // In registers. What is stored to memory of ours, and loaded again as a wider word, would wait for the packets' stores before it, and these for cache lines of the other CPU:
        // one packet after the other.
        let (begin, mut free) = (self.end.next, Free { next: self.end.next, room: self.room });
        for index in 0..free.room.min(AHEAD) {
            self.prefetch(begin.wrapping_add(index));
        }
        let mut result = Ok(());
        let mut done = 0;
        for frame in frames {
            if free.room > AHEAD {
                self.prefetch(free.next.wrapping_add(AHEAD));
            }
            let used =
                if frame.has_frags() { self.put_parts(free, frame.parts()) } else { self.put(free, frame.data()) };
            match used {
                Ok(0) if frame.total_len() < ETHERNET_HEADER => drops.add(DropReason::Malformed, 1),
                Ok(0) if self.can_never_hold(free.room, frame.total_len()) => drops.add(DropReason::FrameTooLong, 1),
                Ok(0) => break,
                Ok(slots) => {
                    traffic.add(frame.total_len());
                    free = Free { next: free.next.wrapping_add(slots), room: free.room - slots };
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
            done += 1;
        }
        (self.end.next, self.room) = (free.next, free.room);
        if free.next != begin {
            self.end.publish(free.next);
            self.news = true;
        }
        result.map(|()| done)
    }

    /// Copies one packet, and tells how many slots it takes. None: it has no room, or is no packet.
    #[inline]
    fn put(&self, free: Free, packet: &[u8]) -> Result<u16, Fault> {
        if free.room == 0 || packet.len() < ETHERNET_HEADER {
            return Ok(0);
        }
        let buffer = self.end.buffer(free.next)?;
        if packet.len() > buffer.length as usize {
            return self.put_parts(free, std::iter::once(packet));
        }
        if !self.end.memory.write(buffer.region, buffer.offset.into(), packet) {
            return Err(Fault::Descriptor);
        }
        self.describe(free.next, Desc { flags: 0, length: packet.len() as u32, ..buffer });
        Ok(1)
    }

    /// The same for a packet in several parts, or one that needs several buffers; they are filled one after the other.
    #[inline(never)]
    fn put_parts<'a>(&self, free: Free, parts: impl Iterator<Item = &'a [u8]>) -> Result<u16, Fault> {
        let mut total = 0;
        let mut used = 0u16;
        let mut buffer = Desc::default(); // a full one, as it were
        let mut filled = 0;
        for mut part in parts {
            total += part.len();
            while !part.is_empty() {
                if filled == buffer.length {
                    if used > 0 {
                        self.describe(free.next.wrapping_add(used - 1), Desc { flags: NEXT, ..buffer });
                    }
                    if used == free.room {
                        return Ok(0); // nothing of it was published
                    }
                    buffer = self.end.buffer(free.next.wrapping_add(used))?;
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
            return Ok(0);
        }
        self.describe(free.next.wrapping_add(used - 1), Desc { flags: 0, length: filled, ..buffer });
        Ok(used)
    }

    #[inline]
    fn describe(&self, index: u16, desc: Desc) {
        match self.end.buffers {
            Buffers::Ours { .. } => self.end.ring.set_desc(index, desc),
            Buffers::Theirs => self.end.ring.set_length(index, desc),
        }
    }

    /// Whether a packet of `len` bytes did not fit into the ring although it was empty.
    fn can_never_hold(&self, room: u16, len: usize) -> bool {
        let slots = self.end.ring.slots();
        match self.end.buffers {
            Buffers::Ours { .. } => len.div_ceil(BUFFER as usize) > slots.into(),
            Buffers::Theirs => room == slots,
        }
    }

    #[inline]
    fn prefetch(&self, index: u16) {
        let place = match self.end.buffers {
            Buffers::Ours { .. } => self.end.buffer(index).unwrap_or_default(),
            Buffers::Theirs => self.end.ring.desc(index),
        };
        self.end.memory.prefetchw(place.region, place.offset.into());
        if index.is_multiple_of(4) {
            self.end.ring.prefetchw(index.wrapping_add(4)); // four to a line
        }
    }

    /// Wakes the other side, if there is news for it and it wants to be woken. Tells whether it did.
    #[inline]
    pub(super) fn notify(&mut self) -> bool {
        std::mem::take(&mut self.news) && self.end.wake()
    }
}
