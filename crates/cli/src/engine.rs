//! The door to the packet loop: what the verbs need of it, and nothing else.

use crate::config::Plan;
use crate::failure::{Class, Failure};
use crate::report::Snapshot;
use crate::report::snapshot::Pages;
use crate::signals::Waker;

/// Workers that move packets.
pub(crate) trait Engine {
    /// The counters so far, all workers together.
    fn snapshot(&self) -> Snapshot;

    /// What the operator should hear, in the order it happened; each is said once.
    fn notices(&mut self) -> Vec<String>;

    /// Whether every worker has ended by itself: sources exhausted, count reached, no device left.
    fn is_finished(&self) -> bool;

    /// Asks the workers to take nothing in any more.
    fn stop(&self);

    /// Waits until what is under way is sent and everything is closed, then accounts for every page.
    ///
    /// # Errors
    /// A worker that ended in a way it must not.
    fn finish(self: Box<Self>) -> Result<Outcome, Failure>;
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: Pages,
    /// Devices that failed while running, with the reason.
    pub(crate) failed: Vec<String>,
}

/// Opens the devices and starts the workers; each wakes `waker` when it ends.
///
/// # Errors
/// A device that cannot be opened, or too few pages; nothing is left open then.
pub(crate) fn start(plan: &Plan, waker: Waker) -> Result<Box<dyn Engine>, Failure> {
    let _ = (plan.workers, plan.pages, plan.huge_pages, plan.idle, plan.require_zerocopy, plan.count);
    waker.wake();
    Err(Failure::new(Class::Other, "the packet loop is not here yet"))
}
