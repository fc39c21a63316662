//! Which packets are steered to the socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::DevError;
use crate::af_xdp::error;

/// More rules than this of one kind are refused: the program tries them one after the other.
const MOST: usize = 256;

/// What the interface's XDP program does with a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// Every packet goes to the socket of the queue that it arrived on.
    #[default]
    All,
    /// Packets that match go to the socket; the rest goes on to the host untouched.
    Rules(Rules),
    /// No program is attached: the caller has one, and puts the socket into its `XSKMAP`.
    None,
}

/// Rules that choose packets: a packet must match one rule of every kind that has rules.
///
/// Their text is a list with commas, for instance `dst=10.0.0.0/8,dst=2001:db8::/32,proto=udp,port=53,port=4000-4010`.
///
/// What they see: Ethernet, at most one VLAN tag (802.1Q or 802.1ad) in the frame, IPv4 and IPv6. What that means for the rest:
/// - Packets that are neither IPv4 nor IPv6 (ARP, for one) match nothing and stay with the host.
/// - `proto` is the IPv4 protocol or the *first* IPv6 next header. Extension headers are not walked: a packet that has some matches `proto` by the number of the
///   first of them, and never matches `port`.
/// - `port` is the destination port of TCP and UDP. Fragments never match it, the first one neither, so that whoever gets one piece gets all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    dst: Vec<Prefix>,
    proto: Vec<u8>,
    port: Vec<Ports>,
}

/// An address prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The network's address: bits beyond [`len`](Self::len) are 0.
    pub addr: IpAddr,
    /// Bits.
    pub len: u8,
}

/// Destination ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last; not less than the first.
    pub last: u16,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `dst=PREFIX`: the destination address.
    Dst(Prefix),
    /// `proto=NAME` or `proto=NUMBER`: the IPv4 protocol or first IPv6 next header.
    Proto(u8),
    /// `port=N` or `port=N-M`: the destination port of TCP or UDP.
    Port(Ports),
}

impl Rules {
    /// Adds a rule.
    ///
    /// # Errors
    /// When there are 256 of its kind already.
    pub fn add(&mut self, rule: Rule) -> Result<(), DevError> {
        let count = match rule {
            Rule::Dst(prefix) => push(&mut self.dst, prefix),
            Rule::Proto(number) => push(&mut self.proto, number),
            Rule::Port(ports) => push(&mut self.port, ports),
        };
        if count <= MOST { Ok(()) } else { Err(error::usage(format!("more than {MOST} steering rules of one kind"))) }
    }

    /// The destination prefixes.
    #[must_use]
    pub fn dst(&self) -> &[Prefix] {
        &self.dst
    }

    /// The IP protocols.
    #[must_use]
    pub fn proto(&self) -> &[u8] {
        &self.proto
    }

    /// The destination ports.
    #[must_use]
    pub fn port(&self) -> &[Ports] {
        &self.port
    }

    /// What the program in the kernel says of a packet: whether it matches.
    #[must_use]
    pub fn matches(&self, packet: &[u8]) -> bool {
        self.find(packet).unwrap_or(false)
    }

    /// `None`: the packet is cut off where the rules have to look.
    fn find(&self, packet: &[u8]) -> Option<bool> {
        let half = |at: usize| packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        let (mut ethertype, mut at) = (half(12)?, 14);
        if matches!(ethertype, 0x8100 | 0x88a8) {
            (ethertype, at) = (half(16)?, 18);
        }
        let header = packet.get(at..)?;
        let (destination, protocol, ports): (IpAddr, u8, Option<usize>) = match ethertype {
            0x0800 => {
                let header = header.first_chunk::<20>()?;
                let len = usize::from(header[0] & 15) * 4;
                let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
                let [.., a, b, c, d] = *header;
                ([a, b, c, d].into(), header[9], (whole && len >= 20).then_some(at + len))
            }
            0x86dd => {
                let header = header.first_chunk::<40>()?;
                (<[u8; 16]>::try_from(&header[24..]).ok()?.into(), header[6], Some(at + 40))
            }
            _ => return Some(false),
        };
        let to = |prefix: &Prefix| network(destination, prefix.len.min(bits(destination))) == prefix.addr;
        let matches = (self.dst.is_empty() || self.dst.iter().any(to))
            && (self.proto.is_empty() || self.proto.contains(&protocol));
        if !matches || self.port.is_empty() {
            return Some(matches);
        }
        if !matches!(protocol, 6 | 17) {
            return Some(false);
        }
        let port = packet.get(ports?..)?.first_chunk::<4>().map(|[_, _, a, b]| u16::from_be_bytes([*a, *b]))?;
        Some(self.port.iter().any(|ports| (ports.first..=ports.last).contains(&port)))
    }
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    if !list.contains(&item) {
        list.push(item);
    }
    list.len()
}

impl FromStr for Steering {
    type Err = DevError;

    /// `all`, `none`, or [`Rules`].
    fn from_str(text: &str) -> Result<Self, DevError> {
        match text.trim() {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            rules => Ok(Self::Rules(rules.parse()?)),
        }
    }
}

impl FromStr for Rules {
    type Err = DevError;

    fn from_str(text: &str) -> Result<Self, DevError> {
        let mut rules = Self::default();
        for rule in text.split(',') {
            rules.add(rule.trim().parse()?)?;
        }
        Ok(rules)
    }
}

impl FromStr for Rule {
    type Err = DevError;

    fn from_str(text: &str) -> Result<Self, DevError> {
        let unknown = || {
            error::usage(format!(
                "`{text}` is not a steering rule: write dst=PREFIX, proto=NAME or port=N, for instance dst=10.0.0.0/8"
            ))
        };
        let (key, value) = text.split_once('=').ok_or_else(unknown)?;
        match key.trim() {
            "dst" => Ok(Self::Dst(value.trim().parse()?)),
            "proto" => Ok(Self::Proto(parse_proto(value.trim())?)),
            "port" => Ok(Self::Port(value.trim().parse()?)),
            _ => Err(unknown()),
        }
    }
}

impl FromStr for Prefix {
    type Err = DevError;

    fn from_str(text: &str) -> Result<Self, DevError> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| {
            error::usage(format!("`{text}` is not an address prefix: write 10.0.0.0/8 or 2001:db8::/32"))
        })?;
        let bits = bits(addr);
        let len = match len {
            None => bits,
            Some(len) => len.parse().ok().filter(|len| *len <= bits).ok_or_else(|| {
                error::usage(format!("`{text}`: the prefix length of this address is a number from 0 to {bits}"))
            })?,
        };
        let network = network(addr, len);
        if network == addr {
            Ok(Self { addr, len })
        } else {
            Err(error::usage(format!("`{text}` has address bits beyond its length: write {network}/{len}")))
        }
    }
}

fn network(addr: IpAddr, len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            IpAddr::V4((u32::from(addr) & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)).into())
        }
        IpAddr::V6(addr) => {
            IpAddr::V6((u128::from(addr) & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)).into())
        }
    }
}

const PROTOCOLS: [(&str, u8); 9] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
];

fn parse_proto(text: &str) -> Result<u8, DevError> {
    let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        error::usage(format!(
            "`{text}` is not an IP protocol: write a number from 0 to 255, or one of {}",
            names.join(" ")
        ))
    })
}

impl FromStr for Ports {
    type Err = DevError;

    fn from_str(text: &str) -> Result<Self, DevError> {
        let wrong = || error::usage(format!("`{text}` is not a port: write a number from 0 to 65535, or 4000-4010"));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
        if first > last {
            return Err(error::usage(format!("`{text}`: the first port of a range is not above the last")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::Rules(rules) => rules.fmt(f),
        }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dst = self.dst.iter().map(|prefix| format!("dst={}/{}", prefix.addr, prefix.len));
        let proto = self.proto.iter().map(|number| match PROTOCOLS.iter().find(|(_, known)| known == number) {
            Some((name, _)) => format!("proto={name}"),
            None => format!("proto={number}"),
        });
        let port = self.port.iter().map(|ports| match ports {
            Ports { first, last } if first == last => format!("port={first}"),
            Ports { first, last } => format!("port={first}-{last}"),
        });
        f.write_str(&dst.chain(proto).chain(port).collect::<Vec<_>>().join(","))
    }
}
