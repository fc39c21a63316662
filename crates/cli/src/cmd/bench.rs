//! `bench`: what packet memory costs here.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use waterwheel_bench::compare::{BadResults, Comparison, Results};
use waterwheel_bench::output::{self, Text};
use waterwheel_bench::{Event, Options, programs, targets};

use crate::args::{Bench, BenchSub};
use crate::failure::{Class, Failure};
use crate::report;
use crate::signals::Signals;

/// Compares two runs, holds one against the targets, lists the programs, or runs them.
pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    match &args.sub {
        Some(BenchSub::Compare { old, new }) => return compare(old, new),
        Some(BenchSub::Targets { run }) => return targets(run),
        None => {}
    }
    if args.list {
        return output::list(&mut io::stdout().lock(), &programs()).map_err(|error| Failure::output(&error));
    }
    // Before the run, which takes minutes: what cannot be written then cannot be written now.
    let page = args.report.as_deref().map(Page::prepare).transpose()?;
    let events = measure(args)?;
    page.map_or(Ok(()), |page| page.write(&events))
}

/// Runs what was asked for and prints it as it comes; SIGINT and SIGTERM end it, with what is finished.
fn measure(args: &Bench) -> Result<Vec<Event>, Failure> {
    let options = Options {
        names: args.names.clone(),
        quick: args.quick,
        peers: args.peers,
        runs: args.runs.map(|runs| usize::try_from(runs).unwrap_or(usize::MAX)),
    };
    let signals =
        Signals::take_over().map_err(|error| Failure::new(Class::Other, format!("cannot handle signals: {error}")))?;
    let stop = signals.flag();
    let (mut text, mut events, mut written) = (Text::default(), Vec::new(), Ok(()));
    let mut show = |event: &Event| {
        events.push(event.clone());
        if written.is_ok() {
            written = print(args, &mut text, event);
        }
        if written.is_err() {
            stop.store(true, Ordering::Relaxed); // nobody reads: no need to go on
        }
    };
    let known = waterwheel_bench::run(&options, stop, &mut show);
    known.map_err(|error| Failure::new(Class::Usage, format!("{error} (see 'waterwheel bench --list')")))?;
    written.and_then(|()| text.finish(&mut io::stdout().lock())).map_err(|error| Failure::output(&error))?;
    Ok(events)
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

/// The file of `--report`.
struct Page(PathBuf);

impl Page {
    /// Makes the folder, and sees whether the file can be written; what an earlier run left in it stays until there is something new.
    fn prepare(folder: &Path) -> Result<Self, Failure> {
        let page = Self(folder.join("index.html"));
        fs::create_dir_all(folder).map_err(|error| page.refused(&error))?;
        File::options().append(true).create(true).open(&page.0).map_err(|error| page.refused(&error))?;
        Ok(page)
    }

    fn write(&self, events: &[Event]) -> Result<(), Failure> {
        let command = std::env::args().skip(1).fold("waterwheel".to_owned(), |line, word| line + " " + &word);
        let html = waterwheel_bench::report::html(&command, events).unwrap_or_default();
        fs::write(&self.0, html).map_err(|error| self.refused(&error))?;
        report::notice(&format!("the report is {}", self.0.display()));
        Ok(())
    }

    fn refused(&self, error: &io::Error) -> Failure {
        Failure::new(Class::Config, format!("cannot write the report {}: {error}", self.0.display()))
    }
}

/// Says what changed between two runs; fails if something became slower.
fn compare(old: &Path, new: &Path) -> Result<(), Failure> {
    let (old, new) = (read(old, Results::read)?, read(new, Results::read)?);
    let comparison = Comparison::new(&old, &new);
    comparison.write(&mut io::stdout().lock()).map_err(|error| Failure::output(&error))?;
    match comparison.slower().as_slice() {
        [] => Ok(()),
        [only] => Err(Failure::new(Class::Slower, format!("slower: {only}"))),
        [first, more @ ..] => Err(Failure::new(Class::Slower, format!("slower: {first} and {} more", more.len()))),
    }
}

/// Says which targets a run reaches.
fn targets(run: &Path) -> Result<(), Failure> {
    let table = targets::markdown(&read(run, targets::read)?);
    io::stdout().lock().write_all(table.as_bytes()).map_err(|error| Failure::output(&error))
}

fn read<T>(path: &Path, read: impl Fn(BufReader<File>) -> Result<T, BadResults>) -> Result<T, Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::new(Class::Config, format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| bad(&error))?;
    read(BufReader::new(file)).map_err(|error| bad(&error))
}
