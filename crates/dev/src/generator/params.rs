//! What the generator makes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::range::{AddressRange, Walk, parse_ports};
use crate::error::DevError;
use crate::pace::{BURST, BURST_KEY, Rate, parse_burst};
use crate::value::{number, unknown_key, usage};

/// Frame length of the simple IMIX, in bytes without FCS: 64, 570 and 1518 bytes on the wire. Seven of the first, four of the second and one of the third
/// make a round of twelve (the 28 : 16 : 4 of FD.io CSIT).
pub const IMIX: [usize; 3] = [60, 566, 1514];

/// The longest frame, in bytes without FCS: the common jumbo frame.
pub const MAX_SIZE: usize = 9216;

/// The shortest frame, in bytes without FCS (IEEE 802.3: 64 bytes with it).
pub const MIN_SIZE: usize = 60;

/// Version of the internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4, without options, "don't fragment" set.
    V4,
    /// IPv6, without extension headers.
    V6,
}

impl IpVersion {
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// What the packets carry above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP datagrams, with their checksum.
    Udp,
    /// TCP segments of no connection: ACK set, constant sequence numbers.
    Tcp,
    /// Echo requests of ICMP, or of ICMPv6 over IPv6.
    Icmp,
}

impl Protocol {
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::Udp | Self::Icmp => 8,
            Self::Tcp => 20,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Icmp => "ICMP",
        }
    }
}

/// How long the frames are, in bytes without FCS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// 64, or as long as the headers where they need more (TCP over IPv6: 74).
    Smallest,
    /// All of this length.
    Fixed(usize),
    /// The mix [`IMIX`], 7 : 4 : 1; its small frames grow to the length of the headers where they need more.
    Imix,
}

/// How the ranges of addresses and ports are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vary {
    /// Every range takes one step a packet and starts over by itself (as the kernel's pktgen does).
    Sequential,
    /// Every combination in turn: source port fastest, then destination port, source address, destination address.
    Combinations,
    /// Every range jumps at random; the same `seed` gives the same packets.
    Random,
}

/// What the generator makes. The default is one flow of UDP over IPv4 in frames of 64 bytes between two addresses of 198.18.0.0/15,
/// the block that RFC 2544 (appendix C.2.2) sets aside for benchmarks, to the discard port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenParams {
    /// Version of the internet protocol; `None`: that of `source` and `destination`, else IPv4.
    pub ip: Option<IpVersion>,
    /// What the packets carry above IP.
    pub protocol: Protocol,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Source addresses; `None`: 198.18.0.1, or 2001:2::1 (RFC 5180).
    pub source: Option<AddressRange>,
    /// Destination addresses; `None`: 198.19.0.1, or 2001:2:0:1::1.
    pub destination: Option<AddressRange>,
    /// Source ports; `None`: 49184, the one of RFC 2544's test frame (appendix C.2.6.4). Not for ICMP.
    pub source_port: Option<RangeInclusive<u16>>,
    /// Destination ports; `None`: 9, discard. Not for ICMP.
    pub destination_port: Option<RangeInclusive<u16>>,
    /// Frame length.
    pub size: Size,
    /// How fast packets come; `None`: as fast as it goes.
    pub rate: Option<Rate>,
    /// How much is caught up on at once when nobody asked in time. The rest is given up, and counted as `rate_missed`.
    pub burst: Duration,
    /// How many packets in all; `None`: no end.
    pub count: Option<u64>,
    /// Seed of the payload bytes, and of [`Vary::Random`].
    pub seed: u64,
    /// How the ranges are walked.
    pub vary: Vary,
}

impl Default for GenParams {
    fn default() -> Self {
        Self {
            ip: None,
            protocol: Protocol::Udp,
            source_mac: [0x02, 0, 0, 0, 0, 0x01],
            destination_mac: [0x02, 0, 0, 0, 0, 0x02],
            source: None,
            destination: None,
            source_port: None,
            destination_port: None,
            size: Size::Smallest,
            rate: None,
            burst: BURST,
            count: None,
            seed: 1,
            vary: Vary::Sequential,
        }
    }
}

impl GenParams {
    /// The keys that [`GenParams::set`] takes, each with a line of help.
    pub const KEYS: &[(&str, &str)] = &[
        ("ip", "v4 or v6 (default v4, or what src and dst say)"),
        ("proto", "udp, tcp or icmp (default udp)"),
        ("smac", "source MAC address (default 02:00:00:00:00:01)"),
        ("dmac", "destination MAC address (default 02:00:00:00:00:02)"),
        ("src", "source address, first-last or prefix (default 198.18.0.1 or 2001:2::1)"),
        ("dst", "destination address, first-last or prefix (default 198.19.0.1 or 2001:2:0:1::1)"),
        ("sport", "source port or first-last (default 49184)"),
        ("dport", "destination port or first-last (default 9)"),
        ("size", "frame length in bytes without FCS, 60 to 9216, or imix: 7 of 60, 4 of 566, 1 of 1514 (default 64)"),
        Rate::KEYS[0],
        Rate::KEYS[1],
        BURST_KEY,
        ("count", "how many packets (default: no end)"),
        ("seed", "seed of payload and random walk (default 1)"),
        ("vary", "how ranges are walked: sequential, combinations or random (default sequential)"),
    ];

    /// Sets one parameter from text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that it cannot have; the line names both. Whether the parameters fit together is asked
    /// when the generator is made.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DevError> {
        let choice = |choices: &str| usage(format!("{key}={value}: want one of {choices}"));
        match key {
            "ip" => {
                self.ip = match value {
                    "v4" => Some(IpVersion::V4),
                    "v6" => Some(IpVersion::V6),
                    _ => return Err(choice("v4, v6")),
                }
            }
            "proto" => {
                self.protocol = match value {
                    "udp" => Protocol::Udp,
                    "tcp" => Protocol::Tcp,
                    "icmp" => Protocol::Icmp,
                    _ => return Err(choice("udp, tcp, icmp")),
                }
            }
            "smac" => self.source_mac = parse_mac(key, value)?,
            "dmac" => self.destination_mac = parse_mac(key, value)?,
            "src" => self.source = Some(AddressRange::parse(key, value)?),
            "dst" => self.destination = Some(AddressRange::parse(key, value)?),
            "sport" => self.source_port = Some(parse_ports(key, value)?),
            "dport" => self.destination_port = Some(parse_ports(key, value)?),
            "size" if value == "imix" => self.size = Size::Imix,
            "size" => {
                let bytes = number(key, value)?;
                let size = usize::try_from(bytes).ok().filter(|size| (MIN_SIZE..=MAX_SIZE).contains(size));
                self.size = Size::Fixed(size.ok_or_else(|| usage(size_range(value)))?);
            }
            "rate" | "mbps" => {
                let rate = Rate::parse(key, value)?;
                if self.rate.is_some_and(|other| std::mem::discriminant(&other) != std::mem::discriminant(&rate)) {
                    return Err(usage("rate and mbps: give one of them"));
                }
                self.rate = Some(rate);
            }
            "burst" => self.burst = parse_burst(value)?,
            "count" => self.count = Some(number(key, value)?),
            "seed" => self.seed = number(key, value)?,
            "vary" => {
                self.vary = match value {
                    "sequential" => Vary::Sequential,
                    "combinations" => Vary::Combinations,
                    "random" => Vary::Random,
                    _ => return Err(choice("sequential, combinations, random")),
                }
            }
            _ => return Err(unknown_key("gen", key, Self::KEYS)),
        }
        Ok(())
    }

    /// The IP version of the packets; an error when `ip`, `source` and `destination` do not agree.
    pub(super) fn version(&self) -> Result<IpVersion, DevError> {
        let asked = [
            self.ip,
            self.source.as_ref().map(AddressRange::version),
            self.destination.as_ref().map(AddressRange::version),
        ];
        let mut versions = asked.into_iter().flatten();
        let version = versions.next().unwrap_or(IpVersion::V4);
        if versions.any(|other| other != version) {
            return Err(usage(
                "ip, src and dst are not of one IP version: give IPv4 addresses only, or IPv6 addresses only",
            ));
        }
        Ok(version)
    }

    /// The frame lengths of one round, in the order they are sent.
    pub(super) fn sizes(&self) -> Result<Vec<usize>, DevError> {
        let version = self.version()?;
        let least = (14 + version.header_len() + self.protocol.header_len()).max(MIN_SIZE);
        match self.size {
            Size::Smallest => Ok(vec![least.max(64)]),
            Size::Fixed(size) if !(MIN_SIZE..=MAX_SIZE).contains(&size) => Err(usage(size_range(&size.to_string()))),
            Size::Fixed(size) if size < least => Err(usage(format!(
                "size={size} is too short for {} over {}: want at least {least}",
                self.protocol.as_str(),
                version.as_str()
            ))),
            Size::Fixed(size) => Ok(vec![size]),
            Size::Imix => {
                let [small, middle, large] = IMIX.map(|size| size.max(least));
                // Spread over the round, so that any few packets in a row resemble the mix.
                Ok([0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0].map(|kind: usize| [small, middle, large][kind]).to_vec())
            }
        }
    }

    /// The walks along source address, destination address, source port and destination port.
    pub(super) fn walks(&self) -> Result<[Walk; 4], DevError> {
        let (source, destination) = match self.version()? {
            IpVersion::V4 => {
                let (source, destination) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1));
                (AddressRange::V4(source..=source), AddressRange::V4(destination..=destination))
            }
            IpVersion::V6 => {
                let source = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
                let destination = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 1);
                (AddressRange::V6(source..=source), AddressRange::V6(destination..=destination))
            }
        };
        let ports = |key: &str, range: &Option<RangeInclusive<u16>>, default: u16| match range {
            Some(_) if self.protocol == Protocol::Icmp => {
                Err(usage(format!("{key} means nothing with proto=icmp: leave it out, or choose udp or tcp")))
            }
            Some(range) => Walk::new(key, &(u128::from(*range.start())..=u128::from(*range.end()))),
            None => Walk::new(key, &(u128::from(default)..=u128::from(default))),
        };
        Ok([
            Walk::new("src", &self.source.as_ref().unwrap_or(&source).bits())?,
            Walk::new("dst", &self.destination.as_ref().unwrap_or(&destination).bits())?,
            ports("sport", &self.source_port, 0xC020)?,
            ports("dport", &self.destination_port, 9)?,
        ])
    }
}

fn size_range(value: &str) -> String {
    format!("size={value}: want {MIN_SIZE} to {MAX_SIZE} bytes (without FCS) or imix")
}

fn parse_mac(key: &str, value: &str) -> Result<[u8; 6], DevError> {
    let wrong = || usage(format!("{key}={value}: want a MAC address such as 02:00:00:00:00:01"));
    let mut mac = [0; 6];
    let mut parts = value.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() <= 2 && !part.starts_with('+')).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(mac) }
}
