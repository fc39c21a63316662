//! How results are shown: aligned text, JSON lines, the kernel's `time_bench` lines.

mod text;

pub use text::Text;

use crate::event::Event;
use std::io::{self, Write};

/// Writes one event as a JSON object on a line.
///
/// # Errors
/// Of `out`.
pub fn json(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}

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
