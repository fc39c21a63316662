//! Figures that this run did not measure: the talk's, and the kernel's code where it could be measured. Data only, each with its source.

use crate::event::Machine;

/// A figure, in the unit in which it carries over to another machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    /// A time that no machine changes, such as the time between two packets on a wire.
    Ns(f64),
    /// CPU cycles of somebody's machine, taken for as many TSC cycles of this one.
    Cycles(f64),
    /// Nanoseconds of [`KERNEL`], carried over by the cost of a LOCKed increment there and here.
    Kernel(f64),
}

/// Nanoseconds of a LOCKed increment where [`KERNEL`] was measured (its `atomic_inc`).
const KERNEL_LOCKED_NS: f64 = 5.03;

/// The talk's rate (67.2 ns are 201 cycles at 3 GHz), where the TSC of this machine has none.
const TALK_GHZ: f64 = 3.0;

impl Amount {
    /// Nanoseconds to draw it at, beside figures of `machine`; and from where to where it may lie, if that is not certain.
    ///
    /// Between CPUs of one kind a LOCKed increment carries the kernel's figures over; where it costs much more or less than there, other instructions need not. The
    /// nanoseconds of the other machine are then the other end.
    pub(super) fn ns_on(self, machine: &Machine) -> (f64, Option<(f64, f64)>) {
        match self {
            Self::Ns(ns) => (ns, None),
            Self::Cycles(cycles) => (cycles / machine.tsc_ghz.unwrap_or(TALK_GHZ), None),
            Self::Kernel(there) => {
                let here = there / KERNEL_LOCKED_NS * machine.locked_ns;
                (here, Some((here.min(there), here.max(there))))
            }
        }
    }
}

/// Who measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Talk,
    Kernel,
}

/// How it is drawn over a curve's axes; among bars each point is a bar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Points at places of the x axis.
    Points(&'static [(f64, Amount)]),
    /// One figure for all x.
    Level(Amount),
    /// A place of the x axis.
    At(f64),
}

/// One figure or curve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// The program beside whose figures it stands.
    pub(super) bench: &'static str,
    /// How the names of the series begin beside which it stands; empty: all.
    pub(super) series: &'static str,
    pub(super) whose: Whose,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const TALK: &str = "\"talk\": J. D. Brouer, \"Memory vs. Networking\", LSF/MM summit, March 2017 (Linux 4.11-rc1), in CPU cycles of its machine, drawn at as many \
    TSC cycles of this one. Slides: \"History: Benchmark page order-0 fast-path\" (276 to 143 cycles), \"Disable zone_statistics (via No-NUMA)\" (143, 97), \"Pressure PCP lists with \
    many out-standing pages\" (128), \"Moving pages cross CPU\" (31, 145, 210, 152), \"Mind-bugling speeds\" (67.2 ns), \"XDP - eXpress Data Path\" (XDP_DROP 17 Mpps, XDP_TX 10 Mpps).";

const KERNEL: &str = "\"Linux 6.19\": its mm/page_alloc.c, net/core/page_pool.c and ptr_ring.h, compiled -O2 for x86-64 with x86's own atomics and locks, run in the kernel's \
    user-mode port with two CPUs on another machine (EPYC of the Zen 5 family, a LOCKed increment 5.03 ns), medians of 9. NUMA, memcg and init_on_alloc were off: a \
    distribution's kernel is slower. Drawn in LOCKed increments: as many of this machine's as it took of that one's; the grey band reaches from there to the nanoseconds that \
    it took there. Where the band is wide, the CPUs differ in kind, and neither end is sure.";

const PATCHES: &str = "\"alloc_pages_bulk, 2021\": array variant of the patches that became Linux 5.13 (page_bench04_bulk, cycles); \"page_pool, 2020\": \
    bench_page_pool_cross_cpu with 1 to 4 returning CPUs, cycles (J. D. Brouer, mailing lists). Drawn at as many TSC cycles of this machine.";

/// Where the figures come from, and how they are carried over.
pub(super) const SOURCES: [&str; 3] = [TALK, KERNEL, PATCHES];

const fn talk(bench: &'static str, series: &'static str, name: &'static str, shape: Shape) -> Reference {
    Reference { bench, series, whose: Whose::Talk, name, shape }
}

const fn kernel(bench: &'static str, series: &'static str, name: &'static str, shape: Shape) -> Reference {
    Reference { bench, series, whose: Whose::Kernel, name, shape }
}

use Amount::{Cycles, Kernel, Ns};
use Shape::{At, Level, Points};

/// Series in which each CPU's own time is told, as the original did.
const RING: &str = "ring across CPUs, one side";
const PAGE: &str = "page across CPUs, one side";

/// All of them.
pub(super) const REFERENCES: &[Reference] = &[
    kernel("baseline", "", "for_loop, Linux 6.19, there", Points(&[(0.0, Ns(0.25))])),
    kernel("baseline", "", "atomic_inc, Linux 6.19, there", Points(&[(0.0, Ns(5.03))])),
    kernel("baseline", "", "lock (spin_lock), Linux 6.19, there", Points(&[(0.0, Ns(5.72))])),
    talk("page_bench01", "order", "talk: order 0, before", Points(&[(0.0, Cycles(276.0))])),
    talk("page_bench01", "order", "talk: order 0, 4.11-rc1", Points(&[(0.0, Cycles(143.0))])),
    kernel("page_bench01", "order", "Linux 6.19, alloc_pages + __free_pages", Points(KERNEL_ORDERS)),
    talk("page_bench02", "outstanding", "talk: the knee at 128", At(128.0)),
    kernel("page_bench02", "outstanding", "Linux 6.19, alloc_page + __free_page", Points(KERNEL_OUTSTANDING)),
    talk("page_bench03", "", "talk: order 0, zone statistics (NUMA)", Points(&[(1.0, Cycles(143.0))])),
    talk("page_bench03", "", "talk: order 0, without (no NUMA)", Points(&[(1.0, Cycles(97.0))])),
    kernel("page_bench03", "", "Linux 6.19, order 0, both CPUs at once", Points(&[(2.0, Kernel(34.75))])),
    kernel("page_bench04", "bulk", "Linux 6.19, alloc_pages_bulk + put_page", Points(KERNEL_BULK)),
    kernel("page_bench04", "bulk", "alloc_pages_bulk, 2021 (cycles)", Points(PATCHES_BULK)),
    talk("page_bench05", RING, "talk: ptr_ring alone, each CPU", Points(&[(0.0, Cycles(31.0))])),
    talk("page_bench05", "single", "talk: alloc + put on one CPU", Points(&[(0.0, Cycles(145.0))])),
    talk("page_bench05", PAGE, "talk: page to another CPU, each CPU", Points(&[(0.0, Cycles(210.0))])),
    talk("page_bench05", "delay", "talk: delay + prefetchw, freeing CPU", Points(&[(0.0, Cycles(152.0))])),
    kernel("page_bench05", RING, "Linux 6.19: ptr_ring alone, each CPU", Points(&[(0.0, Kernel(6.14))])),
    kernel("page_bench05", "single", "Linux 6.19: alloc + put on one CPU", Points(&[(0.0, Kernel(32.74))])),
    kernel("page_bench05", PAGE, "Linux 6.19: allocating CPU", Points(&[(0.0, Kernel(35.0))])),
    kernel("page_bench05", PAGE, "Linux 6.19: freeing CPU", Points(&[(0.0, Kernel(43.09))])),
    kernel(
        "page_bench05",
        "delay",
        "Linux 6.19: delay + prefetchw, freeing CPU (frees 2 of 3)",
        Points(&[(0.0, Kernel(28.92))]),
    ),
    kernel("page_pool_simple", "", "Linux 6.19 page_pool: fast", Points(&[(0.0, Kernel(4.93))])),
    kernel("page_pool_simple", "", "Linux 6.19 page_pool: ptr_ring", Points(&[(0.0, Kernel(9.28))])),
    kernel("page_pool_simple", "", "Linux 6.19 page_pool: slow", Points(&[(0.0, Kernel(40.84))])),
    kernel("page_pool_cross_cpu", "returners", "Linux 6.19 page_pool", Points(&[(1.0, Kernel(19.2))])),
    kernel("page_pool_cross_cpu", "returners", "page_pool, 2020 (cycles)", Points(PAGE_POOL_2020)),
    talk("xdp_drop", "batch", "67.2 ns: 10 Gbit/s of smallest packets", Level(Ns(67.2))),
    talk("xdp_drop", "batch", "talk: XDP_DROP 17 Mpps", Level(Ns(1000.0 / 17.0))),
    talk("xdp_tx", "batch", "67.2 ns: 10 Gbit/s of smallest packets", Level(Ns(67.2))),
    talk("xdp_tx", "batch", "talk: XDP_TX 10 Mpps", Level(Ns(100.0))),
    talk("xdp_redirect", "batch", "67.2 ns: 10 Gbit/s of smallest packets", Level(Ns(67.2))),
];

/// Order, one block.
const KERNEL_ORDERS: &[(f64, Amount)] = &[
    (0.0, Kernel(33.92)),
    (1.0, Kernel(37.98)),
    (2.0, Kernel(41.29)),
    (3.0, Kernel(47.43)),
    (4.0, Kernel(67.94)),
    (5.0, Kernel(109.03)),
    (6.0, Kernel(171.36)),
    (7.0, Kernel(279.52)),
    (8.0, Kernel(497.53)),
    (9.0, Kernel(927.32)),
];

/// Pages out at a time, one page.
const KERNEL_OUTSTANDING: &[(f64, Amount)] = &[
    (1.0, Kernel(34.80)),
    (2.0, Kernel(34.21)),
    (4.0, Kernel(33.78)),
    (8.0, Kernel(33.94)),
    (16.0, Kernel(33.79)),
    (32.0, Kernel(33.47)),
    (64.0, Kernel(33.75)),
    (128.0, Kernel(33.49)),
    (256.0, Kernel(33.39)),
    (512.0, Kernel(33.44)),
    (1024.0, Kernel(33.58)),
    (2048.0, Kernel(33.53)),
    (4096.0, Kernel(33.60)),
    (8192.0, Kernel(33.52)),
];

/// Pages in one call, one page.
const KERNEL_BULK: &[(f64, Amount)] = &[
    (1.0, Kernel(34.29)),
    (2.0, Kernel(25.20)),
    (3.0, Kernel(23.60)),
    (4.0, Kernel(22.86)),
    (8.0, Kernel(22.15)),
    (16.0, Kernel(21.98)),
    (32.0, Kernel(22.34)),
    (64.0, Kernel(21.76)),
    (128.0, Kernel(21.84)),
];

/// Pages in one call, one page.
const PATCHES_BULK: &[(f64, Amount)] = &[
    (1.0, Cycles(202.0)),
    (2.0, Cycles(144.0)),
    (3.0, Cycles(134.0)),
    (4.0, Cycles(128.0)),
    (8.0, Cycles(120.0)),
    (16.0, Cycles(116.0)),
    (32.0, Cycles(113.0)),
    (64.0, Cycles(110.0)),
    (128.0, Cycles(110.0)),
];

/// Returning CPUs, one page.
const PAGE_POOL_2020: &[(f64, Amount)] =
    &[(1.0, Cycles(110.0)), (2.0, Cycles(462.0)), (3.0, Cycles(1992.0)), (4.0, Cycles(2323.0))];
