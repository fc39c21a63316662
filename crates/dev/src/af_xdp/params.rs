//! What can be chosen about an AF_XDP device.

use super::bpf::{AttachMode, Steering};
use super::error;
use crate::DevError;

/// Largest ring that is accepted, slots. The kernel would take more; a page of the pool is bound to every slot of the fill ring.
const LARGEST_RING: u32 = 1 << 16;

/// How packets get into and out of the memory of the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Without a copy when the driver can, else with one; the device says which it is.
    #[default]
    Ask,
    /// Without a copy, or not at all.
    Require,
    /// With a copy.
    Never,
}

/// The socket's system calls run the device's receive loop themselves, in place of interrupts (`Documentation/networking/af_xdp.rst`, and `napi.rst`). It pays when
/// the interface's `napi_defer_hard_irqs` and `gro_flush_timeout` are set; nothing here sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call polls at most, microseconds.
    pub micros: u32,
    /// How many packets one call takes in at most.
    pub budget: u32,
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self { micros: 20, budget: 64 }
    }
}

/// Which queue of which interface, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpParams {
    /// The interface's name.
    pub iface: String,
    /// The queue, from 0. A socket sees the packets of one queue only.
    pub queue: u32,
    /// Slots of the ring of received packets, a power of two.
    pub rx_ring: u32,
    /// Slots of the ring of packets to send, a power of two.
    pub tx_ring: u32,
    /// Slots of the ring of empty pages, a power of two. Pages of the pool lie here: twice the rx ring keeps the driver from running dry while packets wait.
    pub fill_ring: u32,
    /// Slots of the ring of sent pages, a power of two, not less than `tx_ring`.
    pub completion_ring: u32,
    /// With or without a copy.
    pub zero_copy: ZeroCopy,
    /// Busy polling; nothing for interrupts.
    pub busy_poll: Option<BusyPoll>,
    /// System calls only when the kernel asks for them (`XDP_USE_NEED_WAKEUP`).
    pub need_wakeup: bool,
    /// Which packets come to the socket.
    pub steering: Steering,
    /// Where the steering program runs.
    pub mode: AttachMode,
    /// Take in packets for any hardware address, until the socket closes.
    pub promiscuous: bool,
}

impl Default for AfXdpParams {
    fn default() -> Self {
        Self {
            iface: String::new(),
            queue: 0,
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 4096,
            completion_ring: 2048,
            zero_copy: ZeroCopy::default(),
            busy_poll: None,
            need_wakeup: true,
            steering: Steering::default(),
            mode: AttachMode::default(),
            promiscuous: false,
        }
    }
}

impl AfXdpParams {
    /// The defaults, for one queue of an interface.
    #[must_use]
    pub fn new(iface: impl Into<String>, queue: u32) -> Self {
        Self { iface: iface.into(), queue, ..Self::default() }
    }

    /// Checks what can be checked without the kernel.
    pub(super) fn check(&self) -> Result<(), DevError> {
        let rings = [
            ("rx_ring", self.rx_ring),
            ("tx_ring", self.tx_ring),
            ("fill_ring", self.fill_ring),
            ("completion_ring", self.completion_ring),
        ];
        for (name, size) in rings {
            if !size.is_power_of_two() || size > LARGEST_RING {
                return Err(error::usage(format!(
                    "{}: {name} is {size}: ring sizes are powers of two from 1 to {LARGEST_RING}",
                    self.iface
                )));
            }
        }
        if self.completion_ring < self.tx_ring {
            return Err(error::usage(format!(
                "{}: completion_ring ({}) is smaller than tx_ring ({}): sent pages would find no room",
                self.iface, self.completion_ring, self.tx_ring
            )));
        }
        Ok(())
    }
}
