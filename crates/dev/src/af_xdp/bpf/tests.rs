//! Rules as text, and the program's verdicts by the kernel's own test run.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::attach::load;
use super::rules::{Rules, Steering};
use super::{steer, sys};
use crate::ErrorClass;
use crate::af_xdp::testing::root;

const PASS: u32 = 2;
const REDIRECT: u32 = 4;

#[test]
fn rules_read_back_as_they_were_written() {
    for text in [
        "dst=10.0.0.0/8",
        "dst=192.0.2.1/32",
        "dst=0.0.0.0/0",
        "dst=2001:db8::/32,dst=::/0",
        "proto=udp",
        "proto=99",
        "port=53",
        "port=4000-4010",
        "dst=10.0.0.0/8,proto=tcp,proto=udp,port=0,port=65535",
        "all",
        "none",
    ] {
        assert_eq!(text.parse::<Steering>().unwrap().to_string(), text);
    }
    assert_eq!("dst=192.0.2.1".parse::<Rules>().unwrap(), "dst=192.0.2.1/32".parse().unwrap());
    assert_eq!(" port = 53 , proto = UDP ".parse::<Rules>().unwrap().to_string(), "proto=udp,port=53");
}

#[test]
fn a_wrong_rule_is_named_with_the_way_out() {
    for (text, words) in [
        ("", "dst=PREFIX"),
        ("sport=53", "`sport=53` is not a steering rule"),
        ("dst=10.0.0.0/33", "0 to 32"),
        ("dst=10.0.0.1/8", "write 10.0.0.0/8"),
        ("dst=2001:db8::1/32", "write 2001:db8::/32"),
        ("dst=10.0.0/8", "`10.0.0/8` is not an address prefix"),
        ("dst=10.0.0.0/x", "0 to 32"),
        ("dst=10.0.0.0/-1", "0 to 32"),
        ("proto=upd", "`upd` is not an IP protocol"),
        ("proto=256", "`256` is not an IP protocol"),
        ("port=65536", "`65536` is not a port"),
        ("port=http", "`http` is not a port"),
        ("port=10-5", "not above the last"),
        ("port=53,,", "is not a steering rule"),
    ] {
        let error = text.parse::<Steering>().unwrap_err();
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    let many: Vec<String> = (0..300).map(|port| format!("port={port}")).collect();
    assert!(many.join(",").parse::<Rules>().unwrap_err().to_string().contains("more than 256"));
}

/// A loaded program whose queue 0 has a socket, so that a match is told from a pass.
struct Loaded {
    prog: OwnedFd,
    _map: OwnedFd,
    _socket: OwnedFd,
}

impl Loaded {
    fn new(rules: Option<&str>) -> Self {
        let rules: Option<Rules> = rules.map(|text| text.parse().unwrap());
        let map = sys::create_xskmap(64).unwrap();
        let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
        sys::update_xskmap(map.as_fd(), 0, socket.as_fd()).unwrap();
        let prog =
            load(&steer::assemble(rules.as_ref(), map.as_fd()).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        Self { prog, _map: map, _socket: socket }
    }

    fn verdict(&self, packet: &[u8]) -> u32 {
        sys::test_run(self.prog.as_fd(), packet).unwrap()
    }
}

/// An IPv4 packet in Ethernet, `options` words of IP options.
fn v4(dst: [u8; 4], proto: u8, port: u16, fragment: u16, options: usize) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let len = (20 + 4 * options + 8) as u16;
    packet.extend([0x45 + options as u8, 0]);
    packet.extend(len.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, proto, 0, 0, 198, 51, 100, 7]);
    packet.extend(dst);
    packet.extend(vec![1; 4 * options]);
    packet.extend(7u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0, 8, 0, 0]);
    packet
}

fn v6(dst: &str, next: u8, port: u16) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    packet.extend([0x60, 0, 0, 0, 0, 8, next, 64]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(dst.parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend(7u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0, 8, 0, 0]);
    packet
}

fn tagged(packet: &[u8], ethertype: u16) -> Vec<u8> {
    let mut tagged = packet[..12].to_vec();
    tagged.extend(ethertype.to_be_bytes());
    tagged.extend([0, 42]);
    tagged.extend(&packet[12..]);
    tagged
}

const UDP: u8 = 17;
const TCP: u8 = 6;
const NET10: [u8; 4] = [10, 1, 2, 3];

#[test]
fn without_rules_everything_is_redirected() {
    if !root("without_rules_everything_is_redirected") {
        return;
    }
    let all = Loaded::new(None);
    assert_eq!(all.verdict(&v4(NET10, UDP, 53, 0, 0)), REDIRECT);
    assert_eq!(all.verdict(&[0; 14]), REDIRECT);
}

#[test]
fn a_queue_without_a_socket_passes_its_packets_to_the_host() {
    if !root("a_queue_without_a_socket_passes_its_packets_to_the_host") {
        return;
    }
    let map = sys::create_xskmap(64).unwrap();
    let prog = load(&steer::assemble(None, map.as_fd()).unwrap()).unwrap();
    assert_eq!(sys::test_run(prog.as_fd(), &v4(NET10, UDP, 53, 0, 0)).unwrap(), PASS);
}

#[test]
fn destination_prefixes_choose() {
    if !root("destination_prefixes_choose") {
        return;
    }
    let rules =
        Loaded::new(Some("dst=10.0.0.0/8,dst=192.0.2.128/25,dst=203.0.113.9,dst=2001:db8:7::/48,dst=2001:db8::5"));
    for (dst, expected) in [
        ([10, 0, 0, 0], REDIRECT),
        ([10, 255, 255, 255], REDIRECT),
        ([11, 0, 0, 0], PASS),
        ([192, 0, 2, 127], PASS),
        ([192, 0, 2, 128], REDIRECT),
        ([203, 0, 113, 9], REDIRECT),
        ([203, 0, 113, 8], PASS),
    ] {
        assert_eq!(rules.verdict(&v4(dst, UDP, 53, 0, 0)), expected, "{dst:?}");
    }
    for (dst, expected) in [
        ("2001:db8:7::", REDIRECT),
        ("2001:db8:7:ffff:ffff:ffff:ffff:ffff", REDIRECT),
        ("2001:db8:8::", PASS),
        ("2001:db8::5", REDIRECT),
        ("2001:db8::4", PASS),
        ("2001:db8:0:1::5", PASS),
    ] {
        assert_eq!(rules.verdict(&v6(dst, UDP, 53)), expected, "{dst}");
    }
}

#[test]
fn prefixes_of_one_version_leave_the_other_to_the_host() {
    if !root("prefixes_of_one_version_leave_the_other_to_the_host") {
        return;
    }
    let v4_only = Loaded::new(Some("dst=0.0.0.0/0"));
    assert_eq!(v4_only.verdict(&v4(NET10, UDP, 53, 0, 0)), REDIRECT);
    assert_eq!(v4_only.verdict(&v6("2001:db8::1", UDP, 53)), PASS);
    let v6_only = Loaded::new(Some("dst=::/0"));
    assert_eq!(v6_only.verdict(&v4(NET10, UDP, 53, 0, 0)), PASS);
    assert_eq!(v6_only.verdict(&v6("2001:db8::1", UDP, 53)), REDIRECT);
}

#[test]
fn protocols_and_ports_choose_for_both_versions() {
    if !root("protocols_and_ports_choose_for_both_versions") {
        return;
    }
    let rules = Loaded::new(Some("proto=udp,proto=132,port=53,port=4000-4010"));
    let any_proto = Loaded::new(Some("port=53"));
    for (proto, port, expected, expected_any) in [
        (UDP, 53, REDIRECT, REDIRECT),
        (UDP, 52, PASS, PASS),
        (UDP, 3999, PASS, PASS),
        (UDP, 4000, REDIRECT, PASS),
        (UDP, 4010, REDIRECT, PASS),
        (UDP, 4011, PASS, PASS),
        (TCP, 53, PASS, REDIRECT),
        (132, 53, PASS, PASS), // SCTP has ports too, but `port` is of TCP and UDP
        (1, 53, PASS, PASS),
    ] {
        for packet in [v4(NET10, proto, port, 0, 0), v4(NET10, proto, port, 0, 10), v6("2001:db8::1", proto, port)] {
            assert_eq!(rules.verdict(&packet), expected, "{proto} {port} {packet:02x?}");
            assert_eq!(any_proto.verdict(&packet), expected_any, "{proto} {port} {packet:02x?}");
            for tag in [0x8100, 0x88a8] {
                assert_eq!(rules.verdict(&tagged(&packet, tag)), expected, "tagged {tag:x}");
            }
        }
    }
    let proto = Loaded::new(Some("proto=tcp"));
    assert_eq!(proto.verdict(&v4(NET10, TCP, 1, 0x2000, 0)), REDIRECT, "fragments have a protocol");
    assert_eq!(proto.verdict(&v6("::1", 44, 1)), PASS, "an extension header hides it");
}

#[test]
fn kinds_of_rules_must_all_match() {
    if !root("kinds_of_rules_must_all_match") {
        return;
    }
    let rules = Loaded::new(Some("dst=10.0.0.0/8,proto=udp,port=53"));
    assert_eq!(rules.verdict(&v4(NET10, UDP, 53, 0, 0)), REDIRECT);
    assert_eq!(rules.verdict(&v4([11, 1, 2, 3], UDP, 53, 0, 0)), PASS);
    assert_eq!(rules.verdict(&v4(NET10, TCP, 53, 0, 0)), PASS);
    assert_eq!(rules.verdict(&v4(NET10, UDP, 54, 0, 0)), PASS);
}

#[test]
fn what_the_rules_cannot_read_goes_to_the_host() {
    if !root("what_the_rules_cannot_read_goes_to_the_host") {
        return;
    }
    let rules = Loaded::new(Some("port=53"));
    let udp = v4(NET10, UDP, 53, 0, 0);
    assert_eq!(rules.verdict(&udp), REDIRECT);
    for len in 14..14 + 20 + 4 {
        assert_eq!(rules.verdict(&udp[..len]), PASS, "cut to {len} bytes");
    }
    assert_eq!(rules.verdict(&udp[..14 + 20 + 4]), REDIRECT, "the port is there");
    assert_eq!(rules.verdict(&v4(NET10, UDP, 53, 0x2000, 0)), PASS, "first fragment");
    assert_eq!(rules.verdict(&v4(NET10, UDP, 53, 0x0001, 0)), PASS, "later fragment");
    assert_eq!(rules.verdict(&v4(NET10, UDP, 53, 0x4000, 0)), REDIRECT, "don't fragment");
    assert_eq!(rules.verdict(&tagged(&tagged(&udp, 0x8100), 0x88a8)), PASS, "two tags");
    let mut short_header = udp.clone();
    short_header[14] = 0x44;
    assert_eq!(rules.verdict(&short_header), PASS, "header length 16");
    let mut arp = udp;
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(rules.verdict(&arp), PASS, "ARP");
}

#[test]
fn as_many_rules_as_are_allowed_load() {
    if !root("as_many_rules_as_are_allowed_load") {
        return;
    }
    let mut text: Vec<String> = (0..=255).map(|n| format!("dst=10.0.{n}.0/24")).collect();
    text.extend((0..=255).map(|n| format!("proto={n}")));
    text.extend((0..=255).map(|n| format!("port={}-{}", n * 10, n * 10 + 3)));
    let rules = Loaded::new(Some(&text.join(",")));
    assert_eq!(rules.verdict(&v4([10, 0, 255, 1], UDP, 2553, 0, 0)), REDIRECT);
    assert_eq!(rules.verdict(&v4([10, 0, 255, 1], UDP, 2554, 0, 0)), PASS);
    assert_eq!(rules.verdict(&v4([10, 1, 0, 1], UDP, 2553, 0, 0)), PASS);

    let text: Vec<String> = (0..=255).map(|n| format!("dst=2001:db8:{n:x}::{n:x}")).collect();
    let rules = Loaded::new(Some(&text.join(",")));
    assert_eq!(rules.verdict(&v6("2001:db8:ff::ff", UDP, 1)), REDIRECT);
    assert_eq!(rules.verdict(&v6("2001:db8:ff::fe", UDP, 1)), PASS);
}

#[test]
fn a_program_that_the_kernel_refuses_is_reported_with_the_verifiers_words() {
    if !root("a_program_that_the_kernel_refuses_is_reported_with_the_verifiers_words") {
        return;
    }
    // Reads a register that nobody set, then ends.
    let bad = [u64::from_ne_bytes([0xbf, 0x20, 0, 0, 0, 0, 0, 0]), u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0])];
    let error = load(&bad).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Device);
    assert!(error.to_string().contains("R2 !read_ok"), "{error}");
}

/// `bpftool` and `xdpdump` look for its function by the types that the kernel has of it.
#[test]
fn the_program_carries_types() {
    if !root("the_program_carries_types") {
        return;
    }
    for rules in [None, Some("dst=10.0.0.0/8,proto=udp,port=53")] {
        let (types, functions) = sys::types_of(Loaded::new(rules).prog.as_fd()).unwrap();
        assert!(types > 0 && functions == 1, "{rules:?}: types {types}, functions {functions}");
    }
}
