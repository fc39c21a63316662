//! What is to be reached, as data: which figures of a run are held against which limits. Lower is better everywhere.

/// Which figure of a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Figure {
    /// Time of ours / time of the peer.
    Ratio { ours: &'static str, peer: &'static str },
    /// Time of ours in LOCKed increments of the same run.
    Locked { ours: &'static str },
    /// Count of one contender / count of another one.
    Counts { ours: &'static str, other: &'static str, what: &'static str },
    /// The greatest of one contender's counts in all cases of the bench, of which none is named.
    Most { ours: &'static str, what: &'static str },
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// What is done.
    pub(super) work: &'static str,
    /// Beside what.
    pub(super) beside: &'static str,
    /// `BENCH/CASE`.
    pub(super) at: &'static str,
    pub(super) figure: Figure,
    /// To be reached.
    pub(super) reach: f64,
    /// To be aimed at, where there is more to be had than to reach it.
    pub(super) aim: Option<f64>,
    /// What has to be read with it.
    pub(super) with: &'static [With],
}

/// What has to be read with a figure and decides nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum With {
    /// A count of the same contender in the same case.
    Count(&'static str),
    /// Instructions, of a case of the bench of that name: ours and theirs.
    Instructions { case: &'static str, ours: &'static str, other: Option<&'static str> },
    /// A ratio of times, at `BENCH/CASE`.
    Time { at: &'static str, ours: &'static str, other: &'static str },
}

impl Goal {
    const fn with(self, with: &'static [With]) -> Self {
        Self { with, ..self }
    }

    /// Bench, and case if one is named.
    pub(super) fn place(&self) -> (&'static str, &'static str) {
        place(self.at)
    }

    /// Our contender.
    pub(super) fn ours(&self) -> &'static str {
        match self.figure {
            Figure::Ratio { ours, .. }
            | Figure::Locked { ours }
            | Figure::Counts { ours, .. }
            | Figure::Most { ours, .. } => ours,
        }
    }
}

/// Bench and case of `BENCH/CASE`.
pub(super) fn place(at: &'static str) -> (&'static str, &'static str) {
    at.split_once('/').unwrap_or((at, ""))
}

/// Against a peer, in time.
const fn peer(
    work: &'static str,
    at: &'static str,
    ours: &'static str,
    peer: &'static str,
    reach: f64,
    aim: f64,
) -> Goal {
    let figure = Figure::Ratio { ours, peer };
    Goal { work, beside: peer, at, figure, reach, aim: Some(aim), with: &[] }
}

/// Our relay against another one: ahead of it.
const fn relay(work: &'static str, at: &'static str, peer: &'static str) -> Goal {
    let figure = Figure::Ratio { ours: "waterwheel relay", peer };
    Goal { work, beside: peer, at, figure, reach: 1.0, aim: None, with: &[With::Count("MB/s")] }
}

/// Against the kernel's own code, which cannot run in this process, in LOCKed increments.
const fn kernel(work: &'static str, at: &'static str, ours: &'static str, linux: &'static str, reach: f64) -> Goal {
    Goal { work, beside: linux, at, figure: Figure::Locked { ours }, reach, aim: None, with: &[] }
}

/// With counting against without, in instructions.
const fn statistics(work: &'static str, ours: &'static str, other: &'static str) -> Goal {
    let figure = Figure::Counts { ours, other, what: "instructions/page" };
    let (at, beside) = ("instructions/statistics", "the talk: 1.47 (time)");
    Goal { work, beside, at, figure, reach: 1.05, aim: Some(1.01), with: &[] }
}

const MBUF: &str = "rte_pktmbuf";
const MEMPOOL: &str = "rte_mempool";
const MIMALLOC: &str = "mimalloc";
const CROSSING: &str = "rte_pktmbuf + rte_ring";
const TESTPMD: &str = "dpdk-testpmd";
/// Iterations of an empty loop that a LOCKed increment takes where the kernel's code was measured (5.03 and 0.253 ns, Zen 5).
pub(super) const KERNEL_LOCKED_CYCLES: f64 = 5.03 / 0.253;

const SIMPLE: &str = "page_pool_simple/64 pages";
const TOUCHED: &str = "64 pages, touched";
const UNTOUCHED: &str = "64 pages";
const BULK: &str = "bulk 32";
const RING: &str = "ring, bulk 32";
const LOOP: &str = "loop, batch 64";
/// How long a page waits at most, in time and in pages that came home meanwhile; and what its way takes.
const CROSSED: &[With] = &[
    With::Count("us, longest from given back to in hand again"),
    With::Count("pages given back meanwhile, longest wait until in hand again"),
    With::Count("lines handed over/page"),
];
/// Where the time goes.
const SPENT: &[With] = &[With::Count("user ns/packet"), With::Count("system ns/packet")];
const COUNTING: With = With::Time { at: "page_bench03/1 CPU, 64 out", ours: "counting per CPU", other: "counting off" };

/// Instructions of ours and of a peer's.
const fn both(case: &'static str, ours: &'static str, other: &'static str) -> With {
    With::Instructions { case, ours, other: Some(other) }
}

/// Instructions of ours.
const fn own(case: &'static str, ours: &'static str) -> With {
    With::Instructions { case, ours, other: None }
}

/// All of them, in the order in which they are shown.
pub(super) const GOALS: &[Goal] = &[
    peer("page and back by put, 64 out, first line of the packet written", SIMPLE, "frame, put", MBUF, 0.50, 0.30)
        .with(&[both(TOUCHED, "frame, put", MBUF)]),
    peer("the same", SIMPLE, "frame, put", MEMPOOL, 0.70, 0.50).with(&[both(TOUCHED, "frame, put", MEMPOOL)]),
    peer("the same, back by Drop", SIMPLE, "frame, Drop", MBUF, 0.80, 0.50).with(&[both(TOUCHED, "frame, Drop", MBUF)]),
    peer("by put, bare pages, of which the first line is written", SIMPLE, "page, put", MBUF, 0.50, 0.30)
        .with(&[both(TOUCHED, "page, put", MBUF)]),
    peer("the same", SIMPLE, "page, put", MEMPOOL, 0.70, 0.50).with(&[both(TOUCHED, "page, put", MEMPOOL)]),
    peer("the same, back by Drop", SIMPLE, "page, Drop", MBUF, 0.80, 0.50).with(&[both(TOUCHED, "page, Drop", MBUF)]),
    peer("bulk 32, per page", "page_bench04/bulk 32", "pool, bulk", MBUF, 0.25, 0.12).with(&[both(
        BULK,
        "pool, bulk",
        MBUF,
    )]),
    peer("bulk 32, per page", "page_bench04/bulk 32", "pool, bulk", MEMPOOL, 1.3, 1.0).with(&[both(
        BULK,
        "pool, bulk",
        MEMPOOL,
    )]),
    peer("1024 outstanding", "page_bench02/N=1024", "pool, put", MBUF, 0.50, 0.30).with(&[both(
        UNTOUCHED,
        "page, put",
        MBUF,
    )]),
    peer("16384 outstanding", "page_bench02/N=16384", "pool, put", MBUF, 0.50, 0.30).with(&[both(
        UNTOUCHED,
        "page, put",
        MBUF,
    )]),
    peer("flatness: worst N / best N, 1 .. pool size", "page_bench02/flatness", "worst N", "best N", 1.5, 1.2)
        .with(&[own("1 page", "page, put"), own(UNTOUCHED, "page, put")]),
    peer(
        "dropped on another core and home, batch 64",
        "page_pool_cross_cpu/1 returner, batch 64",
        "pool, Drop",
        CROSSING,
        0.50,
        0.25,
    )
    .with(CROSSED),
    peer("the same, one at a time", "page_pool_cross_cpu/1 returner, batch 1", "pool, Drop", CROSSING, 0.50, 0.30)
        .with(CROSSED),
    peer(
        "ptr_ring SPSC, bulk 32, one thread",
        "page_bench05/ring, one thread, batch 32",
        "ptr_ring",
        "rte_ring SP/SC",
        1.0,
        0.6,
    )
    .with(&[both(RING, "ptr_ring", "rte_ring SP/SC")]),
    peer(
        "ptr_ring SPSC, bulk 32, CPU to CPU",
        "page_bench05/ring, both, batch 32",
        "ptr_ring",
        "rte_ring SP/SC",
        1.0,
        0.6,
    )
    .with(&[both(RING, "ptr_ring", "rte_ring SP/SC")]),
    peer(
        "ptr_ring MPSC, bulk 32, one thread",
        "page_bench05/mpsc, one thread, bulk 32",
        "ptr_ring",
        "rte_ring MP/SC",
        0.7,
        0.4,
    )
    .with(&[both(RING, "ptr_ring", "rte_ring MP/SC")]),
    peer(
        "ptr_ring MPSC, bulk 32, CPU to CPU",
        "page_bench05/mpsc, 1 producer, bulk 32",
        "ptr_ring each",
        "rte_ring MP/SC, one producer",
        0.7,
        0.4,
    )
    .with(&[both(RING, "ptr_ring", "rte_ring MP/SC")]),
    Goal {
        work: "contended read-modify-writes per returned page, worst of 1 to 8 returners",
        beside: "the kernel's ring: >= 1",
        at: "page_pool_cross_cpu",
        figure: Figure::Most { ours: "pool, Drop", what: "contended rmw/page" },
        reach: 1.0 / 16.0,
        aim: Some(1.0 / 64.0),
        with: &[],
    },
    peer("zone order 0 through the PCP lists, one page", "page_bench01/order 0", "pcp", MIMALLOC, 0.7, 0.4),
    peer("the same, 64 out", "page_bench02/N=64", "pcp 1008/63", MIMALLOC, 0.7, 0.4)
        .with(&[both(UNTOUCHED, "pcp", MIMALLOC)]),
    statistics("statistics on / off, PCP lists", "pcp, counting per CPU", "pcp, counting off").with(&[COUNTING]),
    statistics("the same, pool by put", "pool, put", "pool, put, without statistics"),
    statistics("the same, pool by Drop", "pool, Drop", "pool, Drop, without statistics"),
    peer("forward between memory devices, bursts of 32", "xdp_redirect/batch 32", "null:size=64", TESTPMD, 1.0, 0.6)
        .with(&[own("loop, batch 32", "redirect")]),
    peer("the same, bursts of 64", "xdp_redirect/batch 64", "null:size=64", TESTPMD, 1.0, 0.6)
        .with(&[own(LOOP, "redirect")]),
    peer("drop on a memory device, bursts of 32", "xdp_drop/batch 32", "null:size=64", TESTPMD, 1.0, 0.6)
        .with(&[own("loop, batch 32", "drop")]),
    peer("the same, bursts of 64", "xdp_drop/batch 64", "null:size=64", TESTPMD, 1.0, 0.6).with(&[own(LOOP, "drop")]),
    peer(
        "forward veth to veth, AF_XDP, overload, interrupts",
        "af_xdp_forward/interrupts",
        "forward",
        TESTPMD,
        0.9,
        0.7,
    )
    .with(SPENT),
    peer("the same, busy polling", "af_xdp_forward/busy poll 64", "forward", TESTPMD, 0.9, 0.7).with(SPENT),
    peer("memif to memif, copied, bursts of 32", "memif/batch 32", "copy", TESTPMD, 1.0, 0.7),
    peer("the same, bursts of 64", "memif/batch 64", "copy", TESTPMD, 1.0, 0.7),
    peer("memif to memif, the peer is trusted, bursts of 32", "memif/batch 32", "trust=peer", TESTPMD, 1.0, 0.7),
    peer("the same, bursts of 64", "memif/batch 64", "trust=peer", TESTPMD, 1.0, 0.7),
    relay("TCP relay, 8 connections, CPU time per KiB", "relay/8 connections", "socat"),
    relay("the same", "relay/8 connections", "haproxy"),
    relay("the same, 64 connections", "relay/64 connections", "socat"),
    relay("the same", "relay/64 connections", "haproxy"),
    kernel("page and back by put, one page", "page_pool_simple/fast", "page, put", "Linux 6.19: 0.97", 0.40)
        .with(&[own("1 page", "page, put")]),
    kernel("the same, 64 out", "page_bench02/N=64", "pool, put", "Linux 6.19: 0.97 (one page)", 0.40)
        .with(&[own(UNTOUCHED, "page, put")]),
    kernel(
        "back by the return path, one CPU, one page",
        "page_pool_simple/ring",
        "page, Drop",
        "Linux 6.19: 1.85",
        0.8,
    )
    .with(&[own("1 page", "page, Drop")]),
    kernel(
        "to another CPU and home, batch 64",
        "page_pool_cross_cpu/1 returner, batch 64",
        "pool, Drop",
        "Linux 6.19: 3.8",
        0.6,
    ),
    kernel("the same, one at a time", "page_pool_cross_cpu/1 returner, batch 1", "pool, Drop", "Linux 6.19: 3.8", 2.5),
    kernel(
        "pool miss: from the zone and given back to it, 64 under one lock",
        "page_pool_simple/slow",
        "64 pages",
        "Linux 6.19: 8.1",
        3.0,
    )
    .with(&[own("pool miss", "64 pages")]),
    kernel("zone order 0 through the PCP lists, one page", "page_bench01/order 0", "pcp", "Linux 6.19: 6.7", 1.5)
        .with(&[own("1 page", "pcp")]),
    kernel("the same, 64 out", "page_bench02/N=64", "pcp 1008/63", "Linux 6.19: 6.7", 1.5)
        .with(&[own(UNTOUCHED, "pcp")]),
    kernel("bulk 64 through the PCP lists, per page", "page_bench04/bulk 64", "pcp, bulk", "Linux 6.19: 4.3", 0.4)
        .with(&[own(BULK, "pcp, bulk")]),
    kernel("bulk 64 from the pool, per page", "page_bench04/bulk 64", "pool, bulk", "Linux 6.19: 4.3 (its zone)", 0.4)
        .with(&[own(BULK, "pool, bulk")]),
];
