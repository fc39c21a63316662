//! `page_bench03`: all CPUs at once.

use crate::event::Side;
use crate::harness::crew::{self, Crew, Stretch};
use crate::harness::{Case, Clock, Group, Interrupted, Lap, Program, number};
use crate::programs::setup;
use std::hint::black_box;
use waterwheel_mm::stats::{Count, Off, PerCpu, Shared, SharedCounter};
use waterwheel_mm::{FrozenPage, Pcp, PcpParams, Zone, ZoneParams};

/// Pages of a zone for each CPU: its lists fetch 63 at a time, and up to 64 are out.
const PAGES: usize = 512;
/// Fake nodes.
const NODES: u32 = 2;

static ALLOCATED: SharedCounter = SharedCounter::new();
static FREED: SharedCounter = SharedCounter::new();

pub(crate) fn program() -> Program {
    let all = waterwheel_mm::cpu::allowed_cpus().len().max(1);
    let mut numbers: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < all).collect();
    numbers.push(all);
    let case = |cpus: usize, out: usize, series: &'static str| {
        Case::new(format!("{}, {out} out", number(cpus, "CPU")), series, cpus as u32, move |group| {
            measure(group, cpus, out)
        })
    };
    let single = numbers.iter().map(|&cpus| case(cpus, 1, "parallel, 1 out"));
    let many = numbers.iter().map(|&cpus| case(cpus, 64, "parallel, 64 out"));
    Program {
        name: "page_bench03",
        about: "single pages allocated and freed on 1 to all CPUs at once: counting off, per CPU and shared; one node and fake ones; and the zone's lock alone",
        answers: "page_bench03.c; slide \"Disable zone_statistics (via No-NUMA)\"",
        notes: vec![
            "the figure is the mean of the CPUs: what one page costs on one CPU while the others do the same. Each has lists of its own (pcp), all are in front of one zone",
            "`2 nodes`: fake nodes, a zone each, as the kernel's numa=fake: every allocation looks up the node of its CPU, every free finds the node of its page. That and the counting \
             is what the kernel of the talk left out when it was compiled without NUMA",
            "`1 out` is the original's loop, the same page again and again: information only, as the layout of counters decides as much as the work (a store that is read back at once)",
        ],
        cases: single.chain(many).collect(),
    }
}

fn measure(group: &mut Group<'_, '_>, cpus: usize, out: usize) -> Result<(), Interrupted> {
    let cpus: Vec<usize> = group.session().cpus().iter().copied().take(cpus).collect();
    if let Some(why) = crew::cannot_run(&cpus) {
        group.absent("all", why);
        return Ok(());
    }
    contend(group, "off", &cpus, out, || Off);
    contend(group, "per CPU", &cpus, out, PerCpu::default);
    let mut both = [&ALLOCATED, &FREED].into_iter().cycle();
    contend(group, "shared", &cpus, out, move || Shared(both.next().unwrap_or(&FREED)));
    if let Some(zone) = setup::zone(group, "zone", PAGES * cpus.len()) {
        let zones = vec![zone; cpus.len()];
        parallel(
            group,
            "zone",
            "alloc + free of one page, under the one lock of the zone each time; with 1 out and nobody else there it splits a block of order 10, and merges it again",
            &cpus,
            out,
            zones,
        );
    }
    group.measure()?;
    group.compare(["pcp, counting per CPU", "pcp, counting off"], ["counting per CPU", "counting off"]);
    Ok(())
}

/// The two contenders, one node and fake ones, that count in one way.
fn contend<C: Count + Send + 'static>(
    group: &mut Group<'_, '_>,
    way: &str,
    cpus: &[usize],
    out: usize,
    mut count: impl FnMut() -> C,
) {
    let name = format!("pcp, counting {way}");
    let mut lists = |zone: &Zone| Pcp::counted(zone, PcpParams::default(), count(), count());
    if let Some(zone) = setup::zone(group, &name, PAGES * cpus.len()) {
        let workers: Vec<Pcp<C>> = cpus.iter().map(|_| lists(&zone)).collect();
        let work = format!("alloc + free of one page through the lists of the CPU; counting {way}");
        parallel(group, &name, work, cpus, out, workers);
    }
    let name = format!("pcp, {NODES} nodes, counting {way}");
    let zone = |node| Zone::new(&ZoneParams { node: Some(node), ..ZoneParams::pages(PAGES * cpus.len()) });
    match (0..NODES).map(zone).collect::<Result<Vec<Zone>, _>>() {
        Ok(zones) => {
            let worker =
                |cpu: usize| Nodes { lists: zones.iter().map(&mut lists).collect(), local: cpu % NODES as usize };
            let workers: Vec<Nodes<C>> = (0..cpus.len()).map(worker).collect();
            let work = format!("the same, but lists and zone are those of the CPU's node; counting {way}");
            parallel(group, &name, work, cpus, out, workers);
        }
        Err(error) => group.absent(name, error.to_string()),
    }
}

/// Where pages come from and go to on one CPU.
trait Pages: Send {
    fn alloc(&mut self) -> Option<FrozenPage>;
    fn free(&mut self, page: FrozenPage);
}

impl<C: Count + Send> Pages for Pcp<C> {
    #[inline]
    fn alloc(&mut self) -> Option<FrozenPage> {
        Pcp::alloc(self, 0)
    }

    #[inline]
    fn free(&mut self, page: FrozenPage) {
        Pcp::free(self, page);
    }
}

impl Pages for Zone {
    #[inline]
    fn alloc(&mut self) -> Option<FrozenPage> {
        Zone::alloc(self, 0)
    }

    #[inline]
    fn free(&mut self, page: FrozenPage) {
        drop(page);
    }
}

/// The lists of one CPU for each node.
struct Nodes<C: Count> {
    lists: Vec<Pcp<C>>,
    /// The CPU's node.
    local: usize,
}

impl<C: Count + Send> Pages for Nodes<C> {
    #[inline]
    fn alloc(&mut self) -> Option<FrozenPage> {
        self.lists[self.local].alloc(0)
    }

    #[inline]
    fn free(&mut self, page: FrozenPage) {
        let id = page.region_id();
        if let Some(lists) = self.lists.iter_mut().find(|lists| lists.zone().id() == id) {
            lists.free(page);
        }
    }
}

/// A contender: each CPU takes `out` pages and gives them back in the same order.
fn parallel<P: Pages + 'static>(
    group: &mut Group<'_, '_>,
    name: &str,
    work: impl Into<String>,
    cpus: &[usize],
    out: usize,
    mut workers: Vec<P>,
) {
    let (clock, cpus) = (group.clock(), cpus.to_vec());
    group.fallible(Side::Ours, name, work, move |pages| all_at_once(clock, &cpus, &mut workers, out, pages));
}

/// About `pages` pages, on all CPUs together; the time is their mean.
fn all_at_once<P: Pages>(
    clock: Clock,
    cpus: &[usize],
    workers: &mut [P],
    out: usize,
    pages: u64,
) -> Result<Lap, String> {
    let loops = pages.div_ceil((out * cpus.len()) as u64);
    let mut crew = Crew::new();
    for (cpu, worker) in cpus.iter().zip(workers) {
        crew.add(*cpu, move |gate| {
            let mut store: Box<[Option<FrozenPage>]> = (0..out).map(|_| None).collect();
            gate.wait();
            let begin = clock.now();
            for _ in 0..loops {
                let worker = black_box(&mut *worker);
                store.iter_mut().for_each(|place| *place = worker.alloc());
                black_box(&mut store).iter_mut().filter_map(Option::take).for_each(|page| worker.free(page));
            }
            Stretch { begin, end: clock.now(), elements: loops * out as u64 }
        });
    }
    crew.run().map(|members| Stretch::mean(&members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::cpu::allowed_cpus;
    use waterwheel_mm::{Account, Users};

    #[test]
    fn every_page_is_home_again_on_its_node() {
        let zones = [0, 1].map(|node| Zone::new(&ZoneParams { node: Some(node), ..ZoneParams::pages(512) }));
        let zones = zones.map(|zone| zone.expect("memory"));
        let lists = |zone: &Zone| Pcp::new(zone, PcpParams::TALK);
        let node = |local| Nodes { lists: zones.iter().map(lists).collect(), local };
        let mut workers = [node(0), node(1)];
        let cpu = allowed_cpus()[0];
        let lap = all_at_once(Clock::new(), &[cpu, cpu], &mut workers, 64, 10_000).expect("two threads");
        assert!(lap.elements >= 10_000 && lap.ticks > 0, "{lap:?}");
        for (worker, local) in workers.iter().zip([0, 1]) {
            let counts: Vec<(u64, u64)> = worker.lists.iter().map(Pcp::counts).collect();
            assert_eq!(counts[1 - local], (0, 0), "a page was taken from another node");
            assert_eq!(counts[local].0, counts[local].1);
        }
        drop(workers);
        assert!(zones.iter().all(|zone| Account::open(zone).close(Users::Gone).is_whole()));
    }
}
