//! One JSON object a line: raw integers counted from the start of the run, stable keys.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use waterwheel_xdp::mm::Held;

use super::snapshot::{Holders, Pages, Rates, Snapshot, Total};

/// What every line has, before what it tells.
#[derive(Serialize)]
struct Line<'a, T> {
    /// Unix time in seconds.
    time: f64,
    /// What the line is about took so long: rates are of this time.
    interval_seconds: f64,
    #[serde(flatten)]
    object: &'a T,
}

#[derive(Serialize)]
struct Interval<'a> {
    event: &'static str,
    /// Since the start of the run.
    seconds: f64,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    #[serde(flatten)]
    rates: Whole,
}

/// Rates rounded to whole numbers; bits are those of the frames without FCS and gaps.
#[derive(Serialize)]
struct Whole {
    /// Received, in millions a second.
    mpps: f64,
    rx_pps: u64,
    tx_pps: u64,
    rx_bps: u64,
    tx_bps: u64,
    drop_pps: u64,
}

impl From<Rates> for Whole {
    fn from(rates: Rates) -> Self {
        let whole = |rate: f64| rate.round() as u64;
        Self {
            mpps: thousandths(rates.rx_pps / 1e6),
            rx_pps: whole(rates.rx_pps),
            tx_pps: whole(rates.tx_pps),
            rx_bps: whole(rates.rx_bps),
            tx_bps: whole(rates.tx_bps),
            drop_pps: whole(rates.drop_pps),
        }
    }
}

#[derive(Serialize)]
struct Totals<'a> {
    event: &'static str,
    seconds: f64,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    #[serde(flatten)]
    rates: Whole,
    pages: Pages,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_pages: Option<Traced>,
}

/// Who had pages when the end was asked for.
#[derive(Serialize)]
pub(crate) struct Traced {
    /// One page in so many was followed, and `pages` scaled by it.
    one_in: u32,
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Holder {
    holder: String,
    /// What happened to the pages last.
    event: &'static str,
    pages: u64,
    seen: u64,
    oldest_ms: u64,
}

impl Traced {
    pub(crate) fn of(holders: &Holders) -> Self {
        let holder = |held: &Held| Holder {
            holder: held.holder.to_string(),
            event: held.event.as_str(),
            pages: held.pages,
            seen: held.seen,
            oldest_ms: u64::try_from(held.oldest.as_millis()).unwrap_or(u64::MAX),
        };
        Self { one_in: holders.sampling.n(), holders: holders.held.iter().map(holder).collect() }
    }
}

/// Writes what happened since `before`.
pub(crate) fn interval(
    out: &mut impl Write,
    before: &Snapshot,
    now: &Snapshot,
    dt: f64,
    seconds: f64,
) -> io::Result<()> {
    let rates = Rates::between(before, now, dt).into();
    line(out, dt, &Interval { event: "interval", seconds: thousandths(seconds), snapshot: now, rates })
}

/// Writes the end of the run.
pub(crate) fn total(out: &mut impl Write, total: &Total) -> io::Result<()> {
    let Total { seconds, snapshot, pages, holders } = total;
    let object = Totals {
        event: "total",
        seconds: thousandths(*seconds),
        snapshot,
        rates: Rates::between(&Snapshot::default(), snapshot, *seconds).into(),
        pages: *pages,
        trace_pages: holders.as_ref().map(Traced::of),
    };
    line(out, *seconds, &object)
}

/// Writes `object` on a line of its own, in one piece; what it tells of took `seconds`.
pub(crate) fn line(out: &mut impl Write, seconds: f64, object: &impl Serialize) -> io::Result<()> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let line = Line { time: thousandths(time), interval_seconds: thousandths(seconds), object };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    out.write_all(&text)?;
    out.flush()
}

pub(crate) fn thousandths(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{before, now};
    use serde_json::Value;

    fn parsed(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Value {
        let mut text = Vec::new();
        write(&mut text).expect("writing to memory");
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    #[test]
    fn an_interval_counts_from_the_start_and_gives_rates() {
        let value = parsed(|out| interval(out, &before(), &now(), 0.5, 1.5));
        assert_eq!(value["event"], "interval");
        assert_eq!((&value["seconds"], &value["interval_seconds"]), (&1.5.into(), &0.5.into()));
        assert_eq!(value["rx_packets"], 3_000_000_u64);
        assert_eq!(value["rx_pps"], 4_000_000_u64);
        assert_eq!(value["rx_bps"], 4_000_000_u64 * 8 * 64);
        assert_eq!(value["drop_pps"], 2_000_000_u64);
        assert_eq!(value["drops"]["tx_ring_full"], 1_000_000_u64);
        assert_eq!(value["drops"]["malformed"], 0);
        assert_eq!(value["devices"][0]["counters"]["rx_ring_full"], 7);
        assert_eq!(value["pool"]["alloc_fast"], 990);
        assert!(value["time"].as_f64().expect("a number") > 1.0e9);
    }

    #[test]
    fn the_total_has_the_rates_of_the_whole_run() {
        let pages = Pages { total: 10, free: 9, leaked: 1, ..Pages::default() };
        let whole = Total { seconds: 2.0, snapshot: now(), pages, holders: None };
        let value = parsed(|out| total(out, &whole));
        assert_eq!((&value["event"], &value["seconds"]), (&"total".into(), &2.0.into()));
        assert_eq!((&value["interval_seconds"], &value["mpps"]), (&2.0.into(), &1.5.into()));
        assert_eq!((&value["rx_pps"], &value["tx_pps"]), (&1_500_000.into(), &1_000_000.into()));
        assert_eq!((&value["pages"]["free"], &value["pages"]["leaked"]), (&9.into(), &1.into()));
    }
}
