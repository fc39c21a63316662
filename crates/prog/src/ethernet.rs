//! The Ethernet header (IEEE 802.3): 14 bytes.

/// Bytes of the header.
const LEN: usize = 14;

/// A view of a packet that is at least as long as the header.
#[derive(Debug, Clone, Copy)]
pub struct Ethernet<'a>(&'a [u8; LEN]);

/// The same, to write.
#[derive(Debug)]
pub struct EthernetMut<'a>(&'a mut [u8; LEN]);

impl<'a> Ethernet<'a> {
    /// `None`: the packet is shorter than the header.
    pub fn new(packet: &'a [u8]) -> Option<Self> {
        packet.first_chunk().map(Self)
    }

    /// Where it goes.
    pub fn destination(&self) -> [u8; 6] {
        let [d0, d1, d2, d3, d4, d5, ..] = *self.0;
        [d0, d1, d2, d3, d4, d5]
    }

    /// Where it comes from.
    pub fn source(&self) -> [u8; 6] {
        let [_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, ..] = *self.0;
        [s0, s1, s2, s3, s4, s5]
    }

    /// The EtherType, or a length below 1536.
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

impl<'a> EthernetMut<'a> {
    /// `None`: the packet is shorter than the header.
    pub fn new(packet: &'a mut [u8]) -> Option<Self> {
        packet.first_chunk_mut().map(Self)
    }

    /// Back to the sender.
    pub fn swap_addresses(&mut self) {
        let (destination, rest) = self.0.split_at_mut(6);
        destination.swap_with_slice(&mut rest[..6]);
    }
}
