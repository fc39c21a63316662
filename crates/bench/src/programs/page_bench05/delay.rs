//! Delay + prefetchw: asking for the line of a page's count some time before it is needed.

use super::crossing;
use super::pages::{AllocShared, AtOnce, PAGES, PREFILL, Put, ROUND, SLOTS};
use super::ring::{Constant, Ignore};
use super::sides::{Sides, Which};
use crate::event::Side;
use crate::harness::carry::{End, Sink};
use crate::harness::{Case, Group, Interrupted};
use crate::programs::setup;
use waterwheel_mm::{PageRef, ptr_ring};

/// Pages that the original keeps back. (The slide says one.)
const DELAY: usize = 2;

const RING: &str = "ring alone";
const PLAIN: &str = "freed at once";
const ORIGINAL: &str = "delay + prefetchw, the original's loop";
const CORRECT: &str = "delay + prefetchw, every page freed";

/// Keeps some pages back and frees them together when the next one comes.
struct Delay {
    kept: Vec<PageRef>,
    depth: usize,
    prefetch: bool,
    /// The original's mistake: the page that comes when two are kept is not freed, but put here until the clock has stopped. (The original lost it.)
    aside: Option<Vec<PageRef>>,
}

impl Delay {
    fn new(depth: usize, prefetch: bool, original: bool) -> Self {
        let aside = original.then(|| Vec::with_capacity((ROUND + PREFILL) as usize));
        Self { kept: Vec::with_capacity(depth), depth, prefetch, aside }
    }
}

impl Sink<PageRef> for Delay {
    #[inline]
    fn one(&mut self, page: PageRef) {
        if self.kept.len() == self.depth {
            self.kept.clear();
            if let Some(aside) = &mut self.aside {
                aside.push(page);
                return;
            }
        }
        if self.prefetch {
            page.prefetchw();
        }
        self.kept.push(page);
    }

    fn end(&mut self) {
        self.kept.clear();
        self.aside.iter_mut().for_each(Vec::clear);
    }
}

pub(super) fn case() -> Case {
    crossing("delay + prefetchw, consumer".to_owned(), "delay + prefetchw", 1, measure)
}

fn measure(group: &mut Group<'_, '_>, cpus: [usize; 2]) -> Result<(), Interrupted> {
    let (put, take) = ptr_ring(SLOTS);
    let mut ring = Sides {
        clock: group.clock(),
        producer: End::new(cpus[0], put, Constant, 1),
        consumer: End::new(cpus[1], take, Ignore, 1),
        prefill: PREFILL,
        round: ROUND,
        batch: 1,
    };
    let work = "one word taken out of the ring, by the same loop";
    group.fallible(Side::Ours, RING, work, move |count| ring.run(Which::Consumer, count));
    let taken = "shared page taken out of the ring";
    shared(group, cpus, PLAIN, Side::Ours, format!("{taken} and freed"), AtOnce);
    let work = format!("{taken}; {DELAY} are kept back, then freed together");
    shared(group, cpus, "delay alone", Side::Ours, work, Delay::new(DELAY, false, false));
    let work = format!("{taken}, its count prefetched to write; the one before it is freed");
    shared(group, cpus, "delay of 1 + prefetchw, every page freed", Side::Ours, work, Delay::new(1, true, false));
    let work = format!("{taken}, its count prefetched to write; {DELAY} are kept back, then freed together");
    shared(group, cpus, CORRECT, Side::Ours, work, Delay::new(DELAY, true, false));
    let work = format!(
        "{taken}; of three, two are prefetched, kept back and freed, and one is NOT FREED while the clock runs: less work"
    );
    shared(group, cpus, ORIGINAL, Side::Baseline, work, Delay::new(DELAY, true, true));
    group.measure()?;
    expectation(group);
    Ok(())
}

/// What one would read of the original's loop if prefetching did nothing, and what it really saves when every page is freed.
fn expectation(group: &mut Group<'_, '_>) {
    let medians = [RING, PLAIN, ORIGINAL, CORRECT].map(|name| group.median_ns(name));
    let [Some(ring), Some(plain), Some(original), Some(correct)] = medians else { return };
    group.count(
        ORIGINAL,
        "ns expected without any benefit: ring + 2/3 x (page - ring)",
        ring + 2.0 / 3.0 * (plain - ring),
    );
    group.count(ORIGINAL, "ns that seem to be saved (the talk's 58 cycles)", plain - original);
    group.count(CORRECT, "ns that are saved", plain - correct);
}

fn shared<K>(group: &mut Group<'_, '_>, cpus: [usize; 2], name: &str, side: Side, work: String, keep: K)
where
    K: Sink<PageRef> + Send + 'static,
{
    let Some(zone) = setup::zone(group, name, PAGES) else { return };
    let Some(source) = AllocShared::new(group, name, &zone) else { return };
    let (put, take) = ptr_ring(SLOTS);
    let mut sides = Sides {
        clock: group.clock(),
        producer: End::new(cpus[0], put, source, 1),
        consumer: End::new(cpus[1], take, Put::new(&zone, keep), 1),
        prefill: PREFILL,
        round: ROUND,
        batch: 1,
    };
    group.fallible(side, name, work, move |count| sides.run(Which::Consumer, count));
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::{Destructor, FrozenPage, Home, Owner, Zone, ZoneParams};

    struct Drops;

    impl Destructor for Drops {
        fn last_put(&self, page: FrozenPage, _home: Home<'_>) {
            drop(page);
        }
    }

    /// How many of 9 pages are freed while the clock runs, and after it.
    fn freed(mut delay: Delay) -> [usize; 2] {
        let zone = Zone::new(&ZoneParams::pages(16)).expect("memory");
        let mut owner = Owner::register(Drops).expect("a place");
        for _ in 0..9 {
            delay.one(owner.bind(zone.alloc(0).expect("a page")).share());
        }
        let running = 9 - owner.outstanding() as usize;
        delay.end();
        assert_eq!(zone.stats().free, 16);
        [running, 9 - owner.outstanding() as usize]
    }

    #[test]
    fn the_originals_loop_frees_two_in_three() {
        assert_eq!(freed(Delay::new(DELAY, true, true)), [6, 9]);
    }

    #[test]
    fn the_correct_one_frees_all_but_those_it_keeps() {
        assert_eq!(freed(Delay::new(DELAY, true, false)), [8, 9]);
        assert_eq!(freed(Delay::new(DELAY, false, false)), [8, 9]);
        assert_eq!(freed(Delay::new(1, true, false)), [8, 9]);
    }
}
