//! A pool whose pages are followed: what it writes into their histories.

use waterwheel_mm::{Event, FrozenPage, Holder, Note, Page, Sampling, Zone};

/// How a pool, and its destructor, write into histories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    /// Of the pool's zone; of all zones whose pages it may have.
    pub(crate) sampling: Sampling,
    /// The pool itself.
    name: Holder,
    /// For whom it gives pages out.
    pub(crate) taker: (Event, Holder),
}

impl Trace {
    /// `None` where the zone's pages are not followed.
    pub(crate) fn of(zone: &Zone, name: &str) -> Option<Self> {
        let name = Holder::named(if name.is_empty() { "the pool" } else { name });
        Some(Self { sampling: zone.sampling()?, name, taker: (Event::Allocated, name) })
    }

    /// For the time when nobody in particular takes pages.
    pub(crate) fn no_taker(&mut self) {
        self.taker = (Event::Allocated, self.name);
    }

    pub(crate) fn gave_out(&self, pages: &[Page]) {
        let (event, holder) = self.taker;
        Note::new(self.sampling, event, holder).given_out(pages);
    }

    pub(crate) fn got_back(&self, pages: &[FrozenPage]) {
        Note::new(self.sampling, Event::Returned, self.name).frozen(pages);
    }
}
