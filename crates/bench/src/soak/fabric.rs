//! Workers with their devices and pools: made, closed with pages out, and made anew.

use super::crew::Crew;
use super::driver::Driver;
use super::pools;
use super::stage::Actor;
use super::violation::Broken;
use super::{Error, MAX_THREADS};
use std::sync::{Arc, MutexGuard};
use waterwheel_dev::generator::SplitMix64;
use waterwheel_xdp::{Device, DropReason, Drops, Fabric, Veth, WorkerStats, veth};

/// Ports of each worker: two devices, and two ends of pairs in memory.
const PORTS: usize = 4;
const _: () = assert!(PORTS * MAX_THREADS < u16::MAX as usize);
/// Frames that a pair in memory holds on their way.
const PAIR: usize = 128;

/// What workers have counted, those that are closed included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Books {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) passed: u64,
    pub(super) drops: Drops,
}

impl Books {
    pub(super) fn add(&mut self, stats: &WorkerStats) {
        for port in &stats.ports {
            self.received += port.rx.packets;
            self.sent += port.tx.packets;
        }
        self.passed += stats.actions.pass - stats.drops.get(DropReason::NoHost);
        self.drops.merge(&stats.drops);
    }

    /// Every received packet must have gone somewhere. True while nothing is on its way between workers.
    pub(super) fn audit(&self, actor: &Actor) {
        let accounted = self.sent + self.passed + self.drops.total();
        if self.received != accounted {
            actor.report(Broken::Packets { received: self.received, accounted });
        }
    }
}

/// Closes all workers, as they stand: what is on its way is dropped, and what is held elsewhere finds its pool gone.
pub(super) fn close(actor: &Actor, crews: &mut [MutexGuard<'_, Crew>], books: &mut Books) {
    for worker in crews.iter_mut().filter_map(|crew| crew.worker.take()) {
        let stats = worker.close();
        books.add(&stats);
        stats.ports.iter().for_each(|port| pools::destroyed(actor, pools::out(&port.pool)));
    }
}

/// Makes devices, pools and workers, and gives each crew its own.
pub(super) fn open(actor: &Arc<Actor>, dice: &mut SplitMix64, crews: &mut [MutexGuard<'_, Crew>]) -> Result<(), Error> {
    let mut fabric = Fabric::new(crews.len());
    let mut pairs: Vec<(Option<Veth>, Option<Veth>)> =
        (0..crews.len()).map(|_| veth("left", "right", PAIR)).map(|(left, right)| (Some(left), Some(right))).collect();
    let count = crews.len();
    for (i, crew) in crews.iter_mut().enumerate() {
        let left = pairs[i].0.take().map(|end| Box::new(end) as Box<dyn Device>);
        let right = pairs[(i + 1) % count].1.take().map(|end| Box::new(end) as Box<dyn Device>);
        let driver = |dice: &mut SplitMix64| {
            Some(Box::new(Driver::new(&crew.actor, SplitMix64::new(dice.next()))) as Box<dyn Device>)
        };
        let devices = [driver(dice), driver(dice), left, right];
        for device in devices.into_iter().flatten() {
            let pool = pools::pool(actor, dice).map_err(|error| Error::Setup(error.to_string()))?;
            fabric.add(i, device, pool).map_err(|error| Error::Setup(error.to_string()))?;
        }
        if dice.below(8) > 0 {
            fabric.host(i, crew.host()); // else packets that are passed on find nobody
        }
    }
    let workers = fabric.build().map_err(|error| Error::Setup(error.to_string()))?;
    std::iter::zip(crews, workers).for_each(|(crew, worker)| crew.take(worker, PORTS * count));
    actor.stage.tally.fabrics.add(1);
    Ok(())
}
