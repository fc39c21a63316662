//! What is in a block of pcapng (draft-ietf-opsawg-pcapng). No length is believed that goes beyond the block.

use super::link::Link;
use super::time::Clock;

/// Types of blocks that tell about packets (section 11.1).
pub(super) const SECTION_HEADER: u32 = 0x0A0D_0D0A;
pub(super) const INTERFACE: u32 = 1;
pub(super) const PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1A2B_3C4D;

/// The longest record that is believed. Longer ones are damage, not data: captures snap packets at 256 KiB.
pub(super) const LONGEST_RECORD: usize = 16 << 20;

pub(super) const DAMAGED: &str = "the record is damaged";

/// A packet of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Nanoseconds since the epoch; `None` for pcapng's simple packets, which have no time.
    pub(super) time: Option<u64>,
    /// Length of the packet on the wire in bytes, of which the file may have less.
    pub(super) original: u32,
    /// Where the bytes are in the record.
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) link: Link,
}

/// An interface that packets were captured on.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    /// Or why the times of its packets cannot be told, which matters when there are some.
    clock: Result<Clock, String>,
    /// Length up to which its packets were captured; 0: no limit.
    snap: u32,
    link: Link,
}

/// Reads numbers in one byte order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) big: bool,
}

impl Order {
    pub(super) fn word(self, bytes: &[u8], at: usize) -> Result<u32, String> {
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(DAMAGED)?;
        Ok(if self.big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) })
    }

    pub(super) fn half(self, bytes: &[u8], at: usize) -> Result<u16, String> {
        let half = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(DAMAGED)?;
        Ok(if self.big { u16::from_be_bytes(*half) } else { u16::from_le_bytes(*half) })
    }
}

/// Whether the bytes are the beginning of pcap (microseconds, nanoseconds, or Kuznetzov's variant; either byte order) or pcapng.
pub(super) fn is_capture(magic: &[u8]) -> bool {
    [0xA1B2_C3D4_u32, 0xA1B2_3C4D, 0xA1B2_CD34]
        .iter()
        .flat_map(|known| [known.to_le_bytes(), known.to_be_bytes()])
        .chain([SECTION_HEADER.to_le_bytes()])
        .any(|known| known.starts_with(magic))
}

/// The byte order of a section, from the header of its block and what follows.
pub(super) fn order_of_section(block: &[u8]) -> Result<Order, String> {
    match block.get(8..12) {
        Some(bytes) if bytes == BYTE_ORDER.to_be_bytes() => Ok(Order { big: true }),
        Some(bytes) if bytes == BYTE_ORDER.to_le_bytes() => Ok(Order { big: false }),
        _ => Err(DAMAGED.to_owned()),
    }
}

/// Whether a block of this type is looked into by [`understand`].
pub(super) fn is_understood(kind: u32) -> bool {
    matches!(kind, SECTION_HEADER | INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET)
}

/// A whole block: a packet, or something to remember for the packets to come, or nothing about packets at all.
pub(super) fn understand(
    kind: u32,
    block: &[u8],
    order: Order,
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Record>, String> {
    let end = block.len() - 4;
    let word = |at: usize| order.word(&block[..end], at);
    let data = |at: usize, len: u32| {
        let len = len as usize;
        if len <= end.saturating_sub(at) { Ok(len) } else { Err(DAMAGED.to_owned()) }
    };
    let time = |interface: &Interface, at: usize| {
        let clock = interface.clock.clone()?;
        Ok::<_, String>(Some(clock.nanoseconds(u64::from(word(at)?) << 32 | u64::from(word(at + 4)?))))
    };
    match kind {
        SECTION_HEADER => {
            let (major, minor) = (order.half(&block[..end], 12)?, order.half(&block[..end], 14)?);
            if major != 1 {
                return Err(format!("it is of version {major}.{minor} of pcapng, which is not known: want 1.0"));
            }
            word(20)?; // the end of the section's length
            interfaces.clear();
            Ok(None)
        }
        INTERFACE => {
            let (link, snap) = (Link::new(order.half(&block[..end], 8)?), word(12)?);
            interfaces.push(Interface { clock: clock(&block[16..end], order), snap, link });
            Ok(None)
        }
        ENHANCED_PACKET => {
            let interface = declared(interfaces, word(8)?)?;
            let (len, original) = (word(20)?, word(24)?);
            let (time, link) = (time(interface, 12)?, interface.link);
            Ok(Some(Record { time, original, at: 28, len: data(28, len)?, link }))
        }
        PACKET => {
            let interface = declared(interfaces, order.half(&block[..end], 8)?.into())?;
            let (len, original) = (word(20)?, word(24)?);
            let (time, link) = (time(interface, 12)?, interface.link);
            Ok(Some(Record { time, original, at: 28, len: data(28, len)?, link }))
        }
        SIMPLE_PACKET => {
            // The data is padded; how much of it was captured follows from the snap length (section 4.4).
            let &Interface { snap, link, .. } = declared(interfaces, 0)?;
            let (original, snap) = (word(8)?, if snap == 0 { u32::MAX } else { snap });
            let len = (end - 12).min(original.min(snap) as usize);
            Ok(Some(Record { time: None, original, at: 12, len, link }))
        }
        _ => Ok(None),
    }
}

fn declared(interfaces: &[Interface], number: u32) -> Result<&Interface, String> {
    interfaces
        .get(number as usize)
        .ok_or_else(|| format!("the packet belongs to interface {number}, which its section does not declare"))
}

/// Reads if_tsresol and if_tsoffset from the options of an interface (section 4.2), the first of each. What stands behind the end of the options is none.
fn clock(mut options: &[u8], order: Order) -> Result<Clock, String> {
    const END: u16 = 0;
    const RESOLUTION: u16 = 9;
    const OFFSET: u16 = 14;
    let (mut resolution, mut offset) = (None, None);
    while !options.is_empty() {
        let (code, len) = (order.half(options, 0)?, usize::from(order.half(options, 2)?));
        let value = options.get(4..4 + len).ok_or(DAMAGED)?;
        match (code, value) {
            (END, _) => break,
            (RESOLUTION, &[value]) => _ = resolution.get_or_insert(value),
            (OFFSET, bytes) => {
                let bytes =
                    <[u8; 8]>::try_from(bytes).map_err(|_| "the interface's if_tsoffset is damaged".to_owned())?;
                offset.get_or_insert(if order.big { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) });
            }
            _ => {}
        }
        options = options.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
    }
    let resolution = resolution.unwrap_or(6);
    Clock::new(resolution, offset.unwrap_or(0))
        .ok_or_else(|| format!("if_tsresol {resolution:#x} is finer than this reader can tell"))
}
