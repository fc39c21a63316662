//! Pools that are gone while pages of theirs are out: "stalled", in the kernel's word, whose `page_pool_release_retry` warns every 60 s until the last page is back, without being able
//! to say who has it.
//!
//! A pool of ours stalls nobody: its pages go to their zone when they are let go, whenever that is. But who holds them so long should be known.

use crate::holders::write_held;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use waterwheel_mm::{Held, OwnerWatch, Sampling, WeakZone};

/// How often the kernel warns of a stalled pool (`DEFER_WARN_INTERVAL`).
pub const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// A pool that is gone, and pages of it are still out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// The pool's id.
    pub id: u16,
    /// The pool's name.
    pub name: String,
    /// Pages that somebody still has.
    pub inflight: u64,
    /// How long ago the pool went.
    pub since: Duration,
    /// Which pages are followed; `None`: none are, and `held` is empty.
    pub sampling: Option<Sampling>,
    /// Who has them.
    pub held: Vec<Held>,
}

impl fmt::Display for Stalled {
    /// The kernel's line, and who it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, inflight, since, sampling, held } = self;
        write!(f, "stalled pool shutdown: id {id}, {name}, {inflight} inflight {} sec: ", since.as_secs())?;
        if sampling.is_none() {
            return f.write_str("with whom is unknown, as no page was followed");
        }
        let mut groups = held.iter();
        match groups.next() {
            Some(group) => write!(f, "{group}")?,
            None => f.write_str("with whom is unknown, as none of these pages is followed")?,
        }
        write_held(f, "; ", groups.as_slice(), *sampling)
    }
}

/// What a pool leaves behind.
pub(crate) struct Left {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) owners: Vec<(u16, OwnerWatch)>,
    /// Weak: the memory is its pages' to keep.
    pub(crate) zone: WeakZone,
    pub(crate) since: Instant,
}

static LEFT: Mutex<Vec<Arc<Left>>> = Mutex::new(Vec::new());

/// The list is held for moments only: what it is asked for takes other locks.
fn all() -> MutexGuard<'static, Vec<Arc<Left>>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left, after forgetting what is over.
fn look() -> Vec<Arc<Left>> {
    let (over, left): (Vec<_>, Vec<_>) = all().clone().into_iter().partition(|left| left.is_over());
    if !over.is_empty() {
        all().retain(|left| !over.iter().any(|over| Arc::ptr_eq(left, over)));
    }
    left
}

/// A pool goes, and has pages out.
#[cold]
pub(crate) fn leave(left: Left) {
    if cfg!(shuttle) {
        return; // the list is the process's, owners are an execution's
    }
    look(); // nobody may ever ask, and the list must not grow for ever
    all().push(Arc::new(left));
}

/// The pools that are gone while pages of theirs are out, the oldest first. Any thread may ask at any time.
pub fn stalled() -> Vec<Stalled> {
    look().iter().filter_map(|left| left.stalled()).collect() // in the order in which they went
}

impl Left {
    /// Pages that are out; `None` while the pool has not quite gone.
    fn inflight(&self) -> Option<u64> {
        self.owners.iter().map(|(_, watch)| watch.left()).sum()
    }

    fn is_over(&self) -> bool {
        self.inflight() == Some(0)
    }

    fn stalled(&self) -> Option<Stalled> {
        let inflight = self.inflight().filter(|pages| *pages > 0)?;
        let zone = self.zone.upgrade();
        let owners: Vec<u16> = self.owners.iter().map(|(id, _)| *id).collect();
        Some(Stalled {
            id: self.id,
            name: self.name.clone(),
            inflight,
            since: self.since.elapsed(),
            sampling: zone.as_ref().and_then(|zone| zone.sampling()),
            held: zone.map_or_else(Vec::new, |zone| zone.holders(Some(&owners))),
        })
    }
}

/// Tells of stalled pools, until it is dropped.
#[derive(Debug)]
pub struct StallWatch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StallWatch {
    /// Starts a thread that looks every `every` ([`WARN_INTERVAL`] is the kernel's) and calls `tell` for each pool that is stalled then: with the `warn!` of the logging that the program uses, say.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(every: Duration, mut tell: impl FnMut(&Stalled) + Send + 'static) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("stalled pools".to_owned()).spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                stalled().iter().for_each(&mut tell);
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // what `tell` did to its own thread is its own business
        }
    }
}
