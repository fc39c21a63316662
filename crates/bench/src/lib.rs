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
pub mod targets;

pub use event::{Absent, Count, Event, Machine, Note, Ratio, Row, Side, Target, Verdict};
pub use harness::{Case, Group, Interrupted, Options, Program, Session, UnknownName};
pub use programs::programs;

use std::sync::atomic::AtomicBool;

/// Runs what `options` selects on the calling thread, which it pins, and gives every result to `output` as soon as there is one; at the end what the [`targets`] say of them.
///
/// Ends early, with what is finished, once `stop` is set.
///
/// # Errors
/// A bench or case is not known; nothing has run then.
pub fn run(options: &Options, stop: &AtomicBool, output: &mut dyn FnMut(&Event)) -> Result<(), UnknownName> {
    let programs = harness::select(programs(), &options.names)?;
    let mut events = Vec::new();
    let mut keep = |event: &Event| {
        events.push(event.clone());
        output(event);
    };
    let mut session = Session::start(options, stop, &mut keep);
    for program in &programs {
        if program.run(&mut session).is_err() {
            session.note("", "", "interrupted: what is not here was not run");
            break;
        }
    }
    targets::evaluate(&events).into_iter().for_each(|target| output(&Event::Target(target)));
    Ok(())
}
