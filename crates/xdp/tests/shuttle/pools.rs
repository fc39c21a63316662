//! Several owners without a loop: each thread has a pool, and pages of all pools go to and fro, as a whole, shared, and in fragments; pools are destroyed while their pages are out, and
//! new ones take over their ids.

use crate::common::{assert_whole, zone};
use crate::explore::{Dice, explore, runs_again_as_it_ran};
use shuttle::thread;
use waterwheel_xdp::mm::{
    Consumer, Destructor, FrozenPage, Home, MAX_OWNERS, Owner, PageFrag, Producer, ptr_ring, release_pages,
};
use waterwheel_xdp::{Direction, Page, PagePool, PageRef, PoolParams, Zone};

/// What one thread sends to the next.
enum Parcel {
    Page(Page),
    Shared(PageRef),
    Frag(PageFrag),
}

impl Parcel {
    fn bytes(&self) -> &[u8] {
        match self {
            Parcel::Page(page) => page,
            Parcel::Shared(page) => page,
            Parcel::Frag(frag) => frag,
        }
    }

    /// What every byte of it is: its page's number.
    fn tag(&self) -> u8 {
        (self.bytes().as_ptr().addr() >> 12) as u8
    }

    #[track_caller]
    fn assert_undamaged(&self) {
        let tag = self.tag();
        let bytes = self.bytes();
        assert!(bytes[..16.min(bytes.len())].iter().all(|byte| *byte == tag), "somebody else wrote into a page");
    }
}

/// One thread: its pool, its ring to the next thread, the ring from the last one, and what it holds.
struct Side {
    zone: Zone,
    pool: PagePool,
    to: Producer<Parcel>,
    from: Consumer<Parcel>,
    held: Vec<Parcel>,
    dice: Dice,
}

/// None while pages of so many former pools are out that there is no id.
fn pool(zone: &Zone, dice: &mut Dice) -> Option<PagePool> {
    let floor = dice.below(2);
    let high = dice.one_in(2).then(|| dice.below(4));
    let params =
        PoolParams { limit: 2 + dice.below(5), floor_rx: floor, floor_tx: floor, high, ..PoolParams::default() };
    PagePool::new(zone, params).ok()
}

impl Side {
    fn alloc(&mut self) {
        let direction = if self.dice.one_in(2) { Direction::Rx } else { Direction::Tx };
        let count = 1 + self.dice.below(3);
        self.held.extend(self.pool.hand_out(direction, count).map(|mut page| {
            let tag = (page.as_ptr().addr() >> 12) as u8;
            page.as_mut_slice()[..16].fill(tag);
            Parcel::Page(page)
        }));
    }

    fn cut(&mut self) {
        if let Some(mut frag) = self.pool.alloc_frag(16 + 1000 * self.dice.below(4), 16) {
            let tag = (frag.as_ptr().addr() >> 12) as u8;
            frag.fill(tag);
            self.held.push(Parcel::Frag(frag));
        }
    }

    /// Shares, clones, or asks whether it is alone: then it may write.
    fn share(&mut self) {
        let Some(parcel) = self.held.pop() else { return };
        match parcel {
            Parcel::Page(page) => self.held.push(Parcel::Shared(page.share())),
            Parcel::Shared(page) if self.dice.one_in(2) => {
                self.held.extend([Parcel::Shared(page.clone()), Parcel::Shared(page)]);
            }
            Parcel::Shared(page) => match page.try_unique() {
                Ok(mut page) => {
                    page.as_mut_slice()[..16].fill(0); // whoever still reads would see it
                    shuttle::thread::yield_now();
                    let tag = (page.as_ptr().addr() >> 12) as u8;
                    page.as_mut_slice()[..16].fill(tag);
                    self.held.push(Parcel::Page(page));
                }
                Err(page) => self.held.push(Parcel::Shared(page)),
            },
            frag @ Parcel::Frag(_) => self.held.push(frag),
        }
    }

    fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let parcel = self.held.swap_remove(self.dice.below(self.held.len()));
        parcel.assert_undamaged();
        match parcel {
            Parcel::Page(page) if self.dice.one_in(2) => self.pool.put(page), // its own or another's
            parcel => drop(parcel),
        }
    }

    /// All whole pages that it has, its own and others'.
    fn let_go_together(&mut self) {
        let mut pages = Vec::new();
        for parcel in self.held.extract_if(.., |parcel| matches!(parcel, Parcel::Page(_))) {
            parcel.assert_undamaged();
            match parcel {
                Parcel::Page(page) => pages.push(page),
                parcel => drop(parcel),
            }
        }
        release_pages(&mut pages);
    }

    fn step(&mut self) {
        match self.dice.below(16) {
            0..=3 => self.alloc(),
            4 => self.cut(),
            5..=7 => self.share(),
            8 => self.let_go(),
            9 => self.let_go_together(),
            10..=12 => {
                if let Some(parcel) = self.held.pop()
                    && let Err(parcel) = self.to.produce(parcel)
                {
                    self.held.push(parcel);
                }
            }
            13 | 14 => {
                self.from.consume_batch(&mut self.held, 2);
                self.held.iter().for_each(Parcel::assert_undamaged);
            }
            _ if self.dice.one_in(2) => self.pool.shrink(0),
            // While pages of the old one are out.
            _ => {
                if let Some(pool) = pool(&self.zone, &mut self.dice) {
                    self.pool = pool;
                }
            }
        }
        assert!(self.pool.stats().inflight() as usize <= self.pool.limit(), "more than the limit");
    }
}

/// The end of all pools: every id can be had, once.
fn assert_ids_are_back() {
    struct Nobody;
    impl Destructor for Nobody {
        fn last_put(&self, _: FrozenPage, _: Home<'_>) {}
    }
    let owners: Vec<Owner> = std::iter::from_fn(|| Owner::register(Nobody).ok()).collect();
    let mut ids: Vec<u16> = owners.iter().map(Owner::id).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(1..=MAX_OWNERS as u16), "an id was lost, or given twice: {ids:?}");
}

fn pages_go_round(mut dice: Dice) {
    let zone = zone(16);
    let count = 2 + dice.below(2);
    let (to, mut from): (Vec<_>, Vec<_>) = (0..count).map(|_| ptr_ring(2)).unzip();
    from.rotate_right(1);
    let threads: Vec<_> = std::iter::zip(to, from)
        .map(|(to, from)| {
            let (zone, mut dice) = (zone.clone(), dice.split());
            let pool = pool(&zone, &mut dice).expect("there are ids for three pools");
            thread::spawn(move || {
                let steps = dice.below(30);
                let mut side = Side { zone, pool, to, from, held: Vec::new(), dice };
                (0..steps).for_each(|_| side.step());
                // What it holds goes before its pool, or after it.
                let Side { pool, held, to, from, mut dice, .. } = side;
                if dice.one_in(2) {
                    drop((pool, held, from, to));
                } else {
                    drop((to, held, from, pool));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_whole(&zone);
    assert_ids_are_back();
}

#[test]
fn pages_of_all_pools_come_home_whenever_pools_go() {
    explore(pages_go_round);
}

#[test]
fn a_schedule_of_pools_runs_again_as_it_ran() {
    runs_again_as_it_ran(pages_go_round);
}
