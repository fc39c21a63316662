//! The steering program: rules, assembler, loader.
//!
//! The program is assembled here, instruction by instruction, and loaded through `bpf(2)`: building needs no compiler but cargo's. It is attached by a link
//! whose only owner is this process, so that the kernel detaches it when the process ends, however it ends.

mod attach;
mod insn;
mod rules;
mod steer;
mod sys;

pub use attach::{AttachMode, XdpMode};
pub(super) use attach::{Steer, attach_steering, describe_program};
pub use rules::{Ports, Prefix, Rule, Rules, Steering};

/// Attaches a program past the table of those that this process has, as another process would.
#[cfg(test)]
pub(super) fn attach_anew(link: &super::link::Link, mode: AttachMode) -> Result<Steer, crate::DevError> {
    attach::attach_anew(link, &Steering::All, None, mode)
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
