//! The live table, as lines.

use super::snapshot::{Device, Rates, Snapshot, per_second};
use super::text::{joined, listed, mode};
use crate::units::si;

/// The live table: the first line is the title.
pub(super) fn table(title: &str, before: &Snapshot, now: &Snapshot, dt: f64, seconds: f64) -> Vec<String> {
    let width = now.devices.iter().map(|device| device.name.chars().count()).max().unwrap_or(0).max(6);
    let mut lines = vec![
        format!("waterwheel {title}   {}   Ctrl-C ends", clock(seconds)),
        format!(
            "  {:width$}  {:>12} {:>12} {:>14} {:>14}  in flight  mode",
            "device", "received", "sent", "received", "sent"
        ),
    ];
    for (n, device) in now.devices.iter().enumerate() {
        let none = Device::default();
        let rates = device_rates(before.devices.get(n).unwrap_or(&none), device, dt);
        lines.push(format!(
            "  {:width$}  {}pps {}pps {}bit/s {}bit/s  {:9}  {}",
            device.name,
            si(rates.rx_pps),
            si(rates.tx_pps),
            si(rates.rx_bps),
            si(rates.tx_bps),
            device.in_flight,
            mode(device),
        ));
    }
    let rates = Rates::between(before, now, dt);
    lines.push(format!(
        "  {:width$}  {}pps {}pps {}bit/s {}bit/s",
        "all",
        si(rates.rx_pps),
        si(rates.tx_pps),
        si(rates.rx_bps),
        si(rates.tx_bps),
    ));
    let actions = now.actions.iter().into_iter().zip(before.actions.iter());
    let actions = actions.filter(|((_, n), _)| *n > 0).map(|((action, n), (_, before))| {
        format!("{action} {}pps", si(per_second(n.saturating_sub(before), dt)).trim_start())
    });
    lines.push(format!("  actions    {}", joined(actions)));
    let drops = now.drops.nonzero().into_iter().map(|(reason, n)| {
        let rate = per_second(n.saturating_sub(before.drops.get(reason)), dt);
        format!("{reason} {n} ({}pps)", si(rate).trim_start())
    });
    lines.push(format!("  drops      {}", joined(drops)));
    for device in now.devices.iter().filter(|device| !device.counters.nonzero().is_empty()) {
        lines.push(format!("  {}  {}", device.name, listed(&device.counters)));
    }
    let shares = now.pool.shares(&before.pool).map_or_else(
        || "no pages handed out".to_owned(),
        |[cached, ring, slow]| format!("cached {cached:.1}%, ring {ring:.1}%, slow {slow:.1}%"),
    );
    let pool = &now.pool;
    lines.push(format!(
        "  pool       {shares}, pages {}, failed {}, waived {}, dma maps {}",
        pool.inflight, pool.alloc_failed, pool.alloc_waive, now.dma_maps
    ));
    lines
}

fn device_rates(before: &Device, now: &Device, dt: f64) -> Rates {
    let rate = |before: u64, now: u64| per_second(now.saturating_sub(before), dt);
    Rates {
        rx_pps: rate(before.rx_packets, now.rx_packets),
        tx_pps: rate(before.tx_packets, now.tx_packets),
        rx_bps: 8.0 * rate(before.rx_bytes, now.rx_bytes),
        tx_bps: 8.0 * rate(before.tx_bytes, now.tx_bytes),
        drop_pps: 0.0,
    }
}

fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{before, now};

    #[test]
    fn the_table_has_a_line_for_each_device() {
        let lines = table("forward gen: afxdp:eth1:0 --one-way", &before(), &now(), 0.5, 3661.0);
        let expected = "\
waterwheel forward gen: afxdp:eth1:0 --one-way   01:01:01   Ctrl-C ends
  device            received         sent       received           sent  in flight  mode
  gen:            4.000 Mpps   0.000  pps   3.072 Gbit/s   0.000  bit/s          0  \n\
\x20 afxdp:eth1:0    0.000  pps   2.000 Mpps   0.000  bit/s   0.000  bit/s         64  native, copy
  all             4.000 Mpps   2.000 Mpps   2.048 Gbit/s   1.024 Gbit/s
  actions    redirect 4.000 Mpps
  drops      tx_ring_full 1000000 (2.000 Mpps)
  gen:  rx_ring_full 7
  pool       cached 99.0%, ring 0.0%, slow 1.0%, pages 512, failed 0, waived 0, dma maps 2";
        assert_eq!(lines.join("\n"), expected);
    }
}
