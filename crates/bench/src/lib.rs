//! What packet memory costs on this machine.
//!
//! The programs are named after the originals: `page_bench01` to `05` and `page_pool_*` measured the kernel's page allocator and page_pool (J. D. Brouer, "Memory vs.
//! Networking", 2017, and `prototype-kernel`). Each is a list of [cases](Case); a case measures a [`Group`] of contenders, ours and peers, turn by turn in one run.
//!
//! [`soak`] does not measure: it runs the same layers to see whether what must hold holds.
//!
//! Read `harness/group.rs` first: how a figure comes about. Then any of `programs/`.

pub mod compare;
mod event;
mod harness;
pub mod output;
mod peers;
mod programs;
pub mod report;
mod results;
pub mod soak;
mod summary;
pub mod targets;

pub use event::{Absent, Count, Event, Machine, Note, Ratio, Row, Side, Target, Verdict};
pub use harness::{Case, Group, Interrupted, Options, Program, Session, UnknownName};
pub use programs::programs;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Runs what `options` selects on the calling thread, which it pins, and gives every result to `output` as soon as there is one; at the end what the [`targets`] say of them.
///
/// Ends early, with what is finished, once `stop` is set.
///
/// # Errors
/// A bench or case is not known; nothing has run then.
pub fn run(options: &Options, stop: &AtomicBool, output: &mut dyn FnMut(&Event)) -> Result<(), UnknownName> {
    // Who names something, or wants more of it, gets all of it.
    let is_short = options.quick && options.names.is_empty() && options.runs.is_none() && !options.peers;
    run_until(options, stop, is_short.then(|| Instant::now() + QUICK), output)
}

/// What a quick run of everything takes at most, but for the case that it is at.
const QUICK: Duration = Duration::from_secs(60);

fn run_until(
    options: &Options,
    stop: &AtomicBool,
    deadline: Option<Instant>,
    output: &mut dyn FnMut(&Event),
) -> Result<(), UnknownName> {
    let mut programs = harness::select(programs(), &options.names)?;
    if deadline.is_some() {
        // What everybody asks is answered first.
        let (first, rest) = (harness::select(self::programs(), &summary::cases())?, programs);
        let asked = |bench: &str, case: &str| summary::cases().iter().any(|name| *name == format!("{bench}/{case}"));
        programs = first;
        programs.extend(rest.into_iter().map(|mut program| {
            let all = program.cases.len();
            program.cases.retain(|case| !asked(program.name, &case.name));
            if program.cases.len() < all {
                program.notes.clear(); // they were given out
            }
            program
        }));
    }
    let mut events = Vec::new();
    let mut keep = |event: &Event| {
        events.push(event.clone());
        output(event);
    };
    let mut session = Session::start(options, stop, &mut keep);
    let mut left_out = Vec::new();
    for program in &programs {
        match program.run(&mut session, deadline) {
            Ok(true) => {}
            Ok(false) if left_out.contains(&program.name) => {}
            Ok(false) => left_out.push(program.name),
            Err(Interrupted) => {
                session.note("", "", "interrupted: what is not here was not run");
                break;
            }
        }
    }
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        session.note(
            "",
            "",
            &format!("the minute of --quick was over before all of these: {names}; name them to run them"),
        );
    }
    targets::evaluate(&events).into_iter().for_each(|target| output(&Event::Target(target)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quick_run_has_no_time_for_is_named() {
        let options = Options { quick: true, ..Options::default() };
        let mut events = Vec::new();
        let mut keep = |event: &Event| events.push(event.clone());
        run_until(&options, &AtomicBool::new(false), Some(Instant::now()), &mut keep).expect("all names are known");
        assert!(!events.iter().any(|event| matches!(event, Event::Row(_))), "{events:?}");
        let said = events.iter().any(|event| match event {
            Event::Note(note) => {
                note.text.contains("was over before")
                    && programs().iter().all(|program| note.text.contains(program.name))
            }
            _ => false,
        });
        assert!(said, "{events:?}");
    }
}
