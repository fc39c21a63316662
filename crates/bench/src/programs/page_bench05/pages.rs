//! Pages through a ring: allocated on one CPU, freed on the other.

use super::crossing;
use super::ring::dpdk_crossing;
use super::sides::{Sides, Which};
use crate::event::Side;
use crate::harness::carry::{End, Sink, Source, whole};
use crate::harness::{Case, Group, Interrupted};
use crate::peers::dpdk::{Crossing, Load, Object};
use crate::programs::setup;
use std::cell::RefCell;
use std::hint::black_box;
use waterwheel_mm::{Destructor, FrozenPage, Home, Owner, PageRef, Pcp, PcpParams, Zone, ptr_ring};

/// Slots of the ring, and pages in it at first: a quarter of the original's, which kept 256 MB of pages in it.
pub(super) const SLOTS: usize = 16384;
pub(super) const PREFILL: u64 = 8192;
/// Pages of one round.
pub(super) const ROUND: u64 = 16384;
/// What the ring holds, a third of a round put aside, and what is in lists.
pub(super) const PAGES: usize = SLOTS + ROUND as usize / 3 + 4096;
/// Slots of the ring where both sides wait for each other.
const SMALL: usize = 1024;

/// Allocates through the lists of its CPU.
pub(super) struct Alloc(pub(super) Pcp);

impl Source<FrozenPage> for Alloc {
    #[inline]
    fn one(&mut self) -> Option<FrozenPage> {
        self.0.alloc(0)
    }

    #[inline]
    fn many(&mut self, out: &mut Vec<FrozenPage>, count: usize) {
        self.0.alloc_bulk(count, out);
    }
}

/// Frees into the lists of its CPU.
pub(super) struct Free(pub(super) Pcp);

impl Sink<FrozenPage> for Free {
    #[inline]
    fn one(&mut self, page: FrozenPage) {
        self.0.free(page);
    }

    #[inline]
    fn many(&mut self, pages: &mut Vec<FrozenPage>) {
        self.0.free_bulk(pages);
    }
}

/// Allocates through the lists of its CPU, and shares: writes the page's count.
pub(super) struct AllocShared {
    lists: Pcp,
    owner: Owner,
}

impl AllocShared {
    pub(super) fn new(group: &mut Group<'_, '_>, name: &str, zone: &Zone) -> Option<Self> {
        let lists = Pcp::new(zone, PcpParams::default());
        let owner = Owner::register(IntoLists).map_err(|error| group.absent(name, error.to_string())).ok()?;
        Some(Self { lists, owner })
    }
}

impl Source<PageRef> for AllocShared {
    #[inline]
    fn one(&mut self) -> Option<PageRef> {
        Some(self.owner.bind(self.lists.alloc(0)?).share())
    }
}

thread_local! {
    /// The lists of the CPU on which this thread is, while it is one that frees shared pages.
    static LISTS: RefCell<Option<Pcp>> = const { RefCell::new(None) };
}

/// What the kernel's put_page does with the last reference: the page goes into the lists of the CPU at hand.
struct IntoLists;

impl Destructor for IntoLists {
    #[inline]
    fn last_put(&self, page: FrozenPage, _home: Home<'_>) {
        LISTS.with_borrow_mut(|lists| {
            if let Some(lists) = lists {
                lists.free(page);
            } // else it is dropped: to the zone
        });
    }
}

/// Drops references, after having kept each back for as long as `keep` says.
pub(super) struct Put<K> {
    lists: Option<Pcp>,
    keep: K,
}

impl<K> Put<K> {
    pub(super) fn new(zone: &Zone, keep: K) -> Self {
        Self { lists: Some(Pcp::new(zone, PcpParams::default())), keep }
    }
}

impl<K: Sink<PageRef>> Sink<PageRef> for Put<K> {
    fn begin(&mut self) {
        LISTS.set(self.lists.take());
    }

    #[inline]
    fn one(&mut self, page: PageRef) {
        self.keep.one(page);
    }

    fn end(&mut self) {
        self.keep.end();
        self.lists = LISTS.take();
    }
}

/// Keeps none back.
pub(super) struct AtOnce;

impl Sink<PageRef> for AtOnce {
    #[inline]
    fn one(&mut self, page: PageRef) {
        drop(page);
    }
}

/// The reference: both ends on one CPU, without a ring.
pub(super) fn single_cpu() -> Case {
    Case::new("single CPU", "single CPU", 1, |group| {
        if let Some(zone) = setup::zone(group, "pcp", PAGES) {
            let mut lists = Pcp::new(&zone, PcpParams::default());
            group.ours("pcp", "alloc + free of one page through the lists of one CPU", 1, move |loops| {
                for _ in 0..loops {
                    if let Some(page) = black_box(&mut lists).alloc(0) {
                        black_box(&mut lists).free(black_box(page));
                    }
                }
            });
            let name = "pcp, shared page";
            if let Some(mut source) = AllocShared::new(group, name, &zone) {
                let work = "alloc, share (write the count), put (the count to 0, destructor, free), on one CPU";
                let mut sink = Put::new(&zone, AtOnce);
                group.ours(name, work, 1, move |loops| {
                    sink.begin();
                    for _ in 0..loops {
                        drop(black_box(black_box(&mut source).one()));
                    }
                    sink.end();
                });
            }
        }
        group.measure()
    })
}

/// Each side's own time, and the time of both.
pub(super) fn cases(batch: usize) -> Vec<Case> {
    let side = |which: Which| {
        let (name, series) = (format!("page, {}, batch {batch}", which.name()), "page across CPUs, one side");
        crossing(name, series, batch, move |group, cpus| one_side(group, cpus, batch, which))
    };
    let both = crossing(format!("page, both, batch {batch}"), "page across CPUs", batch, move |group, cpus| {
        both_sides(group, cpus, batch)
    });
    Which::BOTH.map(side).into_iter().chain([both]).collect()
}

fn one_side(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize, which: Which) -> Result<(), Interrupted> {
    if let Some(zone) = setup::zone(group, "pcp", PAGES) {
        let work = match which {
            Which::Producer => "page allocated through the lists of this CPU and put into the ring",
            Which::Consumer => "page taken out of the ring and freed into the lists of this CPU",
        };
        let work = format!("{work}; {SLOTS} slots, {PREFILL} pages in it at first");
        let (clock, lists) = (group.clock(), || Pcp::new(&zone, PcpParams::default()));
        let (put, take) = ptr_ring(SLOTS);
        let producer = End::new(cpus[0], put, Alloc(lists()), batch);
        let consumer = End::new(cpus[1], take, Free(lists()), batch);
        let mut sides = Sides { clock, producer, consumer, prefill: PREFILL, round: ROUND, batch };
        group.fallible(Side::Ours, "pcp", work, move |count| sides.run(which, count));
    }
    group.measure()
}

fn both_sides(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize) -> Result<(), Interrupted> {
    let clock = group.clock();
    let waits = format!("batches of {batch} through a ring of {SMALL} slots; waits where full or empty");
    if let Some(zone) = setup::zone(group, "pcp", PAGES) {
        let lists = || Pcp::new(&zone, PcpParams::default());
        let (put, take) = ptr_ring(SMALL);
        let mut producer = [End::new(cpus[0], put, Alloc(lists()), batch)];
        let mut consumer = [End::new(cpus[1], take, Free(lists()), batch)];
        let work = format!("page allocated on one CPU, freed on the other, each with its lists; {waits}");
        group.fallible(Side::Ours, "pcp", work, move |count| whole(clock, &mut producer, &mut consumer, count, batch));
    }
    let load = Load::Objects(Object::Bare);
    let crossing = Crossing { clock, consumers: vec![cpus[1]], batch, slots: SMALL, load };
    let work = format!("object taken on one CPU, put on the other, each an lcore with its cache; {waits}");
    dpdk_crossing(group, cpus[0], "rte_mempool + rte_ring", work, crossing);
    group.measure()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Clock;
    use waterwheel_mm::cpu::allowed_cpus;
    use waterwheel_mm::{Account, Users, ZoneParams};

    fn is_whole(zone: &Zone) -> bool {
        Account::open(zone).close(Users::Gone).is_whole()
    }

    #[test]
    fn every_page_that_crossed_is_home_again() {
        let zone = Zone::new(&ZoneParams { pages: PAGES, ..ZoneParams::default() }).expect("memory");
        for batch in [1, 64] {
            for which in Which::BOTH {
                let cpu = allowed_cpus()[0];
                let lists = || Pcp::new(&zone, PcpParams::default());
                let (put, take) = ptr_ring(SLOTS);
                let producer = End::new(cpu, put, Alloc(lists()), batch);
                let consumer = End::new(cpu, take, Free(lists()), batch);
                let mut sides =
                    Sides { clock: Clock::new(), producer, consumer, prefill: PREFILL, round: ROUND, batch };
                sides.run(which, 1000).expect("two threads"); // how far they get is the scheduler's affair
                drop(sides);
                assert!(is_whole(&zone), "{batch} {which:?}");
            }
        }
    }
}
