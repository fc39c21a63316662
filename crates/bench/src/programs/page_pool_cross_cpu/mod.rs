//! `page_pool_cross_cpu`: pages that are given back by other CPUs.

mod count;
mod schemes;
mod wait;

use crate::event::Side;
use crate::harness::carry::{End, Sink, Source, whole};
use crate::harness::crew;
use crate::harness::{Case, Group, Interrupted, Program, number};
use crate::peers::dpdk::{self, Crossing, Load, Object};
use crate::programs::rings::InTurn;
use schemes::{Numbered, Way, counted, plain};
use waterwheel_mm::{Consumer, Page, Producer, Zone, ptr_ring};

const RETURNERS: [usize; 4] = [1, 2, 4, 8];
const BATCHES: [usize; 2] = [1, 64];
/// Slots of the ring to each returner, as in the original.
const SLOTS: usize = 1024;

const POOL: &str = "pool, Drop";
const ONE_RING: &str = "one ring, one lock, as the kernel's";

pub(crate) fn program() -> Program {
    let case = |returners: usize, batch: usize| {
        let series = if batch == 1 { "returners, batch 1" } else { "returners, batch 64" };
        let name = format!("{}, batch {batch}", number(returners, "returner"));
        Case::new(name, series, returners as u32, move |group| measure(group, returners, batch))
    };
    Program {
        name: "page_pool_cross_cpu",
        about: "pages of a pool, handed to 1 to 8 threads on other CPUs, which drop them: time, and what the threads have to hand each other per page",
        answers: "bench_page_pool_cross_cpu.c, in which the kernel's return path goes from 110 cycles with one returning CPU to 2323 with four",
        notes: vec![
            "time: from the first page that is allocated to the last that is dropped, per page; it contains the way to the returners, a ring of 1024 slots for each (as in the original)",
            "counts do not depend on the machine: the same sources on atomics that count, threads that run one at a time, the turn passing after each page and, once in 16 accesses, in the \
             middle of something. Contended: a locked instruction whose line another thread wrote last or has read since. Handed over: a line read that another thread wrote, or written \
             that another has. Both sides, filling and draining included; the rings to the returners are not",
            "`one ring, one lock`: ptr_ring behind one mutex for all returners, the owner fetching 64 at a time: the shape of the kernel's page_pool, not its code",
            "waits: until the owner has the page in hand again. When it asks is the owner's affair: the pool asks when its cache is empty, for 64 at a time",
        ],
        cases: BATCHES.iter().flat_map(|&batch| RETURNERS.map(|returners| case(returners, batch))).collect(),
    }
}

/// Pages that go round: what the rings hold, and some for the ways home.
fn pages(returners: usize) -> usize {
    returners * SLOTS + 1024
}

fn measure(group: &mut Group<'_, '_>, returners: usize, batch: usize) -> Result<(), Interrupted> {
    let cpus: Vec<usize> = group.session().cpus().iter().copied().take(returners + 1).collect();
    match crew::cannot_run(&cpus) {
        Some(why) => group.absent("time", why),
        None if cpus.len() <= returners => {
            group.absent("time", format!("{} CPUs would be needed: counted only", returners + 1));
        }
        None => timed(group, &cpus, batch)?,
    }
    group.session().check()?;
    // The batch matters little to the counts.
    if !group.session().options().quick || batch == BATCHES[1] {
        counts(group, returners, batch)?;
    }
    Ok(())
}

fn timed(group: &mut Group<'_, '_>, cpus: &[usize], batch: usize) -> Result<(), Interrupted> {
    let returners = cpus.len() - 1;
    let pages = pages(returners);
    match plain::zone(pages) {
        Ok(zone) => {
            let work = "page allocated, given to another CPU, dropped there (what came together by one release_pages); the pool's return path";
            go_round(group, POOL, Side::Ours, work, cpus, batch, plain::pool(&zone, pages, returners));
        }
        Err(why) => group.absent(POOL, why),
    }
    match plain::zone(pages) {
        Ok(zone) => {
            let work = "page taken, given to another CPU, put into the ring there under its lock";
            go_round(group, ONE_RING, Side::Baseline, work, cpus, batch, plain::one_ring(&zone, pages, returners));
        }
        Err(why) => group.absent(ONE_RING, why),
    }
    for (name, object) in [("rte_pktmbuf + rte_ring", Object::Mbuf), ("rte_mempool + rte_ring", Object::Bare)] {
        let (clock, load) = (group.clock(), Load::Objects(object));
        let crossing = Crossing { clock, consumers: cpus[1..].to_vec(), batch, slots: SLOTS, load };
        match dpdk::cross(cpus[0], crossing) {
            Ok(body) => {
                let work = format!("taken, given to another lcore in bursts of {batch}, freed there into its cache");
                group.fallible(Side::Peer, name, format!("{work} ({})", dpdk::version()), body);
            }
            Err(why) => group.absent(name, why),
        }
    }
    group.measure()?;
    waits(group, cpus);
    Ok(())
}

fn go_round<S, K>(
    group: &mut Group<'_, '_>,
    name: &str,
    side: Side,
    work: &str,
    cpus: &[usize],
    batch: usize,
    way: Result<Way<S, K>, String>,
) where
    S: Source<Page> + Send + 'static,
    K: Sink<Page> + Send + 'static,
{
    let Way { owner, returners } = match way {
        Ok(way) => way,
        Err(why) => return group.absent(name, why),
    };
    let (mut from, mut to) = ends(owner, returners, cpus, batch);
    let clock = group.clock();
    let work = format!("{work}; batches of {batch}");
    group.fallible(side, name, work, move |count| whole(clock, &mut from, &mut to, count, batch));
}

/// The owner on the first CPU, a returner on each of the others, and a ring to each.
#[expect(clippy::type_complexity, reason = "two lists of ends")]
fn ends<S, K>(
    owner: S,
    returners: Vec<K>,
    cpus: &[usize],
    batch: usize,
) -> ([End<InTurn<Producer<Page>>, S, Page>; 1], Vec<End<Consumer<Page>, K, Page>>) {
    let (puts, takes): (Vec<_>, Vec<_>) = returners.iter().map(|_| ptr_ring(SLOTS)).unzip();
    let end = |((take, returner), cpu): ((Consumer<Page>, K), &usize)| End::new(*cpu, take, returner, batch);
    let to = std::iter::zip(takes, returners).zip(&cpus[1..]).map(end).collect();
    ([End::new(cpus[0], InTurn::new(puts), owner, batch)], to)
}

/// How long pages wait, of the pool and of the kernel's shape.
fn waits(group: &mut Group<'_, '_>, cpus: &[usize]) {
    let (clock, returners) = (group.clock(), cpus.len() - 1);
    let (pages, rounds) = (pages(returners), if group.session().options().quick { 50_000 } else { 1_000_000 });
    if let Ok((zone, way)) = with_zone(pages, |zone| plain::pool(zone, pages, returners)) {
        longest(group, POOL, wait::longest_ns(clock, way, cpus, rounds, &zone));
    }
    if let Ok((zone, way)) = with_zone(pages, |zone| plain::one_ring(zone, pages, returners)) {
        longest(group, ONE_RING, wait::longest_ns(clock, way, cpus, rounds, &zone));
    }
    if let Some(asks) = wait::asks_in_vain() {
        group.count(POOL, "asks in vain for a page that was dropped", asks as f64);
    }
}

fn longest(group: &mut Group<'_, '_>, name: &str, ns: Result<f64, String>) {
    match ns {
        Ok(ns) => group.count(name, "us, longest from given back to in hand again", ns / 1000.0),
        Err(why) => group.absent(format!("{name}, wait"), why),
    }
}

fn with_zone<W>(pages: usize, way: impl FnOnce(&Zone) -> Result<W, String>) -> Result<(Zone, W), String> {
    let zone = plain::zone(pages)?;
    let way = way(&zone)?;
    Ok((zone, way))
}

/// The figures that do not depend on the machine.
fn counts(group: &mut Group<'_, '_>, returners: usize, batch: usize) -> Result<(), Interrupted> {
    let zone = match counted::zone(pages(returners)) {
        Ok(zone) => zone,
        Err(why) => {
            group.absent("counts", why);
            return Ok(());
        }
    };
    let numbers = zone.region().pages();
    counts_of(group, POOL, batch, numbers, counted::pool(&zone, pages(returners), returners));
    group.session().check()?;
    counts_of(group, ONE_RING, batch, numbers, counted::one_ring(&zone, pages(returners), returners));
    Ok(())
}

fn counts_of<P, S, K>(
    group: &mut Group<'_, '_>,
    name: &str,
    batch: usize,
    numbers: usize,
    way: Result<Way<S, K>, String>,
) where
    P: Numbered,
    S: Source<P> + Send,
    K: Sink<P> + Send,
{
    let cpu = group.session().cpus().first().copied().unwrap_or(0);
    let pages = if group.session().options().quick { 10_000 } else { 100_000 };
    let tally = match way.and_then(|way| count::count(way, cpu, pages, batch, numbers)) {
        Ok(tally) => tally,
        Err(why) => return group.absent(format!("{name}, counts"), why),
    };
    let counts = tally.counts;
    group.count(name, "rmw/page", tally.per_page(counts.rmw));
    group.count(name, "contended rmw/page", tally.per_page(counts.contended));
    group.count(name, "failed rmw/page", tally.per_page(counts.failed));
    group.count(name, "lines handed over/page", tally.per_page(counts.handovers));
    group.count(name, "pages given back meanwhile, longest wait until in hand again", tally.longest_wait as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Clock;
    use waterwheel_mm::cpu::allowed_cpus;
    use waterwheel_mm::{Account, Users};

    fn goes_round<S, K>(zone: &Zone, way: Way<S, K>, batch: usize)
    where
        S: Source<Page> + Send,
        K: Sink<Page> + Send,
    {
        let cpus = vec![allowed_cpus()[0]; way.returners.len() + 1];
        let (mut from, mut to) = ends(way.owner, way.returners, &cpus, batch);
        let lap = whole(Clock::new(), &mut from, &mut to, 3000, batch).expect("threads");
        assert!(lap.elements >= 3000 && lap.ticks > 0, "{lap:?}");
        drop((from, to));
        assert!(Account::open(zone).close(Users::Gone).is_whole());
    }

    #[test]
    fn every_page_that_went_round_is_home_again() {
        for returners in [1, 3] {
            for batch in BATCHES {
                let zone = plain::zone(pages(returners)).expect("memory");
                goes_round(&zone, plain::pool(&zone, pages(returners), returners).expect("a pool"), batch);
                goes_round(&zone, plain::one_ring(&zone, pages(returners), returners).expect("a ring"), batch);
            }
        }
    }
}
