//! Which figures the report has, in which order, and how each is drawn. Data only.

use super::axis::Scale::{self, Log2, Log10, Whole};

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
    /// Bars, with counts and times of a contender side by side: first the columns whose names begin like these.
    Table(&'static [&'static str]),
}

/// A section of the report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic {
    /// The program; `xdp_*` are all whose names begin so, a section each.
    pub(super) bench: &'static str,
    pub(super) title: &'static str,
    /// What the times are for, such as `per page`.
    pub(super) per: &'static str,
    /// What the talk said, and how to read it.
    pub(super) caption: &'static str,
    /// How the names of series begin and what their forms are, in the order in which they are shown; an empty name stands for all others.
    pub(super) series: &'static [(&'static str, Form)],
    /// Whether the counts are drawn; else they are only in the table, as they say the same as the times.
    pub(super) draws_counts: bool,
}

impl Topic {
    pub(super) fn is_about(&self, bench: &str) -> bool {
        match self.bench.strip_suffix('*') {
            Some(prefix) => bench.starts_with(prefix),
            None => bench == self.bench,
        }
    }

    /// Place and form of a series; what is not named comes last, as bars.
    pub(super) fn form(&self, series: &str) -> (usize, Form) {
        let named = self.series.iter().position(|(name, _)| !name.is_empty() && series.starts_with(name));
        let place = named.or_else(|| self.series.iter().position(|(name, _)| name.is_empty()));
        place.map_or((self.series.len(), Form::Bars), |place| (place, self.series[place].1))
    }
}

const fn curves(x: &'static str, x_scale: Scale, y_scale: Scale) -> Form {
    Form::Curves { x, x_scale, y_scale }
}

/// All of them. A bench that none of them is about is drawn all the same, after them.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        bench: "baseline",
        title: "The units of everything else",
        per: "",
        caption: "The empty loop is subtracted from every figure. The LOCKed increment is the unit in which the kernel's figures are carried over from another machine.",
        series: &[],
        draws_counts: true,
    },
    Topic {
        bench: "page_bench01",
        title: "Cost when the page order increases",
        per: "per block",
        caption: "The talk: cost goes up with the order, a good curve until order 3; per 4 KiB it is amortised, a trick of drivers that lets an attacker pin memory. From order \
                  4 on the kernel writes the metadata of every tail page, which this zone does not: other work, no comparison.",
        series: &[("order", curves("order (a block is 2^order pages of 4 KiB)", Whole, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "page_bench02",
        title: "Pages outstanding",
        per: "per page",
        caption: "The talk's curve had its knee where N exceeds the per-CPU lists, at 128. The lists are shown with the talk's setting (128/32), with that of Linux 4.11 \
                  (186/31) and with today's batch; the kernel of today tunes its lists as it runs, and shows no knee.",
        series: &[("outstanding", curves("N pages allocated before the first is freed", Log2, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "page_bench03",
        title: "With and without statistics, on all CPUs at once",
        per: "per page",
        caption: "The talk: 143 cycles with zone statistics, 97 without (no NUMA): 46 cycles, 32 %.",
        series: &[("", curves("CPUs that do it at once", Log2, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "page_bench04",
        title: "Bulk against single",
        per: "per page",
        caption: "The talk wrote page_bench04_bulk and had no results to present; the kernel's bulk API came with 5.13.",
        series: &[("bulk", curves("pages in one call", Log2, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "page_bench05",
        title: "Moving pages to another CPU",
        per: "per page",
        caption: "The talk: 31 cycles on each CPU for the ring alone, 210 with a page in it, 152 on the freeing CPU with a delay and prefetchw. The original's loop for the last \
                  never frees one page in three; with no gain from prefetching at all it would read 31 + 2/3 x (210 - 31) = 150.",
        series: &[],
        draws_counts: true,
    },
    Topic {
        bench: "page_pool_simple",
        title: "The page pool on one CPU",
        per: "per page",
        caption: "Fast: from the cache and back. Ring: back by the way for other CPUs. Slow: the page leaves the pool each time.",
        series: &[],
        draws_counts: true,
    },
    Topic {
        bench: "page_pool_cross_cpu",
        title: "Threads that return pages",
        per: "per page",
        caption: "The kernel's returners share one producer lock. Threads beyond the CPUs of this machine take turns; what is counted does not depend on the machine: \
                  read-modify-writes that met another CPU's, and cache lines that changed CPUs.",
        series: &[("returners", curves("threads that return pages to one pool", Log2, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "xdp_*",
        title: "A packet through the loop",
        per: "per packet",
        caption: "67.2 ns is what a packet may take at 10 Gbit/s with the smallest packets. The talk's 17 and 10 Mpps were taken with a network card (mlx5, 50 Gbit/s), the \
                  figures of this run over devices in memory: no card, no bus, other work.",
        series: &[("batch", curves("packets in a batch", Log2, Log10))],
        draws_counts: false,
    },
    Topic {
        bench: "af_xdp_forward",
        title: "From one interface to another, through the kernel",
        per: "per packet that arrives",
        caption: "One CPU forwards and gets more than it can take. Most of its time is the kernel's, which does the same for both: system ns against user ns says how much is left to be better at.",
        series: &[("", Form::Table(&["user ns", "system ns"]))],
        draws_counts: true,
    },
    Topic {
        bench: "memif",
        title: "From one process to another, through shared memory",
        per: "per packet that arrives",
        caption: "A CPU for each side. What a packet takes is mostly the way of its cache lines from one CPU to the other.",
        series: &[("", Form::Bars)],
        draws_counts: true,
    },
    Topic {
        bench: "relay",
        title: "What a TCP relay costs",
        per: "CPU time per KiB",
        caption: "Messages of 64 KiB through a veth and back. Received and sent in the same pages, in one system call for many; the kernel copies each byte in and out, which is most of \
                  the time, except where pages are spliced inside of it.",
        series: &[("", Form::Table(&["ns", "MB/s"]))],
        draws_counts: true,
    },
    Topic {
        bench: "forward_latency",
        title: "How long a packet takes through forward",
        per: "per packet",
        caption: "Half of the packets were faster than p50, 99 % faster than p99. A worker that spins keeps a CPU busy; an adaptive one sleeps when there is nothing to do.",
        series: &[("", Form::Table(&["ns p50", "ns p99"]))],
        draws_counts: true,
    },
    Topic {
        bench: "recycle",
        title: "Recycling schemes under real loads",
        per: "per packet",
        caption: "The talk: \"looks good in benchmarks, but will it work for real use-cases: many sockets that need some queue, TCP sockets: keep packets for retransmit \
                  until ACKed\". Each block is a load, each row a scheme.",
        series: &[("", Form::Table(&["hits", "allocator", "map", "ns"]))],
        draws_counts: true,
    },
    Topic {
        bench: "pinning",
        title: "Memory that an attacker pins",
        per: "per page",
        caption: "The talk on compound pages: an attacker pins memory by holding a small piece of each.",
        series: &[("", curves("order of the blocks that fragments are cut from", Whole, Log10))],
        draws_counts: true,
    },
    Topic {
        bench: "instructions",
        title: "Why: what the same loops take in instructions",
        per: "",
        caption: "Counted one by one, the loop around them included. They do not depend on the machine or its load; times also depend on what the instructions wait for.",
        series: &[],
        draws_counts: true,
    },
];

/// How a bench is drawn that no topic is about.
pub(super) const OTHER: Topic =
    Topic { bench: "", title: "", per: "per element", caption: "", series: &[], draws_counts: true };
