//! Pools of all kinds, in front of two nodes, with a device that refuses mappings now and then.

use super::stage::Actor;
use super::violation::Broken;
use std::collections::HashMap;
use std::sync::Arc;
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{Account, PAGE_SIZE, Zone};
use waterwheel_page_pool::{DmaAddr, DmaError, DmaMap, PagePool, PoolError, PoolParams, PoolStats};

/// A pool as the dice say.
pub(super) fn pool(actor: &Arc<Actor>, dice: &mut SplitMix64) -> Result<PagePool, PoolError> {
    let tally = &actor.stage.tally;
    let limit = 128 + dice.below(896);
    let order = [0, 0, 0, 0, 0, 0, 1, 2][dice.below(8)];
    let floors = dice.below(3) == 0;
    let mut floor = || if floors { dice.below(limit / 3) } else { 0 };
    let (floor_rx, floor_tx) = (floor(), floor());
    let high = (dice.below(4) == 0).then(|| dice.below(limit));
    let dma = (dice.below(2) == 0).then(|| Box::new(Iommu::new(actor, dice)) as Box<dyn DmaMap>);
    let zone = &actor.stage.zones[dice.below(2)];
    let params = PoolParams {
        order,
        limit: limit >> order,
        floor_rx: floor_rx >> order,
        floor_tx: floor_tx >> order,
        high,
        dma,
        name: String::new(),
    };
    match PagePool::new(zone, params) {
        Err(PoolError::Dma(_)) => {
            tally.unmapped.add(1);
            PagePool::new(zone, PoolParams { limit, ..PoolParams::default() })
        }
        pool => {
            tally.floors.add(u64::from(floors && pool.is_ok()));
            pool
        }
    }
    .inspect(|_| tally.pools_made.add(1))
}

/// Gives the pool the zone of a random node; what it had from the other one is not recycled any more.
pub(super) fn change_node(pool: &mut PagePool, actor: &Actor, dice: &mut SplitMix64) {
    let zone = &actor.stage.zones[dice.below(2)];
    let other = zone.id() != pool.zone().id();
    match pool.set_zone(zone) {
        Ok(()) => actor.stage.tally.node_changes.add(u64::from(other)),
        Err(_) => actor.stage.tally.unmapped.add(1),
    }
}

/// Notes that a pool is about to be destroyed with this many pages out.
pub(super) fn destroyed(actor: &Actor, out: u64) {
    actor.stage.tally.pools_destroyed.add(1);
    actor.stage.tally.orphaned.add(out);
}

/// Marks the pool's pages, and compares what it counts with what it has.
pub(super) fn account(pool: &mut PagePool, actor: &Actor, account: &mut Account) {
    pool.account(account);
    let (inflight, cached, outstanding) = (pool.stats().inflight(), pool.cached() as u64, pool.outstanding());
    if inflight != cached + outstanding {
        actor.report(Broken::Pool { inflight, cached, outstanding });
    }
}

/// Pages that are out, as the pool's counters say. (For pools that a worker has.)
pub(super) fn out(stats: &PoolStats) -> u64 {
    (stats.alloc_fast + stats.alloc_slow).saturating_sub(stats.recycle_cached + stats.recycle_ring)
}

/// An IOMMU: maps page by page, or refuses. It keeps a book, in which no page may stand twice and none at the end.
struct Iommu {
    actor: Arc<Actor>,
    dice: SplitMix64,
    mapped: HashMap<u64, usize>,
}

impl Iommu {
    fn new(actor: &Arc<Actor>, dice: &mut SplitMix64) -> Self {
        Self { actor: actor.clone(), dice: SplitMix64::new(dice.next()), mapped: HashMap::new() }
    }

    fn broken(&self, addr: u64, what: &str) {
        self.actor.report(Broken::Mapping(format!(
            "page {} of zone {} {what}",
            addr as u32 / PAGE_SIZE as u32,
            addr >> 32
        )));
    }
}

impl DmaMap for Iommu {
    fn map_region(&mut self, _: &Zone) -> Result<Option<DmaAddr>, DmaError> {
        if self.dice.below(8) == 0 { Err(DmaError("on purpose".to_owned())) } else { Ok(None) }
    }

    fn map(&mut self, zone: &Zone, number: u32, bytes: usize) -> Result<DmaAddr, DmaError> {
        if self.dice.below(500) == 0 {
            self.actor.stage.tally.unmapped.add(1);
            return Err(DmaError("on purpose".to_owned()));
        }
        let addr = (u64::from(zone.node()) << 32) + u64::from(number) * PAGE_SIZE as u64;
        if self.mapped.insert(addr, bytes).is_some() {
            self.broken(addr, "was mapped twice");
        }
        Ok(DmaAddr(addr))
    }

    fn unmap(&mut self, DmaAddr(addr): DmaAddr, bytes: usize) {
        if self.mapped.remove(&addr) != Some(bytes) {
            self.broken(addr, "was unmapped, though it was not mapped so");
        }
    }
}

impl Drop for Iommu {
    fn drop(&mut self) {
        if let Some(addr) = self.mapped.keys().next() {
            self.broken(*addr, "was still mapped when its pool was gone");
        }
    }
}
