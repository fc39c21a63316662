//! The generator: whatever its keys say, as long as it is made, its packets are valid in every length and checksum, by the judgement of etherparse.
#![no_main]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use std::sync::LazyLock;
use waterwheel::dev::generator::{AddressRange, Gen, GenParams, Size};
use waterwheel::dev::spec::Spec;
use waterwheel::{Device, Direction, PagePool, PoolParams, Zone};
use waterwheel_fuzz::{assert_whole, zone};

/// Blocks of 16 KiB: the longest frames fit.
const ORDER: u8 = 2;
/// More than a round of the mix of lengths.
const PACKETS: usize = 13;

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(64, 0));

fn params(text: &str) -> Option<GenParams> {
    let spec: Spec = format!("gen:{text}").parse().ok()?;
    let mut params = GenParams::default();
    spec.apply(GenParams::KEYS, |key, value| params.set(key, value)).ok()?;
    params.rate = None; // no run waits
    Some(params)
}

/// The packet fits together, and is what was asked for.
fn check(params: &GenParams, packet: &[u8]) {
    let parsed = SlicedPacket::from_ethernet(packet).expect("etherparse accepts it");
    assert_eq!((&packet[..6], &packet[6..12]), (&params.destination_mac[..], &params.source_mac[..]));
    if let Size::Fixed(size) = params.size {
        assert_eq!(packet.len(), size);
    }
    let (from, to, payload, ip_len): (IpAddr, IpAddr, &[u8], usize) = match parsed.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            let len = header.total_len().into();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().payload, len)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let len = 40 + usize::from(header.payload_length());
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().payload, len)
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(14 + ip_len, packet.len(), "the IP packet fills the frame");
    let ports = transport(parsed.transport.as_ref().expect("a transport header"), from, to, payload);
    assert!(params.source.as_ref().is_none_or(|range| contains(range, from)), "{from}");
    assert!(params.destination.as_ref().is_none_or(|range| contains(range, to)), "{to}");
    if let Some((from, to)) = ports {
        assert!(params.source_port.as_ref().is_none_or(|range| range.contains(&from)), "{from}");
        assert!(params.destination_port.as_ref().is_none_or(|range| range.contains(&to)), "{to}");
    }
}

fn contains(range: &AddressRange, address: IpAddr) -> bool {
    match (range, address) {
        (AddressRange::V4(range), IpAddr::V4(address)) => range.contains(&address),
        (AddressRange::V6(range), IpAddr::V6(address)) => range.contains(&address),
        _ => false,
    }
}

/// Checks length and checksum; gives the ports.
fn transport(slice: &TransportSlice<'_>, from: IpAddr, to: IpAddr, payload: &[u8]) -> Option<(u16, u16)> {
    let (checksum, expected, ports) = match (slice, from, to) {
        (TransportSlice::Udp(udp), from, to) => {
            assert_eq!(usize::from(udp.length()), payload.len());
            assert_ne!(udp.checksum(), 0, "UDP with a checksum");
            let expected = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    udp.to_header().calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    udp.to_header().calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
                }
                _ => panic!("{from} to {to}"),
            };
            (udp.checksum(), expected.expect("a length"), Some((udp.source_port(), udp.destination_port())))
        }
        (TransportSlice::Tcp(tcp), from, to) => {
            let expected = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()),
                (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()),
                _ => panic!("{from} to {to}"),
            };
            (tcp.checksum(), expected.expect("a length"), Some((tcp.source_port(), tcp.destination_port())))
        }
        (TransportSlice::Icmpv4(icmp), ..) => {
            (icmp.checksum(), icmp.header().icmp_type.calc_checksum(icmp.payload()), None)
        }
        (TransportSlice::Icmpv6(icmp), IpAddr::V6(from), IpAddr::V6(to)) => {
            let expected = icmp.header().icmp_type.calc_checksum(from.octets(), to.octets(), icmp.payload());
            (icmp.checksum(), expected.expect("a length"), None)
        }
        (other, ..) => panic!("{other:?}"),
    };
    assert_eq!(checksum, expected, "transport checksum");
    ports
}

fuzz_target!(|text: &str| {
    let Some(params) = params(text) else { return };
    let Ok(mut source) = Gen::new(&params) else { return };
    let zone = &*ZONE;
    let mut pool = PagePool::new(zone, PoolParams { order: ORDER, ..PoolParams::default() }).expect("a pool");
    let mut packets = Vec::new();
    let got = source.rx(&mut pool, &mut packets, PACKETS);
    assert_eq!(got as u64, params.count.unwrap_or(u64::MAX).min(PACKETS as u64));
    assert_eq!(got, packets.len());
    packets.iter().for_each(|packet| check(&params, packet.data()));
    assert!(pool.alloc(Direction::Tx).is_some());
    drop((packets, pool));
    assert_whole(zone);
});
