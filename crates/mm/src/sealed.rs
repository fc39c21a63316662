//! What is left of an owner that is gone.

use crate::owner::Slot;
use std::fmt;

/// Looks after the pages of an [`Owner`](crate::Owner) that is gone. It keeps nothing.
pub struct OwnerWatch {
    pub(crate) slot: &'static Slot,
    /// Which of the slot's owners.
    pub(crate) epoch: u64,
}

impl OwnerWatch {
    /// Pages of it that somebody still holds; `None` while the owner is there. Takes a lock that releasing pages of a sealed owner takes, too.
    pub fn left(&self) -> Option<u64> {
        self.slot.left_of(self.epoch)
    }
}

impl fmt::Debug for OwnerWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerWatch").field("id", &self.slot.id()).field("epoch", &self.epoch).finish()
    }
}
