//! The steering program: parses as much of a packet as the rules need, then redirects it to the socket of its queue or passes it to the host.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::insn::{Asm, Cond, Label, Reg, Size};
use super::rules::{Ports, Prefix, Rules};
use crate::DevError;
use crate::af_xdp::error;

/// Return value of an XDP program: the packet goes on to the host.
pub(super) const XDP_PASS: u32 = 2;
/// `bpf_redirect_map`
const REDIRECT_MAP: u32 = 51;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const MD_RX_QUEUE_INDEX: i16 = 16;

const ETH_LEN: u32 = 14;
const VLAN_LEN: u32 = 4;
const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;
const TCP: u32 = 6;
const UDP: u32 = 17;

/// Registers that keep their meaning through the program.
const CTX: Reg = Reg::R6;
const DATA: Reg = Reg::R7;
const DATA_END: Reg = Reg::R8;
/// The header being looked at.
const HEADER: Reg = Reg::R9;

/// Assembles the program. With no rules every packet goes to `xskmap`.
pub(super) fn assemble(rules: Option<&Rules>, xskmap: BorrowedFd<'_>) -> Result<Vec<u64>, DevError> {
    let mut asm = Asm::new();
    let (redirect, pass) = (asm.label(), asm.label());
    asm.mov(CTX, Reg::R1);
    if let Some(rules) = rules {
        matching(&mut asm, rules, redirect, pass);
    }

    // A queue without a socket in the map passes its packets on: the low bits of the helper's flags are the answer when nothing is found.
    asm.place(redirect);
    asm.load_map(Reg::R1, xskmap.as_raw_fd() as u32);
    asm.load(Size::Word, Reg::R2, CTX, MD_RX_QUEUE_INDEX);
    asm.mov_imm(Reg::R3, XDP_PASS);
    asm.call(REDIRECT_MAP);
    asm.exit();

    if rules.is_some() {
        asm.place(pass);
        asm.mov_imm(Reg::R0, XDP_PASS);
        asm.exit();
    }
    asm.finish().ok_or_else(|| error::usage("the steering rules are too many for one program"))
}

/// Jumps to `pass` unless `len` bytes lie behind `HEADER`.
fn need(asm: &mut Asm, len: u32, pass: Label) {
    asm.mov(Reg::R2, HEADER);
    asm.add_imm(Reg::R2, len);
    asm.jump_if(Reg::R2, Cond::Gt, DATA_END, pass);
}

/// A field of a packet in network order, as a load on this machine sees it.
fn be16(value: u16) -> u32 {
    u32::from(value.to_be())
}

fn matching(asm: &mut Asm, rules: &Rules, redirect: Label, pass: Label) {
    let (tagged, network, v6, ports) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.load(Size::Word, DATA, CTX, 0);
    asm.load(Size::Word, DATA_END, CTX, 4);

    asm.mov(HEADER, DATA);
    need(asm, ETH_LEN, pass);
    asm.load(Size::Half, Reg::R3, HEADER, 12);
    asm.add_imm(HEADER, ETH_LEN);
    asm.jump_if32(Reg::R3, Cond::Eq, be16(0x8100), tagged);
    asm.jump_if32(Reg::R3, Cond::Ne, be16(0x88a8), network);
    asm.place(tagged);
    need(asm, VLAN_LEN, pass);
    asm.load(Size::Half, Reg::R3, HEADER, 2);
    asm.add_imm(HEADER, VLAN_LEN);

    // The verifier refuses code that no path leads to: a version without a prefix to match is not looked at.
    let wanted =
        |version: fn(&IpAddr) -> bool| rules.dst().is_empty() || rules.dst().iter().any(|prefix| version(&prefix.addr));
    let after = if rules.port().is_empty() { None } else { Some(ports) };
    asm.place(network);
    if wanted(IpAddr::is_ipv4) {
        asm.jump_if32(Reg::R3, Cond::Ne, be16(0x0800), v6);
        ipv4(asm, rules, after, redirect, pass);
    }
    asm.place(v6);
    if wanted(IpAddr::is_ipv6) {
        asm.jump_if32(Reg::R3, Cond::Ne, be16(0x86dd), pass);
        ipv6(asm, rules, after, redirect, pass);
    } else {
        asm.jump(pass);
    }
    if after.is_some() {
        asm.place(ports);
        destination_port(asm, rules.port(), redirect, pass);
    }
}

/// Goes on when the address at `HEADER` + `offset` starts with one of the prefixes of a version, or when there are no prefixes at all.
fn destination(asm: &mut Asm, rules: &Rules, version: fn(&IpAddr) -> bool, offset: i16, pass: Label) {
    let mut prefixes = rules.dst().iter().filter(|prefix| version(&prefix.addr)).peekable();
    if prefixes.peek().is_none() || prefixes.clone().any(|prefix| prefix.len == 0) {
        return;
    }
    let found = asm.label();
    for prefix in prefixes {
        starts_with(asm, offset, prefix, found);
    }
    asm.jump(pass);
    asm.place(found);
}

fn ipv4(asm: &mut Asm, rules: &Rules, ports: Option<Label>, redirect: Label, pass: Label) {
    need(asm, IPV4_LEN, pass);
    destination(asm, rules, IpAddr::is_ipv4, 16, pass);
    asm.load(Size::Byte, Reg::R4, HEADER, 9);
    protocol(asm, rules.proto(), pass);
    let Some(ports) = ports else {
        asm.jump(redirect);
        return;
    };
    // More-fragments bit or an offset: the ports are not here, or not in the pieces that follow.
    asm.load(Size::Half, Reg::R2, HEADER, 6);
    asm.and32(Reg::R2, be16(0x3fff));
    asm.jump_if32(Reg::R2, Cond::Ne, 0, pass);
    asm.load(Size::Byte, Reg::R2, HEADER, 0);
    asm.and32(Reg::R2, 0x0f);
    asm.shl32(Reg::R2, 2);
    asm.jump_if32(Reg::R2, Cond::Lt, IPV4_LEN, pass);
    asm.add(HEADER, Reg::R2);
    asm.jump(ports);
}

fn ipv6(asm: &mut Asm, rules: &Rules, ports: Option<Label>, redirect: Label, pass: Label) {
    need(asm, IPV6_LEN, pass);
    destination(asm, rules, IpAddr::is_ipv6, 24, pass);
    asm.load(Size::Byte, Reg::R4, HEADER, 6);
    protocol(asm, rules.proto(), pass);
    let Some(ports) = ports else {
        asm.jump(redirect);
        return;
    };
    asm.add_imm(HEADER, IPV6_LEN);
    asm.jump(ports);
}

/// Jumps to `found` when the address at `offset` starts with the prefix; goes on behind otherwise.
fn starts_with(asm: &mut Asm, offset: i16, prefix: &Prefix, found: Label) {
    let words = match prefix.addr {
        IpAddr::V4(addr) => vec![u32::from(addr)],
        IpAddr::V6(addr) => [96, 64, 32, 0].map(|shift| (u128::from(addr) >> shift) as u32).to_vec(),
    };
    let next = asm.label();
    let mut left = u32::from(prefix.len);
    for (at, word) in words.iter().enumerate() {
        if left == 0 {
            break;
        }
        let bits = left.min(32);
        left -= bits;
        asm.load(Size::Word, Reg::R2, HEADER, offset + 4 * at as i16);
        if bits < 32 {
            asm.and32(Reg::R2, (u32::MAX << (32 - bits)).to_be());
        }
        asm.jump_if32(Reg::R2, Cond::Ne, word.to_be(), next);
    }
    asm.jump(found);
    asm.place(next);
}

/// Goes on when `R4` is one of the protocols, or when there are none.
fn protocol(asm: &mut Asm, wanted: &[u8], pass: Label) {
    if wanted.is_empty() {
        return;
    }
    let found = asm.label();
    for number in wanted {
        asm.jump_if32(Reg::R4, Cond::Eq, u32::from(*number), found);
    }
    asm.jump(pass);
    asm.place(found);
}

/// `HEADER` is at the transport header, `R4` its protocol.
fn destination_port(asm: &mut Asm, wanted: &[Ports], redirect: Label, pass: Label) {
    let has_ports = asm.label();
    asm.jump_if32(Reg::R4, Cond::Eq, TCP, has_ports);
    asm.jump_if32(Reg::R4, Cond::Ne, UDP, pass);
    asm.place(has_ports);
    need(asm, 4, pass);
    asm.load(Size::Half, Reg::R2, HEADER, 2);
    asm.be16(Reg::R2);
    for ports in wanted {
        let next = asm.label();
        asm.jump_if32(Reg::R2, Cond::Lt, u32::from(ports.first), next);
        asm.jump_if32(Reg::R2, Cond::Gt, u32::from(ports.last), next);
        asm.jump(redirect);
        asm.place(next);
    }
    asm.jump(pass);
}
