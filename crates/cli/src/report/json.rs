//! One JSON object a line: raw integers counted from the start of the run, stable keys.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use waterwheel_xdp::mm::Held;

use super::snapshot::{Actions, Counters, Device, Holders, Pages, Pool, Rates, Snapshot, Total};

#[derive(Serialize)]
struct Interval<'a> {
    event: &'static str,
    /// Unix time in seconds.
    time: f64,
    /// Since the start of the run.
    seconds: f64,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    // The rates since the object before, rounded to whole numbers; bits are those of the frames without FCS and gaps.
    rx_pps: u64,
    tx_pps: u64,
    rx_bps: u64,
    tx_bps: u64,
    drop_pps: u64,
}

/// The keys of the total, in the order that the documentation promises.
#[derive(Serialize)]
struct Totals<'a> {
    event: &'static str,
    seconds: f64,
    rx_packets: u64,
    tx_packets: u64,
    rx_bytes: u64,
    tx_bytes: u64,
    actions: Actions,
    drops: &'a Counters,
    mpps: f64,
    pages: Pages,
    dma_maps: u64,
    devices: &'a [Device],
    pool: Pool,
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
    let rates = Rates::between(before, now, dt);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let whole = |rate: f64| rate.round() as u64;
    let object = Interval {
        event: "interval",
        time: thousandths(time),
        seconds: thousandths(seconds),
        snapshot: now,
        rx_pps: whole(rates.rx_pps),
        tx_pps: whole(rates.tx_pps),
        rx_bps: whole(rates.rx_bps),
        tx_bps: whole(rates.tx_bps),
        drop_pps: whole(rates.drop_pps),
    };
    line(out, &object)
}

/// Writes the end of the run.
pub(crate) fn total(out: &mut impl Write, total: &Total) -> io::Result<()> {
    let snapshot = &total.snapshot;
    let object = Totals {
        event: "total",
        seconds: thousandths(total.seconds),
        rx_packets: snapshot.rx_packets,
        tx_packets: snapshot.tx_packets,
        rx_bytes: snapshot.rx_bytes,
        tx_bytes: snapshot.tx_bytes,
        actions: snapshot.actions,
        drops: &snapshot.drops,
        mpps: thousandths(total.mpps()),
        pages: total.pages,
        dma_maps: snapshot.dma_maps,
        devices: &snapshot.devices,
        pool: snapshot.pool,
        trace_pages: total.holders.as_ref().map(Traced::of),
    };
    line(out, &object)
}

/// Writes `object` on a line of its own, in one piece.
pub(crate) fn line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(object)?;
    text.push(b'\n');
    out.write_all(&text)?;
    out.flush()
}

fn thousandths(x: f64) -> f64 {
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
        assert_eq!(value["seconds"], 1.5);
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
    fn the_total_has_the_promised_keys_in_order() {
        let mut text = Vec::new();
        let pages = Pages { total: 10, free: 9, leaked: 1, ..Pages::default() };
        total(&mut text, &Total { seconds: 2.0, snapshot: now(), pages, holders: None }).expect("writing to memory");
        let text = String::from_utf8(text).expect("UTF-8");
        let head = "{\"event\":\"total\",\"seconds\":2.0,\"rx_packets\":3000000,\"tx_packets\":2000000,\"rx_bytes\":192000000,\
                    \"tx_bytes\":128000000,\"actions\":{\"drop\":0,\"tx\":0,\"redirect\":3000000,\"pass\":0,\"aborted\":0},\
                    \"drops\":{\"tx_ring_full\":1000000,\"malformed\":0},\"mpps\":1.5,\"pages\":{\"total\":10,\"free\":9,\
                    \"frozen\":0,\"held_by_devices\":0,\"held_by_users\":0,\"quarantined\":0,\"leaked\":1},\"dma_maps\":2,\
                    \"devices\":[{\"name\":\"gen:\"";
        assert!(text.starts_with(head), "{text}");
        serde_json::from_str::<Value>(&text).expect("it is JSON");
    }
}
