//! What the workers count, as what is shown.

use waterwheel_xdp::mm::PageAccount;
use waterwheel_xdp::{Drops, Health, PortStats, WorkerStats};

use crate::report::snapshot::{Actions, Capture, Counters, Device, Pages, Pool, Snapshot};

/// All workers together, the devices in the order of the command. `losses` are the names of what devices may lose: they stand among the drops from the start.
pub(super) fn snapshot(workers: &[WorkerStats], losses: &[&'static str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut drops = Drops::default();
    let mut ports = Vec::new();
    for worker in workers {
        drops.merge(&worker.drops);
        let Actions { drop, tx, redirect, pass, aborted } = &mut snapshot.actions;
        *drop += worker.actions.drop;
        *tx += worker.actions.tx;
        *redirect += worker.actions.redirect;
        *pass += worker.actions.pass;
        *aborted += worker.actions.aborted;
        ports.extend(&worker.ports);
    }
    ports.sort_by_key(|port| port.port);
    for port in &ports {
        snapshot.rx_packets += port.rx.packets;
        snapshot.rx_bytes += port.rx.bytes;
        snapshot.tx_packets += port.tx.packets;
        snapshot.tx_bytes += port.tx.bytes;
        snapshot.dma_maps += port.pool.dma_maps;
        add(&mut snapshot.pool, port);
    }
    snapshot.drops = Counters(drops.iter().map(|(reason, n)| (reason.as_str(), n)).collect());
    losses.iter().for_each(|name| snapshot.drops.add(name, 0));
    for (name, n) in ports.iter().flat_map(|port| &port.lost) {
        snapshot.drops.add(name, *n);
    }
    snapshot.devices = ports.into_iter().map(device).collect();
    snapshot
}

/// What devices and the capture could not keep up with, and what to do: who, and what there is to say.
pub(crate) fn warnings(snapshot: &Snapshot) -> Vec<(&str, String)> {
    let of = |device: &Device, counter: &str, text: &str| {
        let n = device.counters.get(counter);
        (n > 0).then(|| text.replace("{}", &n.to_string()))
    };
    let told = |device| {
        [
            of(
                device,
                "rate_missed",
                "the rate was not kept: {} packets were given up, as this machine, or the target, was too slow (a larger burst= catches up on more)",
            ),
            of(
                device,
                "late_us",
                "the gaps of the capture were not kept: the rest came {} microseconds later (a larger burst= catches up on more)",
            ),
            of(device, "files_not_removed", "old files of the capture that could not be removed: {}"),
        ]
    };
    let devices = snapshot.devices.iter().flat_map(|device| {
        told(device).into_iter().flatten().map(|text| (device.name.as_str(), format!("{}: {text}", device.name)))
    });
    // Why one that failed misses packets is said by itself.
    let missing = snapshot.capture.iter().filter(|capture| capture.missed > 0 && capture.reason.is_none());
    let captures = missing.map(|Capture { name, missed, .. }| {
        let text = "packets were not captured: whoever reads the capture is too slow";
        (name.as_str(), format!("capture {name}: {missed} {text}"))
    });
    devices.chain(captures).collect()
}

fn add(pool: &mut Pool, port: &PortStats) {
    let stats = &port.pool;
    pool.alloc_fast += stats.alloc_fast;
    pool.alloc_slow += stats.alloc_slow;
    pool.alloc_empty += stats.alloc_empty;
    pool.alloc_refill += stats.alloc_refill;
    pool.alloc_waive += stats.alloc_waive;
    pool.alloc_failed += stats.alloc_failed;
    pool.recycle_cached += stats.recycle_cached;
    pool.recycle_cache_full += stats.recycle_cache_full;
    pool.recycle_ring += stats.recycle_ring;
    pool.recycle_ring_full += stats.recycle_ring_full;
    pool.hold += stats.hold;
    pool.release += stats.release;
    pool.inflight += stats.inflight();
}

fn device(port: &PortStats) -> Device {
    Device {
        name: port.name.clone(),
        mode: port.mode.clone(),
        state: match &port.health {
            Health::Up => "up",
            Health::Finished => "finished",
            Health::Failed(_) if port.reviving => "waiting",
            Health::Failed(_) => "failed",
        },
        reason: if let Health::Failed(reason) = &port.health { Some(reason.clone()) } else { None },
        revivals: port.revivals,
        rx_packets: port.rx.packets,
        tx_packets: port.tx.packets,
        rx_bytes: port.rx.bytes,
        tx_bytes: port.tx.bytes,
        in_flight: port.in_flight as u64,
        counters: Counters(port.counters.clone()),
        lost: Counters(port.lost.clone()),
        offered: (!port.lost.is_empty()).then(|| port.rx.packets + port.lost_total()),
    }
}

pub(crate) fn pages(account: &PageAccount) -> Pages {
    Pages {
        total: account.total as u64,
        free: account.free as u64,
        frozen: account.frozen as u64,
        held_by_devices: account.held_by_devices as u64,
        held_by_users: account.held_by_users as u64,
        quarantined: account.quarantined as u64,
        leaked: account.leaked as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_xdp::page_pool::PoolStats;
    use waterwheel_xdp::{DropReason, PortId, Traffic};

    /// A port of which no two counts are equal.
    fn port(number: u16) -> PortStats {
        let n = 1000 * (u64::from(number) + 1);
        PortStats {
            port: PortId(number),
            name: format!("tap:{number}"),
            mode: "copy".to_owned(),
            health: Health::Up,
            reviving: false,
            revivals: n + 1,
            rx: Traffic { packets: n + 2, bytes: n + 3 },
            lost: vec![("tap_queue_full", n + 4), ("no_pages", n + 5)],
            tx: Traffic { packets: n + 6, bytes: n + 7 },
            in_flight: number.into(),
            counters: vec![("errors", n + 8)],
            pool: PoolStats {
                alloc_fast: n + 9,
                alloc_slow: n + 10,
                alloc_slow_high_order: n + 11,
                alloc_empty: n + 12,
                alloc_refill: n + 13,
                alloc_waive: n + 14,
                alloc_failed: n + 15,
                recycle_cached: n + 16,
                recycle_cache_full: n + 17,
                recycle_ring: n + 18,
                recycle_ring_full: n + 19,
                hold: n + 200,
                release: n + 21,
                dma_maps: n + 22,
                dma_unmaps: n + 23,
            },
        }
    }

    #[test]
    fn the_totals_are_the_sums_of_all_ports() {
        let mut workers = [1, 0].map(|number| WorkerStats { ports: vec![port(number)], ..WorkerStats::default() });
        workers[0].drops.add(DropReason::NoPages, 1);
        workers[1].drops.add(DropReason::NoPages, 2);
        workers[1].actions.tx = 5;
        let sum = |n: u64| 3000 + 2 * n;
        let snapshot = snapshot(&workers, &["tap_queue_full", "no_pages", "rx_ring_full"]);
        assert_eq!((snapshot.rx_packets, snapshot.rx_bytes), (sum(2), sum(3)));
        assert_eq!((snapshot.tx_packets, snapshot.tx_bytes), (sum(6), sum(7)));
        assert_eq!((snapshot.dma_maps, snapshot.actions.tx), (sum(22), 5));
        let expected = Pool {
            alloc_fast: sum(9),
            alloc_slow: sum(10),
            alloc_empty: sum(12),
            alloc_refill: sum(13),
            alloc_waive: sum(14),
            alloc_failed: sum(15),
            recycle_cached: sum(16),
            recycle_cache_full: sum(17),
            recycle_ring: sum(18),
            recycle_ring_full: sum(19),
            hold: sum(200),
            release: sum(21),
            inflight: 2 * (200 - 21),
        };
        assert_eq!(snapshot.pool, expected);
        // What a device lost stands among the drops; a name that is also a reason is one sum, and one key.
        assert_eq!(snapshot.drops.get("tap_queue_full"), sum(4));
        assert_eq!(snapshot.drops.get("no_pages"), sum(5) + 3);
        assert_eq!(snapshot.drops.total(), sum(4) + sum(5) + 3);
        let keys = snapshot.drops.0.iter().map(|(key, _)| *key).collect::<std::collections::BTreeSet<_>>();
        assert!(keys.len() == snapshot.drops.0.len() && keys.contains("rx_ring_full"), "{:?}", snapshot.drops);
        let [first, second] = &snapshot.devices[..] else { panic!("two devices") };
        assert_eq!((first.name.as_str(), second.name.as_str()), ("tap:0", "tap:1"), "in the order of the ports");
        assert_eq!(first.offered, Some(1002 + 1004 + 1005));
        assert_eq!(second.lost.0, [("tap_queue_full", 2004), ("no_pages", 2005)]);
    }
}
