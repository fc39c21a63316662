//! What a program says of a packet.

use crate::drops::DropReason;

/// A port: one queue of one device in a [`Fabric`](crate::Fabric), in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// The verdict on one packet (the kernel's `enum xdp_action`; a drop carries its reason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// The program failed. Also what counts when it said nothing.
    #[default]
    Aborted,
    /// The page goes back into its pool.
    Drop(DropReason),
    /// On to the host: see [`Host`](crate::Host).
    Pass,
    /// Out of the device that it came from.
    Tx,
    /// Out of another device. The page itself moves.
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
