//! Whether a worker sleeps, has left, or will look by itself: what those who put something in its way have to know.
//!
//! Both sides write first and look then, with a fence between: so one of them sees what the other has written. Who puts something there and is told that the worker is awake may rely on
//! it that the worker finds it before it sleeps, or before it leaves.

use crate::sync::{AtomicUsize, Ordering, fence};

const AWAKE: usize = 0;
const ASLEEP: usize = 1;
const GONE: usize = 2;

/// The state of one worker, which others may ask for.
#[derive(Debug)]
pub(crate) struct Sleeper(AtomicUsize);

/// What is to be done for a worker that ought to see something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// Nothing: it looks by itself.
    Itself,
    /// It sleeps, or is about to: wake it.
    OnceWoken,
    /// Never: it has left.
    Never,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(AWAKE))
    }

    /// The worker says that it will sleep. It has to look once more after this.
    pub(crate) fn announce(&self) {
        self.0.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with that in `ask`
    }

    /// It is awake.
    pub(crate) fn awake(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// It says that it leaves for good. It has to look once more after this.
    pub(crate) fn leave(&self) {
        self.0.store(GONE, Ordering::Relaxed);
        fence(Ordering::SeqCst); // as above
    }

    /// For those who have put something there.
    pub(crate) fn ask(&self) -> Sees {
        fence(Ordering::SeqCst); // either we see what it says here, or it sees what we put there
        match self.0.load(Ordering::Relaxed) {
            AWAKE => Sees::Itself,
            ASLEEP => Sees::OnceWoken,
            _ => Sees::Never,
        }
    }
}
