//! What a run tells of itself.

use super::fabric::Books;
use super::tally::Events;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use waterwheel_mm::PageAccount;
use waterwheel_xdp::Drops;

/// The figures of a run, counted from its start.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// `interval`, or `total` at the end.
    pub event: &'static str,
    /// Since the start.
    pub seconds: f64,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Polling threads; as many hold packets.
    pub threads: usize,
    /// Packets received by workers.
    pub packets: u64,
    /// Dropped packets, by cause.
    #[serde(serialize_with = "by_name")]
    pub drops: Drops,
    /// Devices made anew under the same pool.
    pub resets: u64,
    /// Pools made.
    pub pools_made: u64,
    /// Pools destroyed.
    pub pools_destroyed: u64,
    /// Most pages that devices and users had at a check.
    pub pages_out_max: usize,
    /// Times that everything stood still, and every page was looked for and found.
    pub checks: u64,
    /// What else happened.
    pub events: Events,
    /// Where the pages of both zones are: at the last check, and in the total at the end.
    #[serde(serialize_with = "pages")]
    pub pages: PageAccount,
}

impl Report {
    pub(super) fn count(&mut self, books: &Books, events: Events) {
        (self.packets, self.drops) = (books.received, books.drops);
        (self.resets, self.pools_made, self.pools_destroyed) =
            (events.resets, events.pools_made, events.pools_destroyed);
        self.events = events;
    }
}

fn by_name<S: Serializer>(drops: &Drops, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(drops.iter().map(|(reason, count)| (reason.as_str(), count)))
}

fn pages<S: Serializer>(account: &PageAccount, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(7))?;
    map.serialize_entry("total", &account.total)?;
    map.serialize_entry("free", &account.free)?;
    map.serialize_entry("frozen", &account.frozen)?;
    map.serialize_entry("held_by_devices", &account.held_by_devices)?;
    map.serialize_entry("held_by_users", &account.held_by_users)?;
    map.serialize_entry("quarantined", &account.quarantined)?;
    map.serialize_entry("leaked", &account.leaked)?;
    map.end()
}
