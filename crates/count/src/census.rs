//! The census: threads that run one at a time, and what they touch.

use crate::model::{Access, Counts, Model};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// The longest time that a thread waits for its turn. Afterwards the census is over: the threads run on, uncounted.
const PATIENCE: Duration = Duration::from_secs(20);

/// A count of what some threads touch. A handle: clones are of the same census.
#[derive(Debug, Clone)]
pub struct Census(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    model: Model,
    /// The threads, by their number; `None`: has not entered yet, or has left.
    threads: Vec<Option<Thread>>,
    /// How many have not entered yet. Nobody runs before all are there.
    missing: usize,
    /// Whose turn it is.
    turn: usize,
    /// The turn passes before one of so many accesses; 0: before none.
    one_in: u64,
    random: u64,
    /// Somebody waited in vain.
    over: bool,
}

/// A thread's presence in a census: while it lasts the thread's accesses are counted.
#[derive(Debug)]
pub struct Present {
    /// It is about this thread.
    _not_send: PhantomData<*const ()>,
}

struct Here {
    census: Census,
    thread: usize,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

impl Census {
    /// A census of `threads` threads, numbered from 0, in which the turn passes only when a thread [yields](Self::yield_now), waits for a lock, or leaves.
    pub fn new(threads: usize) -> Self {
        Self::switching(threads, 0)
    }

    /// As [`new`](Self::new), but the turn also passes before one of `one_in` accesses, as a pseudo-random number says.
    pub fn switching(threads: usize, one_in: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            model: Model::default(),
            threads: vec![None; threads],
            missing: threads,
            turn: 0,
            one_in,
            random: 0x9e37_79b9_7f4a_7c15, // any number but 0
            over: false,
        })))
    }

    /// Makes the calling thread the one of the given number, and returns when all are there and it is its turn.
    ///
    /// # Panics
    /// If the number is not below the number of threads, or taken.
    pub fn enter(&self, thread: usize) -> Present {
        {
            let mut state = self.state();
            assert!(state.missing > 0 && state.threads[thread].is_none(), "thread {thread} is there already");
            state.threads[thread] = Some(thread::current());
            state.missing -= 1;
            if state.missing == 0 {
                state.give_turn(0);
            }
        }
        self.wait(thread);
        HERE.with(|here| *here.borrow_mut() = Some(Here { census: self.clone(), thread }));
        Present { _not_send: PhantomData }
    }

    /// Lets the next thread run, and returns when it is the calling one's turn again. Without effect on a thread that has not entered.
    pub fn yield_now(&self) {
        yield_now();
    }

    /// What was counted since the census began.
    pub fn counts(&self) -> Counts {
        self.state().model.counts
    }

    /// Whether a thread waited in vain for its turn, so that the counts are not complete.
    pub fn is_broken(&self) -> bool {
        self.state().over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, thread: usize) {
        let begin = Instant::now();
        loop {
            {
                let mut state = self.state();
                if state.over || (state.missing == 0 && state.turn == thread) {
                    return;
                }
                if begin.elapsed() > PATIENCE {
                    state.over = true;
                    state.threads.iter().flatten().for_each(Thread::unpark);
                    return;
                }
            }
            thread::park_timeout(PATIENCE);
        }
    }

    /// Passes the turn on and waits until it comes back.
    fn pass(&self, thread: usize) {
        let alone = {
            let mut state = self.state();
            state.give_turn(thread + 1);
            state.turn == thread
        };
        if !alone {
            self.wait(thread);
        }
    }
}

impl State {
    /// To the first thread that is there, from number `from` on.
    fn give_turn(&mut self, from: usize) {
        let threads = self.threads.len();
        let next = (from..from + threads).map(|thread| thread % threads).find(|thread| self.threads[*thread].is_some());
        if let Some(next) = next {
            self.turn = next;
            if let Some(thread) = &self.threads[next] {
                thread.unpark();
            }
        }
    }

    /// Whether to pass the turn now.
    fn toss(&mut self) -> bool {
        if self.one_in == 0 {
            return false;
        }
        // xorshift64 (Marsaglia, 2003)
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(self.one_in)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Some(Here { census, thread }) = HERE.with(|here| here.borrow_mut().take()) else { return };
        let mut state = census.state();
        state.threads[thread] = None;
        state.give_turn(thread + 1);
    }
}

/// Runs `f` with the calling thread's census and number; `None`: it is in none.
fn here<R>(f: impl FnOnce(&Census, usize) -> R) -> Option<R> {
    // A thread that is ending has no locals any more, and counts nothing.
    HERE.try_with(|here| here.borrow().as_ref().map(|here| f(&here.census, here.thread))).ok().flatten()
}

/// Whether the calling thread's accesses are counted.
pub(crate) fn is_counting() -> bool {
    here(|_, _| ()).is_some()
}

pub(crate) fn yield_now() {
    here(Census::pass);
}

/// Counts an access to `*place`, which follows.
pub(crate) fn touch<T>(place: *const T, access: Access) {
    here(|census, thread| {
        if census.state().toss() {
            census.pass(thread);
        }
        census.state().model.touch(thread, place.addr(), size_of::<T>(), access);
    });
}

/// Counts a read-modify-write that was [touched](touch) and achieved nothing.
pub(crate) fn failed() {
    here(|census, _| census.state().model.counts.failed += 1);
}
