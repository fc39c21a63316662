//! `page_bench01`: the same page allocated and freed.

use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{self, Peer, Work};
use crate::programs::setup;
use std::hint::black_box;
use waterwheel_mm::{FrozenPage, ORDERS, PCP_MAX_ORDER, Pcp, PcpParams, Zone};

/// The pages of the zone: a few blocks of the highest order.
const PAGES: usize = 8192;

pub(crate) fn program() -> Program {
    let case = |order: u8| Case::new(format!("order {order}"), "order", order, move |group| measure(group, order));
    Program {
        name: "page_bench01",
        about: "a block of one order, allocated and freed again and again: from the zone, and through the per-CPU lists",
        answers: "page_bench01.c; slides \"History: Benchmark page order-0 fast-path\", \"Cost when page order increase (Kernel 4.11-rc1)\"",
        notes: vec![
            "the same block each time: the best that can be had, and with one block the layout of counters decides as much as the work (a store that is read back at \
             once); page_bench02 and page_pool_simple have rows with 64 pages out",
            "of order 4 and up the kernel writes the metadata of every tail page, this zone that of the first: it is other work, not a comparison",
        ],
        cases: (0..ORDERS as u8).map(case).collect(),
    }
}

fn measure(group: &mut Group<'_, '_>, order: u8) -> Result<(), Interrupted> {
    if let Some(zone) = setup::zone(group, "zone", PAGES) {
        let neighbours = neighbours(&zone, order);
        let work =
            "alloc + free of one block under the zone's lock; its buddy is not free, so nothing is split or merged";
        group.ours("zone", work, 1, move |loops| {
            black_box(&neighbours);
            alloc_free(&zone, order, loops);
        });
    }
    if let Some(zone) = setup::zone(group, "zone, merging", PAGES) {
        let work = "alloc + free of one block of a zone that is free as a whole: split from order 10, and merged back, each time";
        group.ours("zone, merging", work, 1, move |loops| alloc_free(&zone, order, loops));
    }
    if order <= PCP_MAX_ORDER
        && let Some(zone) = setup::zone(group, "pcp", PAGES)
    {
        let mut pcp = Pcp::new(&zone, PcpParams::default());
        group.ours("pcp", "alloc + free of one block, through the lists of one CPU (counting on)", 1, move |loops| {
            for _ in 0..loops {
                if let Some(page) = black_box(&mut pcp).alloc(order) {
                    black_box(&mut pcp).free(black_box(page));
                }
            }
        });
    }
    if order == 0 {
        peers::add(group, &[Peer::Mimalloc], Work { count: 1, bulk: false, touch: false });
    }
    group.measure()
}

fn alloc_free(zone: &Zone, order: u8, loops: u64) {
    for _ in 0..loops {
        drop(black_box(black_box(zone).alloc(order)));
    }
}

/// Every second block of `order`, to be held, so that the buddies of the others are not free.
fn neighbours(zone: &Zone, order: u8) -> Vec<FrozenPage> {
    let all: Vec<FrozenPage> = std::iter::from_fn(|| zone.alloc(order)).collect();
    all.into_iter().filter(|block| (block.number() >> order) % 2 == 1).collect()
}
