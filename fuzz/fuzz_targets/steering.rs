//! Steering rules: the text reads back as it was written, the program has the form that the kernel wants, and says of a packet what the rules say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use std::os::fd::AsFd;
use waterwheel::dev::af_xdp::{Ports, Prefix, Rule, Rules, Steering, assemble};
use waterwheel_fuzz::bpf::{self, XDP_PASS, XDP_REDIRECT};
use waterwheel_fuzz::script::Script;

/// What the documentation of [`Rules`] says, in plain Rust. `None`: the packet is cut off where the rules have to look.
fn wanted(rules: &Rules, packet: &[u8]) -> Option<bool> {
    let half = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (mut ethertype, mut at) = (half(12)?, 14);
    if matches!(ethertype, 0x8100 | 0x88a8) {
        (ethertype, at) = (half(16)?, 18);
    }
    let header = packet.get(at..)?;
    let (destination, protocol, ports_at): (IpAddr, u8, Option<usize>) = match ethertype {
        0x0800 => {
            let header = header.first_chunk::<20>()?;
            let length = usize::from(header[0] & 15) * 4;
            let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
            let to: [u8; 4] = header[16..20].try_into().ok()?;
            (to.into(), header[9], (whole && length >= 20).then_some(at + length))
        }
        0x86dd => {
            let header = header.first_chunk::<40>()?;
            let to: [u8; 16] = header[24..40].try_into().ok()?;
            (to.into(), header[6], Some(at + 40))
        }
        _ => return Some(false),
    };
    let none_or = |none: bool, any: bool| none || any;
    let matches = none_or(rules.dst().is_empty(), rules.dst().iter().any(|prefix| lies_in(destination, prefix)))
        && none_or(rules.proto().is_empty(), rules.proto().contains(&protocol));
    if !matches || rules.port().is_empty() {
        return Some(matches);
    }
    if !matches!(protocol, 6 | 17) {
        return Some(false);
    }
    let ports = packet.get(ports_at?..)?.first_chunk::<4>()?;
    let port = u16::from_be_bytes([ports[2], ports[3]]);
    Some(rules.port().iter().any(|range| (range.first..=range.last).contains(&port)))
}

fn lies_in(address: IpAddr, prefix: &Prefix) -> bool {
    let (address, network, bits) = match (address, prefix.addr) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let host = bits - u32::from(prefix.len);
    address.checked_shr(host).unwrap_or(0) == network.checked_shr(host).unwrap_or(0)
}

/// One rule out of a few bytes.
fn rule(script: &mut Script<'_>) -> Rule {
    match script.below(4) {
        0 => {
            let len = script.u8() % 33;
            let addr = script.u32() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Rule::Dst(Prefix { addr: std::net::Ipv4Addr::from(addr).into(), len })
        }
        1 => {
            let len = script.u8() % 129;
            let addr = u128::from(script.u64()) << 64 | u128::from(script.u64());
            let addr = addr & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Rule::Dst(Prefix { addr: std::net::Ipv6Addr::from(addr).into(), len })
        }
        2 => Rule::Proto(script.u8()),
        _ => {
            let (a, b) = (script.u16(), script.u16());
            Rule::Port(Ports { first: a.min(b), last: a.max(b) })
        }
    }
}

/// Rules as text up to a line break, or put together; behind them is the packet.
fn rules(input: &[u8]) -> Option<(Rules, &[u8])> {
    let mut script = Script::new(input);
    if script.flag() {
        let text = input[1..].split(|byte| *byte == b'\n').next()?;
        let packet = input.get(2 + text.len()..).unwrap_or_default();
        return match std::str::from_utf8(text).ok()?.parse::<Steering>() {
            Ok(steering) => {
                assert_eq!(steering.to_string().parse::<Steering>().as_ref(), Ok(&steering), "it does not read back");
                if let Steering::Rules(rules) = steering { Some((rules, packet)) } else { None }
            }
            Err(error) => {
                assert_eq!(error.to_string().lines().count(), 1, "{error:?}");
                None
            }
        };
    }
    let mut rules = Rules::default();
    for _ in 0..script.below(40) {
        rules.add(rule(&mut script)).expect("fewer than 256 of a kind");
    }
    Some((rules, script.bytes(usize::MAX)))
}

fuzz_target!(|input: &[u8]| {
    let Some((rules, packet)) = rules(input) else { return };
    if !(rules.dst().is_empty() && rules.proto().is_empty() && rules.port().is_empty()) {
        assert_eq!(rules.to_string().parse::<Rules>().as_ref(), Ok(&rules), "{rules} does not read back");
    }
    let map = std::io::stdin(); // any file descriptor: nothing is loaded
    let Ok(program) = assemble(&rules, map.as_fd()) else { return };
    bpf::check(&program);
    let expected = if wanted(&rules, packet) == Some(true) { XDP_REDIRECT } else { XDP_PASS };
    assert_eq!(bpf::run(&program, packet), expected, "{rules} about {packet:02x?}");
});
