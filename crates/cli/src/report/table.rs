//! The live table, as lines.

use std::cmp::Reverse;

use super::printable::{padded, width};
use super::snapshot::{Device, Snapshot, per_second};
use super::text::{captured, joined, listed};
use crate::units::si;

/// A line of the live table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// Its columns. Where it is too long it is broken between them.
    pub(super) cells: Vec<String>,
    /// It tells of something lost.
    pub(super) alarming: bool,
    pub(super) weight: Weight,
}

/// What stays where there are fewer rows than lines: the greatest. Lines of one weight stay or go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// A device's own counters; with its packets so far, and its number: of two that moved as many, the first stays.
    Counters(u64, Reverse<usize>),
    Pool,
    /// What a device moves.
    Device(u64, Reverse<usize>),
    /// The title, and what the columns are.
    Frame,
    /// All devices together, and what is lost: it always stays.
    Summary,
}

impl From<String> for TableLine {
    fn from(text: String) -> Self {
        Self::of(vec![text])
    }
}

impl TableLine {
    /// Of these columns.
    pub(crate) fn of(cells: Vec<String>) -> Self {
        Self { cells, alarming: false, weight: Weight::Summary }
    }

    /// The same, where it is true that it tells of something that should not be.
    pub(crate) fn alarming(self, alarming: bool) -> Self {
        Self { alarming, ..self }
    }

    pub(crate) fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    /// All of it.
    #[cfg(any(test, not(feature = "tui")))]
    pub(super) fn text(&self) -> String {
        self.cells.join("  ").trim_end().to_owned()
    }
}

/// The live table: the first line is the title.
pub(super) fn table(title: &str, before: &Snapshot, now: &Snapshot, dt: f64, seconds: f64) -> Vec<TableLine> {
    let columns = now.devices.iter().map(|device| width(&device.name)).max().unwrap_or(0).max(6);
    let heads = [
        padded("  device", columns + 2),
        " ".repeat(8),
        format!("{:>13}", "packets"),
        format!("{:>12}", "packets/s"),
        format!("{:>14}", "bits/s"),
        "pages held".to_owned(),
        "mode".to_owned(),
    ];
    let mut lines = vec![heading(title, seconds), TableLine::of(heads.to_vec()).weighing(Weight::Frame)];
    let weighed = |n: usize| (now.devices[n].rx_packets + now.devices[n].tx_packets, Reverse(n));
    for (n, device) in now.devices.iter().enumerate() {
        let none = Device::default();
        // What is not as it should be is seen before what is busy.
        let (packets, number) = if device.reason.is_some() { (u64::MAX, Reverse(n)) } else { weighed(n) };
        let before = before.devices.get(n).unwrap_or(&none);
        lines.extend(
            rows(columns, before, device, dt).into_iter().map(|line| line.weighing(Weight::Device(packets, number))),
        );
    }
    if now.devices.len() != 1 {
        let all = |snapshot: &Snapshot| Device {
            name: "all".to_owned(),
            rx_packets: snapshot.rx_packets,
            tx_packets: snapshot.tx_packets,
            rx_bytes: snapshot.rx_bytes,
            tx_bytes: snapshot.tx_bytes,
            in_flight: snapshot.devices.iter().map(|device| device.in_flight).sum(),
            ..Device::default()
        };
        lines.extend(rows(columns, &all(before), &all(now), dt));
    }
    let actions = now.actions.iter().into_iter().zip(before.actions.iter());
    let actions = actions.filter(|((_, n), _)| *n > 0).map(|((action, n), (_, before))| rated(action, n, before, dt));
    lines.push(listing("actions", joined(actions)));
    // What the program drops is its work; what else is dropped, is lost.
    let lost = now.drops.nonzero().into_iter().filter(|(reason, _)| *reason != "program");
    let lost = lost.map(|(reason, n)| rated(reason, n, before.drops.get(reason), dt)).collect::<Vec<_>>();
    let alarming = !lost.is_empty();
    lines.push(listing("lost", joined(lost.into_iter())).alarming(alarming));
    if let Some(capture) = &now.capture {
        let alarming = capture.missed > 0 || capture.reason.is_some();
        lines.push(listing("capture", captured(capture)).alarming(alarming));
    }
    for (n, device) in now.devices.iter().enumerate().filter(|(_, device)| !device.counters.nonzero().is_empty()) {
        let (packets, number) = weighed(n);
        let cells = vec![format!("  {}", device.name), listed(&device.counters)];
        lines.push(TableLine::of(cells).weighing(Weight::Counters(packets, number)));
    }
    let shares = now.pool.shares(&before.pool).map_or_else(
        || "no pages handed out".to_owned(),
        |[cached, ring, slow]| format!("cached {cached:.1}%, ring {ring:.1}%, slow {slow:.1}%"),
    );
    let pool = &now.pool;
    let text = format!(
        "{shares}, pages {}, failed {}, waived {}, dma maps {}",
        pool.inflight, pool.alloc_failed, pool.alloc_waive, now.dma_maps
    );
    lines.push(listing("pool", text).weighing(Weight::Pool));
    lines
}

/// What is listed, and all of it.
fn listing(what: &str, list: String) -> TableLine {
    TableLine::of(vec![format!("  {what:9}"), list])
}

/// What the table is of, how long it has run, and how it ends.
pub(crate) fn heading(title: &str, seconds: f64) -> TableLine {
    let cells = vec![format!("waterwheel {title}"), format!(" {}", clock(seconds)), " Ctrl-C ends".to_owned()];
    TableLine::of(cells).weighing(Weight::Frame)
}

/// A line for each way in which packets went; and one for what ails the device.
fn rows(columns: usize, before: &Device, now: &Device, dt: f64) -> Vec<TableLine> {
    let ways = [
        ("received", before.rx_packets, now.rx_packets, before.rx_bytes, now.rx_bytes),
        ("sent", before.tx_packets, now.tx_packets, before.tx_bytes, now.tx_bytes),
    ];
    let used = ways.into_iter().filter(|(_, _, packets, ..)| *packets > 0).collect::<Vec<_>>();
    let used = if used.is_empty() { ways[..1].to_vec() } else { used };
    let mut lines = Vec::new();
    for (n, (way, packets_before, packets, bytes_before, bytes)) in used.into_iter().enumerate() {
        let rate = |before: u64, now: u64| si(per_second(now.saturating_sub(before), dt));
        let bits = si(8.0 * per_second(bytes.saturating_sub(bytes_before), dt));
        let (name, held, mode) = match n {
            0 => (now.name.as_str(), now.in_flight.to_string(), now.mode.as_str()),
            _ => Default::default(),
        };
        lines.push(TableLine::of(vec![
            padded(&format!("  {name}"), columns + 2),
            format!("{way:8}"),
            format!("{packets:13}"),
            format!("{}pps", rate(packets_before, packets)),
            format!("{bits}bit/s"),
            format!("{held:>10}"),
            mode.to_owned(),
        ]));
    }
    let what = |text: String| TableLine::of(vec![padded(&format!("  {}", now.name), columns + 2), text]);
    match (now.state, &now.reason) {
        (_, Some(reason)) => lines.push(what(format!("{}: {reason}", now.state)).alarming(true)),
        ("finished", None) => lines.push(what("finished".to_owned())),
        _ => {}
    }
    lines
}

/// How often something happened, and how often a second now.
fn rated(what: &str, n: u64, before: u64, dt: f64) -> String {
    format!("{what} {n} ({}pps)", si(per_second(n.saturating_sub(before), dt)).trim_start())
}

fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{before, now};

    fn text(lines: &[TableLine]) -> String {
        lines.iter().map(TableLine::text).collect::<Vec<_>>().join("\n")
    }

    fn red(lines: &[TableLine]) -> Vec<String> {
        lines.iter().filter(|line| line.alarming).map(|line| line.text().trim().to_owned()).collect()
    }

    #[test]
    fn the_busy_and_the_ailing_outweigh_the_quiet_and_the_summary_all_of_them() {
        let mut now = now();
        (now.devices[1].state, now.devices[1].reason) = ("waiting", Some("it is down".to_owned()));
        let lines = table("drop gen:", &before(), &now, 0.5, 1.0);
        let weight = |text: &str| lines.iter().find(|line| line.text().contains(text)).expect(text).weight;
        let ascending = ["rx_ring_full 7", "  pool ", "gen:          received", "it is down", "Ctrl-C", "  lost "];
        assert!(ascending.map(weight).is_sorted(), "{:?}", ascending.map(weight));
        for text in ["  all ", "  actions ", "  lost "] {
            assert_eq!(weight(text), Weight::Summary, "{text}");
        }
        assert_eq!(weight("afxdp:eth1:0  sent"), weight("it is down"), "a device stays as a whole");
    }

    #[test]
    fn totals_stand_beside_rates_and_no_two_columns_are_called_the_same() {
        let lines = table("forward gen: afxdp:eth1:0 --one-way", &before(), &now(), 0.5, 3661.0);
        let expected = "\
waterwheel forward gen: afxdp:eth1:0 --one-way   01:01:01   Ctrl-C ends
  device                        packets     packets/s          bits/s  pages held  mode
  gen:          received        3000000    4.000 Mpps    3.072 Gbit/s           0
  afxdp:eth1:0  sent            2000000    2.000 Mpps    0.000  bit/s          64  native, copy
  all           received        3000000    4.000 Mpps    2.048 Gbit/s          64
                sent            2000000    2.000 Mpps    1.024 Gbit/s
  actions    redirect 3000000 (4.000 Mpps)
  lost       tx_ring_full 1000000 (2.000 Mpps)
  gen:  rx_ring_full 7
  pool       cached 99.0%, ring 0.0%, slow 1.0%, pages 512, failed 0, waived 0, dma maps 2";
        assert_eq!(text(&lines), expected);
        let alarming = red(&lines);
        assert_eq!(alarming, ["lost       tx_ring_full 1000000 (2.000 Mpps)"]);
        let text = lines[1].text();
        let heads = text.split_whitespace().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(heads.len(), text.split_whitespace().count());
    }

    #[test]
    fn only_what_is_lost_alarms() {
        let mut now = now();
        now.drops.0 = vec![("program", 5), ("tx_ring_full", 0)];
        assert!(table("drop gen:", &before(), &now, 0.5, 1.0).iter().all(|line| !line.alarming));
        (now.devices[1].state, now.devices[1].reason) = ("waiting", Some("it is down".to_owned()));
        let lines = table("drop gen:", &before(), &now, 0.5, 1.0);
        let alarming = red(&lines);
        assert_eq!(alarming, ["afxdp:eth1:0  waiting: it is down"]);
    }
}
