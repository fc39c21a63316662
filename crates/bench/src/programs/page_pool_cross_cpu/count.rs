//! What a way home costs on any machine: counted, with threads that take turns.

use super::schemes::{Numbered, Way};
use crate::harness::carry::{Sink, Source};
use crate::harness::crew::Crew;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use waterwheel_count::{Census, Counts};
use waterwheel_mm::{Consumer, Producer, ptr_ring};

/// The turn passes after each page, and in the middle of something once in so many accesses.
const ONE_IN: u64 = 16;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// Pages that were given back.
    pub(super) pages: usize,
    /// The most pages that all together gave back between the moment when one was given back and that when the owner handed it out again.
    pub(super) longest_wait: usize,
}

impl Tally {
    /// So much per page.
    pub(super) fn per_page(&self, count: u64) -> f64 {
        count as f64 / self.pages as f64
    }
}

/// What owner and returners know of each other, beside the way home and uncounted.
struct Table {
    census: Census,
    /// How many pages were given back.
    returned: AtomicUsize,
    /// For each page what `returned` was, plus 1, when somebody began to give it back; 0: it was not out yet.
    stamps: Box<[AtomicUsize]>,
    /// The owner hands out no more.
    done: AtomicBool,
}

/// Has the owner hand out `pages` pages, `batch` at a time to each returner, who gives back one in each turn. All threads run on `cpu`; one at a time runs.
///
/// `numbers` is above the number of any page. `Err`: threads could not be started, or something did not come to its end.
pub(super) fn count<P, S, K>(
    way: Way<S, K>,
    cpu: usize,
    pages: usize,
    batch: usize,
    numbers: usize,
) -> Result<Tally, String>
where
    P: Numbered,
    S: Source<P> + Send,
    K: Sink<P> + Send,
{
    let table = Table {
        census: Census::switching(way.returners.len() + 1, ONE_IN),
        returned: AtomicUsize::new(0),
        stamps: (0..numbers).map(|_| AtomicUsize::new(0)).collect(),
        done: AtomicBool::new(false),
    };
    let (puts, takes): (Vec<_>, Vec<_>) = way.returners.iter().map(|_| ptr_ring(batch)).unzip();
    let mut crew = Crew::new();
    let (table_there, mut owner) = (&table, way.owner);
    crew.add(cpu, move |gate| {
        gate.wait();
        table_there.hand_out(&mut owner, &puts, pages, batch)
    });
    for (id, (mut returner, take)) in way.returners.into_iter().zip(takes).enumerate() {
        let table = &table;
        crew.add(cpu, move |gate| {
            gate.wait();
            table.give_back(&mut returner, &take, id + 1);
            None
        });
    }
    let told = crew.run()?;
    let returned = table.returned.load(Ordering::Relaxed);
    if table.census.is_broken() || returned < pages {
        return Err("a thread waited for its turn in vain".into());
    }
    let longest_wait = told[0].ok_or("the threads did not take turns")?;
    Ok(Tally { counts: table.census.counts(), pages: returned, longest_wait })
}

impl Table {
    /// How many pages were given back since the one of this number was, which is about to be handed out. `None`: fewer than then, so that the threads do not take turns, and no
    /// count is to be trusted.
    fn waited(&self, number: usize) -> Option<usize> {
        match self.stamps[number].load(Ordering::Relaxed) {
            0 => Some(0),
            stamp => (self.returned.load(Ordering::Relaxed) + 1).checked_sub(stamp),
        }
    }

    /// The owner; tells the longest wait, or that there is none as [`waited`](Self::waited) says.
    fn hand_out<P: Numbered>(
        &self,
        owner: &mut impl Source<P>,
        rings: &[Producer<P>],
        pages: usize,
        batch: usize,
    ) -> Option<usize> {
        let _present = self.census.enter(0);
        let (mut sent, mut longest, mut idle) = (0, Some(0), 0);
        let mut out = Vec::with_capacity(batch);
        while sent < pages && idle < pages {
            idle += 1; // if nobody gives anything back this ends too
            for ring in rings {
                if ring.free() < batch {
                    continue; // it has something to do
                }
                owner.many(&mut out, batch);
                for page in &out {
                    longest = longest.zip(self.waited(page.number())).map(|(longest, waited)| longest.max(waited));
                }
                let now = ring.produce_batch(&mut out);
                sent += now;
                idle *= usize::from(now == 0);
            }
            self.census.yield_now();
        }
        self.done.store(true, Ordering::Relaxed);
        while self.returned.load(Ordering::Relaxed) < sent && idle < pages {
            idle += 1;
            self.census.yield_now();
        }
        longest
    }

    fn give_back<P: Numbered>(&self, returner: &mut impl Sink<P>, ring: &Consumer<P>, id: usize) {
        let _present = self.census.enter(id);
        loop {
            match ring.consume() {
                Some(page) => {
                    let stamp = self.returned.load(Ordering::Relaxed) + 1;
                    self.stamps[page.number()].store(stamp, Ordering::Relaxed);
                    returner.one(page);
                    self.returned.fetch_add(1, Ordering::Relaxed);
                }
                None if self.done.load(Ordering::Relaxed) => return,
                None => {}
            }
            self.census.yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schemes::counted;
    use super::*;
    use waterwheel_mm::cpu::allowed_cpus;
    use waterwheel_mm_counted::{Account, Users, Zone};

    const PAGES: usize = 1024;
    const N: usize = 20_000;

    fn tally<K, S>(way: Way<S, K>, zone: &Zone, batch: usize) -> Tally
    where
        S: Source<waterwheel_mm_counted::Page> + Send,
        K: Sink<waterwheel_mm_counted::Page> + Send,
    {
        let tally = count(way, allowed_cpus()[0], N, batch, zone.region().pages()).expect("a count");
        assert!(Account::open(zone).close(Users::Gone).is_whole());
        assert!(tally.pages >= N);
        tally
    }

    #[test]
    fn a_wait_that_cannot_be_is_none() {
        let table = Table {
            census: Census::new(1),
            returned: AtomicUsize::new(10),
            stamps: [0, 11, 3, 12].map(AtomicUsize::new).into(),
            done: AtomicBool::new(false),
        };
        assert_eq!([0, 1, 2, 3].map(|number| table.waited(number)), [Some(0), Some(0), Some(8), None]);
    }

    #[test]
    fn who_drops_a_page_contends_with_nobody_however_many_do() {
        for returners in [2, 4, 8] {
            for batch in [1, 64] {
                let zone = counted::zone(PAGES).expect("memory");
                let tally = tally(counted::pool(&zone, PAGES, returners).expect("a pool"), &zone, batch);
                // One shared fetch_add for each returned page would make it 1.
                assert!(tally.per_page(tally.counts.contended) < 1.0 / 16.0, "{returners} returners: {tally:?}");
                assert!(tally.per_page(tally.counts.failed) < 1.0 / 16.0, "{returners} returners: {tally:?}");
                assert!(tally.per_page(tally.counts.handovers) < 1.0, "{returners} returners: {tally:?}");
            }
        }
    }

    #[test]
    fn with_one_ring_and_one_lock_every_page_is_contended() {
        let zone = counted::zone(PAGES).expect("memory");
        let tally = tally(counted::one_ring(&zone, PAGES, 4).expect("a ring"), &zone, 64);
        assert!(tally.per_page(tally.counts.contended) >= 0.9, "{tally:?}");
        assert!(tally.counts.failed > 0, "{tally:?}");
    }

    #[test]
    fn a_shared_counter_would_show() {
        use waterwheel_count::{AtomicU64, Ordering};

        /// As `Drops`, and a word in common.
        struct Counts<'a>(&'a AtomicU64);
        impl Sink<waterwheel_mm_counted::Page> for Counts<'_> {
            fn one(&mut self, page: waterwheel_mm_counted::Page) {
                self.0.fetch_add(1, Ordering::Relaxed);
                drop(page);
            }
        }
        let (zone, word) = (counted::zone(PAGES).expect("memory"), AtomicU64::new(0));
        let pool = counted::pool(&zone, PAGES, 2).expect("a pool");
        let way = Way { owner: pool.owner, returners: vec![Counts(&word), Counts(&word)] };
        let tally = tally(way, &zone, 64);
        assert!(tally.per_page(tally.counts.contended) > 0.5, "{tally:?}");
    }

    #[test]
    fn a_count_is_the_same_each_time() {
        let run = || {
            let zone = counted::zone(PAGES).expect("memory");
            tally(counted::pool(&zone, PAGES, 2).expect("a pool"), &zone, 1)
        };
        let (a, b) = (run(), run());
        assert_eq!((a.counts.rmw, a.counts.failed), (b.counts.rmw, b.counts.failed));
        // Where memory happens to lie decides who shares a line while lanes are opened, and whether a batch of slots begins in the middle of one.
        assert!(a.counts.contended.abs_diff(b.counts.contended) < 10, "{a:?} {b:?}");
        assert!(a.per_page(a.counts.handovers.abs_diff(b.counts.handovers)) < 0.05, "{a:?} {b:?}");
    }
}
