//! One worker between memory devices, made as the binary makes it.

use super::deciders::{self, Verdict};
use crate::harness::{Clock, Lap};
use std::time::Duration;
use waterwheel_dev::DevError;
use waterwheel_dev::generator::{AddressRange, Gen, GenParams, Size};
use waterwheel_dev::null::Null;
use waterwheel_xdp::mm::{Backing, PageAccount, Users, ZoneParams};
use waterwheel_xdp::{Account, Device, Fabric, PagePool, PoolParams, PortId, Program, Worker, WorkerStats, Zone, veth};

/// Bytes of a packet without FCS.
pub(crate) const SIZE: usize = 64;
/// Frames that lie between the ends of a veth, as in the binary.
const VETH_RING: usize = 1024;
/// Pages of a receiver's pool, as the binary gives a memory device: what is under way between a few batches.
const PAGES: usize = 1024;

/// Where packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Pages that nobody writes, as DPDK's `net_null` and the kernel's live frames give them.
    Null,
    /// One flow, written packet by packet.
    Gen,
    /// [`FLOWS`](deciders::FLOWS) flows in turn.
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
                let source = Some(AddressRange::V4(deciders::flow_sources()));
                Box::new(Gen::new(&GenParams { source, ..params })?)
            }
        })
    }
}

/// A worker, its sources and its program.
pub(super) struct Bed {
    zone: Zone,
    worker: Worker,
    program: Box<dyn Program>,
    /// The first ports are sources: so many.
    sources: usize,
    budget: usize,
}

type Failure = Box<dyn std::error::Error>;

impl Bed {
    /// The source polled for `budget` packets at a time; a second one when packets are redirected, so that both take what the other gives.
    pub(super) fn new(
        source: Source,
        verdict: Verdict,
        budget: usize,
        program: Box<dyn Program>,
    ) -> Result<Self, Failure> {
        let mut devices = vec![source.open()?];
        if verdict == Verdict::Redirect {
            devices.push(source.open()?);
        }
        let target = |port| verdict.target(port).unwrap_or(port);
        Self::build(devices.len(), devices, target, budget, program)
    }

    /// A source whose packets are sent into a veth, received at its far end, and dropped there: the [program](deciders::to_far_end) says so.
    pub(super) fn to_far_end(source: Source, budget: usize, program: Box<dyn Program>) -> Result<Self, Failure> {
        let (near, far) = veth("near", "far", VETH_RING);
        let devices: Vec<Box<dyn Device>> = vec![source.open()?, Box::new(near), Box::new(far)];
        Self::build(1, devices, |_| deciders::NEAR, budget, program)
    }

    /// The first `sources` of `devices` receive no more than what their `target` has room for.
    fn build(
        sources: usize,
        devices: Vec<Box<dyn Device>>,
        target: impl Fn(PortId) -> PortId,
        budget: usize,
        program: Box<dyn Program>,
    ) -> Result<Self, Failure> {
        let zone = Zone::new(&ZoneParams::pages(devices.len() * PAGES))?;
        let mut fabric = Fabric::new(1);
        fabric.budget(budget);
        let mut ports = Vec::new();
        for device in devices {
            let pool = PagePool::new(&zone, PoolParams { limit: PAGES, ..PoolParams::default() })?;
            ports.push(fabric.add(0, device, pool)?);
        }
        ports[..sources].iter().for_each(|&port| fabric.pace(port, target(port)));
        let worker = fabric.build()?.remove(0);
        Ok(Self { zone, worker, program, sources, budget })
    }

    /// The memory under it.
    pub(super) fn backing(&self) -> Backing {
        self.zone.region().backing()
    }

    /// Rounds of the loop until about so many packets have gone through it; tells how many did by what the worker itself has counted.
    pub(super) fn turn(&mut self, packets: u64, clock: Clock) -> Result<Lap, String> {
        let rounds = packets.div_ceil(self.per_round());
        self.rounds(rounds, 0, clock)
    }

    /// The same, for at least so long, whatever the number of packets.
    pub(super) fn turn_for(&mut self, time: Duration, clock: Clock) -> Result<Lap, String> {
        const BETWEEN_LOOKS: u64 = 1000; // rounds, so that the reading of the clock is lost in them
        self.rounds(BETWEEN_LOOKS, clock.ticks(time.as_nanos() as f64), clock)
    }

    /// `rounds` of the loop, again and again until `least` ticks are over.
    fn rounds(&mut self, rounds: u64, least: u64, clock: Clock) -> Result<Lap, String> {
        let before = self.received();
        let begin = clock.now();
        let ticks = loop {
            self.round(rounds);
            let ticks = clock.now() - begin;
            if ticks >= least {
                break ticks;
            }
        };
        match self.received() - before {
            0 => Err("no packet came through".to_owned()),
            elements => Ok(Lap { ticks, elements }),
        }
    }

    /// So many rounds of the loop.
    pub(super) fn round(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.worker.poll(self.program.as_mut());
        }
    }

    /// Packets of a round, if every source gives as many as it is asked for.
    fn per_round(&self) -> u64 {
        (self.sources * self.budget) as u64
    }

    /// Packets received from the sources so far.
    fn received(&self) -> u64 {
        self.worker.stats().ports[..self.sources].iter().map(|port| port.rx.packets).sum()
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
    use crate::programs::xdp::deciders::Decider;
    use waterwheel_xdp::DropReason;

    const ROUNDS: u64 = 100;

    #[test]
    fn every_round_moves_what_the_budget_says_and_every_page_comes_home() {
        let clock = Clock::new();
        for verdict in Verdict::ALL {
            for budget in [1, 64, 256] {
                for source in [Source::Null, Source::Gen] {
                    let mut bed = Bed::new(source, verdict, budget, deciders::of_the_binary(verdict)).expect("memory");
                    let lap = bed.turn(ROUNDS * bed.per_round(), clock).expect("packets");
                    assert_eq!(lap.elements, ROUNDS * bed.per_round(), "{verdict:?} {budget} {source:?}");
                    let longer = bed.turn_for(Duration::from_millis(1), clock).expect("packets");
                    assert!(clock.ns(longer.ticks) >= 1e6);
                    check(bed, verdict, lap.elements + longer.elements);
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

    #[test]
    fn what_goes_into_the_veth_is_dropped_at_its_far_end() {
        for swap in [false, true] {
            let mut bed = Bed::to_far_end(Source::Null, 64, deciders::to_far_end(swap)).expect("memory");
            let lap = bed.turn(6400, Clock::new()).expect("packets");
            let (stats, account) = bed.close();
            assert_eq!((lap.elements, stats.actions.redirect, stats.actions.drop), (6400, 6400, 6400));
            assert_eq!(stats.drops.total(), 6400, "by the program at the far end, and by nobody else");
            assert!(account.is_whole(), "{account:?}");
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
