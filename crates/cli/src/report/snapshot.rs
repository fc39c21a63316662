//! What the packet loop has done so far: the numbers that every way of reporting shows.

use std::borrow::Cow;

use serde::Serialize;
use waterwheel_xdp::mm::{Held, Sampling, Zone};

use super::printable::printable;

/// All counters at one moment, counted from the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) actions: Actions,
    /// Packets dropped, by the reason's stable key; those too that devices lost before they could be received, by names of their own.
    pub(crate) drops: Counters,
    pub(crate) pool: Pool,
    /// Mappings made for devices, ever: constant once a run is steady.
    pub(crate) dma_maps: u64,
    pub(crate) devices: Vec<Device>,
    /// The copies of packets that go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capture: Option<Capture>,
}

/// What became of the packets of which copies were to be captured: each of them is in one of three counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Capture {
    /// The file, as it was named in the command.
    pub(crate) name: String,
    /// `up` or `failed`.
    pub(crate) state: &'static str,
    /// Why it failed, where it has.
    pub(crate) reason: Option<String>,
    pub(crate) captured: u64,
    /// There was no place for them, or they could not be written in the end.
    pub(crate) missed: u64,
    /// No rule chose them, or there were enough.
    pub(crate) unwanted: u64,
}

impl Snapshot {
    /// What stands in it comes from outside, and is to be shown to people.
    pub(super) fn make_printable(&mut self) {
        let devices = self.devices.iter_mut();
        let texts =
            devices.flat_map(|device| [&mut device.name, &mut device.mode].into_iter().chain(&mut device.reason));
        let captures = self.capture.iter_mut();
        for text in texts.chain(captures.flat_map(|capture| [&mut capture.name].into_iter().chain(&mut capture.reason)))
        {
            if let Cow::Owned(escaped) = printable(text) {
                *text = escaped;
            }
        }
    }
}

/// Packets by what the program said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Actions {
    pub(crate) drop: u64,
    pub(crate) tx: u64,
    pub(crate) redirect: u64,
    pub(crate) pass: u64,
    pub(crate) aborted: u64,
}

impl Actions {
    pub(crate) fn iter(self) -> [(&'static str, u64); 5] {
        let Self { drop, tx, redirect, pass, aborted } = self;
        [("redirect", redirect), ("tx", tx), ("drop", drop), ("pass", pass), ("aborted", aborted)]
    }
}

/// The page pools' statistics, all pools together, in the kernel's words (`Documentation/networking/page_pool.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pool {
    /// Pages from the cache.
    pub(crate) alloc_fast: u64,
    /// Times that the zone was asked.
    pub(crate) alloc_slow: u64,
    /// Times that cache and return path were both empty.
    pub(crate) alloc_empty: u64,
    /// Times that the cache was filled from the return path.
    pub(crate) alloc_refill: u64,
    /// Pages of another node, not recycled.
    pub(crate) alloc_waive: u64,
    /// Pages that were asked for and not to be had.
    pub(crate) alloc_failed: u64,
    /// Pages put back by the owner.
    pub(crate) recycle_cached: u64,
    pub(crate) recycle_cache_full: u64,
    /// Pages that came home by the return path.
    pub(crate) recycle_ring: u64,
    pub(crate) recycle_ring_full: u64,
    /// Pages taken from the zone, ever.
    pub(crate) hold: u64,
    /// Pages given back to it, ever.
    pub(crate) release: u64,
    /// The difference: the pools' pages now.
    pub(crate) inflight: u64,
}

impl Pool {
    /// Of the pages that came in since `before`, which share was put back by the owner, came home by the return path, or was taken from the
    /// zone, in percent; `None` when there were none.
    pub(crate) fn shares(&self, before: &Self) -> Option<[f64; 3]> {
        let parts = [
            self.recycle_cached.saturating_sub(before.recycle_cached),
            self.recycle_ring.saturating_sub(before.recycle_ring),
            self.hold.saturating_sub(before.hold),
        ];
        let sum = parts.iter().sum::<u64>();
        (sum > 0).then(|| parts.map(|part| 100.0 * lossy(part) / lossy(sum)))
    }
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// Its spec.
    pub(crate) name: String,
    /// The mode obtained, e.g. `native, zero copy`; empty for devices that have but one.
    pub(crate) mode: String,
    /// `up`, `finished`, `waiting` for it to come back, or `failed`.
    pub(crate) state: &'static str,
    /// Why it failed, where it has.
    pub(crate) reason: Option<String>,
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    /// Pages that are with the device: of frames it has not sent yet, and empty ones to receive into.
    pub(crate) in_flight: u64,
    /// Times that it was lost and taken up again.
    pub(crate) revivals: u64,
    /// The device's own counters.
    pub(crate) counters: Counters,
    /// Packets that it lost before they could be received, where it knows of that; they are among the drops, too.
    pub(crate) lost: Counters,
    /// Received + lost, where it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offered: Option<u64>,
}

/// Counters with stable keys, written as one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters(pub(crate) Vec<(&'static str, u64)>);

impl Counters {
    /// Adds to the counter of that name; there is one for each.
    pub(crate) fn add(&mut self, key: &'static str, n: u64) {
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, sum)) => *sum += n,
            None => self.0.push((key, n)),
        }
    }

    pub(crate) fn get(&self, key: &str) -> u64 {
        self.0.iter().filter(|(name, _)| *name == key).map(|(_, n)| n).sum()
    }

    /// Their sum.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    /// The counters that grew since `before`, and by how much.
    pub(crate) fn grown(&self, before: &Self) -> Vec<(&'static str, u64)> {
        self.0.iter().map(|(key, n)| (*key, n.saturating_sub(before.get(key)))).filter(|(_, n)| *n > 0).collect()
    }

    pub(crate) fn nonzero(&self) -> Vec<(&'static str, u64)> {
        self.grown(&Self::default())
    }
}

impl Serialize for Counters {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Where every page is at the end, counted by walking their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pages {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) frozen: u64,
    pub(crate) held_by_devices: u64,
    pub(crate) held_by_users: u64,
    pub(crate) quarantined: u64,
    pub(crate) leaked: u64,
}

/// Who has pages, of those that are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holders {
    pub(crate) sampling: Sampling,
    pub(crate) held: Vec<Held>,
}

impl Holders {
    /// Of the pages of `zone`, if they are followed.
    pub(crate) fn of(zone: &Zone) -> Option<Self> {
        zone.sampling().map(|sampling| Self { sampling, held: zone.holders(None) })
    }
}

/// The whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Total {
    /// From the start until the end was asked for.
    pub(crate) seconds: f64,
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: Pages,
    /// When the end was asked for.
    pub(crate) holders: Option<Holders>,
}

impl Total {
    /// Millions of packets received a second.
    pub(crate) fn mpps(&self) -> f64 {
        per_second(self.snapshot.rx_packets, self.seconds) / 1e6
    }
}

/// Rates between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) rx_pps: f64,
    pub(crate) tx_pps: f64,
    pub(crate) rx_bps: f64,
    pub(crate) tx_bps: f64,
    pub(crate) drop_pps: f64,
}

impl Rates {
    pub(crate) fn between(before: &Snapshot, now: &Snapshot, seconds: f64) -> Self {
        let rate = |before: u64, now: u64| per_second(now.saturating_sub(before), seconds);
        Self {
            rx_pps: rate(before.rx_packets, now.rx_packets),
            tx_pps: rate(before.tx_packets, now.tx_packets),
            rx_bps: 8.0 * rate(before.rx_bytes, now.rx_bytes),
            tx_bps: 8.0 * rate(before.tx_bytes, now.tx_bytes),
            drop_pps: rate(before.drops.total(), now.drops.total()),
        }
    }
}

/// `n` over `seconds`; 0 when no time has passed.
pub(crate) fn per_second(n: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { lossy(n) / seconds } else { 0.0 }
}

/// For rates and shares, where the lowest of 64 bits do not matter.
#[expect(clippy::cast_precision_loss, reason = "a rate has no 53 significant bits")]
pub(crate) fn lossy(n: u64) -> f64 {
    n as f64
}
