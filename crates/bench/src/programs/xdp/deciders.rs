//! What the packets run through: programs from empty to realistic.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use waterwheel_prog::{Discard, Ethernet, EthernetMut, Forward, Reflect};
use waterwheel_xdp::{Action, Context, DropReason, PortId, Program, XdpBuff};

/// Flows that the generator makes and the table knows.
pub(super) const FLOWS: u32 = 4096;
/// The first of their source addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// What the generator's packets have in common: its defaults.
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const PORTS: (u16, u16) = (49184, 9);

const IPV4: u16 = 0x0800;
const UDP: u8 = 17;

/// Source addresses of the flows.
pub(super) fn flow_sources() -> RangeInclusive<Ipv4Addr> {
    FIRST..=Ipv4Addr::from_bits(FIRST.to_bits() + FLOWS - 1)
}

/// What is done with every packet in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The page goes back to its pool in the same round.
    Drop,
    /// Out of the device that it came from.
    Tx,
    /// Out of the other one of two devices.
    Redirect,
}

impl Verdict {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Drop, Self::Tx, Self::Redirect];

    /// Where packets of `port` go, if they go anywhere.
    pub(super) fn target(self, port: PortId) -> Option<PortId> {
        match self {
            Self::Drop => None,
            Self::Tx => Some(port),
            Self::Redirect => Some(PortId(1 - port.0)),
        }
    }

    fn action(self, port: PortId) -> Action {
        match self {
            Self::Drop => Action::Drop(DropReason::Program),
            Self::Tx => Action::Tx,
            Self::Redirect => Action::Redirect(PortId(1 - port.0)),
        }
    }
}

/// The program that the binary's verb runs: `drop`, `tx` or `forward`.
pub(crate) fn of_the_binary(verdict: Verdict) -> Box<dyn Program> {
    match verdict {
        Verdict::Drop => Box::new(Discard),
        Verdict::Tx => Box::new(Reflect),
        Verdict::Redirect => {
            let mut forward = Forward::new();
            forward.wire(PortId(0), PortId(1)).wire(PortId(1), PortId(0));
            Box::new(forward)
        }
    }
}

/// The near end of the veth, as seen from the source at port 0.
pub(super) const NEAR: PortId = PortId(1);
const SOURCE: PortId = PortId(0);

/// Redirects what comes from the source into the veth, with its Ethernet addresses swapped if asked for, and drops what comes out of it.
pub(super) fn to_far_end(swap: bool) -> Box<dyn Program> {
    Box::new(ToFarEnd { swap })
}

struct ToFarEnd {
    swap: bool,
}

impl Program for ToFarEnd {
    fn run(&mut self, cx: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        if cx.port != SOURCE {
            return actions.fill(Action::Drop(DropReason::Program));
        }
        if self.swap {
            let packets = batch.iter_mut().filter_map(|packet| EthernetMut::new(packet.data_mut()));
            packets.for_each(|mut ethernet| ethernet.swap_addresses());
        }
        actions.fill(Action::Redirect(NEAR));
    }
}

/// How much a program does before it says the verdict.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decider {
    /// Looks at nothing.
    Empty,
    /// Reads the headers.
    Parse,
    /// Reads the headers, looks the flow up, rewrites the Ethernet addresses.
    Lookup,
}

impl Decider {
    pub(super) const ALL: [Self; 3] = [Self::Empty, Self::Parse, Self::Lookup];

    /// As it is called in the rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Parse => "parse",
            Self::Lookup => "lookup",
        }
    }

    /// What is done with a packet.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Empty => "the verdict, without a look at the packet",
            Self::Parse => "Ethernet, IPv4 and UDP headers checked and read, then the verdict",
            Self::Lookup => {
                "headers checked and read, the 5-tuple looked up in a hash table of 4096, both Ethernet addresses rewritten, then the verdict"
            }
        }
    }

    pub(super) fn program(self, verdict: Verdict) -> Box<dyn Program> {
        match self {
            Self::Empty => Box::new(Say(verdict)),
            Self::Parse => Box::new(move |cx: &Context, packet: &mut XdpBuff| match Flow::of(packet.data()) {
                Some(flow) => {
                    std::hint::black_box(flow);
                    verdict.action(cx.port)
                }
                None => Action::Drop(DropReason::Malformed),
            }),
            Self::Lookup => Box::new(Lookup::new(verdict)),
        }
    }
}

/// Says the same of a whole batch.
struct Say(Verdict);

impl Program for Say {
    fn run(&mut self, cx: &Context, _: &mut [XdpBuff], actions: &mut [Action]) {
        actions.fill(self.0.action(cx.port));
    }
}

/// A flow of UDP over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    /// Source, destination.
    addresses: (u32, u32),
    /// Source, destination.
    ports: (u16, u16),
}

impl Flow {
    /// The flow of a packet that is UDP over IPv4, whole, and not a fragment.
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        if Ethernet::new(packet)?.ethertype() != IPV4 {
            return None;
        }
        let ip: &[u8; 20] = packet.get(14..)?.first_chunk()?;
        let (version, header) = (ip[0] >> 4, usize::from(ip[0] & 0xf) * 4);
        let (total, fragment) = (u16::from_be_bytes([ip[2], ip[3]]), u16::from_be_bytes([ip[6], ip[7]]));
        let payload = packet.get(14 + header..14 + usize::from(total))?;
        let udp: &[u8; 8] = payload.first_chunk()?;
        if version != 4 || header < 20 || fragment & 0x3fff != 0 || ip[9] != UDP {
            return None;
        }
        let address = |at: usize| u32::from_be_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        Some(Self { addresses: (address(12), address(16)), ports: (port(0), port(2)) })
    }
}

impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.addresses.0) << 32 | u64::from(self.addresses.1));
        state.write_u64(u64::from(self.ports.0) << 16 | u64::from(self.ports.1));
    }
}

/// Two multiplications: what a table of flows can afford. Against senders who choose their ports with care it would need a secret.
#[derive(Default)]
struct FlowHasher(u64);

impl Hasher for FlowHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// The middle of a load balancer or a firewall: what is to be done is looked up by flow.
struct Lookup {
    /// Where a flow's packets are sent.
    hops: HashMap<Flow, [u8; 6], BuildHasherDefault<FlowHasher>>,
    verdict: Verdict,
}

impl Lookup {
    fn new(verdict: Verdict) -> Self {
        let hop = |i: u32| {
            let addresses = (FIRST.to_bits() + i, DESTINATION.to_bits());
            let [_, _, high, low] = i.to_be_bytes();
            (Flow { addresses, ports: PORTS }, [2, 0, 0, 1, high, low])
        };
        Self { hops: (0..FLOWS).map(hop).collect(), verdict }
    }
}

impl Program for Lookup {
    fn run(&mut self, cx: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        for (packet, action) in batch.iter_mut().zip(actions) {
            let packet = packet.data_mut();
            let Some(flow) = Flow::of(packet) else {
                *action = Action::Drop(DropReason::Malformed);
                continue;
            };
            let Some(hop) = self.hops.get(&flow) else { continue }; // aborted, which is what the actions are filled with
            packet.copy_within(0..6, 6);
            packet[..6].copy_from_slice(hop);
            *action = self.verdict.action(cx.port);
        }
    }
}
