//! Where packets go that do not go back: bulk queues in front of targets, hand-over to other workers, the host.

use crate::action::PortId;
use crate::buff::XdpFrame;
use waterwheel_page_pool::mm::Producer;

/// Frames that a hand-over ring between two workers holds, per target port. (Under shuttle they are few, so that it is full now and then.)
pub(crate) const HANDOVER: usize = if cfg!(shuttle) { 4 } else { 2048 };

/// Your own code, which takes the packets that programs pass on ([`Action::Pass`](crate::Action::Pass)).
///
/// You may hold packets as long as you like. When you drop one, its page goes back to its pool.
pub trait Host: Send {
    /// Takes one packet.
    fn pass(&mut self, from: PortId, frame: XdpFrame);
}

impl<F: FnMut(PortId, XdpFrame) + Send> Host for F {
    fn pass(&mut self, from: PortId, frame: XdpFrame) {
        self(from, frame);
    }
}

/// How a worker reaches a port (the kernel's devmap and cpumap in one: a port is a device on a CPU).
pub(crate) enum Route {
    /// It is the worker's own: its index among them.
    Local(usize),
    /// Another worker has it.
    Remote {
        /// Which one.
        worker: usize,
        /// The ring to it.
        ring: Producer<XdpFrame>,
    },
}

/// Frames on their way to one target, sent together at the end of a round (the kernel's `xdp_dev_bulk_queue`).
pub(crate) struct BulkQueue {
    pub(crate) route: Route,
    pub(crate) frames: Vec<XdpFrame>,
}
