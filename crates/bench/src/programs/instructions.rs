//! `instructions`: what a page or a packet costs in instructions. Times follow from them, from the memory they touch, and from the machine; these numbers do not depend on it.

use crate::harness::{Case, Group, Interrupted, Program, steps};
use crate::peers::dpdk::{self, RingKind};
use crate::peers::{Loop, Peer, Work};
use crate::programs::page_bench04::{pcp_bulk, pool_bulk};
use crate::programs::page_pool_simple::{FRAME_DROP, FRAME_PUT, PAGE_DROP, PAGE_PUT, Way};
use crate::programs::setup::outstanding;
use crate::programs::xdp::{self, Verdict};
use std::hint::black_box;
use std::num::NonZero;
use waterwheel_mm::stats::{Count, Off, PerCpu};
use waterwheel_mm::{Pcp, PcpParams, Zone, ZoneParams, ptr_ring};
use waterwheel_page_pool::{PagePool, PoolParams, REFILL};

/// Pages out at a time, packets in a round: a NAPI budget.
const BUDGET: usize = 64;
/// Pages in one call.
const BULK: usize = 32;
/// Pages of the pool, slots of the ring.
const LIMIT: usize = 1024;

const PER_PAGE: &str = "instructions/page";
const PER_WORD: &str = "instructions/word";
const PER_PACKET: &str = "instructions/packet";

type Made = Result<Loop, String>;

pub(crate) fn program() -> Program {
    let case = |name: &'static str, body: fn(&mut Counting<'_, '_, '_>) -> Result<(), Interrupted>| {
        Case::new(name, name, 0, move |group| body(&mut Counting { group }))
    };
    Program {
        name: "instructions",
        about: "user space instructions of a page from the pool and back, in the ways of the other benches, of a word through a ring, and of a packet through the loop",
        answers: "slide \"Disable zone_statistics (via No-NUMA)\", with instructions for a judge; and why a ratio of the other benches is what it is",
        notes: vec![
            "counted, not estimated: the loop runs in a process of its own, which is stepped one instruction at a time. The loop itself is in it (the same for all contenders, some 3 to 6 \
             instructions per page); instructions of the kernel are not. The same program on the same machine gives the same numbers each time",
            "`without statistics`: the pool's sources built a second time with one number per owner, of the pages that are out, which it needs to know when none is; with statistics it keeps two, \
             bound and unbound, from which they and their difference follow",
        ],
        cases: vec![
            case("64 pages, touched", |counting| pages(counting, true)),
            case("64 pages", |counting| pages(counting, false)),
            case("1 page", one_page),
            case("pool miss", miss),
            case("bulk 32", bulk),
            case("ring, bulk 32", ring),
            case("statistics", statistics),
            case("loop, batch 32", |counting| walk(counting, 32)),
            case("loop, batch 64", |counting| walk(counting, 64)),
        ],
    }
}

/// A case whose contenders are counted one after the other.
struct Counting<'c, 'g, 'a> {
    group: &'c mut Group<'g, 'a>,
}

impl Counting<'_, '_, '_> {
    /// Gives out the instructions of one of `step` elements, or says why they cannot be counted.
    fn add(&mut self, name: &str, what: &str, step: usize, make: impl FnOnce() -> Made) -> Result<(), Interrupted> {
        self.group.session().check()?;
        let loops = if self.group.session().options().quick { 1 } else { 2 };
        match steps::per_iteration(make, loops) {
            Ok(instructions) => self.group.count(name, what, instructions / step as f64),
            Err(why) => {
                self.group.session().check()?; // an interrupt reaches the other process, too
                self.group.absent(name, why);
            }
        }
        Ok(())
    }

    fn peers(&mut self, peers: &[Peer], work: Work) -> Result<(), Interrupted> {
        let cpu = self.group.session().cpus().first().copied().unwrap_or(0);
        peers.iter().try_for_each(|peer| self.add(peer.name(), PER_PAGE, work.count, || peer.looped(cpu, work)))
    }
}

/// Single pages, 64 out.
fn pages(counting: &mut Counting<'_, '_, '_>, touch: bool) -> Result<(), Interrupted> {
    for Way { name, body, .. } in [PAGE_PUT, PAGE_DROP, FRAME_PUT, FRAME_DROP] {
        counting.add(name, PER_PAGE, BUDGET, || Ok(body(pool()?, BUDGET, touch)))?;
    }
    if !touch {
        counting.add("the loop alone", PER_PAGE, BUDGET, || Ok(nothing(BUDGET)))?;
        counting.add("pcp", PER_PAGE, BUDGET, || lists(BUDGET, PerCpu::default))?;
    }
    let work = Work { count: BUDGET, bulk: false, touch };
    counting.peers(&[Peer::Mempool, Peer::Mbuf, Peer::Mimalloc], work)
}

/// The same page again and again: as many rounds as make a refill of the pool, so that what comes once in a while is in it.
fn one_page(counting: &mut Counting<'_, '_, '_>) -> Result<(), Interrupted> {
    const ROUNDS: usize = 2 * REFILL;
    counting.add("the loop alone", PER_PAGE, ROUNDS, || Ok(many(ROUNDS, nothing(1))))?;
    for Way { name, body, .. } in [PAGE_PUT, PAGE_DROP] {
        counting.add(name, PER_PAGE, ROUNDS, || Ok(many(ROUNDS, body(pool()?, 1, false))))?;
    }
    counting.add("pcp", PER_PAGE, ROUNDS, || Ok(many(ROUNDS, lists(1, PerCpu::default)?)))
}

/// The loop that is around the others, with numbers instead of pages.
fn nothing(n: usize) -> Loop {
    Box::new(outstanding((), n, |(), i| NonZero::new(i + 1), |(), number| _ = black_box(number)))
}

/// A loop of which each iteration is `rounds` of another one.
fn many(rounds: usize, mut body: Loop) -> Loop {
    Box::new(move |loops| body(loops * rounds as u64))
}

/// Pages that the pool does not keep.
fn miss(counting: &mut Counting<'_, '_, '_>) -> Result<(), Interrupted> {
    let params = || PoolParams { limit: BUDGET, high: Some(BUDGET - 1), ..PoolParams::default() };
    counting.add("64 pages", PER_PAGE, BUDGET, || {
        let pool = PagePool::new(&zone()?, params()).map_err(|error| error.to_string())?;
        Ok((PAGE_PUT.body)(pool, BUDGET, false))
    })
}

fn bulk(counting: &mut Counting<'_, '_, '_>) -> Result<(), Interrupted> {
    counting.add("pool, bulk", PER_PAGE, BULK, || Ok(Box::new(pool_bulk(pool()?, BULK))))?;
    let pcp = || Ok(Box::new(pcp_bulk(Pcp::new(&zone()?, PcpParams::default()), BULK)) as Loop);
    counting.add("pcp, bulk", PER_PAGE, BULK, pcp)?;
    counting.peers(&[Peer::Mempool, Peer::Mbuf], Work { count: BULK, bulk: true, touch: false })
}

fn ring(counting: &mut Counting<'_, '_, '_>) -> Result<(), Interrupted> {
    counting.add("ptr_ring", PER_WORD, BULK, || {
        let (mut put, mut take) = ptr_ring::<usize>(LIMIT);
        let mut words = vec![0x1000usize; BULK];
        Ok(Box::new(move |loops| {
            for _ in 0..loops {
                black_box(&mut put).produce_batch(black_box(&mut words));
                black_box(&mut take).consume_batch(&mut words, BULK);
            }
        }))
    })?;
    let cpu = counting.group.session().cpus().first().copied().unwrap_or(0);
    for (name, many) in [("rte_ring SP/SC", false), ("rte_ring MP/SC", true)] {
        let kind = RingKind { many, words: false };
        counting.add(name, PER_WORD, BULK, || dpdk::ring_loop(cpu, kind, BULK, LIMIT))?;
    }
    Ok(())
}

/// What counting costs: in the lists, where it can be left out, and in the pool, where only other sources can leave it out.
fn statistics(counting: &mut Counting<'_, '_, '_>) -> Result<(), Interrupted> {
    counting.add("pcp, counting off", PER_PAGE, BUDGET, || lists(BUDGET, || Off))?;
    counting.add("pcp, counting per CPU", PER_PAGE, BUDGET, || lists(BUDGET, PerCpu::default))?;
    counting.add("pool, put", PER_PAGE, BUDGET, || Ok(Box::new(real::put(BUDGET)?)))?;
    counting.add("pool, put, without statistics", PER_PAGE, BUDGET, || Ok(Box::new(uncounted::put(BUDGET)?)))?;
    counting.add("pool, Drop", PER_PAGE, BUDGET, || Ok(Box::new(real::dropped(BUDGET)?)))?;
    counting.add("pool, Drop, without statistics", PER_PAGE, BUDGET, || Ok(Box::new(uncounted::dropped(BUDGET)?)))
}

/// The pool's loops over either build of the same sources.
macro_rules! pools {
    ($module:ident, $mm:ident, $page_pool:ident) => {
        mod $module {
            use super::{LIMIT, outstanding};
            use $mm::{Zone, ZoneParams};
            use $page_pool::{Direction, PagePool, PoolParams};

            fn pool() -> Result<PagePool, String> {
                let zone = Zone::new(&ZoneParams::pages(2 * LIMIT)).map_err(|error| error.to_string())?;
                let params = PoolParams { limit: LIMIT, ..PoolParams::default() };
                PagePool::new(&zone, params).map_err(|error| error.to_string())
            }

            pub(super) fn put(n: usize) -> Result<impl FnMut(u64) + 'static, String> {
                Ok(outstanding(pool()?, n, |pool, _| pool.alloc(Direction::Rx), PagePool::put))
            }

            pub(super) fn dropped(n: usize) -> Result<impl FnMut(u64) + 'static, String> {
                Ok(outstanding(pool()?, n, |pool, _| pool.alloc(Direction::Rx), |_, page| drop(page)))
            }
        }
    };
}
pools!(real, waterwheel_mm, waterwheel_page_pool);
pools!(uncounted, waterwheel_mm_uncounted, waterwheel_page_pool_uncounted);

/// Packets through the loop of the binary.
fn walk(counting: &mut Counting<'_, '_, '_>, batch: usize) -> Result<(), Interrupted> {
    for (name, verdict) in [("drop", Verdict::Drop), ("tx", Verdict::Tx), ("redirect", Verdict::Redirect)] {
        let packets = if verdict == Verdict::Redirect { 2 * batch } else { batch };
        counting.add(name, PER_PACKET, packets, || xdp::rounds(verdict, batch))?;
    }
    Ok(())
}

fn zone() -> Result<Zone, String> {
    Zone::new(&ZoneParams::pages(2 * LIMIT)).map_err(|error| error.to_string())
}

fn pool() -> Result<PagePool, String> {
    PagePool::new(&zone()?, PoolParams { limit: LIMIT, ..PoolParams::default() }).map_err(|error| error.to_string())
}

/// Pages through the lists of one CPU, counted in one way.
fn lists<C: Count + 'static>(n: usize, count: impl Fn() -> C) -> Made {
    let lists = Pcp::counted(&zone()?, PcpParams::default(), count(), count());
    Ok(Box::new(outstanding(lists, n, |pcp, _| pcp.alloc(0), Pcp::free)))
}
