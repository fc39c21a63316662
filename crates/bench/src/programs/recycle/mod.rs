//! `recycle`: the schemes of the talk's slides, rebuilt over the same pages, under loads that hold packets as real receivers do.
//!
//! A load is a [`plan`] in virtual time: one packet arrives per step, and at the end of the step those let go whose time has come. A scheme gives the driver its buffers
//! ([`scheme`]); all schemes are driven by the same plan ([`run`]).

mod allocator_only;
mod destructor_pool;
mod driver_cache;
mod generic_pool;
mod intel_ring;
mod load_alone;
mod loads;
mod memory;
mod plan;
mod real;
mod run;
mod scheme;
#[cfg(test)]
mod tests;

use self::allocator_only::AllocatorOnly;
use self::destructor_pool::{DestructorPool, Way};
use self::driver_cache::DriverCache;
use self::generic_pool::GenericPool;
use self::intel_ring::IntelRing;
use self::load_alone::LoadAlone;
use self::loads::{LOADS, Load};
use self::plan::Plan;
use self::run::{Figures, Run};
use self::scheme::{RING, Scheme};
use crate::harness::{Case, Group, Interrupted, Program};
use crate::programs::setup;
use std::rc::Rc;
use waterwheel_mm::{PAGE_SIZE, TooManyOwners, Zone};
use waterwheel_page_pool::REFILL;

/// Pages of a scheme beyond what the load holds and the receive ring: enough for the cache and the allocator's lists of each of them.
const SLACK: usize = 4096;

/// What is done per element in every row, but for how holders let go.
const DRIVING: &str =
    "one packet received into a posted page and handed up shared, another page posted, and what is due let go";

pub(crate) fn program() -> Program {
    let case = |(x, load): (usize, &'static Load)| {
        Case::new(load.name, "recycle", x as u32, move |group| measure(group, load))
    };
    Program {
        name: "recycle",
        about: "the drivers' schemes of page recycling, rebuilt over the same pages, under loads that hold packets as real receivers do",
        answers: "slides \"Driver page recycling\", \"Need “handle” to page after leaving the driver\": will it work for many sockets that queue, and for TCP?",
        notes: vec![
            "the schemes are rebuilt from the talk's words and run over this project's pages and lists, on one CPU, without a device: they show what each idea does under a load, not \
             how fast the driver was that had it. Every scheme has a receive ring of 512 buffers, the same zone, and per-CPU lists as Linux has them today (high 1008, batch 63)",
            "hits %: packets whose buffer needed no page from the allocator. allocator pages/packet: taken and given back. map+unmap/packet: calls. held: pages of the scheme, its \
             ring and the holders. All are counted over one period of the load after two of warming up, in virtual time, and are the same on every machine",
            "ns is the lesser witness here. Allocating and freeing a page take a few ns in these lists and many times that in the kernel; mapping is one store into a table, where a real \
             IOMMU walks, waits and invalidates. So what a miss costs in a real driver is to be reckoned from the counts. And the work is not equal: a rebuilt scheme is called on its own \
             thread, with nothing shared and no lock, where `pool with destructor` is a plain drop that may happen on any thread; `pool with destructor, put` is its like",
            "will it work for many sockets that queue, and for TCP? The intel ring recycles what is let go within the time of one ring, 512 packets, and nothing else. The driver cache \
             recycles at most its 256 places in the time that packets are held, and one page held at its head blocks all that came free behind it. Both are perfect under \
             `drop at once`, which is the benchmark that looked good; under TCP with a round trip longer than that they are the allocator with extra steps: a page allocated, mapped, and unmapped with its packet in flight, for each packet. So: yes while queues are short, in \
             part where some are, and no for TCP over any distance; a larger ring or cache moves the limit and does not lift it",
            "the generic pool works for both, since holders call it when they let go, however late. It loses what comes back at once beyond its 128 + 1024 places, and pages of which \
             somebody else has a reference of his own at that moment (a splice, a get_page; clones of one packet share one). The \
             pool with destructor loses neither: it has places for its limit, and the last holder sends the page home whoever it is. What it pays: memory, as it keeps what it once needed until it is shrunk (held, mean), and, by plain drop, a return path that other threads could use too",
        ],
        cases: LOADS.iter().enumerate().map(case).chain(real::cases()).collect(),
    }
}

/// Everybody's zone: as large as the load needs.
fn zone_pages(plan: &Plan) -> usize {
    plan.most_held() + RING + SLACK
}

/// The limit of the pool with destructor: what the load needs, and one refill.
fn limit(plan: &Plan) -> usize {
    plan.most_held() + RING + REFILL
}

fn measure(group: &mut Group<'_, '_>, load: &Load) -> Result<(), Interrupted> {
    let plan = Rc::new((load.plan)());
    group.note(&format!(
        "{}; when the next arrives at most {} are held. Every scheme has a zone of {} pages; the limit of the pool with destructor is {}",
        load.about,
        plan.most_held(),
        zone_pages(&plan),
        limit(&plan)
    ));
    alone(group, &plan);
    rebuilt(group, &plan, "allocator only", AllocatorOnly::new);
    rebuilt(group, &plan, "intel ring", IntelRing::new);
    rebuilt(group, &plan, "driver cache", DriverCache::new);
    rebuilt(group, &plan, "generic pool", GenericPool::new);
    ours(group, &plan, "pool with destructor", Way::Drop, "by plain drop, as on any thread");
    ours(group, &plan, "pool with destructor, put", Way::Put, "by giving them to the pool, on its own thread");
    group.measure()
}

/// The pool as it is.
fn ours(group: &mut Group<'_, '_>, plan: &Rc<Plan>, name: &str, way: Way, how: &str) {
    if let Some(mut run) = prepare(group, plan, name, |zone| DestructorPool::new(zone, limit(plan), way)) {
        let work = format!("{DRIVING}, {how}");
        group.ours(name, work, plan.period() as u64, move |periods| (0..periods).for_each(|_| run.period()));
    }
}

/// A contender that was rebuilt.
fn rebuilt<S: Scheme + 'static>(
    group: &mut Group<'_, '_>,
    plan: &Rc<Plan>,
    name: &str,
    scheme: fn(&Zone) -> Result<S, TooManyOwners>,
) {
    if let Some(mut run) = prepare(group, plan, name, scheme) {
        let work = format!("{DRIVING}, by calling the scheme, on its own thread: no lock, nothing shared");
        group.baseline(name, work, plan.period() as u64, move |periods| (0..periods).for_each(|_| run.period()));
    }
}

/// What is in every row and no scheme's: looking up the plan, and keeping what is held.
fn alone(group: &mut Group<'_, '_>, plan: &Rc<Plan>) {
    let name = "the load alone";
    let (held, mut run) = (plan.held(), Run::new(LoadAlone::default(), plan));
    let mean = held.iter().sum::<usize>() as f64 / held.len() as f64;
    memory(group, name, plan.most_held() as f64, mean);
    let work = "driving the plan with numbers instead of pages: in every row of this case, and not subtracted";
    group.baseline(name, work, plan.period() as u64, move |periods| (0..periods).for_each(|_| run.period()));
}

/// The scheme under its load, warm, its figures given out; `None` after saying why there is none.
fn prepare<S: Scheme, E: std::fmt::Display>(
    group: &mut Group<'_, '_>,
    plan: &Rc<Plan>,
    name: &str,
    scheme: impl FnOnce(&Zone) -> Result<S, E>,
) -> Option<Run<S>> {
    let zone = setup::zone(group, name, zone_pages(plan))?;
    let scheme = scheme(&zone).map_err(|error| group.absent(name, error.to_string())).ok()?;
    let mut run = Run::new(scheme, plan);
    let Figures { hits, allocator, mapping, most_pages, mean_pages, lost } = run.figures();
    group.count(name, "hits %", hits);
    group.count(name, "allocator pages/packet", allocator);
    group.count(name, "map+unmap/packet", mapping);
    memory(group, name, most_pages as f64, mean_pages);
    if lost > 0 {
        group.count(name, "packets lost", lost as f64);
    }
    Some(run)
}

fn memory(group: &mut Group<'_, '_>, name: &str, most_pages: f64, mean_pages: f64) {
    const KIB: f64 = (PAGE_SIZE / 1024) as f64;
    group.count(name, "held, peak KiB", most_pages * KIB);
    group.count(name, "held, mean KiB", mean_pages * KIB);
}
