//! The time stamp of a packet, in the metadata in front of it.

use waterwheel_xdp::XdpBuff;

/// What the metadata says: 8 bytes are the time, 4 bytes the length on the wire of a packet that was captured only in part, 12 bytes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds since the epoch, if the capture knows it.
    pub(super) time: Option<u64>,
    /// Length on the wire; `None`: that of the packet.
    pub(super) original: Option<u32>,
}

impl Stamp {
    /// Puts the stamp in front of the packet, if the head room has place for it.
    #[inline]
    pub(super) fn write(self, packet: &mut XdpBuff) {
        match (self.time, self.original) {
            (Some(time), None) => put(packet, time.to_ne_bytes()),
            (Some(time), Some(original)) => {
                let mut both = [0; 12];
                both[..8].copy_from_slice(&time.to_ne_bytes());
                both[8..].copy_from_slice(&original.to_ne_bytes());
                put(packet, both);
            }
            (None, Some(original)) => put(packet, original.to_ne_bytes()),
            (None, None) => {}
        }
    }

    /// Reads the stamp from metadata; there is nothing in it when that is something else.
    pub(super) fn read(meta: &[u8]) -> Self {
        let (time, original) = match meta.len() {
            8 | 12 => meta.split_at(8),
            4 => (&[][..], meta),
            _ => (&[][..], &[][..]),
        };
        Self {
            time: time.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)),
            original: original.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)),
        }
    }
}

#[inline]
fn put<const N: usize>(packet: &mut XdpBuff, bytes: [u8; N]) {
    if packet.adjust_meta(-(N as i32)).is_ok()
        && let Some(meta) = packet.meta_mut().first_chunk_mut()
    {
        *meta = bytes;
    }
}
