//! What stands in front of the IP packets of a capture: link types other than Ethernet become Ethernet.

use super::sink::LINKTYPE_USER0;

/// Ethernet addresses of packets whose link has none: those of the generator.
const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88A8;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

/// A link type (tcpdump.org/linktypes.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    /// IP, and nothing in front.
    Raw,
    /// Four bytes say which version of IP, by the numbers of the machine that captured.
    Loopback,
    /// Linux cooked, version 1.
    Cooked,
    /// Linux cooked, version 2.
    Cooked2,
    Other(u16),
}

impl Link {
    pub(super) fn new(number: u16) -> Self {
        match number {
            // Bare payloads (USER0, as this program writes them) are frames as they are.
            1 | LINKTYPE_USER0 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            0 | 108 => Self::Loopback,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            other => Self::Other(other),
        }
    }

    /// Makes a frame of a packet that was `original` bytes long on the wire. Gives how many bytes of it are replaced, and by what header. `None`: no Ethernet frame can be made of it.
    pub(super) fn header(self, packet: &[u8], original: u32) -> Option<(usize, [u8; ETHERNET])> {
        let half = |at: usize| packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        let cooked = |len: usize, protocol: usize, hardware: usize, kind: usize, address: usize| {
            let protocol = match half(protocol)? {
                // Frames without an EtherType have their length there.
                1 | 4 => u16::try_from(original.saturating_sub(len as u32)).ok().filter(|len| *len < 0x600)?,
                protocol if protocol >= 0x600 => protocol,
                _ => return None,
            };
            // Of netlink and of tunnels the protocol is no EtherType.
            if matches!(half(hardware)?, 778 | 824) || packet.len() < len {
                return None;
            }
            let source = match packet[address - 1] {
                6 => *packet[address..].first_chunk()?,
                _ => SOURCE,
            };
            // 1: a broadcast.
            let destination = if packet[kind] == 1 { [0xFF; 6] } else { DESTINATION };
            Some((len, destination, source, protocol))
        };
        let (len, destination, source, protocol) = match self {
            Self::Raw => (0, DESTINATION, SOURCE, version(packet.first()? >> 4)?),
            Self::Loopback => {
                let family = u32::from_le_bytes(*packet.first_chunk()?);
                let family = if family > 0xFFFF { family.swap_bytes() } else { family };
                let protocol = match family {
                    2 => IPV4,
                    10 | 24 | 28 | 30 => IPV6,
                    _ => return None,
                };
                (4, DESTINATION, SOURCE, protocol)
            }
            Self::Cooked => cooked(16, 14, 2, 1, 6)?,
            Self::Cooked2 => cooked(20, 0, 8, 10, 12)?,
            Self::Ethernet | Self::Other(_) => return None,
        };
        let mut header = [0; ETHERNET];
        header[..6].copy_from_slice(&destination);
        header[6..12].copy_from_slice(&source);
        header[12..].copy_from_slice(&protocol.to_be_bytes());
        Some((len, header))
    }

    /// Whether a packet that was `original` bytes long on the wire begins as those of the usual protocols do, so that it cannot well begin anywhere else.
    pub(super) fn is_usual(self, packet: &[u8], original: u32) -> bool {
        let half = |at: usize| packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        let (mut at, mut protocol) = match self {
            Self::Ethernet => (ETHERNET, half(ETHERNET - 2)),
            _ => match self.header(packet, original) {
                Some((len, header)) => (len, Some(u16::from_be_bytes([header[12], header[13]]))),
                None => return false,
            },
        };
        while matches!(protocol, Some(VLAN | SERVICE_VLAN)) {
            (at, protocol) = (at + 4, half(at + 2));
        }
        // What a packet says of its length may be less than there is, as short frames are padded.
        let fits = |len: usize| at + len <= original as usize;
        let Some(inside) = packet.get(at..) else { return false };
        match (protocol, inside) {
            (Some(IPV4), [0x45..=0x4F, _, high, low, ..]) => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                len >= 20 && fits(len)
            }
            (Some(IPV6), [first, _, _, _, high, low, ..]) => {
                first >> 4 == 6 && fits(40 + usize::from(u16::from_be_bytes([*high, *low])))
            }
            (Some(ARP), inside) => inside.starts_with(&[0, 1, 8, 0, 6, 4]),
            _ => false,
        }
    }

    /// Why packets of this link type are not read, and what converts them.
    pub(super) fn refusal(number: u16) -> String {
        let way_out = match number {
            9 | 50 | 104 | 105 | 127 => "; 'tcprewrite --dlt=enet' converts it",
            _ => "",
        };
        format!(
            "packets of link type {number} are no Ethernet frames, and none are made of them{way_out} \
             (read are Ethernet, raw IP, Linux cooked and loopback; 'editcap -T' only changes the name of the type)"
        )
    }
}

/// The EtherType of a version of IP.
fn version(version: u8) -> Option<u16> {
    match version {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}
