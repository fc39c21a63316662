//! The table as Markdown: what `docs/performance.md` is made of.

use super::evaluate;
use crate::event::{Event, Target};
use crate::output::{limit, spread};
use std::fmt::Write as _;

/// Machine and table of a saved run, or of several.
pub fn markdown(events: &[Event]) -> String {
    let mut out = String::new();
    if let Some(machine) = events.iter().find_map(Event::machine) {
        let processes = events.iter().filter(|event| event.machine().is_some()).count();
        let runs = if processes == 1 { "one process".to_owned() } else { format!("{processes} processes") };
        let _ = writeln!(
            out,
            "{} CPUs of {}, Linux {}, waterwheel {}, {}; a LOCKed increment takes {:.2} ns; {runs}.\n",
            machine.cpus.len(),
            machine.cpu,
            machine.kernel,
            machine.version,
            machine.target,
            machine.locked_ns,
        );
    }
    let targets = evaluate(events);
    if targets.is_empty() {
        out.push_str("None of what was run has a target.\n");
        return out;
    }
    out.push_str(
        "| work | beside | figure | spread | reach | aim | verdict | counted |\n|---|---|---:|---|---:|---:|---|---|\n",
    );
    targets.iter().for_each(|target| line(&mut out, target));
    out
}

fn line(out: &mut String, target: &Target) {
    let Target { work, beside, verdict, remarks, .. } = target;
    let value = limit(target.value, target);
    let cells = [value, spread(target), limit(Some(target.reach), target), limit(target.aim, target)].join(" | ");
    let _ = writeln!(out, "| {work} | {beside} | {cells} | {} | {} |", verdict.name(), remarks.join("; "));
}
