//! Aligned text, line by line as results come in.

use super::{figure, filled, limit, spread, wrapped};
use crate::event::{Event, Machine, Ratio, Row, Side, Target};
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
    pending: Option<Pending>,
    /// The section of targets has begun.
    has_targets: bool,
    /// Contenders of the bench and what they do, each once.
    works: Vec<(String, String)>,
}

/// Ratios or counts of one contender of one case: they share lines, which are written when there are no more of them.
#[derive(Debug, PartialEq)]
struct Pending {
    is_ratios: bool,
    bench: String,
    case: String,
    contender: String,
    /// Such as `0.50 hits`.
    items: Vec<String>,
}

impl Text {
    /// Writes one event; of ratios and counts not before the next one, or [`finish`](Self::finish); what a row's work is, at the end of its bench.
    ///
    /// # Errors
    /// Of `out`.
    pub fn write(&mut self, out: &mut dyn Write, event: &Event) -> io::Result<()> {
        match event {
            Event::Ratio(ratio) => {
                self.collect(out, true, [&ratio.bench, &ratio.case, &ratio.implementation], ratio_item(ratio))
            }
            Event::Count(count) => {
                let item = format!("{} {}", figure(count.value), count.what);
                self.collect(out, false, [&count.bench, &count.case, &count.implementation], item)
            }
            Event::Machine(machine) => {
                self.settle(out)?;
                write_machine(out, machine)
            }
            Event::Row(row) => {
                self.settle(out)?;
                self.names(out, &row.bench, &row.case, &row.implementation)?;
                let work = (row.implementation.clone(), row.work.clone());
                if !work.1.is_empty() && !self.works.contains(&work) {
                    self.works.push(work);
                }
                write_figures(out, row)
            }
            Event::Absent(absent) => {
                self.settle(out)?;
                self.names(out, &absent.bench, &absent.case, &absent.implementation)?;
                let why = wrapped(&absent.why, CASE + CONTENDER + 20);
                writeln!(out, "       {:>FIGURE$}  {}", "-", why.trim())
            }
            Event::Note(note) => {
                self.settle(out)?;
                self.heading(out, &note.bench)?;
                let case = if note.case.is_empty() { String::new() } else { format!("{}: ", note.case) };
                let text = wrapped(&format!("{case}{}", note.text), 4);
                writeln!(out, "  # {}", text.trim())
            }
            Event::Target(target) => {
                if !self.has_targets {
                    self.finish(out)?;
                    self.has_targets = true;
                    write_target_heads(out)?;
                }
                write_target(out, target)
            }
        }
    }

    /// Writes what waits for the end of a bench.
    ///
    /// # Errors
    /// Of `out`.
    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.settle(out)?;
        for (i, (contender, work)) in std::mem::take(&mut self.works).iter().enumerate() {
            if i == 0 {
                writeln!(out, "  what is done per element:")?;
            }
            writeln!(out, "    {}", wrapped(&format!("{contender}: {work}"), 6).trim())?;
        }
        Ok(())
    }

    /// Writes what waits for more of its kind.
    fn settle(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(Pending { is_ratios, bench, case, contender, mut items }) = self.pending.take() else { return Ok(()) };
        if is_ratios {
            items[0].insert_str(0, &format!("{contender} takes "));
            return writeln!(out, "{}", filled(items.iter().map(String::as_str), ", ", CASE + 3));
        }
        self.names(out, &bench, &case, &contender)?;
        writeln!(out, "  {}", filled(items.iter().map(String::as_str), "; ", CASE + CONTENDER + 5).trim())
    }

    /// Puts a ratio or a count to those before it, if they are of the same contender.
    fn collect(
        &mut self,
        out: &mut dyn Write,
        is_ratios: bool,
        [bench, case, contender]: [&String; 3],
        item: String,
    ) -> io::Result<()> {
        let mine = |pending: &&mut Pending| {
            (pending.is_ratios, &pending.bench, &pending.case, &pending.contender)
                == (is_ratios, bench, case, contender)
        };
        if let Some(pending) = self.pending.as_mut().filter(mine) {
            pending.items.push(item);
            return Ok(());
        }
        self.settle(out)?;
        let [bench, case, contender] = [bench, case, contender].map(String::clone);
        self.pending = Some(Pending { is_ratios, bench, case, contender, items: vec![item] });
        Ok(())
    }

    /// The bench, once.
    fn heading(&mut self, out: &mut dyn Write, bench: &str) -> io::Result<()> {
        if bench.is_empty() || bench == self.bench {
            return Ok(());
        }
        self.finish(out)?;
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

/// How many times a peer's time ours is, and whether all runs agree on who is faster: else the median may lean to one side, and is not to be quoted.
fn ratio_item(ratio: &Ratio) -> String {
    let (median, min, max) = (ratio.ratio_median, ratio.ratio_min, ratio.ratio_max);
    let is_undecided = min <= 1.0 && max >= 1.0;
    format!("{}{median:.3} x {}", if is_undecided { "~" } else { "" }, ratio.peer)
}

/// Columns of the targets: what is done, beside what, the figure, its spread.
const WORK: usize = 44;
const BESIDE: usize = 29;

fn write_target_heads(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\ntargets (lower is better; the spread is the middle half of the rounds)")?;
    let heads = ["figure", "spread", "reach", "aim"];
    writeln!(
        out,
        "  {:WORK$} {:BESIDE$} {:>12} {:>16} {:>12} {:>8}  verdict",
        "work", "beside", heads[0], heads[1], heads[2], heads[3]
    )
}

/// A work that is too long for its column gets a line of its own.
fn write_target(out: &mut dyn Write, target: &Target) -> io::Result<()> {
    let mut work = target.work.as_str();
    if work.chars().count() > WORK {
        writeln!(out, "  {work}")?;
        work = "";
    }
    let (value, reach, aim) =
        (limit(target.value, target), limit(Some(target.reach), target), limit(target.aim, target));
    let (beside, spread, verdict) = (&target.beside, spread(target), target.verdict.name());
    writeln!(out, "  {work:WORK$} {beside:BESIDE$} {value:>12} {spread:>16} {reach:>12} {aim:>8}  {verdict}")?;
    target.remarks.iter().try_for_each(|remark| writeln!(out, "  {:WORK$} {remark}", ""))
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
    writeln!(
        out,
        "all figures per element, medians; ratios (`takes 0.5 x peer`) in time: below 1 ours is faster; ~: not in all runs"
    )
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
            q1_ns: 12.3,
            q3_ns: 12.6,
            runs: 5,
            elements: 1,
            empty_ns: 0.0,
            noisy: false,
        })
    }

    fn written(events: &[Event]) -> Vec<String> {
        let (mut text, mut out) = (Text::default(), Vec::new());
        events.iter().for_each(|event| text.write(&mut out, event).expect("a Vec takes all"));
        text.finish(&mut out).expect("a Vec takes all");
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
    fn what_a_row_does_is_said_once_at_the_end_of_its_bench() {
        let doing = |bench: &str, work: &str| {
            let Event::Row(row) = row("c", "pool", Side::Ours) else { unreachable!("a row") };
            Event::Row(Row { bench: bench.into(), work: work.into(), ..row })
        };
        let lines = written(&[doing("b", "alloc + free"), doing("b", "alloc + free"), doing("d", "bulk")]);
        let said: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| line.starts_with("pool: ")).collect();
        assert_eq!(said, ["pool: alloc + free", "pool: bulk"]);
        let next = lines.iter().position(|line| line == "d").expect("the next bench");
        assert!(lines[next - 2].ends_with("pool: alloc + free"), "{lines:#?}");
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
    fn ratios_of_a_contender_share_a_line_and_say_where_runs_disagree() {
        let ratio = |contender: &str, peer: &str, ratio_min, ratio_max| {
            let (bench, case, implementation, peer) = ("b".into(), "c".into(), contender.into(), peer.into());
            let [ratio_median, ratio_q1, ratio_q3] = [0.75, 0.7, 0.8];
            Event::Ratio(Ratio {
                bench,
                case,
                implementation,
                peer,
                ratio_median,
                ratio_min,
                ratio_max,
                ratio_q1,
                ratio_q3,
            })
        };
        let lines = written(&[
            ratio("pool", "mempool", 0.5, 0.9),
            ratio("pool", "mbuf", 0.9, 1.1),
            ratio("zone", "mempool", 1.1, 2.0),
        ]);
        let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        assert_eq!(lines, ["pool takes 0.750 x mempool, ~0.750 x mbuf", "zone takes 0.750 x mempool"]);
    }

    #[test]
    fn counts_of_a_contender_share_lines_that_are_not_too_long() {
        let count = |case: &str, what: &str| {
            Event::Count(Count {
                bench: "b".into(),
                case: case.into(),
                implementation: "pool".into(),
                series: String::new(),
                x: 0.0,
                what: what.into(),
                value: 0.5,
            })
        };
        let lines = written(&[count("c", "hits"), count("c", "of all"), count("d", "hits")]);
        assert!(lines[3].ends_with(" 0.50 hits; 0.50 of all") && lines[4].ends_with(" 0.50 hits"), "{lines:#?}");
        let many = written(&[(); 9].map(|()| count("c", "pages taken from the allocator")));
        assert!(many.len() > 5 && many.iter().all(|line| line.len() <= 103), "{many:#?}");
    }
}
