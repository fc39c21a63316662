//! Aligned text, line by line as results come in.

use crate::event::{Event, Machine, Row, Side};
use std::io::{self, Write};

/// Columns: case and contender to the left, figures to the right.
const CASE: usize = 20;
const CONTENDER: usize = 30;

/// Writes events as text; remembers which program's heading stands above.
#[derive(Debug, Default)]
pub struct Text {
    bench: String,
}

impl Text {
    /// Writes one event.
    ///
    /// # Errors
    /// Of `out`.
    pub fn write(&mut self, out: &mut dyn Write, event: &Event) -> io::Result<()> {
        match event {
            Event::Machine(machine) => self.machine(out, machine),
            Event::Row(row) => {
                self.heading(out, &row.bench)?;
                self.row(out, row)
            }
            Event::Ratio(ratio) => {
                let (ours, peer) = (&ratio.implementation, &ratio.peer);
                let (median, min, max) = (ratio.ratio_median, ratio.ratio_min, ratio.ratio_max);
                writeln!(out, "{:CASE$} {:.3} = {ours} / {peer} ({min:.3} .. {max:.3})", ratio.case, median)
            }
            Event::Count(count) => {
                self.heading(out, &count.bench)?;
                let (case, name) = (&count.case, &count.implementation);
                writeln!(out, "{case:CASE$} {name:CONTENDER$} {:>9} {}", figure(count.value), count.what)
            }
            Event::Absent(absent) => {
                self.heading(out, &absent.bench)?;
                let (case, name) = (&absent.case, &absent.implementation);
                writeln!(out, "{case:CASE$} {name:CONTENDER$} {:>9} {}", "-", absent.why)
            }
            Event::Note(note) => {
                self.heading(out, &note.bench)?;
                let case = if note.case.is_empty() { String::new() } else { format!("{}: ", note.case) };
                writeln!(out, "  # {case}{}", note.text)
            }
        }
    }

    fn heading(&mut self, out: &mut dyn Write, bench: &str) -> io::Result<()> {
        if bench.is_empty() || bench == self.bench {
            return Ok(());
        }
        self.bench = bench.to_owned();
        writeln!(out, "\n{bench}")?;
        writeln!(
            out,
            "{:CASE$} {:CONTENDER$} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "case", "impl", "ns", "cycles", "LOCKed", "min", "max"
        )
    }

    fn row(&self, out: &mut dyn Write, row: &Row) -> io::Result<()> {
        let whose = match row.side {
            Side::Ours | Side::Baseline => "",
            Side::Peer => "  (peer)",
        };
        let noisy = if row.noisy { "  noisy" } else { "" };
        writeln!(
            out,
            "{:CASE$} {:CONTENDER$} {:>9} {:>9} {:>9} {:>9} {:>9}{whose}{noisy}",
            row.case,
            row.implementation,
            figure(row.ns),
            row.cycles.map_or_else(|| "-".to_owned(), figure),
            figure(row.locked),
            figure(row.min_ns),
            figure(row.max_ns),
        )
    }

    fn machine(&self, out: &mut dyn Write, machine: &Machine) -> io::Result<()> {
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
        writeln!(out, "all figures per element; ratios are ours / peer in time: below 1 is faster")
    }
}

/// Three or four significant digits, without an exponent.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.5}"),
    }
}
