//! Who has the pages of a zone: what histories say of them now.

use crate::history::{Event, History, Sampling};
use crate::names::Holder;
use crate::zone::Zone;
use std::fmt;
use std::time::Duration;

/// The pages of this zone are followed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 in {n} pages of the zone are followed already", n = .0.n())]
pub struct AlreadyTraced(pub Sampling);

impl Zone {
    /// From now on the zone keeps, for one in N of its pages, what happened to it last: 64 bytes for each, and time where pages pass. Pools that are made from now on, and what the pages of those meet, write
    /// into it. Without it nothing is kept, and nothing is paid.
    ///
    /// Zones whose pages meet in one loop should be given the same N.
    ///
    /// # Errors
    /// The pages are followed already: this cannot be changed, nor undone.
    pub fn trace(&self, sampling: Sampling) -> Result<(), AlreadyTraced> {
        let history = History::new(self.region().pages(), sampling);
        self.inner().set_history(history).map_err(|_| AlreadyTraced(self.sampling().unwrap_or(sampling)))
    }

    /// Which of its pages are followed, if any.
    pub fn sampling(&self) -> Option<Sampling> {
        self.inner().history().map(History::sampling)
    }

    /// Who has its pages, by holder and by what happened last, most pages first; empty where none are followed. `owners`: only the pages of these pools
    /// ([`Owner::id`](crate::Owner::id)). Any thread may ask at any time, and hears what was true a moment ago.
    ///
    /// Pages that were taken from the zone itself, without a pool, are with nobody who could be named until they are [given a name](crate::Page::note_holder).
    pub fn holders(&self, owners: Option<&[u16]>) -> Vec<Held> {
        self.inner().history().map_or_else(Vec::new, |history| history.holders(owners))
    }

    /// The last events of a page, the newest first, if it is followed.
    pub fn history(&self, number: u32) -> Vec<Step> {
        self.inner().history().map_or_else(Vec::new, |history| history.of_page(number))
    }
}

/// Pages that the same holder has after the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who has them.
    pub holder: Holder,
    /// What happened to them last.
    pub event: Event,
    /// How many there are: those that were seen, times N. (Blocks, where a pool has pages of a higher order.)
    pub pages: u64,
    /// How many of these are followed, and were seen.
    pub seen: u64,
    /// How long ago the event was that is longest ago.
    pub oldest: Duration,
    /// Number of that page: see [`Zone::history`](crate::Zone::history).
    pub oldest_page: u32,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, event, pages, seen, oldest, .. } = self;
        let how = match event {
            Event::Allocated => "given out by",
            Event::Posted => "in the receive ring of",
            Event::Received => "received from",
            Event::Redirected => "on the way to",
            Event::Queued => "to be sent by",
            Event::Held => "held by",
            Event::Shared => "held, with others, by",
            Event::Returned | Event::Freed => "back at",
        };
        let about = if pages > seen { "about " } else { "" };
        let noun = if *pages == 1 { "page" } else { "pages" };
        write!(f, "{about}{pages} {noun} {how} {holder}, oldest {}", Age(*oldest))
    }
}

/// A time in the unit that a person would take.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms @ 0..1000 => write!(f, "{ms} ms"),
            ms @ 1000..10_000 => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
            ms => write!(f, "{} s", ms / 1000),
        }
    }
}

/// One event in the life of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happened.
    pub event: Event,
    /// Who had the page from then on, or until then.
    pub holder: Holder,
    /// On which thread.
    pub thread: String,
    /// How long ago.
    pub ago: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, holder, thread, ago } = self;
        write!(f, "{} {} ago ({holder}), by {thread}", event.as_str(), Age(*ago))
    }
}
