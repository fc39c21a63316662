//! Aligned text, line by line as results come in.

use super::{figure, wrapped};
use crate::event::{Event, Machine, Ratio, Row, Side};
use std::io::{self, Write};

/// Columns: case and contender to the left, figures to the right.
const CASE: usize = 16;
const CONTENDER: usize = 32;
const FIGURE: usize = 8;

/// Writes events as text; remembers what stands above.
#[derive(Debug, Default)]
pub struct Text {
    bench: String,
    /// The columns have their heads since the bench began.
    has_heads: bool,
    case: String,
    /// The last line was a ratio, of which the next need not say the name again.
    after_ratio: bool,
}

impl Text {
    /// Writes one event.
    ///
    /// # Errors
    /// Of `out`.
    pub fn write(&mut self, out: &mut dyn Write, event: &Event) -> io::Result<()> {
        let after_ratio = std::mem::replace(&mut self.after_ratio, matches!(event, Event::Ratio(_)));
        match event {
            Event::Machine(machine) => write_machine(out, machine),
            Event::Row(row) => {
                self.names(out, &row.bench, &row.case, &row.implementation)?;
                write_figures(out, row)
            }
            Event::Ratio(ratio) => {
                if !after_ratio {
                    writeln!(out, "{:CASE$}   ours / peer, in time:", "")?;
                }
                write_ratio(out, ratio)
            }
            Event::Count(count) => {
                self.names(out, &count.bench, &count.case, &count.implementation)?;
                writeln!(out, "       {:>FIGURE$}  {}", figure(count.value), count.what)
            }
            Event::Absent(absent) => {
                self.names(out, &absent.bench, &absent.case, &absent.implementation)?;
                let why = wrapped(&absent.why, CASE + CONTENDER + 20);
                writeln!(out, "       {:>FIGURE$}  {}", "-", why.trim())
            }
            Event::Note(note) => {
                self.heading(out, &note.bench)?;
                let case = if note.case.is_empty() { String::new() } else { format!("{}: ", note.case) };
                let text = wrapped(&format!("{case}{}", note.text), 4);
                writeln!(out, "  # {}", text.trim())
            }
        }
    }

    /// The bench, once.
    fn heading(&mut self, out: &mut dyn Write, bench: &str) -> io::Result<()> {
        if bench.is_empty() || bench == self.bench {
            return Ok(());
        }
        *self = Self { bench: bench.to_owned(), ..Self::default() };
        writeln!(out, "\n{bench}")
    }

    /// The beginning of a line: the case if it is another than above, and the contender. What is too long for its column gets a line of its own.
    fn names(&mut self, out: &mut dyn Write, bench: &str, case: &str, contender: &str) -> io::Result<()> {
        self.heading(out, bench)?;
        if !self.has_heads {
            self.has_heads = true;
            let heads = ["ns", "cycles", "LOCKed", "min", "max"].map(|head| format!("{head:>FIGURE$}")).join(" ");
            writeln!(out, "  {:CASE$} {:CONTENDER$}       {heads}", "case", "contender")?;
        }
        let mut shown = "";
        if case != self.case {
            self.case = case.to_owned();
            shown = case;
        }
        if shown.chars().count() > CASE {
            writeln!(out, "  {shown}")?;
            shown = "";
        }
        if contender.chars().count() > CONTENDER {
            writeln!(out, "  {shown:CASE$} {contender}")?;
            return write!(out, "  {:CASE$} {:CONTENDER$}", "", "");
        }
        write!(out, "  {shown:CASE$} {contender:CONTENDER$}")
    }
}

fn write_figures(out: &mut dyn Write, row: &Row) -> io::Result<()> {
    let whose = match row.side {
        Side::Ours => "",
        Side::Peer => "peer",
        Side::Baseline => "base",
    };
    let cycles = row.cycles.map_or_else(|| "-".to_owned(), figure);
    let figures = [figure(row.ns), cycles, figure(row.locked), figure(row.min_ns), figure(row.max_ns)];
    let figures = figures.map(|figure| format!("{figure:>FIGURE$}")).join(" ");
    let noisy = if row.noisy { "  noisy" } else { "" };
    writeln!(out, "  {whose:4} {figures}{noisy}")
}

fn write_ratio(out: &mut dyn Write, ratio: &Ratio) -> io::Result<()> {
    let (median, min, max) = (ratio.ratio_median, ratio.ratio_min, ratio.ratio_max);
    // Whether all runs agree: else the median may lean to one side, and is not to be quoted.
    let verdict = match () {
        () if max < 1.0 => "faster",
        () if min > 1.0 => "slower",
        () => "undecided",
    };
    let names = format!("{} / {}", ratio.implementation, ratio.peer);
    let range = format!("({min:.3} .. {max:.3})");
    writeln!(out, "{:CASE$}   {names:width$} {median:>FIGURE$.3}  {range:20} {verdict}", "", width = CONTENDER + 6)
}

fn write_machine(out: &mut dyn Write, machine: &Machine) -> io::Result<()> {
    let cpus: Vec<String> = machine.cpus.iter().map(usize::to_string).collect();
    let tsc = machine.tsc_ghz.map_or_else(|| "not invariant".to_owned(), |ghz| format!("{ghz:.3} GHz, invariant"));
    writeln!(out, "waterwheel {} on {}, CPUs {}", machine.version, machine.cpu, cpus.join(","))?;
    writeln!(
        out,
        "TSC {tsc}; Linux {}; governor: {}; compiled for {}",
        machine.kernel, machine.governor, machine.target
    )?;
    writeln!(out, "huge pages: {}", machine.huge_pages)?;
    for mitigation in &machine.mitigations {
        writeln!(out, "mitigation: {mitigation}")?;
    }
    let (empty, locked) = (machine.empty_ns, machine.locked_ns);
    writeln!(out, "an empty loop takes {empty:.3} ns (subtracted everywhere), a LOCKed increment {locked:.2} ns")?;
    writeln!(out, "all figures per element, medians; ratios are ours / peer in time: below 1 is faster")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Count, Note};

    fn row(case: &str, contender: &str, side: Side) -> Event {
        Event::Row(Row {
            bench: "b".into(),
            case: case.into(),
            implementation: contender.into(),
            side,
            series: "s".into(),
            x: 0.0,
            work: String::new(),
            ns: 1234.5,
            cycles: None,
            locked: 0.5,
            min_ns: 12.25,
            median_ns: 12.5,
            max_ns: 123.4,
            runs: 5,
            elements: 1,
            empty_ns: 0.0,
            noisy: false,
        })
    }

    fn written(events: &[Event]) -> Vec<String> {
        let (mut text, mut out) = (Text::default(), Vec::new());
        events.iter().for_each(|event| text.write(&mut out, event).expect("a Vec takes all"));
        String::from_utf8(out).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn figures_stay_in_their_columns_however_long_the_names_are() {
        let (long_case, long_name) =
            ("a case with a very long name indeed", "a contender whose name is longer than its column");
        let lines = written(&[
            row("short", "pool", Side::Ours),
            row("short", "mempool", Side::Peer),
            row(long_case, long_name, Side::Baseline),
        ]);
        let ends: Vec<usize> = lines.iter().filter_map(|line| Some(line.find("123.4")? + 5)).collect();
        assert_eq!(ends, [ends[0]; 3], "{lines:#?}");
        assert_eq!(ends[0], lines[2].find("max").expect("the heads") + 3, "{lines:#?}");
        assert!(lines[4].contains("  peer ") && !lines[4].contains("short"), "a case is named once: {lines:#?}");
    }

    #[test]
    fn notes_come_before_the_heads_and_are_wrapped() {
        let note = Note { bench: "b".into(), case: String::new(), text: "word ".repeat(60) };
        let lines = written(&[Event::Note(note), row("c", "pool", Side::Ours)]);
        assert!(lines[..lines.len() - 2].iter().all(|line| line.len() <= 100), "{lines:#?}");
        let head = lines.iter().position(|line| line.contains("LOCKed")).expect("the heads");
        assert!(lines[head - 1].starts_with("    word"), "{lines:#?}");
    }

    #[test]
    fn ratios_say_which_is_faster() {
        let ratio = |ratio_min, ratio_max| {
            let (bench, case, implementation, peer) = ("b".into(), "c".into(), "pool".into(), "mempool".into());
            Event::Ratio(Ratio { bench, case, implementation, peer, ratio_median: 1.0, ratio_min, ratio_max })
        };
        let lines = written(&[ratio(0.5, 0.9), ratio(0.9, 1.1), ratio(1.1, 2.0)]);
        let verdicts = ["faster", "undecided", "slower"];
        assert!(lines[1..].iter().zip(verdicts).all(|(line, verdict)| line.ends_with(verdict)), "{lines:#?}");
    }

    #[test]
    fn a_count_says_what_it_is() {
        let count = Count {
            bench: "b".into(),
            case: "c".into(),
            implementation: "pool".into(),
            series: String::new(),
            x: 0.0,
            what: "hits".into(),
            value: 0.5,
        };
        assert!(written(&[Event::Count(count)]).last().is_some_and(|line| line.ends_with("0.50  hits")));
    }
}
