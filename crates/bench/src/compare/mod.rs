//! What became slower between two runs, beyond the noise.
//!
//! **The rule.** A row is slower if even its fastest new run took longer than its slowest old one, in nanoseconds and in LOCKed increments, and its median by more
//! than 5 % and a fiftieth of a nanosecond; faster the other way round.
//!
//! Nanoseconds alone would blame the code for a slower machine, LOCKed increments alone for a faster one. If nothing had changed, n old and m new runs would lie apart
//! like that once in (n + m)! / n! m! times: 705432 for 11 and 11, 252 for 5 and 5. Rows of fewer than five runs can fall apart by chance, and say nothing.
//!
//! What the runs of one process cannot show is what differs from process to process: where memory happens to lie changes some rows by a quarter. So a file may hold the output of
//! several processes, one after the other; their runs then count as one's.

mod text;

use crate::event::{Count, Event, Machine, Row, Side};
use crate::harness::Summary;
use crate::results;
pub use crate::results::BadResults;
use std::collections::BTreeMap;
use std::io::BufRead;

/// A median that differs by less, as a share, is no change, however quiet the runs were.
const LEAST_CHANGE: f64 = 0.05;

/// Nanoseconds that the subtracted empty loop alone may differ by.
const LEAST_NS: f64 = 0.02;

/// With fewer runs a row is not judged.
const FEWEST_RUNS: usize = 5;

/// What identifies a row: bench, case, contender; of a count also what was counted.
type Key = (String, String, String, String);

/// The results of one process, or of several.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The first one's; its LOCKed increment is the least of all.
    machine: Machine,
    /// How many processes.
    processes: usize,
    rows: BTreeMap<Key, Row>,
    counts: BTreeMap<Key, Count>,
}

impl Results {
    /// Reads what `--json` wrote, once or several times.
    ///
    /// # Errors
    /// It cannot be read, is something else, or was written on several machines; a line is named by its number.
    pub fn read(input: impl BufRead) -> Result<Self, BadResults> {
        let mut machines: Vec<Machine> = Vec::new();
        let (mut rows, mut counts) = (BTreeMap::<Key, Vec<Row>>::new(), BTreeMap::new());
        for event in results::read(input)? {
            match event {
                Event::Machine(machine) => machines.push(machine),
                Event::Row(row) => {
                    let key = (row.bench.clone(), row.case.clone(), row.implementation.clone(), String::new());
                    rows.entry(key).or_default().push(row);
                }
                Event::Count(count) => {
                    let Count { bench, case, implementation, what, .. } = count.clone();
                    counts.insert((bench, case, implementation, what), count);
                }
                Event::Ratio(_) | Event::Absent(_) | Event::Note(_) | Event::Target(_) => {}
            }
        }
        let processes = machines.len();
        let locked_ns = machines.iter().map(|machine| machine.locked_ns).fold(f64::INFINITY, f64::min);
        let first = machines.into_iter().next().ok_or(BadResults::Empty)?;
        let rows = rows.into_iter().filter_map(|(key, rows)| Some((key, as_one(rows)?))).collect();
        Ok(Self { machine: Machine { locked_ns, ..first }, processes, rows, counts })
    }
}

/// The rows of several processes as one: the fastest of all runs, the slowest, and the median of the medians.
fn as_one(rows: Vec<Row>) -> Option<Row> {
    let medians: Vec<f64> = rows.iter().map(|row| row.median_ns).collect();
    let one = rows.into_iter().reduce(|one, row| Row {
        min_ns: one.min_ns.min(row.min_ns),
        max_ns: one.max_ns.max(row.max_ns),
        runs: one.runs + row.runs,
        ..one
    })?;
    let median_ns = Summary::of(&medians).median;
    Some(Row { ns: median_ns, median_ns, ..one })
}

/// How a row changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Slower,
    Faster,
    /// The median says so, but the runs overlap, or are too few.
    Unclear,
    None,
}

/// Two runs, side by side.
#[derive(Debug)]
pub struct Comparison<'r> {
    old: &'r Results,
    new: &'r Results,
}

impl<'r> Comparison<'r> {
    /// Of an older and a newer run.
    pub fn new(old: &'r Results, new: &'r Results) -> Self {
        Self { old, new }
    }

    /// Our rows that became slower, as `bench/case: contender`: what a script fails on.
    pub fn slower(&self) -> Vec<String> {
        let slower =
            self.pairs().filter(|(old, new)| new.side == Side::Ours && self.change(old, new) == Change::Slower);
        slower.map(|(_, row)| format!("{}/{}: {}", row.bench, row.case, row.implementation)).collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (&'r Row, &'r Row)> {
        let old = self.old;
        self.new.rows.iter().filter_map(move |(key, new)| Some((old.rows.get(key)?, new)))
    }

    /// The rule, at the top of this file.
    fn change(&self, old: &Row, new: &Row) -> Change {
        let (old_unit, new_unit) = (self.old.machine.locked_ns, self.new.machine.locked_ns);
        let exceeds = |a: &Row, a_unit: f64, b: &Row, b_unit: f64| {
            let apart = a.min_ns > b.max_ns && a.min_ns / a_unit > b.max_ns / b_unit;
            let by_more = |a: f64, b: f64| a > b * (1.0 + LEAST_CHANGE);
            let median = by_more(a.median_ns, b.median_ns) && by_more(a.median_ns / a_unit, b.median_ns / b_unit);
            (apart, median && a.median_ns > b.median_ns + LEAST_NS)
        };
        let enough = old.runs.min(new.runs) >= FEWEST_RUNS;
        match (exceeds(new, new_unit, old, old_unit), exceeds(old, old_unit, new, new_unit)) {
            ((true, true), _) if enough => Change::Slower,
            (_, (true, true)) if enough => Change::Faster,
            ((_, true), _) | (_, (_, true)) => Change::Unclear,
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Note;

    /// A row of 11 runs.
    pub(super) fn row(side: Side, (min_ns, median_ns, max_ns): (f64, f64, f64)) -> Row {
        Row {
            bench: "b".into(),
            case: "c".into(),
            implementation: "pool".into(),
            side,
            series: "s".into(),
            x: 0.0,
            work: String::new(),
            ns: median_ns,
            cycles: None,
            locked: median_ns / 5.0,
            min_ns,
            median_ns,
            max_ns,
            q1_ns: median_ns,
            q3_ns: median_ns,
            runs: 11,
            elements: 1000,
            empty_ns: 0.2,
            noisy: false,
        }
    }

    fn results(locked_ns: f64, events: &[Event]) -> Results {
        let mut text = Vec::new();
        for event in [Event::Machine(Machine::sample(locked_ns))].iter().chain(events) {
            serde_json::to_writer(&mut text, event).expect("a Vec takes all");
            text.push(b'\n');
        }
        Results::read(text.as_slice()).expect("its own output")
    }

    /// How a row changed, the machine's LOCKed increments being 5 ns before and `locked_ns` now.
    fn change(old: (f64, f64, f64), new: (f64, f64, f64), locked_ns: f64) -> Change {
        let (old, new) = (row(Side::Ours, old), row(Side::Ours, new));
        let (before, now) = (results(5.0, &[Event::Row(old.clone())]), results(locked_ns, &[Event::Row(new.clone())]));
        Comparison::new(&before, &now).change(&old, &new)
    }

    #[test]
    fn slower_is_what_lies_apart_in_both_units_and_by_more_than_a_little() {
        let before = (9.9, 10.0, 10.2);
        for (now, locked_ns, expected) in [
            (before, 5.0, Change::None),
            ((11.8, 12.0, 12.5), 5.0, Change::Slower),
            ((7.8, 8.0, 8.2), 5.0, Change::Faster),
            ((10.3, 10.4, 10.5), 5.0, Change::None),    // apart, but by 4 %
            ((10.1, 12.0, 14.0), 5.0, Change::Unclear), // the runs overlap
            ((11.8, 12.0, 12.5), 6.0, Change::None),    // the machine is slower, and the row no more than it
            ((14.8, 15.0, 15.5), 6.0, Change::Slower),  // more than it
            ((9.9, 10.0, 10.2), 4.0, Change::None),     // the machine is faster, and the row is not: not slower in ns
        ] {
            assert_eq!(change(before, now, locked_ns), expected, "{now:?} {locked_ns}");
        }
    }

    #[test]
    fn what_no_clock_can_tell_is_no_change() {
        assert_eq!(change((0.0, 0.0, 0.0), (0.001, 0.002, 0.003), 5.0), Change::None);
        assert_eq!(change((0.001, 0.002, 0.003), (0.0, 0.0, 0.0), 5.0), Change::None);
        assert_eq!(change((0.0, 0.0, 0.0), (0.9, 1.0, 1.1), 5.0), Change::Slower);
    }

    #[test]
    fn few_runs_are_not_judged() {
        let few = |times| Row { runs: FEWEST_RUNS - 1, ..row(Side::Ours, times) };
        let (old, new) = (few((9.0, 10.0, 11.0)), few((19.0, 20.0, 21.0)));
        let (before, now) = (results(5.0, &[Event::Row(old.clone())]), results(5.0, &[Event::Row(new.clone())]));
        assert_eq!(Comparison::new(&before, &now).change(&old, &new), Change::Unclear);
    }

    #[test]
    fn only_ours_decide() {
        for (side, expected) in [(Side::Ours, 1), (Side::Peer, 0), (Side::Baseline, 0)] {
            let before = results(5.0, &[Event::Row(row(side, (9.0, 10.0, 11.0)))]);
            let now = results(5.0, &[Event::Row(row(side, (19.0, 20.0, 21.0)))]);
            assert_eq!(Comparison::new(&before, &now).slower().len(), expected, "{side:?}");
        }
    }

    #[test]
    fn what_differs_from_process_to_process_is_noise() {
        let run = |times| [Event::Machine(Machine::sample(5.0)), Event::Row(row(Side::Ours, times))];
        let [one, two] = [run((9.9, 10.0, 10.2)), run((12.9, 13.0, 13.2))];
        let before = results(5.0, &[one.as_slice(), two.as_slice()].concat()[1..]);
        let merged = before.rows.values().next().expect("one row");
        assert_eq!((merged.min_ns, merged.median_ns, merged.max_ns, merged.runs), (9.9, 11.5, 13.2, 22));
        let now = results(5.0, &two[1..]);
        assert_eq!(Comparison::new(&before, &now).slower(), Vec::<String>::new());
        assert_eq!((before.processes, now.processes), (2, 1));
    }

    #[test]
    fn the_text_names_what_changed() {
        let before = results(5.0, &[Event::Row(row(Side::Ours, (9.0, 10.0, 11.0)))]);
        let other = Row { implementation: "zone".into(), ..row(Side::Ours, (9.0, 10.0, 11.0)) };
        let now = results(5.0, &[Event::Row(row(Side::Ours, (19.0, 20.0, 21.0))), Event::Row(other)]);
        let mut text = Vec::new();
        Comparison::new(&before, &now).write(&mut text).expect("a Vec takes all");
        let text = String::from_utf8(text).expect("UTF-8");
        for expected in ["+100.0%  b/c: pool", "new:\n  b/c: zone", "1 of our rows compared: 1 slower, 0 faster"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn bad_files_are_named_by_line() {
        let machine = serde_json::to_string(&Event::Machine(Machine::sample(5.0))).expect("JSON");
        let note = serde_json::to_string(&Event::Note(Note { bench: "".into(), case: "".into(), text: "".into() }));
        let error = |text: &str| Results::read(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(error(""), "no results of 'bench --json' in it");
        assert_eq!(error(&note.expect("JSON")), "no results of 'bench --json' in it");
        assert!(error(&format!("{machine}\n\n{{\"event\":\"row\"}}\n")).starts_with("line 3: not a result"));
        assert!(error("hello").starts_with("line 1: not a result"));
        let other = machine.replace("\"cpu\":\"x\"", "\"cpu\":\"y\"");
        assert!(error(&format!("{machine}\n{other}")).starts_with("line 2: not a result"), "{other}");
    }
}
