//! `soak`: everything at once, at random, and every page and byte checked.

use std::io::{self, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use waterwheel_bench::soak::{self, Error, Options, Report};
use waterwheel_xdp::mm::cpu;

use crate::args::Soak;
use crate::failure::{Class, Failure};
use crate::report::{json, wait_for_reader};
use crate::signals::Signals;
use crate::units::si;

/// Runs until the time is over, SIGINT or SIGTERM come, or something does not hold.
pub(crate) fn run(args: &Soak) -> Result<(), Failure> {
    let options = Options {
        duration: Some(args.duration),
        seed: args.seed.unwrap_or_else(seed_by_the_clock),
        threads: match args.threads {
            Some(threads) => usize::try_from(threads).unwrap_or(usize::MAX),
            None => cpu::allowed_cpus().len().clamp(1, soak::MAX_THREADS),
        },
        interval: args.interval,
        ..Options::default()
    };
    options.check().map_err(|error| failure(&error))?;
    let signals =
        Signals::take_over().map_err(|error| Failure::new(Class::Other, format!("cannot handle signals: {error}")))?;
    wait_for_reader(&signals.patience(None));
    let stop = signals.flag();
    let mut written = show_start(args, &options);
    let mut before = 0.0;
    let mut show = |report: &Report| {
        if written.is_ok() {
            written = show(args, report, before);
        }
        before = report.seconds;
        if written.is_err() {
            stop.store(true, Ordering::Relaxed); // nobody reads: no need to go on
        }
    };
    let ended = soak::run(&options, stop, &mut show);
    match ended {
        Ok(total) => show(&total),
        Err(error) => return Err(failure(&error)),
    }
    written.map_err(|error| Failure::output(&error))
}

fn failure(error: &Error) -> Failure {
    let class = match error {
        Error::Violation(violation) if violation.broken.is_leak() => Class::Leak,
        Error::Violation(_) => Class::Broken,
        Error::Threads(_) | Error::Region(_) => Class::Config,
        _ => Class::Other,
    };
    match error {
        Error::Violation(_) => Failure::new(class, format!("{error}: please report this, with the command")),
        _ => Failure::new(class, error),
    }
}

/// A seed that a person can type, and a script reads without losing digits.
fn seed_by_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos() ^ now.as_secs() as u32)
}

#[derive(Serialize)]
struct Start {
    event: &'static str,
    seed: u64,
    threads: usize,
}

/// The seed comes first: so it is known also if this process dies.
fn show_start(args: &Soak, options: &Options) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    let &Options { seed, threads, .. } = options;
    if args.json {
        return json::line(out, 0.0, &Start { event: "start", seed, threads });
    }
    writeln!(out, "soak: seed {seed}, {threads} polling threads and as many that hold packets")?;
    out.flush()
}

/// The report before was `before` seconds after the start; the total is of the whole run.
fn show(args: &Soak, report: &Report, before: f64) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    if args.json {
        let dt = if report.event == "total" { report.seconds } else { report.seconds - before };
        return json::line(out, dt, report);
    }
    writeln!(out, "{}", figures(report))?;
    if report.event == "total" {
        writeln!(out, "seed {}", report.seed)?;
        let events: Vec<_> = report.events.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "events: {}", events.join(", "))?;
        writeln!(out, "pages: {} of {} free", report.pages.free, report.pages.total)?;
    }
    out.flush()
}

/// One line.
fn figures(report: &Report) -> String {
    let drops: Vec<_> = report
        .drops
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(why, count)| format!("{} {count}", why.as_str()))
        .collect();
    format!(
        "{:8.1} s  {}packets  dropped: {}  resets {}  pools made {} destroyed {}  pages out at most {}  checks {}",
        report.seconds,
        si(report.packets as f64),
        drops.join(", "),
        report.resets,
        report.pools_made,
        report.pools_destroyed,
        report.pages_out_max,
        report.checks
    )
}
