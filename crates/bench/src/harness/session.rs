//! One run of the whole: what was asked for, the clock, the baselines, where results go.

use super::clock::Clock;
use super::machine;
use super::summary::Summary;
use crate::event::{Event, Note};
use crate::summary;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use waterwheel_mm::cpu;

/// What to run and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `BENCH` or `BENCH/CASE`; everything when empty.
    pub names: Vec<String>,
    /// Shorter and fewer runs: the whole, or what of it fits, in a minute; what everybody asks comes first.
    pub quick: bool,
    /// Also start the peers that are programs (`dpdk-testpmd`, the kernel's XDP).
    pub peers: bool,
    /// How many runs of each contender; 11 (quick: 5) unless given.
    pub runs: Option<usize>,
}

/// The run was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

/// One run of the whole.
pub struct Session<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    output: &'a mut dyn FnMut(&Event),
    clock: Clock,
    cpus: Vec<usize>,
    empty_ns: f64,
    locked_ns: f64,
}

impl<'a> Session<'a> {
    /// Pins the thread, measures the baselines, and gives out the facts of the machine.
    pub(crate) fn start(options: &'a Options, stop: &'a AtomicBool, output: &'a mut dyn FnMut(&Event)) -> Self {
        let cpus = cpu::allowed_cpus();
        if let Some(&first) = cpus.first() {
            let _ = cpu::pin_to(first); // where that is refused the figures are noisy, which shows
        }
        let clock = Clock::new();
        let empty_ns = short_runs(clock, empty_loop).min; // no more than it ever takes is subtracted
        let locked = short_runs(clock, locked_increments);
        let (locked_ns, spread) = (locked.median - empty_ns, (locked.q3 - locked.q1) / locked.median);
        let mut session = Self { options, stop, output, clock, cpus, empty_ns, locked_ns };
        let machine = machine::facts(&session.cpus, clock.ghz(), empty_ns, locked_ns);
        session.emit(&Event::Machine(machine));
        if let Some(why) = machine::noise(session.cpus.len(), spread) {
            session.note("", "", &format!("{}: {why}; rows marked noisy are not to be quoted", summary::NOISY));
        }
        if clock.ghz().is_none() {
            session.note("", "", "no invariant TSC: times are of the kernel's clock, and cycles are left out");
        }
        if session.cpus.len() < 2 {
            session.note("", "", "one CPU only: what needs two cannot be measured");
        }
        if cfg!(debug_assertions) {
            session.note("", "", &format!("{}: its figures mean nothing; build with --release", summary::DEBUG));
        }
        session
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        self.options
    }

    /// CPUs that may be used. The session's own thread is pinned to the first.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Gives out a remark.
    pub(crate) fn note(&mut self, bench: &str, case: &str, text: &str) {
        self.emit(&Event::Note(Note { bench: bench.to_owned(), case: case.to_owned(), text: text.to_owned() }));
    }

    /// Gives out a result; but what was divided by nothing is no figure, and JSON has no word for it.
    pub(crate) fn emit(&mut self, event: &Event) {
        let is_figure = match event {
            Event::Ratio(ratio) => {
                [ratio.ratio_median, ratio.ratio_min, ratio.ratio_max].into_iter().all(f64::is_finite)
            }
            Event::Count(count) => count.value.is_finite(),
            _ => true,
        };
        if is_figure {
            (self.output)(event);
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// The cost of an iteration of an empty loop, and of a LOCKed increment.
    pub(crate) fn baseline_ns(&self) -> (f64, f64) {
        (self.empty_ns, self.locked_ns)
    }

    /// How many runs of each contender.
    pub(crate) fn runs(&self) -> usize {
        self.options.runs.unwrap_or(if self.options.quick { 5 } else { 11 }).max(1)
    }

    /// How long one run of one contender should take.
    pub(crate) fn sample(&self) -> Duration {
        if self.options.quick { Duration::from_millis(1) } else { Duration::from_millis(10) }
    }

    /// Ends the run if that was asked for.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.stop.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }
}

/// `for_loop`: a counter that the compiler must go through.
pub(crate) fn empty_loop(loops: u64) {
    for i in 0..loops {
        std::hint::black_box(i);
    }
}

/// `atomic_inc`: one LOCKed instruction on a line that nobody else wants.
pub(crate) fn locked_increments(loops: u64) {
    let number = AtomicU64::new(0);
    for _ in 0..loops {
        std::hint::black_box(&number).fetch_add(1, Ordering::Relaxed);
    }
}

/// `lock`: lock and unlock without contention.
pub(crate) fn locks(loops: u64) {
    let lock = Mutex::new(0u64);
    for _ in 0..loops {
        if let Ok(mut number) = std::hint::black_box(&lock).lock() {
            *number += 1;
        }
    }
}

/// Nanoseconds per iteration, of many short runs.
fn short_runs(clock: Clock, body: fn(u64)) -> Summary {
    const LOOPS: u64 = 20_000;
    let run = |_| {
        let begin = clock.now();
        body(LOOPS);
        clock.ns(clock.now() - begin) / LOOPS as f64
    };
    Summary::of(&(0..500).map(run).collect::<Vec<_>>())
}
