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
    pub(super) fn write(self, packet: &mut XdpBuff) {
        let (mut bytes, mut len) = ([0; 12], 0);
        let time = self.time.map(u64::to_ne_bytes);
        let original = self.original.map(u32::to_ne_bytes);
        for part in [time.as_ref().map(<[u8; 8]>::as_slice), original.as_ref().map(<[u8; 4]>::as_slice)] {
            let part = part.unwrap_or_default();
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        if len > 0 && packet.adjust_meta(-(len as i32)).is_ok() {
            packet.meta_mut()[..len].copy_from_slice(&bytes[..len]);
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
