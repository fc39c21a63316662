//! Pages whose socket did not go when it was closed, because somebody has a copy of it, or the driver is slow: the kernel may write to them still.
//!
//! They are the process's, not a device's: the device may be dropped meanwhile, and its pool too. Whenever a queue is opened, each former socket is asked for again; the pages of those
//! that are gone go home, or to their zone. Until then the page account shows them in quarantine, and their pool counts them as its own.

use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use waterwheel_xdp::mm::Quarantined;

use super::posts::out_of_quarantine;
use super::socket::{Probe, QueueIsFree};

/// A queue, among those of all network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    namespace: u64,
    ifindex: u32,
    queue: u32,
}

impl Place {
    /// Of the calling thread's namespace; nothing when it cannot be told (without /proc).
    pub(super) fn here(ifindex: u32, queue: u32) -> Option<Self> {
        let namespace = std::fs::metadata("/proc/thread-self/ns/net").ok()?.ino();
        Some(Self { namespace, ifindex, queue })
    }
}

/// What a socket left behind.
struct Left {
    place: Option<Place>,
    probe: Probe,
    pages: Vec<Quarantined>,
}

static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// Keeps `pages` until `probe` says that their queue is free, or a socket was bound at `place`.
pub(super) fn keep(place: Option<Place>, probe: Probe, pages: Vec<Quarantined>) {
    if !pages.is_empty() {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(Left { place, probe, pages });
    }
}

/// Asks for every socket that was left. Tells how many pages came out.
pub(super) fn look() -> usize {
    release(|left| left.probe.ask().ok())
}

/// A socket was bound at `place`: the one before it is gone. Tells how many pages came out.
pub(super) fn bound(place: Option<Place>, proof: &QueueIsFree) -> usize {
    release(|left| (place.is_some() && left.place == place).then_some(*proof))
}

/// Lets the pages go of those that there is a proof for.
fn release(proof: impl Fn(&Left) -> Option<QueueIsFree>) -> usize {
    let mut all = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut count = 0;
    all.retain_mut(|left| match proof(left) {
        Some(proof) => {
            count += left.pages.len();
            out_of_quarantine(proof, std::mem::take(&mut left.pages)).for_each(drop); // home, or to their zone
            false
        }
        None => true,
    });
    count
}
