//! `page_bench05`: from one CPU to another.

mod delay;
mod line;
mod mpsc;
mod pages;
mod ring;
mod sides;

use crate::harness::crew;
use crate::harness::{Case, Group, Interrupted, Program};

/// Values that are put in and taken out at a time: one, as in the original; and a NAPI budget.
const BATCHES: [usize; 2] = [1, 64];
/// The same of the ring alone; and DPDK's usual burst.
const RING_BATCHES: [usize; 3] = [1, 32, 64];

pub(crate) fn program() -> Program {
    let mut cases = vec![line::case(), pages::single_cpu()];
    cases.extend(RING_BATCHES.map(ring::one_thread));
    cases.extend(RING_BATCHES.iter().flat_map(|&batch| ring::cases(batch)));
    cases.extend(BATCHES.iter().flat_map(|&batch| pages::cases(batch)));
    cases.push(delay::case());
    cases.extend(mpsc::cases());
    Program {
        name: "page_bench05",
        about: "from CPU to CPU: ptr_ring alone, pages through ptr_ring, delay + prefetchw, many producers to one consumer",
        answers: "page_bench05_cross_cpu.c; slide \"Moving pages cross CPU\"",
        notes: vec![
            "how far two CPUs are from each other decides these figures: two threads of one core, two cores, two dies, and a virtual machine may be moved between them. `line handed over` is \
             what one cache line costs here and now",
            "`producer` and `consumer` are the original's way: a ring that is partly full is worked on from both sides until one of them would have to wait; it is that side's own time. \
             `both`: the time from the first value to the last, waiting included, per value",
            "pages are allocated through the lists of one CPU and freed into those of the other: they come back through the zone, a batch at a time. Our handle is one word, and freeing \
             looks at no metadata: there is nothing that a prefetch could fetch. `shared pages` do what the kernel's pages do: the allocating CPU writes the page's count, the freeing CPU \
             brings it to 0, so its line travels",
            "the talk's \"delay + prefetchw\" took 58 of 210 cycles off. The loop that is known (page_bench05_cross_cpu.c, experiment1) loses one page in three: it holds two back, and when it \
             frees them the page just taken is overwritten and never freed. If prefetching did nothing at all one would read ring + 2/3 x (page - ring): with the talk's figures 31 + 2/3 x (210 - 31) = 150, \
             and the slide says 152. So of the 58 cycles what remains is 2, which is nothing, unless the slide was made with another loop. Here the original's loop puts the third page aside and frees it \
             after the clock has stopped; the count rows give the same sum from this run's figures",
        ],
        cases,
    }
}

/// The two CPUs between which things are carried; without them says why `name` cannot be measured.
fn two_cpus(group: &mut Group<'_, '_>, name: &str) -> Option<[usize; 2]> {
    let cpus = group.session().cpus();
    let Some(&[from, to]) = cpus.first_chunk() else {
        group.absent(name, "needs a second CPU");
        return None;
    };
    if let Some(why) = crew::cannot_run(&[from, to]) {
        group.absent(name, why);
        return None;
    }
    Some([from, to])
}

/// A case that needs two CPUs.
fn crossing(
    name: String,
    series: &'static str,
    x: usize,
    body: impl Fn(&mut Group<'_, '_>, [usize; 2]) -> Result<(), Interrupted> + 'static,
) -> Case {
    Case::new(name, series, x as u32, move |group| match two_cpus(group, "all") {
        Some(cpus) => body(group, cpus),
        None => Ok(()),
    })
}
