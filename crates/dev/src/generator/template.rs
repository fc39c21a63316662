//! Ready-made packets, of which only addresses, ports and checksums change.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

use super::params::{GenParams, IpVersion, Protocol};
use super::random::SplitMix64;
use crate::error::{DevError, ErrorClass};

/// What differs from packet to packet. An IPv4 address is in the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) source: u128,
    pub(super) destination: u128,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

/// Where the fields are. One template's, but the same for all templates of a generator.
#[derive(Debug, Clone, Copy)]
struct Layout {
    version: IpVersion,
    protocol: Protocol,
    /// Offset of the transport header.
    transport: usize,
    /// Offset of the transport checksum.
    checksum: usize,
}

const IP: usize = 14;
const IPV4_CHECKSUM: usize = IP + 10;

impl Layout {
    fn new(version: IpVersion, protocol: Protocol) -> Self {
        let transport = IP + version.header_len();
        let checksum = transport
            + match protocol {
                Protocol::Udp => 6,
                Protocol::Tcp => 16,
                Protocol::Icmp => 2,
            };
        Self { version, protocol, transport, checksum }
    }

    /// Sum of the fields that the transport checksum covers.
    #[inline]
    fn covered(self, fields: &Fields) -> u64 {
        match (self.version, self.protocol) {
            (IpVersion::V4, Protocol::Icmp) => 0,
            (IpVersion::V6, Protocol::Icmp) => addresses_sum(fields),
            _ => addresses_sum(fields) + u64::from(fields.source_port) + u64::from(fields.destination_port),
        }
    }
}

/// One packet, complete and valid, and what its checksums are without the changing fields.
#[derive(Debug, Clone)]
pub(super) struct Template {
    bytes: Vec<u8>,
    layout: Layout,
    /// One's complement sums of everything but the fields: `~HC + ~m` of RFC 1624, equation 3.
    ip_base: u64,
    transport_base: u64,
}

impl Template {
    /// A frame of `size` bytes with the given `fields` and a payload that `seed` determines.
    pub(super) fn new(params: &GenParams, size: usize, fields: &Fields) -> Result<Self, DevError> {
        let layout = Layout::new(params.version()?, params.protocol);
        let bytes = build(params, layout, size, fields).map_err(|error| {
            DevError::new(ErrorClass::Usage, format!("cannot build a packet of {size} bytes: {error}"))
        })?;
        let stored = |at: usize| u64::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let ip_base = match layout.version {
            IpVersion::V4 => complement(stored(IPV4_CHECKSUM)) + complement(addresses_sum(fields)),
            IpVersion::V6 => 0,
        };
        let transport_base = complement(stored(layout.checksum)) + complement(layout.covered(fields));
        Ok(Self { bytes, layout, ip_base, transport_base })
    }

    /// The packet with the fields that it was built with.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives a copy of [`Template::bytes`] other fields, and the checksums that belong to them.
    #[inline]
    pub(super) fn patch(&self, packet: &mut [u8], fields: &Fields) {
        let layout = self.layout;
        let packet = &mut packet[..self.bytes.len()];
        match layout.version {
            IpVersion::V4 => {
                // Both addresses as one number: eight bytes at offset 12 of the IPv4 header (RFC 791).
                let addresses = (fields.source << 32 | fields.destination) as u64;
                packet[IP + 12..IP + 20].copy_from_slice(&addresses.to_be_bytes());
                let checksum = !fold(self.ip_base + addresses_sum(fields));
                packet[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
            }
            IpVersion::V6 => {
                packet[IP + 8..IP + 24].copy_from_slice(&fields.source.to_be_bytes());
                packet[IP + 24..IP + 40].copy_from_slice(&fields.destination.to_be_bytes());
            }
        }
        let mut checksum = !fold(self.transport_base + layout.covered(fields));
        if layout.protocol != Protocol::Icmp {
            let ports = u32::from(fields.source_port) << 16 | u32::from(fields.destination_port);
            packet[layout.transport..layout.transport + 4].copy_from_slice(&ports.to_be_bytes());
        }
        if layout.protocol == Protocol::Udp && checksum == 0 {
            checksum = 0xffff; // a zero would say "no checksum" (RFC 768)
        }
        packet[layout.checksum..layout.checksum + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Writes the packet with etherparse, which fills in lengths and checksums.
fn build(params: &GenParams, layout: Layout, size: usize, fields: &Fields) -> Result<Vec<u8>, String> {
    let mut random = SplitMix64::new(params.seed);
    let header = layout.transport + params.protocol.header_len();
    let payload: Vec<u8> = (header..size).map(|_| random.next().to_le_bytes()[0]).collect();
    let ethernet = PacketBuilder::ethernet2(params.source_mac, params.destination_mac);
    let ip = match layout.version {
        IpVersion::V4 => {
            let address = |bits: u128| Ipv4Addr::from_bits(bits as u32).octets();
            ethernet.ipv4(address(fields.source), address(fields.destination), 64)
        }
        IpVersion::V6 => {
            let address = |bits: u128| Ipv6Addr::from_bits(bits).octets();
            ethernet.ipv6(address(fields.source), address(fields.destination), 64)
        }
    };
    let mut bytes = Vec::with_capacity(size);
    let (source_port, destination_port) = (fields.source_port, fields.destination_port);
    match (params.protocol, layout.version) {
        (Protocol::Udp, _) => ip.udp(source_port, destination_port).write_to_vec(&mut bytes, &payload),
        (Protocol::Tcp, _) => ip.tcp(source_port, destination_port, 1, 65535).ack(1).write_to_vec(&mut bytes, &payload),
        (Protocol::Icmp, IpVersion::V4) => ip.icmpv4_echo_request(0x5757, 1).write_to_vec(&mut bytes, &payload),
        (Protocol::Icmp, IpVersion::V6) => ip.icmpv6_echo_request(0x5757, 1).write_to_vec(&mut bytes, &payload),
    }
    .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Sum of both addresses in 32-bit words, which is their one's complement sum: 2^16 and 2^32 are 1 modulo 2^16 - 1 (RFC 1071, section 2).
#[inline]
fn addresses_sum(fields: &Fields) -> u64 {
    let words = |bits: u128| {
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
    };
    words(fields.source) + words(fields.destination)
}

/// The 16-bit one's complement sum of a sum of words.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// One's complement of a sum.
fn complement(sum: u64) -> u64 {
    u64::from(!fold(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_the_sum_modulo_65535() {
        let mut random = SplitMix64::new(7);
        // Each of the folds has a carry that only the next one takes in.
        let carries = [0x1_0000_ffff, 0x1_0000_ffff_ffff, 0x1_0001_ffff_fffe, 0xffff_ffff_0001_0000, u64::MAX];
        let edges = [0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_fffe_0001, u64::MAX / 2, u64::MAX - 0xffff_ffff];
        for sum in edges.into_iter().chain(carries).chain(std::iter::repeat_with(|| random.next()).take(10_000)) {
            assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff, "{sum:#x}");
            assert_eq!(fold(sum) == 0, sum == 0, "{sum:#x}: only nothing sums to nothing");
        }
    }
}
