//! Which figures the report has, in which order, and how each is drawn. Data only.

use super::axis::Scale::{self, Linear, Log2, Log10, Whole};

/// What is made of the rows and counts of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Curves over x.
    Curves {
        /// What x is.
        x: &'static str,
        x_scale: Scale,
        y_scale: Scale,
    },
    /// A bar for each contender of each case.
    Bars,
    /// Bars, with times and counts of a contender side by side.
    Table,
}

/// One figure of the report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// The program; `xdp_*` are all whose names begin so.
    pub(super) bench: &'static str,
    /// The series; empty: all that have no plan of their own.
    pub(super) series: &'static str,
    pub(super) title: &'static str,
    pub(super) form: Form,
    /// What the times are for, such as `per page`.
    pub(super) per: &'static str,
    /// What the talk said, and how to read it.
    pub(super) caption: &'static str,
}

impl Plan {
    pub(super) fn is_of(&self, bench: &str, series: &str) -> bool {
        let is_bench = match self.bench.strip_suffix('*') {
            Some(prefix) => bench.starts_with(prefix),
            None => bench == self.bench,
        };
        is_bench && (self.series.is_empty() || series == self.series)
    }
}

const fn curves(x: &'static str, x_scale: Scale, y_scale: Scale) -> Form {
    Form::Curves { x, x_scale, y_scale }
}

/// All of them. What none of them names is drawn all the same, after them.
pub(super) const PLANS: &[Plan] = &[
    Plan {
        bench: "baseline",
        series: "",
        title: "The units of everything else",
        form: Form::Bars,
        per: "",
        caption: "The empty loop is subtracted from every figure. The LOCKed increment is the unit in which figures of other machines are carried over to this one.",
    },
    Plan {
        bench: "page_bench01",
        series: "order",
        title: "Cost when the page order increases",
        form: curves("order (a block is 2^order pages of 4 KiB)", Whole, Log10),
        per: "per block",
        caption: "The talk: cost goes up with the order, well-behaved up to order 3; per 4 KiB the cost is amortised, a trick of drivers that pins memory. From order 4 on the \
                  kernel writes the metadata of every tail page, which this zone does not: other work, no comparison.",
    },
    Plan {
        bench: "page_bench02",
        series: "outstanding",
        title: "Pages outstanding",
        form: curves("N pages allocated before the first is freed", Log2, Linear),
        per: "per page",
        caption: "The talk's curve had its knee where N exceeds the per-CPU lists, at 128. The lists are shown with the talk's setting (128/32), with that of Linux 4.11 \
                  (186/31) and with today's batch; the kernel of today tunes its lists as it runs, and shows no knee.",
    },
    Plan {
        bench: "page_bench04",
        series: "bulk",
        title: "Bulk against single",
        form: curves("pages in one call", Log2, Linear),
        per: "per page",
        caption: "The talk wrote page_bench04_bulk and had no results to present; the kernel's bulk API came with 5.13.",
    },
    Plan {
        bench: "page_bench05",
        series: "",
        title: "Moving pages to another CPU",
        form: Form::Bars,
        per: "per page",
        caption: "The talk: 31 cycles on each CPU for the ring alone, 210 with a page in it, 152 on the freeing CPU with a delay and prefetchw. The original's loop for the last \
                  never frees one page in three; with no gain from prefetching at all it would read 31 + 2/3 x (210 - 31) = 150.",
    },
    Plan {
        bench: "page_bench03",
        series: "",
        title: "With and without statistics, all CPUs at once",
        form: Form::Bars,
        per: "per page",
        caption: "The talk: 143 cycles with zone statistics, 97 without (no NUMA): 46 cycles, 32 %.",
    },
    Plan {
        bench: "page_pool_cross_cpu",
        series: "returners",
        title: "Returning threads",
        form: curves("threads that return pages to one pool", Whole, Log10),
        per: "per page",
        caption: "The kernel's returners share one producer lock. Threads beyond the CPUs of this machine take turns; what does not depend on the machine is counted below: \
                  read-modify-writes that failed or had to wait, and cache lines that changed CPUs.",
    },
    Plan {
        bench: "page_pool_simple",
        series: "",
        title: "The page pool on one CPU",
        form: Form::Bars,
        per: "per page",
        caption: "Fast: from the cache and back. Ring: back by the way for other CPUs. Slow: the page leaves the pool each time.",
    },
    Plan {
        bench: "xdp_*",
        series: "batch",
        title: "A packet, by batch size",
        form: curves("packets in a batch", Log2, Log10),
        per: "per packet",
        caption: "67.2 ns is what a packet may take at 10 Gbit/s with the smallest packets. The talk's 17 and 10 Mpps were taken with a network card (mlx5, 50 Gbit/s), the \
                  figures of this run over devices in memory: no card, no bus, other work.",
    },
    Plan {
        bench: "recycle",
        series: "",
        title: "Recycling schemes under real loads",
        form: Form::Table,
        per: "per packet",
        caption: "The talk: \"looks good in benchmarks, but will it work for real use-cases: many sockets that need some queue, TCP sockets: keep packets for retransmit \
                  until ACKed\". Each block is a load, each row a scheme.",
    },
    Plan {
        bench: "pinning",
        series: "",
        title: "Memory that an attacker pins",
        form: curves("order of the pages that fragments are cut from", Whole, Log10),
        per: "per page",
        caption: "The talk on compound pages: an attacker pins memory by holding a small piece of each.",
    },
];

/// How a bench without a plan is drawn.
pub(super) const OTHER: Plan =
    Plan { bench: "", series: "", title: "", form: Form::Bars, per: "per element", caption: "" };
