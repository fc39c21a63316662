//! The pool against a model of it: who holds how many pages of which direction, and what limit, floors and zone leave to be given.

mod common;

use common::{Device, RX, TX, assert_whole, node_zone};
use proptest::prelude::*;
use waterwheel_page_pool::mm::{Account, Page, PageFrag, PageRef, Users, Zone};
use waterwheel_page_pool::{Direction, PagePool, PoolParams};

#[derive(Debug, Clone)]
enum Step {
    Alloc(Direction),
    AllocBulk(Direction, usize),
    /// Back by the owner's token.
    Put(usize),
    /// Back by its drop, here or on another thread.
    Drop {
        which: usize,
        elsewhere: bool,
    },
    Share(usize),
    DropShared(usize),
    Frag {
        bytes: usize,
    },
    DropFrag(usize),
    OtherNode,
    Shrink(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let direction = || prop_oneof![Just(RX), Just(TX)];
    prop_oneof![
        6 => direction().prop_map(Step::Alloc),
        3 => (direction(), 0..200usize).prop_map(|(direction, count)| Step::AllocBulk(direction, count)),
        6 => any::<usize>().prop_map(Step::Put),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, elsewhere)| Step::Drop { which, elsewhere }),
        2 => any::<usize>().prop_map(Step::Share),
        3 => any::<usize>().prop_map(Step::DropShared),
        3 => (1..5000usize).prop_map(|bytes| Step::Frag { bytes }),
        3 => any::<usize>().prop_map(Step::DropFrag),
        1 => Just(Step::OtherNode),
        1 => (0..100usize).prop_map(Step::Shrink),
    ]
}

/// The pool, its zones, and everything that is out.
struct Model {
    zones: [Zone; 2],
    device: Device,
    pool: PagePool,
    limit: usize,
    floors: [usize; 2],
    out: Vec<(Direction, Page)>,
    shared: Vec<(Direction, PageRef)>,
    frags: Vec<PageFrag>,
}

fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

impl Model {
    /// Pages of `direction` that the model knows to be out, without those that fragments lie in.
    fn known(&self, direction: Direction) -> usize {
        let of = |d: &Direction| *d == direction;
        self.out.iter().filter(|(d, _)| of(d)).count() + self.shared.iter().filter(|(d, _)| of(d)).count()
    }

    /// The rules that hold after pages of `direction` have gone out: those from index `from` on.
    fn gave(&mut self, direction: Direction, from: usize) {
        let node = self.zones[0].id();
        assert!(self.out[from..].iter().all(|(_, page)| page.region_id() == node), "a page of the other node came out");
        let floor = self.floors[usize::from(direction == RX)]; // the other direction's
        assert!(self.known(direction) + floor <= self.limit, "the other direction's floor was broken");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Alloc(direction) => {
                if let Some(page) = self.pool.alloc(direction) {
                    self.out.push((direction, page));
                    self.gave(direction, self.out.len() - 1);
                } else {
                    self.refused(direction);
                }
            }
            Step::AllocBulk(direction, count) => {
                let before = self.out.len();
                self.out.extend(self.pool.hand_out(direction, count).map(|page| (direction, page)));
                let got = self.out.len() - before;
                self.gave(direction, before);
                if got < count {
                    self.refused(direction);
                }
            }
            Step::Put(which) => {
                if let Some((_, page)) = take(&mut self.out, which) {
                    self.pool.put(page);
                }
            }
            Step::Drop { which, elsewhere } => {
                let page = take(&mut self.out, which);
                if elsewhere {
                    std::thread::spawn(|| drop(page)).join().expect("the other thread");
                }
            }
            Step::Share(which) => {
                if let Some((direction, page)) = take(&mut self.out, which) {
                    let page = page.share();
                    self.shared.push((direction, page.clone()));
                    drop(page);
                }
            }
            Step::DropShared(which) => drop(take(&mut self.shared, which)),
            Step::Frag { bytes } => {
                if let Some(mut frag) = self.pool.alloc_frag(bytes, 64) {
                    assert!(frag.len() == bytes && bytes <= 4096);
                    frag.fill(bytes as u8);
                    self.frags.push(frag);
                }
            }
            Step::DropFrag(which) => {
                if let Some(frag) = take(&mut self.frags, which) {
                    assert!(frag.iter().all(|byte| *byte == frag.len() as u8), "somebody else wrote into the fragment");
                }
            }
            Step::OtherNode => {
                self.zones.swap(0, 1);
                self.pool.set_zone(&self.zones[0]).expect("both are mapped");
            }
            Step::Shrink(keep) => self.pool.shrink(keep),
        }
        self.check();
    }

    /// A refusal needs a reason: the limit, the other direction's floor, or a zone without pages (the zones here are large enough for any).
    fn refused(&mut self, direction: Direction) {
        let floor = self.floors[usize::from(direction == RX)];
        let all = self.pool.outstanding() as usize;
        let mine = all - self.known(if direction == RX { TX } else { RX });
        let others = (all - mine).max(floor);
        let reserved = if self.floors == [0, 0] { all - mine } else { others };
        assert!(
            mine + reserved >= self.limit || self.pool.stats().inflight() as usize >= self.limit,
            "refused for nothing"
        );
    }

    fn check(&mut self) {
        let stats = self.pool.stats();
        assert!(stats.inflight() as usize <= self.limit);
        assert_eq!(self.device.mapped(), stats.inflight() as usize, "mapped, and the pool's, is the same");
        let out = self.pool.outstanding() as usize;
        let known = self.known(RX) + self.known(TX);
        // Fragments lie in pages; the pool itself holds on to the page that it cuts from.
        assert!((known..=known + self.frags.len() + 1).contains(&out), "{out} out, {known} known");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_with_its_pages_the_pool_keeps_its_rules(
        limit in 1..300usize,
        floors in prop_oneof![Just((0, 0)), (0..100usize, 0..100usize)],
        high in prop::option::of(0..100usize),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        prop_assume!(floors.0 + floors.1 <= limit);
        let zones = [node_zone(1024, 0), node_zone(1024, 1)];
        let device = Device::default();
        let params = PoolParams {
            limit, floor_rx: floors.0, floor_tx: floors.1, high, dma: Some(Box::new(device.clone())), ..PoolParams::default()
        };
        let pool = PagePool::new(&zones[0], params).expect("the floors are within the limit");
        let (out, shared, frags) = Default::default();
        let mut model = Model {
            zones: zones.clone(), device: device.clone(), pool, limit, floors: [floors.0, floors.1], out, shared, frags,
        };
        steps.into_iter().for_each(|step| model.step(step));

        let mut balance = (0, 0);
        for zone in &zones {
            let mut account = Account::open(zone);
            model.pool.account(&mut account);
            let account = account.close(Users::Alive);
            balance = (balance.0 + account.held_by_users, balance.1 + account.conflicts);
        }
        prop_assert_eq!(balance, (model.pool.outstanding() as usize, 0));
        // The pool first, then what is out: later returns go to the zones.
        let Model { pool, out, shared, frags, .. } = model;
        drop(pool);
        prop_assert_eq!(device.mapped(), 0);
        drop((out, shared, frags));
        zones.iter().for_each(assert_whole);
    }
}
