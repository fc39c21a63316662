//! Schedules: where they come from, and how one runs again.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler as Twice};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Executions of one round: enough for PCT, which learns from the first one how long they are.
const ROUND: usize = 25;
/// Changes of priority at arbitrary points of an execution, at most: bugs that need no more are found soon (Burckhardt et al., ASPLOS 2010).
const DEPTH: usize = 3;

/// Dice for what a scenario does. (Who goes on when is the scheduler's.)
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Below `sides`. (splitmix64, Steele et al., OOPSLA 2014)
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    /// Others, for another thread.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }
}

type Scenario = fn(Dice);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn run(scenario: Scenario, seed: u64, scheduler: impl Scheduler + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(1 << 20);
    config.failure_persistence = FailurePersistence::None; // the seed says it in fewer letters
    config.silence_warnings = true;
    let executions = Arc::new(AtomicU64::new(0));
    Runner::new(scheduler, config).run(move || {
        let n = executions.fetch_add(1, Ordering::Relaxed);
        scenario(Dice(seed.wrapping_mul(1 << 16).wrapping_add(n)));
    })
}

/// One round: the same scenarios under both schedulers.
fn round(scenario: Scenario, seed: u64) -> usize {
    run(scenario, seed, RandomScheduler::new_from_seed(seed, ROUND))
        + run(scenario, seed, PctScheduler::new_from_seed(seed, DEPTH, ROUND))
}

/// Rounds of `scenario`, until the time is up or one fails.
pub(crate) fn explore(scenario: Scenario) {
    let seconds = number("WATERWHEEL_SHUTTLE_SECONDS").unwrap_or(10);
    // Where a run begins matters to nobody but who wants it again.
    let first = number("WATERWHEEL_SHUTTLE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
    let (begin, mut executions) = (Instant::now(), 0);
    for seed in first.. {
        match catch_unwind(AssertUnwindSafe(|| round(scenario, seed))) {
            Ok(n) => executions += n,
            Err(failure) => {
                eprintln!("\nafter {executions} executions; again: WATERWHEEL_SHUTTLE_SEED={seed}");
                resume_unwind(failure);
            }
        }
        if begin.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    eprintln!("{executions} executions, from seed {first} on");
}

/// Runs some executions twice, and fails if the second is not as the first: then a seed would be worth nothing.
pub(crate) fn runs_again_as_it_ran(scenario: Scenario) {
    run_twice(scenario, 1);
    run_twice(scenario, 2);
}

fn run_twice(scenario: Scenario, seed: u64) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    let scheduler = Twice::new(RandomScheduler::new_from_seed(seed, 10));
    Runner::new(scheduler, config).run(move || scenario(Dice(seed)));
}
