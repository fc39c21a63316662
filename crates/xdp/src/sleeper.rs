//! What workers tell each other of themselves. First of all whether one sleeps, has left, or will look by itself: what those have to know who put something in its way.
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

/// How many workers have come to a point behind which they do something no more.
#[derive(Debug)]
pub(crate) struct Roll(AtomicUsize);

impl Roll {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// A worker has. What it did before is seen by who sees that all have.
    pub(crate) fn answer(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Whether so many have.
    pub(crate) fn all(&self, workers: usize) -> bool {
        self.0.load(Ordering::Acquire) >= workers
    }
}

/// Every interleaving that the memory model allows: `RUSTFLAGS="--cfg loom" cargo test --release -p waterwheel-xdp --lib`.
#[cfg(all(loom, test))]
mod model {
    use super::*;
    use loom::sync::Mutex;
    use loom::thread;
    use std::sync::Arc;

    /// What one puts somewhere for another, in the weakest order that there is.
    struct Place {
        sleeper: Sleeper,
        thing: AtomicUsize,
        woken: AtomicUsize,
        /// Who takes the thing notes it here, as who takes something out of a ring does.
        taken: Mutex<bool>,
    }

    impl Place {
        fn take(&self) -> usize {
            let mut taken = self.taken.lock().unwrap();
            let is_there = !*taken && self.thing.load(Ordering::Relaxed) == 1;
            *taken |= is_there;
            usize::from(is_there)
        }
    }

    fn place() -> Arc<Place> {
        let (thing, woken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Place { sleeper: Sleeper::new(), thing, woken, taken: Mutex::new(false) })
    }

    #[test]
    fn who_is_handed_something_sees_it_or_is_woken() {
        loom::model(|| {
            let place = place();
            let there = place.clone();
            let other = thread::spawn(move || {
                there.thing.store(1, Ordering::Relaxed);
                if there.sleeper.ask() == Sees::OnceWoken {
                    there.woken.store(1, Ordering::Relaxed);
                }
            });
            place.sleeper.announce();
            let saw = place.thing.load(Ordering::Relaxed) == 1;
            other.join().unwrap();
            assert!(saw || place.woken.load(Ordering::Relaxed) == 1, "it sleeps, and nobody wakes it");
        });
    }

    #[test]
    fn what_is_handed_to_one_who_leaves_is_taken_once() {
        loom::model(|| {
            let place = place();
            let there = place.clone();
            let other = thread::spawn(move || {
                there.thing.store(1, Ordering::Relaxed);
                match there.sleeper.ask() {
                    Sees::Never => there.take(),
                    _ => 0,
                }
            });
            place.sleeper.leave();
            let taken = place.take();
            assert_eq!(taken + other.join().unwrap(), 1, "nobody has it, or two have");
        });
    }

    #[test]
    fn who_sees_that_all_have_answered_sees_what_they_did_before() {
        loom::model(|| {
            let (place, roll) = (place(), Arc::new(Roll::new()));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (there, roll) = (place.clone(), roll.clone());
                    thread::spawn(move || {
                        there.thing.fetch_add(1, Ordering::Relaxed);
                        roll.answer();
                    })
                })
                .collect();
            if roll.all(2) {
                assert_eq!(place.thing.load(Ordering::Relaxed), 2);
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
