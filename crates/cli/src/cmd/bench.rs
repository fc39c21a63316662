//! `bench`: what packet memory costs here.

use std::io::{self, Write as _};
use std::sync::atomic::Ordering;

use waterwheel_bench::output::{self, Text};
use waterwheel_bench::{Event, Options};

use crate::args::Bench;
use crate::failure::{Class, Failure};
use crate::signals::Signals;

/// Lists the programs, or runs them.
pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    if args.list {
        return list().map_err(|error| Failure::output(&error));
    }
    let options = Options {
        names: args.names.clone(),
        quick: args.quick,
        peers: args.peers,
        runs: args.runs.map(|runs| usize::try_from(runs).unwrap_or(usize::MAX)),
    };
    let signals =
        Signals::take_over().map_err(|error| Failure::new(Class::Other, format!("cannot handle signals: {error}")))?;
    let stop = signals.flag();
    let (mut text, mut written) = (Text::default(), Ok(()));
    let mut show = |event: &Event| {
        if written.is_ok() {
            written = print(args, &mut text, event);
        }
        if written.is_err() {
            stop.store(true, Ordering::Relaxed); // nobody reads: no need to go on
        }
    };
    let known = waterwheel_bench::run(&options, stop, &mut show);
    known.map_err(|error| Failure::new(Class::Usage, format!("{error} (see 'waterwheel bench --list')")))?;
    written.map_err(|error| Failure::output(&error))
}

fn print(args: &Bench, text: &mut Text, event: &Event) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    if args.json {
        output::json(out, event)?;
    } else if args.time_bench {
        output::time_bench(out, event)?;
    } else {
        text.write(out, event)?;
    }
    out.flush()
}

fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for program in waterwheel_bench::programs() {
        writeln!(out, "{}\n    {}\n    answers: {}", program.name, program.about, program.answers)?;
        let cases: Vec<&str> = program.cases.iter().map(|case| case.name.as_str()).collect();
        writeln!(out, "    cases: {}\n", cases.join(", "))?;
    }
    Ok(())
}
