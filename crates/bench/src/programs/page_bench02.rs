//! `page_bench02`: N pages out before the first is freed.

use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{self, Peer, Work};
use crate::programs::setup::{self, outstanding, outstanding_of};
use std::cell::RefCell;
use std::rc::Rc;
use waterwheel_mm::{Pcp, PcpParams};
use waterwheel_page_pool::{Direction, PagePool};

/// Most pages out at a time.
const MOST: usize = 16384;

/// The settings of the lists, and why each shows a knee or none.
const SETTINGS: [(&str, PcpParams); 3] = [
    ("pcp 128/32", PcpParams::TALK),
    ("pcp 186/31", PcpParams::LINUX_4_11),
    ("pcp 1008/63", PcpParams { high: 16 * 63, batch: 63 }),
];

pub(crate) fn program() -> Program {
    let case = |n: usize| Case::new(format!("N={n}"), "outstanding", n as u32, move |group| measure(group, n));
    let mut cases: Vec<Case> = sizes().map(case).collect();
    cases.push(Case::new("flatness", "flatness", 0, flatness));
    Program {
        name: "page_bench02",
        about: "N single pages allocated, then all freed in the same order, for N up to 16384",
        answers: "page_bench02.c; slides \"Pressure PCP lists with many out-standing pages\", \"Compare vs. No-NUMA out-standing pages test\"",
        notes: vec![
            "pcp HIGH/BATCH: 128/32 is what the talk's curve showed, 186/31 what Linux 4.11 had (sampled at powers of two its knee reads as 128), 1008/63 has today's batch. \
             A knee is where N exceeds HIGH: from there on every batch goes through the zone's lock and the buddy lists. The kernel of today tunes HIGH up to a part of the \
             zone and shows none; the pool keeps as many pages as its limit and shows none either",
            "no page is touched here. rte_pktmbuf sets up a header in each buffer, which is work that the others do not do: above some thousand out it no longer fits the caches. \
             mimalloc links free blocks through themselves",
            "flatness: one pool whose limit is the largest N; all N in turn, so that they meet the same noise. The ratio is that of the N with the highest median to that with the lowest",
        ],
        cases,
    }
}

/// 1, 2, 4 ... [`MOST`].
fn sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n <= MOST)
}

/// One pool, all N: how much the worst differs from the best.
fn flatness(group: &mut Group<'_, '_>) -> Result<(), Interrupted> {
    let Some(pool) = setup::pool(group, "pool, put", MOST) else { return Ok(()) };
    let pool = Rc::new(RefCell::new(pool));
    let name = |n: usize| format!("pool, put, N={n}");
    for n in sizes() {
        // The loop gets the pool itself: a look into the `RefCell` for each page would be in the time.
        let shared = pool.clone();
        let mut body = outstanding_of(n, |pool: &mut PagePool, _| pool.alloc(Direction::Rx), PagePool::put);
        let work = "page from the pool and back by its owner; the same pool for all N";
        group.ours(name(n), work, n as u64, move |loops| body(&mut shared.borrow_mut(), loops));
    }
    group.measure()?;
    let median = |n: &usize| group.median_ns(&name(*n)).unwrap_or_default();
    let by_median = |a: &usize, b: &usize| median(a).total_cmp(&median(b));
    let (Some(worst), Some(best)) = (sizes().max_by(by_median), sizes().min_by(by_median)) else { return Ok(()) };
    group.note(&format!("the worst N is {worst}, the best {best}"));
    group.compare([&name(worst), &name(best)], ["worst N", "best N"]);
    Ok(())
}

fn measure(group: &mut Group<'_, '_>, n: usize) -> Result<(), Interrupted> {
    for (name, params) in SETTINGS {
        let Some(zone) = setup::zone(group, name, 2 * n + 4096) else { continue };
        let body = outstanding(Pcp::new(&zone, params), n, |pcp, _| pcp.alloc(0), Pcp::free);
        let work = "alloc + free through the lists of one CPU (counting on)";
        if params == PcpParams::default() {
            group.ours(name, work, n as u64, body);
        } else {
            group.baseline(name, work, n as u64, body); // settings of former kernels: nobody compares them with peers
        }
    }
    if let Some(pool) = setup::pool(group, "pool, put", n.max(1024)) {
        let body = outstanding(pool, n, |pool, _| pool.alloc(Direction::Rx), PagePool::put);
        group.ours("pool, put", "page from the pool and back by its owner", n as u64, body);
    }
    peers::add(group, &[Peer::Mempool, Peer::Mbuf, Peer::Mimalloc], Work { count: n, bulk: false, touch: false });
    group.measure()
}
