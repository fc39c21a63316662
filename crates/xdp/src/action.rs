//! What a program decides about a packet.

use crate::drops::DropReason;

/// The number of a port: one queue of one device in a [`Fabric`](crate::Fabric).
/// [`Fabric::add`](crate::Fabric::add) gives them out in order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// What is to happen to one packet. It is the kernel's `enum xdp_action`, and a drop has a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// The program failed. The packet is dropped.
    /// This is also the action of a packet about which the program said nothing.
    #[default]
    Aborted,
    /// Drop it. Its page goes back into its pool.
    Drop(DropReason),
    /// Give it to your own code: see [`Host`](crate::Host).
    Pass,
    /// Send it out of the device that it came from.
    Tx,
    /// Send it out of another device, which may be another worker's. The page itself moves.
    Redirect(PortId),
}

impl Action {
    /// Whether all of `actions` are this one. Written so that the compiler needs no branch per action, and compares several at once.
    #[inline]
    pub(crate) fn is_that_of(self, actions: &[Action]) -> bool {
        let all = |same: &dyn Fn(&Action) -> bool| actions.iter().fold(true, |all, action| all & same(action));
        match self {
            Action::Redirect(to) => all(&|action| matches!(action, Action::Redirect(port) if *port == to)),
            Action::Drop(why) => all(&|action| matches!(action, Action::Drop(reason) if *reason == why)),
            _ => all(&|action| std::mem::discriminant(action) == std::mem::discriminant(&self)),
        }
    }
}
