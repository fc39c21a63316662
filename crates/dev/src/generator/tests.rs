//! The packets, judged by etherparse.

use std::collections::HashSet;
use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::flows::Flows;
use super::params::{GenParams, MAX_SIZE};
use crate::error::ErrorClass;

/// Source address, destination address, source port, destination port.
type Flow = (IpAddr, IpAddr, u16, u16);

fn params(text: &str) -> GenParams {
    let mut params = GenParams::default();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap();
        params.set(key, value).unwrap();
    }
    params
}

fn packets(text: &str, count: usize) -> Vec<Vec<u8>> {
    let mut flows = Flows::new(&params(text)).unwrap();
    let mut room = vec![0xaa; MAX_SIZE];
    (0..count)
        .map(|_| {
            let len = flows.write_next(&mut room);
            room[..len].to_vec()
        })
        .collect()
}

/// Checks lengths and checksums, and returns the flow.
fn check(packet: &[u8]) -> Flow {
    let parsed = SlicedPacket::from_ethernet(packet).unwrap();
    let (addresses, payload, ip_len): (_, _, usize) = match parsed.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses, ip.payload().payload, header.total_len().into())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses, ip.payload().payload, 40 + usize::from(header.payload_length()))
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(14 + ip_len, packet.len(), "the IP packet fills the frame");
    let (checksum, expected, ports) = transport(parsed.transport.as_ref().unwrap(), addresses, payload);
    assert_eq!(checksum, expected, "transport checksum");
    (addresses.0, addresses.1, ports.0, ports.1)
}

/// The transport checksum in the packet, the one that etherparse computes, and the ports.
fn transport(slice: &TransportSlice<'_>, addresses: (IpAddr, IpAddr), ip_payload: &[u8]) -> (u16, u16, (u16, u16)) {
    match slice {
        TransportSlice::Udp(udp) => {
            assert_eq!(usize::from(udp.length()), ip_payload.len());
            let header = udp.to_header();
            let expected = match addresses {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
                }
                _ => panic!("{addresses:?}"),
            };
            assert_ne!(udp.checksum(), 0, "UDP with a checksum");
            (udp.checksum(), expected.unwrap(), (udp.source_port(), udp.destination_port()))
        }
        TransportSlice::Tcp(tcp) => {
            let expected = match addresses {
                (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()),
                (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()),
                _ => panic!("{addresses:?}"),
            };
            (tcp.checksum(), expected.unwrap(), (tcp.source_port(), tcp.destination_port()))
        }
        TransportSlice::Icmpv4(icmp) => {
            let expected = icmp.header().icmp_type.calc_checksum(icmp.payload());
            (icmp.checksum(), expected, (0, 0))
        }
        TransportSlice::Icmpv6(icmp) => {
            let (IpAddr::V6(from), IpAddr::V6(to)) = addresses else { panic!("{addresses:?}") };
            let expected = icmp.header().icmp_type.calc_checksum(from.octets(), to.octets(), icmp.payload());
            (icmp.checksum(), expected.unwrap(), (0, 0))
        }
        TransportSlice::Igmp(_) => panic!("IGMP"),
    }
}

#[test]
fn every_combination_is_valid_after_many_packets() {
    for version in ["v4", "v6"] {
        // Ranges whose carries run through every 16-bit word of an address.
        let ranges = match version {
            "v4" => "src=10.255.255.250-11.0.3.7,dst=198.18.0.0/15",
            _ => "src=2001:db8:0:ffff:ffff:ffff:ffff:fff0-2001:db8:1::ff,dst=2001:2::/48",
        };
        for proto in ["udp", "tcp", "icmp"] {
            for size in ["", ",size=74", ",size=75", ",size=1514", ",size=9216", ",size=imix"] {
                for vary in ["sequential", "combinations", "random"] {
                    let ports = if proto == "icmp" { "" } else { ",sport=0-65535,dport=65530-65535" };
                    let text = format!("proto={proto},{ranges}{ports}{size},vary={vary}");
                    for packet in packets(&text, 400) {
                        check(&packet);
                    }
                    for packet in packets(&format!("ip={version},proto={proto}{size}"), 13) {
                        check(&packet);
                    }
                }
            }
        }
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
    let zeroes = packets("sport=0-65535", 65536)
        .iter()
        .filter(|packet| {
            check(packet);
            packet[40..42] == [0xff, 0xff]
        })
        .count();
    assert!((1..=2).contains(&zeroes), "{zeroes}: one port in 65535 makes the sum zero");
}

#[test]
fn the_default_is_one_flow_of_benchmark_addresses() {
    let made = packets("", 5);
    assert!(made.iter().all(|packet| packet == &made[0] && packet.len() == 64));
    assert_eq!(check(&made[0]), ("198.18.0.1".parse().unwrap(), "198.19.0.1".parse().unwrap(), 49184, 9));
    assert_eq!(&made[0][..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    let packet = &packets("ip=v6,proto=tcp,dmac=0a:0b:c:0d:0e:0f", 1)[0];
    assert_eq!((packet.len(), &packet[..6]), (74, &[10, 11, 12, 13, 14, 15][..]));
}

#[test]
fn sequential_ranges_step_together_and_combinations_visit_all() {
    let flows = |text: &str, count| packets(text, count).iter().map(|packet| check(packet)).collect::<Vec<_>>();
    let ranges = "src=10.0.0.0/30,dst=10.1.0.7-10.1.0.8,sport=5-7,dport=80";
    let sequential = flows(ranges, 13);
    let expected =
        |k: u8| -> Flow { ([10, 0, 0, k % 4].into(), [10, 1, 0, 7 + k % 2].into(), 5 + u16::from(k % 3), 80) };
    assert!(sequential.iter().zip(0..).all(|(flow, k)| *flow == expected(k)), "{sequential:?}");
    let all = flows(&format!("{ranges},vary=combinations"), 48);
    assert_eq!(all[..24], all[24..], "round and round");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 24);
}

#[test]
fn random_walks_stay_in_their_range_reach_its_ends_and_can_be_repeated() {
    let text = "src=10.0.0.3-10.0.0.6,sport=1000-1001,vary=random";
    let made = packets(text, 500);
    assert_eq!(made, packets(text, 500), "the same seed");
    assert_ne!(made, packets(&format!("{text},seed=2"), 500), "another seed");
    let flows: HashSet<Flow> = made.iter().map(|packet| check(packet)).collect();
    assert_eq!(flows.len(), 8, "{flows:?}");
    let whole = packets("src=::/0,dst=0.0.0.0/0,vary=random".split_once(",dst").unwrap().0, 3);
    whole.iter().for_each(|packet| _ = check(packet));
}

#[test]
fn imix_is_seven_to_four_to_one() {
    let lens: Vec<usize> = packets("size=imix", 24).iter().map(Vec::len).collect();
    for (len, count) in [(60, 14), (566, 8), (1514, 2)] {
        assert_eq!(lens.iter().filter(|l| **l == len).count(), count);
    }
}

#[test]
fn bad_values_are_usage_errors_that_name_the_value() {
    for (key, value) in [
        ("ip", "5"),
        ("proto", "sctp"),
        ("smac", "02:00:00:00:00"),
        ("dmac", "02:00:00:00:00:00:00"),
        ("smac", "+1:0:0:0:0:0"),
        ("src", "10.0.0.0/33"),
        ("dst", "::/129"),
        ("src", "10.0.0.1-::1"),
        ("src", "host"),
        ("sport", "65536"),
        ("dport", "1-"),
        ("size", "59"),
        ("size", "9217"),
        ("size", "-1"),
        ("rate", "0"),
        ("rate", "fast"),
        ("count", "1e9"),
        ("seed", ""),
        ("vary", "maybe"),
        ("colour", "red"),
    ] {
        let error = GenParams::default().set(key, value).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.message().contains(key) && (key == "colour" || error.message().contains(value)), "{error}");
    }
    for text in [
        "src=10.0.0.1,dst=::1",
        "ip=v6,src=10.0.0.1",
        "proto=icmp,sport=1",
        "ip=v6,proto=tcp,size=73",
        "src=10.0.0.2-10.0.0.1",
        "sport=2-1",
    ] {
        let error = Flows::new(&params(text)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Usage, "{text}: {error}");
    }
}

#[test]
fn every_key_is_known() {
    for (key, help) in GenParams::KEYS {
        let error = GenParams::default().set(key, "?").unwrap_err();
        assert!(!error.message().contains("has no key") && !help.is_empty(), "{key}");
    }
}
