//! Drops everything (the kernel's `xdp_drop`, testpmd's rxonly).

use waterwheel_xdp::{Action, Context, DropReason, Program, XdpBuff};

/// Drops every packet, without looking at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Program for Discard {
    fn run(&mut self, _: &Context, _: &mut [XdpBuff], actions: &mut [Action]) {
        actions.fill(Action::Drop(DropReason::Program));
    }
}
