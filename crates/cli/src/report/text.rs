//! Statistics for people: aligned, with SI prefixes for rates and plain integers for counts.

use std::fmt::Write as _;

use super::printable::printable;
use super::snapshot::{Capture, Counters, Device, Holders, Pages, Rates, Snapshot, Total, per_second};
use crate::units::si;

/// One line for what happened since `before`.
pub(crate) fn interval(before: &Snapshot, now: &Snapshot, dt: f64, seconds: f64) -> String {
    let Rates { rx_pps, tx_pps, rx_bps, tx_bps, drop_pps } = Rates::between(before, now, dt);
    let mut line = format!(
        "{seconds:8.1} s  rx {}pps {}bit/s  tx {}pps {}bit/s  drop {}pps  pages {:6}",
        si(rx_pps),
        si(rx_bps),
        si(tx_pps),
        si(tx_bps),
        si(drop_pps),
        now.pool.inflight,
    );
    if let Some([cached, ring, slow]) = now.pool.shares(&before.pool) {
        let _ = write!(line, "  pool cached {cached:5.1}% ring {ring:5.1}% slow {slow:5.1}%");
    }
    for (reason, n) in now.drops.grown(&before.drops) {
        let _ = write!(line, "  {reason} {n}");
    }
    let missed = |snapshot: &Snapshot| snapshot.capture.as_ref().map_or(0, |capture| capture.missed);
    if missed(now) > missed(before) {
        let _ = write!(line, "  not captured {}", missed(now) - missed(before));
    }
    line.push('\n');
    line
}

/// The end of the run.
pub(crate) fn total(title: &str, total: &Total) -> String {
    let Total { seconds, snapshot, pages, holders } = total;
    let mut text = format!("waterwheel {title}   {seconds:.3} s, {:.3} Mpps\n", total.mpps());
    let digits = snapshot.rx_packets.max(snapshot.tx_packets).to_string().len().max(1);
    let byte_digits = snapshot.rx_bytes.max(snapshot.tx_bytes).to_string().len().max(1);
    for (what, packets, bytes) in
        [("received", snapshot.rx_packets, snapshot.rx_bytes), ("sent", snapshot.tx_packets, snapshot.tx_bytes)]
    {
        let (pps, bps) = (per_second(packets, *seconds), 8.0 * per_second(bytes, *seconds));
        let _ = writeln!(
            text,
            "  {what:9}  {packets:digits$} packets  {bytes:byte_digits$} bytes  {}pps  {}bit/s",
            si(pps),
            si(bps)
        );
    }
    let actions = snapshot.actions.iter().into_iter().filter(|(_, n)| *n > 0);
    let _ = writeln!(text, "  actions    {}", joined(actions.map(|(action, n)| format!("{action} {n}"))));
    let _ = writeln!(text, "  drops      {}", listed(&snapshot.drops));
    for device in &snapshot.devices {
        let Device { name, rx_packets, tx_packets, counters, lost, offered, .. } = device;
        let _ = write!(text, "  device     {name}  received {rx_packets}");
        if let Some(offered) = offered {
            let _ = write!(text, " + lost {} = offered {offered}", lost.total());
        }
        let _ = write!(text, ", sent {tx_packets}");
        if !mode(device).is_empty() {
            let _ = write!(text, "; {}", mode(device));
        }
        if !counters.nonzero().is_empty() {
            let _ = write!(text, "; {}", listed(counters));
        }
        text.push('\n');
    }
    for line in snapshot.capture.iter().map(captured) {
        let _ = writeln!(text, "  capture    {line}");
    }
    let pool = &snapshot.pool;
    let _ = writeln!(
        text,
        "  pool       from the cache {}, failed {}; recycled: cached {}, ring {}; from the zone {}; dma maps {}",
        pool.alloc_fast, pool.alloc_failed, pool.recycle_cached, pool.recycle_ring, pool.hold, snapshot.dma_maps
    );
    for line in holders.iter().flat_map(held) {
        let _ = writeln!(text, "  held       {line}");
    }
    let _ = writeln!(text, "  pages      {}", account(pages));
    text
}

/// Who has pages, a line for each holder, and how that is known.
pub(crate) fn held(holders: &Holders) -> Vec<String> {
    let mut lines: Vec<String> = holders.held.iter().map(|held| printable(&held.to_string()).into_owned()).collect();
    match holders.sampling.n() {
        1 if lines.is_empty() => lines.push("no page is out".to_owned()),
        1 => {}
        n if lines.is_empty() => lines.push(format!("none of the pages that are followed (1 in {n}) is out")),
        n => lines.push(format!("(estimated from 1 page in {n})")),
    }
    lines
}

/// The same, as the answer to SIGUSR1.
pub(crate) fn who_has_pages(holders: Option<&Holders>) -> Vec<String> {
    holders.map_or_else(|| vec!["who has pages is not known: start it with --trace-pages".to_owned()], held)
}

/// What became of copies.
pub(super) fn captured(capture: &Capture) -> String {
    let Capture { name, state, reason, captured, missed, unwanted } = capture;
    let reason = reason.iter().map(|reason| format!("; {state}: {reason}")).collect::<String>();
    format!("{name}  captured {captured}, missed {missed}, unwanted {unwanted}{reason}")
}

/// The page account in one line: what is not free is named.
pub(crate) fn account(pages: &Pages) -> String {
    let Pages { total, free, frozen, held_by_devices, held_by_users, quarantined, leaked } = *pages;
    let rest = [
        ("in caches and rings", frozen),
        ("held by devices", held_by_devices),
        ("held by users", held_by_users),
        ("quarantined", quarantined),
        ("LEAKED", leaked),
    ];
    let rest = rest.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!(", {n} {what}")).collect::<String>();
    format!("{free} of {total} free{rest}")
}

/// The mode, and the state when it is worth a word.
pub(super) fn mode(device: &Device) -> String {
    let state = match (device.state, &device.reason) {
        ("up" | "", _) => String::new(),
        (state, None) => state.to_owned(),
        (state, Some(reason)) => format!("{state}: {reason}"),
    };
    [device.mode.clone(), state].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

pub(super) fn listed(counters: &Counters) -> String {
    joined(counters.nonzero().into_iter().map(|(key, n)| format!("{key} {n}")))
}

pub(crate) fn joined(parts: impl Iterator<Item = String>) -> String {
    let text = parts.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{before, now};

    #[test]
    fn an_interval_is_one_aligned_line() {
        let busy = interval(&before(), &now(), 0.5, 1.5);
        assert_eq!(
            busy,
            "     1.5 s  rx   4.000 Mpps   2.048 Gbit/s  tx   2.000 Mpps   1.024 Gbit/s  drop   2.000 Mpps  pages    512\
             \x20 pool cached  99.0% ring   0.0% slow   1.0%  tx_ring_full 1000000\n"
        );
        let idle = interval(&now(), &now(), 0.5, 2.0);
        assert_eq!(busy.find("pages"), idle.find("pages"), "columns stay where they are");
        assert!(!idle.contains("tx_ring_full"), "only what happened in this interval");
    }

    #[test]
    fn the_total_accounts_for_every_page() {
        let pages = Pages { total: 10, free: 8, quarantined: 1, leaked: 1, ..Pages::default() };
        let text = total("drop gen:", &Total { seconds: 2.0, snapshot: now(), pages, holders: None });
        let expected = "\
waterwheel drop gen:   2.000 s, 1.500 Mpps
  received   3000000 packets  192000000 bytes    1.500 Mpps  768.000 Mbit/s
  sent       2000000 packets  128000000 bytes    1.000 Mpps  512.000 Mbit/s
  actions    redirect 3000000
  drops      tx_ring_full 1000000
  device     gen:  received 3000000, sent 0; rx_ring_full 7
  device     afxdp:eth1:0  received 0, sent 2000000; native, copy
  pool       from the cache 990, failed 0; recycled: cached 990, ring 0; from the zone 20; dma maps 2
  pages      8 of 10 free, 1 quarantined, 1 LEAKED
";
        assert_eq!(text, expected);
        assert_eq!(account(&Pages { total: 4, free: 4, ..Pages::default() }), "4 of 4 free");
    }
}
