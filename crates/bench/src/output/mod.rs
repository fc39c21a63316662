//! How results are shown: aligned text, the kernel's `time_bench` lines; and the list of what there is to run.

mod text;

pub use text::Text;

use crate::event::{Event, Target};
use crate::harness::Program;
use crate::summary::{self, Answer};
use std::io::{self, Write};

/// Writes a row as the kernel's `time_bench` module prints it (`lib/time_bench.c`); other events are no lines there.
///
/// # Errors
/// Of `out`.
pub fn time_bench(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    let Event::Row(row) = event else { return Ok(()) };
    let (ns, cycles) = (row.ns, row.cycles.unwrap_or_default());
    let total = |per: f64| (per * row.elements as f64).round();
    writeln!(
        out,
        "Type:{} {} {} Per elem: {} cycles(tsc) {:.3} ns (step:0) - (measurement period time:{:.9} sec time_interval:{}) - (invoke count:{} tsc_interval:{})",
        row.bench,
        row.case,
        row.implementation,
        cycles.round(),
        ns,
        total(ns) / 1e9,
        total(ns),
        row.elements,
        total(cycles),
    )
}

/// Writes what each program measures, which slide or program it answers, and its cases.
///
/// # Errors
/// Of `out`.
pub fn list(out: &mut dyn Write, programs: &[Program]) -> io::Result<()> {
    for program in programs {
        let cases: Vec<&str> = program.cases.iter().map(|case| case.name.as_str()).collect();
        writeln!(out, "{}", program.name)?;
        for (label, text) in [("", program.about), ("answers: ", program.answers), ("cases: ", &cases.join(", "))] {
            writeln!(out, "{}", wrapped(&format!("{label}{text}"), 4))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes what a run says in a few lines, at most ten: what a page costs here, and what it costs others. Nothing where nobody would ask for what was run.
///
/// # Errors
/// Of `out`.
pub fn summary(out: &mut dyn Write, events: &[Event]) -> io::Result<()> {
    let Some(machine) = events.iter().find_map(Event::machine) else { return Ok(()) };
    let answers = summary::answers(events, machine);
    if answers.is_empty() {
        return Ok(());
    }
    let cpus = machine.cpus.len();
    writeln!(
        out,
        "\nWhat a page costs here, ns ({}, {cpus} CPUs); against others: time of ours / theirs",
        machine.cpu
    )?;
    for warning in summary::warnings(events) {
        writeln!(out, "  ! {warning}")?;
    }
    for Answer { what, row, ratios, linux_ns, .. } in answers {
        let peers = ratios.iter().map(|ratio| format!("{} x {}", significant(ratio.ratio_median), ratio.peer));
        let linux = linux_ns.map(|ns| format!("Linux: about {}", figure(ns)));
        let against = peers.chain(linux).collect::<Vec<_>>().join(", ");
        let noise = if row.noisy { "~" } else { " " };
        writeln!(out, "{}", format!("  {what:40} {noise}{:>7}  {against}", figure(row.ns)).trim_end())?;
    }
    writeln!(
        out,
        "~ noise: do not quote. Linux: its code, measured elsewhere. All figures: --all; to keep: --json, --report DIR"
    )
}

/// Columns of a line of text.
const WIDTH: usize = 100;

/// `text` in lines of [`WIDTH`] columns at most, broken between words and indented by `indent`.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    filled(text.split_whitespace(), " ", indent)
}

/// The same of pieces that are not broken, such as a number with its unit; `between` is written after each but the last.
pub(crate) fn filled<'p>(pieces: impl Iterator<Item = &'p str>, between: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut lines = vec![margin.clone()];
    for piece in pieces {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > indent {
            lines.last_mut().into_iter().for_each(|line| line.push_str(between));
            if line + between.chars().count() + piece.chars().count() > WIDTH {
                lines.push(margin.clone());
            }
        }
        lines.last_mut().into_iter().for_each(|line| line.push_str(piece));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Three or four significant digits, without an exponent.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.5}"),
    }
}

/// A figure or limit of a target with its unit; a dash where there is none.
pub(crate) fn limit(value: Option<f64>, target: &Target) -> String {
    let unit = if matches!(target.unit.as_str(), "x" | "LOCKed") { target.unit.as_str() } else { "" };
    value.map_or_else(|| "-".to_owned(), |value| format!("{} {unit}", significant(value)).trim_end().to_owned())
}

/// From where to where a target's figure lies; nothing for what is exact.
pub(crate) fn spread(target: &Target) -> String {
    match (target.low, target.high) {
        (Some(low), Some(high)) if low < high => format!("{} .. {}", significant(low), significant(high)),
        _ => String::new(),
    }
}

/// Three significant digits or two, as limits are told.
fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        0.0 => "0".to_owned(),
        _ => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_indented() {
        let text = wrapped(&"word ".repeat(100), 4);
        assert!(text.lines().all(|line| line.starts_with("    word") && line.len() <= WIDTH), "{text}");
        assert_eq!((text.split_whitespace().count(), wrapped("one  two", 2)), (100, "  one two".to_owned()));
    }

    #[test]
    fn pieces_are_not_broken() {
        let pieces = ["0.25 of all"; 20];
        let text = filled(pieces.into_iter(), "; ", 4);
        assert!(text.lines().all(|line| line.starts_with("    0.25 of all; 0") && line.len() <= WIDTH), "{text}");
        assert!(text.lines().rev().skip(1).all(|line| line.ends_with("of all;")) && text.ends_with("of all"), "{text}");
    }

    #[test]
    fn figures_have_three_or_four_digits() {
        assert_eq!([0.0, 0.0012, 3.456, 123.45, 12345.6].map(figure), ["0.00", "0.00120", "3.46", "123.5", "12346"]);
    }
}
