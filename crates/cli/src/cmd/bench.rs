//! `bench`: what packet memory costs here.

use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use waterwheel_bench::compare::{BadResults, Comparison, Results};
use waterwheel_bench::output::{self, Text};
use waterwheel_bench::{Event, Options, programs, targets};

use crate::args::{Bench, BenchSub};
use crate::failure::{Class, Failure};
use crate::report::{self, wait_for_reader};
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
    wait_for_reader(&signals.patience(None));
    let stop = signals.flag();
    let (mut text, mut events, mut written) = (Text::default(), Vec::new(), Ok(()));
    let shown = Shown::of(args);
    let mut progress = Progress::default();
    let mut before = Instant::now();
    let mut show = |event: &Event| {
        events.push(event.clone());
        if written.is_ok() {
            written = match shown {
                Shown::Summary => progress.at(event),
                shown => print(shown, &mut text, event, before.elapsed().as_secs_f64()),
            };
            before = Instant::now();
        }
        if written.is_err() {
            stop.store(true, Ordering::Relaxed); // nobody reads: no need to go on
        }
    };
    let known = waterwheel_bench::run(&options, stop, &mut show);
    known.map_err(|error| Failure::new(Class::Usage, format!("{error} (see 'waterwheel bench --list')")))?;
    written.and_then(|()| progress.end()).and_then(|()| end(shown, text, &events)).map_err(|e| Failure::output(&e))?;
    Ok(events)
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// A few lines at the end, and until then what is being measured.
    Summary,
    /// Everything as it comes, then the same.
    All,
    Json,
    TimeBench,
}

impl Shown {
    /// Who names a bench wants to see it, and who has no terminal keeps it.
    fn of(args: &Bench) -> Self {
        match args {
            Bench { json: true, .. } => Self::Json,
            Bench { time_bench: true, .. } => Self::TimeBench,
            Bench { all: false, names, .. } if names.is_empty() && io::stdout().is_terminal() => Self::Summary,
            _ => Self::All,
        }
    }
}

/// A line of the terminal that says what is being measured.
#[derive(Default)]
struct Progress {
    bench: String,
}

impl Progress {
    fn at(&mut self, event: &Event) -> io::Result<()> {
        let bench = match event {
            Event::Row(row) => &row.bench,
            Event::Note(note) if !note.bench.is_empty() => &note.bench,
            _ => return Ok(()),
        };
        if *bench == self.bench {
            return Ok(());
        }
        self.bench.clone_from(bench);
        let out = &mut io::stdout().lock();
        write!(out, "\r\x1b[Kmeasuring {bench} ... (Ctrl-C ends, with what there is)")?;
        out.flush()
    }

    fn end(&self) -> io::Result<()> {
        if self.bench.is_empty() { Ok(()) } else { write!(io::stdout().lock(), "\r\x1b[K") }
    }
}

/// What stands last.
fn end(shown: Shown, mut text: Text, events: &[Event]) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    match shown {
        Shown::Summary => output::summary(out, events),
        Shown::All => text.finish(out).and_then(|()| output::summary(out, events)),
        Shown::Json | Shown::TimeBench => Ok(()),
    }
}

/// Prints what `seconds` have brought.
fn print(shown: Shown, text: &mut Text, event: &Event, seconds: f64) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    match shown {
        Shown::Json => report::json::line(out, seconds, event)?,
        Shown::TimeBench => output::time_bench(out, event)?,
        Shown::Summary | Shown::All => text.write(out, event)?,
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
