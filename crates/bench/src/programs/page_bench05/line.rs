//! One cache line from CPU to CPU: the unit in which everything that crosses is to be judged.

use super::crossing;
use crate::event::Side;
use crate::harness::crew::{Apart, Crew, Gate, Stretch};
use crate::harness::{Case, Clock, Lap};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn case() -> Case {
    crossing("one line".to_owned(), "line across CPUs", 1, |group, cpus| {
        let clock = group.clock();
        let work = "one line handed over: each CPU in turn waits for the other's number and writes the next";
        group.fallible(Side::Baseline, "line handed over", work, move |count| there_and_back(clock, cpus, count));
        group.measure()
    })
}

/// `count` times from one CPU to the other.
fn there_and_back(clock: Clock, cpus: [usize; 2], count: u64) -> Result<Lap, String> {
    let number = Apart(AtomicU64::new(0));
    let mut crew = Crew::new();
    for (first, cpu) in cpus.into_iter().enumerate() {
        let number = &number.0;
        crew.add(cpu, move |gate: &Gate<'_>| {
            gate.wait();
            let begin = clock.now();
            let mut mine = first as u64;
            while mine < count && !gate.stopped() {
                if number.load(Ordering::Acquire) == mine {
                    number.store(mine + 1, Ordering::Release);
                    mine += 2;
                } else {
                    spin_loop();
                }
            }
            Stretch { begin, end: clock.now(), elements: 0 }
        });
    }
    let stretches = crew.run()?;
    Ok(Stretch::whole(&stretches, number.0.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::cpu::allowed_cpus;

    #[test]
    fn it_goes_as_often_as_it_is_told() {
        let cpus = allowed_cpus();
        let last = cpus[cpus.len() - 1];
        for count in [1, 2, 7] {
            let lap = there_and_back(Clock::new(), [cpus[0], last], count).expect("two threads");
            assert_eq!(lap.elements, count);
        }
    }
}
