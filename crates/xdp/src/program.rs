//! Programs, which decide what happens to packets.

use crate::action::{Action, PortId};
use crate::buff::XdpBuff;

/// What a program is told of a batch: where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The port that received it.
    pub port: PortId,
}

/// Decides what happens to packets. Most programs are closures, `FnMut(&Context, &mut XdpBuff) -> Action`.
///
/// A program should do no I/O: it runs on the thread that moves packets.
pub trait Program: Send {
    /// Looks at a batch, may change its packets, and writes an action for each.
    /// `actions` is as long as `batch`, and filled with [`Action::Aborted`].
    fn run(&mut self, cx: &Context, batch: &mut [XdpBuff], actions: &mut [Action]);
}

impl<F: FnMut(&Context, &mut XdpBuff) -> Action + Send> Program for F {
    /// A closure that is asked packet by packet.
    fn run(&mut self, cx: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        for (packet, action) in batch.iter_mut().zip(actions) {
            *action = self(cx, packet);
        }
    }
}
