//! Pages that a device may still write to though it is gone, until it is known that it does not.

#[cfg(all(test, loom))]
use crate::model as zone;
use crate::page::Posted;
#[cfg(not(all(test, loom)))]
use crate::zone;
use std::mem::ManuallyDrop;

/// A page in quarantine: the account shows it there, and nobody gets it. Dropping this handle leaves it there for ever, as dropping a [`Posted`] does.
#[derive(Debug)]
pub struct Quarantined(ManuallyDrop<Posted>);

impl Posted {
    /// Puts the page into quarantine: the other side is gone, and may write to it still. It can be taken out again, and counts against the limit of its pool until then.
    #[must_use = "without the handle the page stays there for ever"]
    pub fn quarantine(mut self) -> Quarantined {
        drop(self.take_rest()); // the other side knew of this page alone
        zone::quarantine(self.word());
        Quarantined(ManuallyDrop::new(self))
    }
}

impl Quarantined {
    /// Takes the page out of quarantine. It is as it was before, with the other side: [`Posted::reclaim`] says what has to be known before it is anybody else's.
    pub fn release(self) -> Posted {
        zone::release(self.0.word());
        ManuallyDrop::into_inner(self.0)
    }
}
