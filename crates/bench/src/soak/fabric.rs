//! Workers with their devices and pools: made, closed with pages out, and made anew.

use super::crew::Crew;
use super::driver::Driver;
use super::pools;
use super::stage::Actor;
use super::violation::Broken;
use super::{Error, MAX_THREADS};
use std::sync::{Arc, MutexGuard};
use waterwheel_dev::generator::SplitMix64;
use waterwheel_xdp::{Device, DropReason, Drops, Fabric, Veth, Worker, WorkerStats, veth};

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
    pub(super) lost: u64,
    /// Sent to a pair's end that had left.
    pub(super) left: u64,
    /// Handed over to other workers, and taken over from them.
    pub(super) handed: u64,
    pub(super) taken: u64,
}

impl Books {
    pub(super) fn add(&mut self, stats: &WorkerStats) {
        for port in &stats.ports {
            self.received += port.rx.packets;
            self.sent += port.tx.packets;
            let count =
                |all: &[(&'static str, u64)], which| all.iter().find(|(name, _)| *name == which).map_or(0, |(_, n)| *n);
            self.lost += count(&port.lost, "fault");
            self.left += count(&port.counters, "other_end_left");
        }
        self.handed += stats.handed_over;
        self.taken += stats.taken_over;
        self.passed += stats.actions.pass - stats.drops.get(DropReason::NoHost);
        self.drops.merge(&stats.drops);
    }

    /// Every received packet must have gone somewhere. True while nothing is on its way between workers.
    pub(super) fn audit(&self, actor: &Actor) {
        let accounted = self.sent + self.passed + self.drops.total();
        if self.received != accounted {
            actor.report(Broken::Packets { received: self.received, accounted });
        }
        let tally = &actor.stage.tally;
        let counts = [
            ("frames that were handed over", self.handed, self.taken),
            (
                "frames that a full disk did not take",
                tally.unsent.get(),
                self.drops.get(DropReason::Unsent) - self.left,
            ),
            ("packets that bad lines lost", tally.lost.get(), self.lost),
        ];
        for (what, happened, counted) in counts {
            if happened != counted {
                actor.report(Broken::Counts { what, happened, counted });
            }
        }
    }
}

/// Closes all workers, as they stand: what is on its way is dropped, and what is held elsewhere finds its pool gone.
pub(super) fn close(actor: &Actor, crews: &mut [MutexGuard<'_, Crew>], books: &mut Books) {
    for crew in crews {
        let Some(stats) = crew.worker.take().map(Worker::close).or_else(|| crew.died.take()) else { continue };
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
    std::iter::zip(crews, workers).enumerate().for_each(|(i, (crew, worker))| crew.take(i, worker, PORTS * count));
    actor.stage.tally.fabrics.add(1);
    Ok(())
}
