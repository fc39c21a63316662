//! The live table, as lines.

use super::snapshot::{Device, Snapshot, per_second};
use super::text::{captured, joined, listed};
use crate::units::si;

/// A line of the live table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableLine {
    pub(crate) text: String,
    /// It tells of something lost.
    pub(crate) alarming: bool,
}

impl From<String> for TableLine {
    fn from(text: String) -> Self {
        Self { text, alarming: false }
    }
}

impl TableLine {
    /// Of something that should not be.
    pub(crate) fn alarming(text: String) -> Self {
        Self { text, alarming: true }
    }
}

/// The live table: the first line is the title.
pub(super) fn table(title: &str, before: &Snapshot, now: &Snapshot, dt: f64, seconds: f64) -> Vec<TableLine> {
    let width = now.devices.iter().map(|device| device.name.chars().count()).max().unwrap_or(0).max(6);
    let mut lines: Vec<TableLine> = vec![
        heading(title, seconds).into(),
        format!(
            "  {:width$}  {:8}  {:>13}  {:>12}  {:>14}  {:>10}  mode",
            "device", "", "packets", "packets/s", "bits/s", "pages held"
        )
        .into(),
    ];
    for (n, device) in now.devices.iter().enumerate() {
        let none = Device::default();
        rows(&mut lines, width, before.devices.get(n).unwrap_or(&none), device, dt);
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
        rows(&mut lines, width, &all(before), &all(now), dt);
    }
    let actions = now.actions.iter().into_iter().zip(before.actions.iter());
    let actions = actions.filter(|((_, n), _)| *n > 0).map(|((action, n), (_, before))| rated(action, n, before, dt));
    lines.push(format!("  actions    {}", joined(actions)).into());
    // What the program drops is its work; what else is dropped, is lost.
    let lost = now.drops.nonzero().into_iter().filter(|(reason, _)| *reason != "program").collect::<Vec<_>>();
    if lost.is_empty() {
        lines.push("  lost       none".to_owned().into());
    } else {
        let lost = lost.into_iter().map(|(reason, n)| rated(reason, n, before.drops.get(reason), dt));
        lines.push(TableLine::alarming(format!("  lost       {}", joined(lost))));
    }
    for device in now.devices.iter().filter(|device| !device.counters.nonzero().is_empty()) {
        lines.push(format!("  {}  {}", device.name, listed(&device.counters)).into());
    }
    if let Some(capture) = &now.capture {
        let alarming = capture.missed > 0 || capture.reason.is_some();
        lines.push(TableLine { text: format!("  capture    {}", captured(capture)), alarming });
    }
    let shares = now.pool.shares(&before.pool).map_or_else(
        || "no pages handed out".to_owned(),
        |[cached, ring, slow]| format!("cached {cached:.1}%, ring {ring:.1}%, slow {slow:.1}%"),
    );
    let pool = &now.pool;
    let text = format!(
        "  pool       {shares}, pages {}, failed {}, waived {}, dma maps {}",
        pool.inflight, pool.alloc_failed, pool.alloc_waive, now.dma_maps
    );
    lines.push(text.into());
    lines
}

/// What the table is of, how long it has run, and how it ends.
pub(crate) fn heading(title: &str, seconds: f64) -> String {
    format!("waterwheel {title}   {}   Ctrl-C ends", clock(seconds))
}

/// A line for each way in which packets went; and one for what ails the device.
fn rows(lines: &mut Vec<TableLine>, width: usize, before: &Device, now: &Device, dt: f64) {
    let ways = [
        ("received", before.rx_packets, now.rx_packets, before.rx_bytes, now.rx_bytes),
        ("sent", before.tx_packets, now.tx_packets, before.tx_bytes, now.tx_bytes),
    ];
    let used = ways.into_iter().filter(|(_, _, packets, ..)| *packets > 0).collect::<Vec<_>>();
    let used = if used.is_empty() { ways[..1].to_vec() } else { used };
    for (n, (way, packets_before, packets, bytes_before, bytes)) in used.into_iter().enumerate() {
        let rate = |before: u64, now: u64| si(per_second(now.saturating_sub(before), dt));
        let bits = si(8.0 * per_second(bytes.saturating_sub(bytes_before), dt));
        let (name, held, mode) = match n {
            0 => (now.name.as_str(), now.in_flight.to_string(), now.mode.as_str()),
            _ => Default::default(),
        };
        let text = format!(
            "  {name:width$}  {way:8}  {packets:13}  {}pps  {bits}bit/s  {held:>10}  {mode}",
            rate(packets_before, packets)
        );
        lines.push(text.trim_end().to_owned().into());
    }
    match (now.state, &now.reason) {
        (_, Some(reason)) => {
            lines.push(TableLine::alarming(format!("  {:width$}  {}: {reason}", now.name, now.state)));
        }
        ("finished", None) => lines.push(format!("  {:width$}  finished", now.name).into()),
        _ => {}
    }
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
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
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
        let alarming = lines.iter().filter(|line| line.alarming).map(|line| line.text.trim()).collect::<Vec<_>>();
        assert_eq!(alarming, ["lost       tx_ring_full 1000000 (2.000 Mpps)"]);
        let heads = lines[1].text.split_whitespace().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(heads.len(), lines[1].text.split_whitespace().count());
    }

    #[test]
    fn only_what_is_lost_alarms() {
        let mut now = now();
        now.drops.0 = vec![("program", 5), ("tx_ring_full", 0)];
        assert!(table("drop gen:", &before(), &now, 0.5, 1.0).iter().all(|line| !line.alarming));
        (now.devices[1].state, now.devices[1].reason) = ("waiting", Some("it is down".to_owned()));
        let lines = table("drop gen:", &before(), &now, 0.5, 1.0);
        let alarming = lines.iter().filter(|line| line.alarming).map(|line| line.text.trim()).collect::<Vec<_>>();
        assert_eq!(alarming, ["afxdp:eth1:0  waiting: it is down"]);
    }
}
