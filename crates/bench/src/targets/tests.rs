//! Every goal can be met by a run, and the rule is the rule.

use super::table::{Figure, GOALS, Goal, With, place};
use super::{Reading, evaluate, markdown, verdict};
use crate::event::{Count, Event, Machine, Note, Ratio, Verdict};
use crate::programs;

fn goal(reach: f64, aim: Option<f64>) -> Goal {
    Goal { reach, aim, ..GOALS[0] }
}

fn machine() -> Event {
    Event::Machine(Machine::sample(5.0))
}

/// The ratio that the first goal asks for.
fn ratio([low, value, high]: [f64; 3]) -> Event {
    let Figure::Ratio { ours, peer } = GOALS[0].figure else { panic!("the first goal is against a peer") };
    let (bench, case) = GOALS[0].place();
    Event::Ratio(Ratio {
        bench: bench.into(),
        case: case.into(),
        implementation: ours.into(),
        peer: peer.into(),
        ratio_median: value,
        ratio_min: 0.0,
        ratio_max: 100.0,
        ratio_q1: low,
        ratio_q3: high,
    })
}

#[test]
fn goals_are_of_benches_and_cases_that_there_are() {
    let programs = programs();
    let withs = GOALS.iter().flat_map(|goal| goal.with).filter_map(|with| match with {
        With::Time { at, .. } => Some(place(at)),
        With::Instructions { case, .. } => Some(("instructions", *case)),
        With::Count(_) => None,
    });
    for (bench, case) in GOALS.iter().map(Goal::place).chain(withs) {
        let program = programs.iter().find(|program| program.name == bench).unwrap_or_else(|| panic!("no {bench}"));
        let known = case.is_empty() || program.cases.iter().any(|known| known.name == case);
        assert!(known, "{bench} has no case {case}");
    }
}

#[test]
fn goals_can_be_told_from_each_other_and_aim_at_more_than_they_reach() {
    for (n, goal) in GOALS.iter().enumerate() {
        assert!(goal.aim.is_none_or(|aim| aim < goal.reach), "{}", goal.work);
        let same = |other: &&Goal| {
            format!("{:?} {:?}", other.place(), other.figure) == format!("{:?} {:?}", goal.place(), goal.figure)
        };
        assert_eq!(GOALS.iter().skip(n).filter(same).count(), 1, "{}", goal.work);
    }
}

#[test]
fn a_limit_is_kept_or_broken_by_the_whole_spread() {
    let goal = goal(0.5, Some(0.3));
    for (low, value, high, expected) in [
        (0.1, 0.2, 0.3, Verdict::Aim),
        (0.1, 0.2, 0.31, Verdict::Reached), // the spread does not keep the aim
        (0.4, 0.45, 0.5, Verdict::Reached),
        (0.4, 0.45, 0.51, Verdict::Unresolved),
        (0.5, 0.7, 0.8, Verdict::Unresolved),
        (0.51, 0.7, 0.8, Verdict::Missed),
    ] {
        assert_eq!(verdict(Reading { low, value, high }, &goal), expected, "{low} {value} {high}");
    }
    let reach_only = Goal { aim: None, ..goal };
    assert_eq!(verdict(Reading::exact(0.0), &reach_only), Verdict::Reached);
}

#[test]
fn of_several_processes_the_medians_are_the_spread() {
    let one = evaluate(&[machine(), ratio([0.1, 0.2, 0.25])]);
    assert_eq!((one[0].low, one[0].value, one[0].high), (Some(0.1), Some(0.2), Some(0.25)));
    let events = [[0.1, 0.2, 0.25], [0.5, 0.6, 0.9], [0.2, 0.3, 0.4]].map(|reading| [machine(), ratio(reading)]);
    let several = evaluate(events.as_flattened());
    assert_eq!((several[0].low, several[0].value, several[0].high), (Some(0.2), Some(0.3), Some(0.6)));
    assert_eq!(several[0].verdict, Verdict::Unresolved);
}

#[test]
fn what_was_not_run_is_not_shown_and_what_was_but_gave_nothing_is_not_measured() {
    assert!(evaluate(&[machine()]).is_empty());
    let (bench, _) = GOALS[0].place();
    let note = Event::Note(Note { bench: bench.into(), case: String::new(), text: String::new() });
    let targets = evaluate(&[machine(), note.clone()]);
    assert!(targets.iter().all(|target| target.bench == bench && target.verdict == Verdict::Absent), "{targets:?}");
    assert!(markdown(&[machine(), note]).contains("| - |  | 0.5 x | 0.3 x | not measured |  |"));
    // A saved run has its targets in it: they are no measurement.
    let saved: Vec<Event> = targets.into_iter().map(Event::Target).collect();
    assert!(evaluate(&saved).is_empty());
}

#[test]
fn the_worst_of_all_cases_is_what_counts() {
    let goal = GOALS.iter().find(|goal| matches!(goal.figure, Figure::Most { .. })).expect("there is one");
    let Figure::Most { ours, what } = goal.figure else { unreachable!("found by its figure") };
    let count = |case: &str, value| {
        Event::Count(Count {
            bench: goal.place().0.into(),
            case: case.into(),
            implementation: ours.into(),
            series: String::new(),
            x: 0.0,
            what: what.into(),
            value,
        })
    };
    let targets = evaluate(&[machine(), count("a", 0.01), count("b", 1.0), count("c", 0.0)]);
    let target = targets.iter().find(|target| target.unit == what).expect("the goal");
    assert_eq!((target.value, target.verdict), (Some(1.0), Verdict::Missed));
}
