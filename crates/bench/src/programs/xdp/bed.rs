//! One worker between memory devices, made as the binary makes it.

use super::deciders::Verdict;
use crate::harness::{Clock, Lap};
use waterwheel_dev::DevError;
use waterwheel_dev::generator::{AddressRange, Gen, GenParams, Size};
use waterwheel_dev::null::Null;
use waterwheel_xdp::mm::{Backing, PageAccount, Users, ZoneParams};
use waterwheel_xdp::{Account, Device, Fabric, PagePool, PoolParams, Program, Worker, WorkerStats, Zone};

/// Bytes of a packet without FCS.
pub(crate) const SIZE: usize = 64;
/// Pages of a receiver's pool, as the binary gives a memory device: what is under way between a few batches.
const PAGES: usize = 1024;

/// Where packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Pages that nobody writes, as DPDK's `net_null` and the kernel's live frames give them.
    Null,
    /// One flow, written packet by packet.
    Gen,
    /// [`FLOWS`](super::deciders::FLOWS) flows in turn.
    Flows,
}

impl Source {
    /// As it is called in the rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Null => "null:size=64",
            Source::Gen => "gen:",
            Source::Flows => "gen:src=10.0.0.0/20",
        }
    }

    fn open(self) -> Result<Box<dyn Device>, DevError> {
        let params = GenParams { size: Size::Fixed(SIZE), ..GenParams::default() };
        Ok(match self {
            Source::Null => Box::new(Null::source(SIZE)?),
            Source::Gen => Box::new(Gen::new(&params)?),
            Source::Flows => {
                let source = Some(AddressRange::V4(super::deciders::flow_sources()));
                Box::new(Gen::new(&GenParams { source, ..params })?)
            }
        })
    }
}

/// A worker with one source, or two that send to each other, and its program.
pub(super) struct Bed {
    zone: Zone,
    worker: Worker,
    program: Box<dyn Program>,
    /// Packets of a round, if every source gives as many as it is asked for.
    per_round: u64,
}

impl Bed {
    /// The source polled for `budget` packets at a time; a second one when packets are redirected, so that both take what the other gives.
    pub(super) fn new(
        source: Source,
        verdict: Verdict,
        budget: usize,
        program: Box<dyn Program>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let sources = if verdict == Verdict::Redirect { 2 } else { 1 };
        let zone = Zone::new(&ZoneParams::pages(sources * PAGES))?;
        let mut fabric = Fabric::new(1);
        fabric.budget(budget);
        let mut ports = Vec::new();
        for _ in 0..sources {
            let pool = PagePool::new(&zone, PoolParams { limit: PAGES, ..PoolParams::default() })?;
            ports.push(fabric.add(0, source.open()?, pool)?);
        }
        for &port in &ports {
            if let Some(target) = verdict.target(port) {
                fabric.pace(port, target);
            }
        }
        let worker = fabric.build()?.remove(0);
        Ok(Self { zone, worker, program, per_round: (sources * budget) as u64 })
    }

    /// The memory under it.
    pub(super) fn backing(&self) -> Backing {
        self.zone.region().backing()
    }

    /// Rounds of the loop until about so many packets have gone through it; tells how many did by what the worker itself has counted.
    pub(super) fn turn(&mut self, packets: u64, clock: Clock) -> Result<Lap, String> {
        let before = self.received();
        let begin = clock.now();
        for _ in 0..packets.div_ceil(self.per_round) {
            self.worker.poll(self.program.as_mut());
        }
        let ticks = clock.now() - begin;
        match self.received() - before {
            0 => Err("no packet came through".to_owned()),
            elements => Ok(Lap { ticks, elements }),
        }
    }

    /// Packets received so far.
    fn received(&self) -> u64 {
        self.worker.stats().ports.iter().map(|port| port.rx.packets).sum()
    }

    /// Ends the worker: what it counted, and where the pages of its zone are.
    pub(super) fn close(self) -> (WorkerStats, PageAccount) {
        let stats = self.worker.close();
        (stats, Account::open(&self.zone).close(Users::Gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::xdp::deciders::{self, Decider};
    use waterwheel_xdp::DropReason;

    const ROUNDS: u64 = 100;

    #[test]
    fn every_round_moves_what_the_budget_says_and_every_page_comes_home() {
        let clock = Clock::new();
        for verdict in Verdict::ALL {
            for budget in [1, 64, 256] {
                for source in [Source::Null, Source::Gen] {
                    let mut bed = Bed::new(source, verdict, budget, deciders::of_the_binary(verdict)).expect("memory");
                    let lap = bed.turn(ROUNDS * bed.per_round, clock).expect("packets");
                    assert_eq!(lap.elements, ROUNDS * bed.per_round, "{verdict:?} {budget} {source:?}");
                    check(bed, verdict, lap.elements);
                }
            }
        }
    }

    #[test]
    fn every_packet_is_understood_and_every_flow_is_known() {
        let clock = Clock::new();
        for verdict in Verdict::ALL {
            for decider in Decider::ALL {
                let mut bed = Bed::new(Source::Flows, verdict, 64, decider.program(verdict)).expect("memory");
                let lap = bed.turn(3 * u64::from(deciders::FLOWS), clock).expect("packets");
                check(bed, verdict, lap.elements);
            }
        }
    }

    /// The worker counted `packets` under the verdict alone, lost none of them, and all pages are free.
    fn check(bed: Bed, verdict: Verdict, packets: u64) {
        let (stats, account) = bed.close();
        let (counted, sent, dropped) = match verdict {
            Verdict::Drop => (stats.actions.drop, 0, packets),
            Verdict::Tx => (stats.actions.tx, packets, 0),
            Verdict::Redirect => (stats.actions.redirect, packets, 0),
        };
        assert_eq!((counted, stats.actions.total()), (packets, packets), "{verdict:?}: {stats:?}");
        assert_eq!(stats.ports.iter().map(|port| port.tx.packets).sum::<u64>(), sent, "{verdict:?}");
        assert_eq!((stats.drops.get(DropReason::Program), stats.drops.total()), (dropped, dropped), "{verdict:?}");
        assert!(account.is_whole(), "{verdict:?}: {account:?}");
    }
}
