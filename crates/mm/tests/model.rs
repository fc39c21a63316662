//! The zone against a model of it: a set of free pages, from which a block can be had exactly when an aligned one is free as a whole.

#[allow(unused, reason = "a part of it is used")]
mod common;

use common::{assert_whole, zone};
use proptest::prelude::*;
use std::collections::BTreeSet;
use waterwheel_mm::{Account, FrozenPage, MAX_ORDER, Pcp, PcpParams, Users, Zone};

/// More than one block of the highest order, and not a multiple of it.
const PAGES: usize = 3 * 512;

#[derive(Debug, Clone)]
enum Step {
    Alloc { order: u8 },
    AllocBulk { order: u8, count: usize },
    Split { which: usize, order: u8 },
    Free { which: usize },
    FreeBulk { count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let order = || 0..=MAX_ORDER + 1;
    prop_oneof![
        4 => order().prop_map(|order| Step::Alloc { order }),
        2 => (order(), 0..200usize).prop_map(|(order, count)| Step::AllocBulk { order, count }),
        2 => (any::<usize>(), order()).prop_map(|(which, order)| Step::Split { which, order }),
        6 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => (0..400usize).prop_map(|count| Step::FreeBulk { count }),
    ]
}

/// What is free, and what is out.
struct Model {
    zone: Zone,
    free: BTreeSet<u32>,
    out: Vec<FrozenPage>,
}

fn pages(block: &FrozenPage) -> std::ops::Range<u32> {
    block.number()..block.number() + (1 << block.order())
}

impl Model {
    /// Whether a block of this order is free as a whole.
    fn has(&self, order: u8) -> bool {
        let size = 1u32 << order;
        let whole = |first: u32| (first..first + size).all(|page| self.free.contains(&page));
        order <= MAX_ORDER
            && (0..PAGES as u32).step_by(size as usize).any(|first| first + size <= PAGES as u32 && whole(first))
    }

    /// A block has come out: aligned, and free until now.
    fn came_out(&mut self, block: FrozenPage, order: u8) {
        assert_eq!((block.order(), block.number() % (1 << order)), (order, 0));
        for page in pages(&block) {
            assert!(self.free.remove(&page), "page {page} was out already");
        }
        self.out.push(block);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Alloc { order } => {
                let has = self.has(order);
                let block = self.zone.alloc(order);
                assert_eq!(block.is_some(), has, "order {order}");
                if let Some(block) = block {
                    self.came_out(block, order);
                }
            }
            Step::AllocBulk { order, count } => {
                let mut blocks = Vec::new();
                let got = self.zone.alloc_bulk(order, count, &mut blocks);
                assert_eq!(got, blocks.len());
                blocks.into_iter().for_each(|block| self.came_out(block, order));
                assert!(got == count || !self.has(order), "gave {got} of {count}, and had more");
            }
            Step::Split { which, order } => {
                if self.out.is_empty() {
                    return;
                }
                let block = self.out.swap_remove(which % self.out.len());
                let (before, parts) = (pages(&block), order.min(block.order()));
                let split: Vec<FrozenPage> = block.split(parts).collect();
                assert_eq!(split.iter().flat_map(pages).collect::<Vec<_>>(), before.collect::<Vec<_>>());
                self.out.extend(split);
            }
            Step::Free { which } => {
                if !self.out.is_empty() {
                    let block = self.out.swap_remove(which % self.out.len());
                    self.free.extend(pages(&block));
                }
            }
            Step::FreeBulk { count } => {
                let rest = self.out.len() - count.min(self.out.len());
                self.free.extend(self.out[rest..].iter().flat_map(pages));
                self.zone.free_bulk(self.out.drain(rest..));
            }
        }
        assert_eq!(self.zone.stats().free, self.free.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_zone_gives_what_is_free_and_nothing_else(steps in prop::collection::vec(step(), 1..120)) {
        let zone = zone(PAGES);
        let mut model = Model { zone: zone.clone(), free: (0..PAGES as u32).collect(), out: Vec::new() };
        steps.into_iter().for_each(|step| model.step(step));
        let account = Account::open(&zone).close(Users::Alive);
        prop_assert_eq!((account.free, account.conflicts), (model.free.len(), 0));
        drop(model);
        assert_whole(&zone);
    }

    #[test]
    fn lists_in_front_of_a_zone_give_each_page_once(
        high in 1..300usize,
        batch in 1..100usize,
        steps in prop::collection::vec((0..=4u8, any::<usize>(), any::<bool>()), 1..300),
    ) {
        let zone = zone(PAGES);
        let mut pcp = Pcp::new(&zone, PcpParams { high, batch });
        let (mut out, mut taken): (Vec<FrozenPage>, BTreeSet<u32>) = (Vec::new(), BTreeSet::new());
        for (order, which, alloc) in steps {
            if alloc {
                let Some(block) = pcp.alloc(order) else { continue };
                prop_assert_eq!(block.order(), order);
                prop_assert!(pages(&block).all(|page| taken.insert(page)), "a page was given twice");
                out.push(block);
            } else if !out.is_empty() {
                let block = out.swap_remove(which % out.len());
                pages(&block).for_each(|page| assert!(taken.remove(&page)));
                pcp.free(block);
            }
            prop_assert_eq!(zone.stats().free + pcp.pages() + taken.len(), PAGES);
        }
        drop((pcp, out));
        assert_whole(&zone);
    }
}
