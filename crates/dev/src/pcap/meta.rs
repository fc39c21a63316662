//! The time stamp of a packet, in the metadata in front of it.

use waterwheel_xdp::XdpBuff;

/// What the metadata says: 8 bytes are the time, 12 bytes the time and the length on the wire of a packet that was captured only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds since the epoch.
    pub(super) time: u64,
    /// Length on the wire; `None`: that of the packet.
    pub(super) original: Option<u32>,
}

impl Stamp {
    /// Puts the stamp in front of the packet, if the head room has place for it.
    pub(super) fn write(self, packet: &mut XdpBuff) {
        let len = if self.original.is_some() { 12 } else { 8 };
        if packet.adjust_meta(-len).is_err() {
            return;
        }
        let meta = packet.meta_mut();
        meta[..8].copy_from_slice(&self.time.to_ne_bytes());
        if let Some(original) = self.original {
            meta[8..12].copy_from_slice(&original.to_ne_bytes());
        }
    }

    /// Reads the stamp from metadata; `None` when it is something else.
    pub(super) fn read(meta: &[u8]) -> Option<Self> {
        let (time, original) = meta.split_first_chunk::<8>()?;
        let time = u64::from_ne_bytes(*time);
        match original.len() {
            0 => Some(Self { time, original: None }),
            4 => Some(Self { time, original: original.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) }),
            _ => None,
        }
    }
}
