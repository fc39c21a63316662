//! The report: one HTML file with the talk's graphs, redrawn from a run.
//!
//! `reference.rs` has the figures of others, `plan.rs` which graphs there are; `charts.rs` makes drawings of events, `curve.rs` (with `frame.rs`) and `bars.rs` draw.

mod axis;
mod bars;
mod charts;
mod curve;
mod frame;
mod head;
mod html;
mod plan;
mod reference;
mod series;
mod svg;
mod tables;

use crate::event::Event;

/// The page of a run: HTML that is XML as well, with nothing outside itself. `command` is what made the run; it is shown at the top.
///
/// `None` without a [`Machine`](Event::Machine) among the events: nothing was run.
pub fn html(command: &str, events: &[Event]) -> Option<String> {
    let machine =
        events.iter().find_map(|event| if let Event::Machine(machine) = event { Some(machine) } else { None })?;
    Some(html::page(command, machine, &charts::sections(events, machine), events))
}

#[cfg(test)]
mod tests;
