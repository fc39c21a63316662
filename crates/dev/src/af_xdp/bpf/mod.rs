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

#[cfg(test)]
mod tests;
