//! Counters of what happened.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that any thread adds to.
#[derive(Debug, Default)]
pub(super) struct Tick(AtomicU64);

impl Tick {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters.
        #[derive(Debug, Default)]
        pub(super) struct Tally { $(pub(super) $name: Tick,)+ }

        /// How often each thing has happened since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct Events { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Tally {
            pub(super) fn read(&self) -> Events {
                Events { $($name: self.$name.get(),)+ }
            }
        }

        impl Events {
            /// All, by their stable names.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

events! {
    /// Packets made, each with its pattern.
    made,
    /// Times that a packet's bytes were verified.
    verified,
    /// Packets that a host took to hold them.
    held,
    /// Pages that were shared.
    shared,
    /// References that were cloned.
    cloned,
    /// Pages that were found to have one holder left, and written anew.
    unique,
    /// Fragments cut.
    fragments,
    /// Packets passed to a holder on another thread.
    crossed,
    /// Pages that pools did not give: the limit, a floor, an empty zone, a refused mapping.
    refused,
    /// Mappings that a device refused.
    unmapped,
    /// Moments in which somebody took what was left of a zone.
    famines,
    /// Pools of which a thread dropped thousands of pages at once.
    floods,
    /// Pages that found no room on their way home and took the list that all threads share.
    overflowed,
    /// Devices that failed or finished and were made anew under the same pool.
    resets,
    /// Devices that failed and stayed so until their pool was destroyed.
    failures,
    /// Pools made.
    pools_made,
    /// Pools destroyed.
    pools_destroyed,
    /// Pages that were out of pools when these were destroyed.
    orphaned,
    /// Times that a pool was given another node's zone.
    node_changes,
    /// Pools with floors that were made.
    floors,
    /// Times that a pool was shrunk.
    shrinks,
    /// Threads that ended with pages in hand.
    threads_ended,
    /// Threads that slept with pages in hand.
    threads_parked,
    /// Times that all workers were closed and made anew.
    fabrics,
    /// Batches in which a program or a host panicked.
    panics,
    /// Workers that died while the others went on.
    deaths,
    /// Devices whose disk was full.
    disks_full,
    /// Frames that such a device took and could not write.
    unsent,
    /// Frames whose page a device was not allowed to send from, and which it copied.
    zero_copy_refused,
    /// Received packets that a bad line lost.
    lost,
}
