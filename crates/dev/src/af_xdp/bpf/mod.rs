//! The steering program: rules, assembler, loader.
//!
//! The program is assembled here, instruction by instruction, and loaded through `bpf(2)`: building needs no compiler but cargo's. It is attached by a link
//! whose only owner is this process, so that the kernel detaches it when the process ends, however it ends. It has a name, and types (BTF), so that `bpftool` shows it and `xdpdump`
//! shows its packets.

mod attach;
mod btf;
mod insn;
mod rules;
mod steer;
mod sys;

pub use attach::{AttachMode, XdpMode};
pub(super) use attach::{Steer, attach_steering, describe_program, removal};
pub use rules::{Ports, Prefix, Rule, Rules, Steering};

/// Attaches a program past the table of those that this process has, as another process would.
#[cfg(test)]
pub(super) fn attach_anew(link: &super::link::Link, mode: AttachMode) -> Result<Steer, crate::DevError> {
    attach::attach_anew(link, &Steering::All, None, mode)
}

/// A program that is not attached: it passes everything, as rules without a socket do.
#[cfg(test)]
pub(super) fn program_of_nobody() -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    let map = sys::create_xskmap(1).unwrap();
    attach::load(&steer::assemble(None, map.as_fd()).unwrap()).unwrap()
}

/// The program on an interface, by a link of its own.
#[cfg(test)]
pub(super) fn link_to(prog: std::os::fd::BorrowedFd<'_>, ifindex: u32) -> std::os::fd::OwnedFd {
    sys::link_xdp(prog, ifindex, sys::DRV_MODE).unwrap()
}

/// The number of the link that holds a program of ours, as the link itself tells it.
#[cfg(test)]
pub(super) fn link_id(steer: &Steer) -> u32 {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", steer.link_fd().as_raw_fd())).unwrap();
    text.lines().find_map(|line| line.strip_prefix("link_id:")).unwrap().trim().parse().unwrap()
}

/// The steering program for `rules`, instruction by instruction as the kernel gets it: for a fuzzer that runs it on an interpreter of its own.
///
/// # Errors
/// The rules are too many for one program.
#[cfg(fuzzing)]
pub fn assemble(rules: &Rules, xskmap: std::os::fd::BorrowedFd<'_>) -> Result<Vec<u64>, crate::DevError> {
    steer::assemble(Some(rules), xskmap)
}

#[cfg(test)]
mod tests;
