//! What is to be reached, and whether a run reaches it: the last section of `waterwheel bench`, and `waterwheel bench targets`.
//!
//! **The rule.** A limit is kept if three quarters of the rounds keep it (a round: ours and the peer's, one after the other), and broken if three quarters break it; in between it cannot
//! be resolved above the noise. A file may hold the output of several processes: the figure is then the median of theirs, and the spread reaches from the least to the greatest, as
//! where memory happens to lie differs from process to process and not from round to round.

mod markdown;
mod table;
#[cfg(test)]
mod tests;

pub use markdown::markdown;

use crate::event::{Event, Ratio, Target, Verdict};
use crate::harness::Summary;
use crate::output::figure;
use crate::results::{self, BadResults};
use std::io::BufRead;
use table::{Figure, GOALS, Goal, KERNEL_LOCKED_CYCLES, With, place};

/// A figure with the ends of its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    low: f64,
    value: f64,
    high: f64,
}

impl Reading {
    fn exact(value: f64) -> Self {
        Self { low: value, value, high: value }
    }

    fn of(ratio: &Ratio) -> Self {
        Self { low: ratio.ratio_q1, value: ratio.ratio_median, high: ratio.ratio_q3 }
    }

    /// One for all processes.
    fn merged(readings: &[Self]) -> Option<Self> {
        match readings {
            [] => None,
            [only] => Some(*only),
            several => {
                let of = Summary::of(&several.iter().map(|reading| reading.value).collect::<Vec<_>>());
                Some(Self { low: of.min, value: of.median, high: of.max })
            }
        }
    }
}

/// Reads what `--json` wrote, once or several times.
///
/// # Errors
/// It cannot be read, is something else, or was written on several machines; a line is named by its number.
pub fn read(input: impl BufRead) -> Result<Vec<Event>, BadResults> {
    results::read(input)
}

/// What the targets say of what one or several processes gave out; those of benches that were not run are left out.
pub fn evaluate(events: &[Event]) -> Vec<Target> {
    let processes: Vec<&[Event]> = events.chunk_by(|_, next| next.machine().is_none()).collect();
    let ran = |goal: &&Goal| {
        let of_bench = |event: &Event| event.bench() == Some(goal.place().0) && !matches!(event, Event::Target(_));
        events.iter().any(of_bench)
    };
    GOALS.iter().filter(ran).map(|goal| target(goal, &processes)).collect()
}

fn target(goal: &Goal, processes: &[&[Event]]) -> Target {
    let readings: Vec<Reading> = processes.iter().filter_map(|events| reading(goal, events)).collect();
    let reading = Reading::merged(&readings);
    let (bench, case) = goal.place();
    let unit = match goal.figure {
        Figure::Ratio { .. } | Figure::Counts { .. } => "x",
        Figure::Locked { .. } => "LOCKed",
        Figure::Most { what, .. } => what,
    };
    Target {
        work: goal.work.to_owned(),
        beside: goal.beside.to_owned(),
        unit: unit.to_owned(),
        bench: bench.to_owned(),
        case: case.to_owned(),
        implementation: goal.ours().to_owned(),
        value: reading.map(|reading| reading.value),
        low: reading.map(|reading| reading.low),
        high: reading.map(|reading| reading.high),
        reach: goal.reach,
        aim: goal.aim,
        verdict: reading.map_or(Verdict::Absent, |reading| verdict(reading, goal)),
        remarks: in_cycles(goal, reading, processes)
            .into_iter()
            .chain(goal.with.iter().filter_map(|with| remark(goal, *with, processes)))
            .collect(),
    }
}

/// The rule, at the top of this file.
fn verdict(Reading { low, high, .. }: Reading, goal: &Goal) -> Verdict {
    if goal.aim.is_some_and(|aim| high <= aim) {
        Verdict::Aim
    } else if high <= goal.reach {
        Verdict::Reached
    } else if low > goal.reach {
        Verdict::Missed
    } else {
        Verdict::Unresolved
    }
}

/// The figure in what one process gave out.
fn reading(goal: &Goal, events: &[Event]) -> Option<Reading> {
    match goal.figure {
        Figure::Ratio { ours, peer } => ratio(goal.place(), ours, peer, events).map(Reading::of),
        Figure::Locked { ours } => {
            let unit = events.iter().find_map(Event::machine)?.locked_ns;
            events.iter().find_map(|event| match event {
                Event::Row(row) if (&*row.bench, &*row.case) == goal.place() && row.implementation == ours => {
                    Some(Reading { low: row.q1_ns / unit, value: row.median_ns / unit, high: row.q3_ns / unit })
                }
                _ => None,
            })
        }
        Figure::Counts { ours, other, what } => {
            let [ours, other] = [ours, other].map(|name| most(goal.place(), name, what, events));
            ours.zip(other).map(|(ours, other)| Reading::exact(ours / other))
        }
        Figure::Most { ours, what } => most(goal.place(), ours, what, events).map(Reading::exact),
    }
}

fn ratio<'e>(place: (&str, &str), ours: &str, peer: &str, events: &'e [Event]) -> Option<&'e Ratio> {
    events.iter().find_map(|event| match event {
        Event::Ratio(ratio)
            if (&*ratio.bench, &*ratio.case) == place && (&*ratio.implementation, &*ratio.peer) == (ours, peer) =>
        {
            Some(ratio)
        }
        _ => None,
    })
}

/// A contender's count in a case; the greatest of all cases, if none is named. What was counted begins like `what`.
fn most((bench, case): (&str, &str), contender: &str, what: &str, events: &[Event]) -> Option<f64> {
    let count = |event: &Event| match event {
        Event::Count(count)
            if count.bench == bench
                && (case.is_empty() || count.case == case)
                && count.implementation == contender
                && count.what.starts_with(what) =>
        {
            Some(count.value)
        }
        _ => None,
    };
    events.iter().filter_map(count).reduce(f64::max)
}

/// The greatest of all processes.
fn greatest(place: (&str, &str), contender: &str, what: &str, processes: &[&[Event]]) -> Option<f64> {
    processes.iter().filter_map(|events| most(place, contender, what, events)).reduce(f64::max)
}

/// What LOCKed increments are in core cycles, of which an iteration of the empty loop takes one, here and where the limit is from: not every CPU needs as many for one.
fn in_cycles(goal: &Goal, reading: Option<Reading>, processes: &[&[Event]]) -> Option<String> {
    let Figure::Locked { .. } = goal.figure else { return None };
    let ratio = |events: &&[Event]| events.iter().find_map(Event::machine).map(|m| m.locked_ns / m.empty_ns);
    let locked: Vec<f64> = processes.iter().filter_map(ratio).collect();
    let cycles = reading?.value * Reading::merged(&locked.into_iter().map(Reading::exact).collect::<Vec<_>>())?.value;
    let limit = goal.reach * KERNEL_LOCKED_CYCLES;
    Some(format!("{} core cycles, limit on the kernel's CPU {}", figure(cycles), figure(limit)))
}

/// What has to be read with a figure; of several processes the greatest count, the median time.
fn remark(goal: &Goal, with: With, processes: &[&[Event]]) -> Option<String> {
    match with {
        With::Count(what) => {
            greatest(goal.place(), goal.ours(), what, processes).map(|count| format!("{} {what}", figure(count)))
        }
        With::Instructions { case, ours, other } => {
            let of = |name| greatest(("instructions", case), name, "instructions/", processes);
            let theirs = other.and_then(of).map_or_else(String::new, |theirs| format!(", theirs {}", figure(theirs)));
            Some(format!("{} instructions ({case}){theirs}", figure(of(ours)?)))
        }
        With::Time { at, ours, other } => {
            let ratios = processes.iter().filter_map(|events| ratio(place(at), ours, other, events).map(Reading::of));
            let Reading { low, value, high } = Reading::merged(&ratios.collect::<Vec<_>>())?;
            Some(format!("in time {value:.2}, {low:.2} .. {high:.2}"))
        }
    }
}
