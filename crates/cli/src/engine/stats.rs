//! What the workers count, as what is shown.

use waterwheel_xdp::mm::PageAccount;
use waterwheel_xdp::{Drops, Health, PortStats, WorkerStats};

use crate::report::snapshot::{Actions, Counters, Device, Pages, Pool, Snapshot};

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
            Health::Up => "up".to_owned(),
            Health::Finished => "finished".to_owned(),
            Health::Failed(reason) if port.reviving => format!("waiting: {reason}"),
            Health::Failed(reason) => format!("failed: {reason}"),
        },
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
