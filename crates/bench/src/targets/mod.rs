//! What is to be reached, and whether a run reaches it: the last section of `waterwheel bench`, and `waterwheel bench targets`.
//!
//! **The rule.** A limit is kept if three quarters of the rounds keep it (of a peer's round and ours beside it), and broken if three quarters break it; in between it cannot be resolved
//! above the noise. A file may hold the output of several processes: the figure is then the median of theirs, and the spread reaches from the least to the greatest of theirs, as
//! where memory happens to lie differs from process to process and not from round to round.

mod markdown;
mod table;

pub use markdown::markdown;

use crate::event::{Event, Machine, Target, Verdict};
use crate::harness::Summary;
use crate::results::{self, BadResults};
use std::io::BufRead;
use table::{Figure, GOALS, Goal};

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
}

/// What the targets say of what one or several processes gave out; those of benches that were not run are left out.
pub fn evaluate(events: &[Event]) -> Vec<Target> {
    let processes: Vec<&[Event]> = events.chunk_by(|_, next| !matches!(next, Event::Machine(_))).collect();
    let ran = |goal: &&Goal| events.iter().any(|event| event.bench() == Some(goal.bench()));
    GOALS.iter().filter(ran).map(|goal| target(goal, &processes)).collect()
}

fn target(goal: &Goal, processes: &[&[Event]]) -> Target {
    let readings: Vec<Reading> = processes.iter().filter_map(|events| reading(goal, events)).collect();
    let reading = match readings.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => {
            let of_processes = Summary::of(&several.iter().map(|reading| reading.value).collect::<Vec<_>>());
            Some(Reading { low: of_processes.min, value: of_processes.median, high: of_processes.max })
        }
    };
    let with = goal.with.and_then(|what| Some((most(goal, what, processes)?, what)));
    Target {
        work: goal.work.to_owned(),
        beside: goal.beside.to_owned(),
        unit: match goal.figure {
            Figure::Ratio { .. } | Figure::Counts { .. } => "x",
            Figure::Locked { .. } => "LOCKed",
            Figure::Most { what, .. } => what,
        }
        .to_owned(),
        bench: goal.bench().to_owned(),
        case: goal.case().to_owned(),
        implementation: goal.ours().to_owned(),
        value: reading.map(|reading| reading.value),
        low: reading.map(|reading| reading.low),
        high: reading.map(|reading| reading.high),
        reach: goal.reach,
        aim: goal.aim,
        verdict: reading.map_or(Verdict::Absent, |reading| verdict(reading, goal)),
        remark: with.map(|(value, what)| format!("{} {what}", crate::output::figure(value))),
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
        Figure::Ratio { ours, peer } => events.iter().find_map(|event| match event {
            Event::Ratio(ratio)
                if (ratio.bench.as_str(), ratio.case.as_str()) == (goal.bench(), goal.case())
                    && (ratio.implementation.as_str(), ratio.peer.as_str()) == (ours, peer) =>
            {
                Some(Reading { low: ratio.ratio_q1, value: ratio.ratio_median, high: ratio.ratio_q3 })
            }
            _ => None,
        }),
        Figure::Locked { ours } => {
            let unit = events.iter().find_map(Event::machine)?.locked_ns;
            let row = events.iter().find_map(|event| match event {
                Event::Row(row)
                    if (row.bench.as_str(), row.case.as_str()) == (goal.bench(), goal.case())
                        && row.implementation == ours =>
                {
                    Some(row)
                }
                _ => None,
            })?;
            Some(Reading { low: row.q1_ns / unit, value: row.median_ns / unit, high: row.q3_ns / unit })
        }
        Figure::Counts { ours, other, what } => {
            let [ours, other] = [ours, other].map(|name| counts(goal, name, what, events).next());
            ours.zip(other).map(|(ours, other)| Reading::exact(ours / other))
        }
        Figure::Most { ours, what } => counts(goal, ours, what, events).reduce(f64::max).map(Reading::exact),
    }
}

/// The counts of a contender in the goal's case; in all cases of the bench, if it names none.
fn counts<'e>(
    goal: &'e Goal,
    contender: &'e str,
    what: &'e str,
    events: &'e [Event],
) -> impl Iterator<Item = f64> + use<'e> {
    events.iter().filter_map(move |event| match event {
        Event::Count(count)
            if count.bench == goal.bench()
                && (goal.case().is_empty() || count.case == goal.case())
                && (count.implementation.as_str(), count.what.as_str()) == (contender, what) =>
        {
            Some(count.value)
        }
        _ => None,
    })
}

/// The greatest of a count of our contender in all processes.
fn most(goal: &Goal, what: &str, processes: &[&[Event]]) -> Option<f64> {
    processes.iter().filter_map(|events| counts(goal, goal.ours(), what, events).reduce(f64::max)).reduce(f64::max)
}

/// Reads what `--json` wrote, once or several times.
///
/// # Errors
/// It cannot be read, is something else, or was written on several machines; a line is named by its number.
pub fn read(input: impl BufRead) -> Result<Vec<Event>, BadResults> {
    results::read(input)
}

/// The machine of the first process.
fn machine(events: &[Event]) -> Option<&Machine> {
    events.iter().find_map(Event::machine)
}

#[cfg(test)]
mod tests;
