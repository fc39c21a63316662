//! Threads that work side by side: each pinned to a CPU, released together, always joined.

use super::group::Lap;
use std::cell::Cell;
use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use waterwheel_mm::cpu;

/// After this time a crew is told to stop: nothing that is measured takes so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a member of the crew does. It prepares, [waits](Gate::wait), works, and tells of it.
type Job<'e, T> = Box<dyn FnOnce(&Gate<'_>) -> T + Send + 'e>;

/// The members, each with its CPU.
pub(crate) struct Crew<'e, T> {
    jobs: Vec<(usize, Job<'e, T>)>,
}

/// When a member began and ended, in ticks, and on how many elements it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) elements: u64,
}

impl Stretch {
    pub(crate) fn lap(self) -> Lap {
        Lap { ticks: self.end - self.begin, elements: self.elements }
    }

    /// The members' mean: the time that an element takes on one CPU while the others work too.
    pub(crate) fn mean(members: &[Self]) -> Lap {
        let laps = members.iter().map(|member| member.lap());
        laps.fold(Lap { ticks: 0, elements: 0 }, |sum, lap| Lap {
            ticks: sum.ticks + lap.ticks,
            elements: sum.elements + lap.elements,
        })
    }

    /// From the first who began to the last who ended, for so many elements.
    pub(crate) fn whole(members: &[Self], elements: u64) -> Lap {
        let begin = members.iter().map(|member| member.begin).min();
        let end = members.iter().map(|member| member.end).max();
        Lap { ticks: end.unwrap_or(0) - begin.unwrap_or(0), elements }
    }
}

/// Keeps one member's state off the cache lines of the others': two lines, since x86 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// What the members share.
struct Shared {
    members: usize,
    ready: AtomicUsize,
    stop: AtomicBool,
    ended: AtomicUsize,
    overseer: Thread,
}

/// Where a member waits for the others, and sees whether to stop.
pub(crate) struct Gate<'a> {
    shared: &'a Shared,
    waited: Cell<bool>,
}

impl Gate<'_> {
    /// Returns when all members are ready.
    pub(crate) fn wait(&self) {
        self.waited.set(true);
        self.shared.ready.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.shared.ready.load(Ordering::Acquire) < self.shared.members && !self.stopped() {
            spins += 1;
            // Those who are missing may need this CPU.
            if spins.is_multiple_of(1024) { thread::yield_now() } else { spin_loop() }
        }
    }

    /// Asks all members to end.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Whether to end: somebody asked for it, gave up, or took too long.
    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        if !self.waited.get() || thread::panicking() {
            self.stop(); // the others must not wait for this one
        }
        self.shared.ended.fetch_add(1, Ordering::Release);
        self.shared.overseer.unpark();
    }
}

impl<'e, T: Send> Crew<'e, T> {
    pub(crate) fn new() -> Self {
        Self { jobs: Vec::new() }
    }

    pub(crate) fn add(&mut self, cpu: usize, job: impl FnOnce(&Gate<'_>) -> T + Send + 'e) {
        self.jobs.push((cpu, Box::new(job)));
    }

    /// Runs the jobs, and gives what they told in the order in which they were added.
    ///
    /// # Errors
    /// A thread could not be started or pinned, or a job panicked; the others have ended.
    pub(crate) fn run(self) -> Result<Vec<T>, String> {
        self.start().map_err(|error| format!("threads could not be started, or not be pinned: {error}"))
    }

    fn start(self) -> io::Result<Vec<T>> {
        let shared = Shared {
            members: self.jobs.len(),
            ready: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            overseer: thread::current(),
        };
        thread::scope(|scope| {
            let start = |(cpu, job): (usize, Job<'e, T>)| {
                let shared = &shared;
                thread::Builder::new().spawn_scoped(scope, move || {
                    let gate = Gate { shared, waited: Cell::new(false) };
                    cpu::pin_to(cpu)?;
                    Ok(job(&gate))
                })
            };
            let mut members = Vec::with_capacity(shared.members);
            let mut failure = None;
            for job in self.jobs {
                match start(job) {
                    Ok(member) => members.push(member),
                    Err(error) => failure = Some(error),
                }
            }
            if failure.is_some() {
                shared.stop.store(true, Ordering::Relaxed);
            }
            shared.oversee(members.len());
            let panicked = |_| Err(io::Error::other("a thread of the benchmark panicked"));
            let told = members.into_iter().map(|member| member.join().unwrap_or_else(panicked));
            let told: io::Result<Vec<T>> = told.collect();
            failure.map_or(told, Err)
        })
    }
}

impl Shared {
    /// Sleeps until all have ended, or tells them to when the time is over.
    fn oversee(&self, members: usize) {
        let begin = Instant::now();
        while self.ended.load(Ordering::Acquire) < members {
            thread::park_timeout(DEADLINE.saturating_sub(begin.elapsed()).max(Duration::from_millis(1)));
            if begin.elapsed() >= DEADLINE {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Why no crew can work on `cpus`, if so.
pub(crate) fn cannot_run(cpus: &[usize]) -> Option<String> {
    let mut crew = Crew::new();
    cpus.iter().for_each(|cpu| crew.add(*cpu, |gate| gate.wait()));
    crew.run().err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> usize {
        cpu::allowed_cpus()[0]
    }

    #[test]
    fn more_members_than_cpus_are_released_together() {
        let ready = AtomicUsize::new(0);
        let mut crew = Crew::new();
        for i in 0..4 {
            let ready = &ready;
            crew.add(first(), move |gate| {
                ready.fetch_add(1, Ordering::Relaxed);
                gate.wait();
                (i, ready.load(Ordering::Relaxed))
            });
        }
        assert_eq!(crew.run().expect("four threads"), [(0, 4), (1, 4), (2, 4), (3, 4)]);
    }

    #[test]
    fn who_panics_or_leaves_does_not_keep_the_others_waiting() {
        let mut crew = Crew::new();
        crew.add(first(), |gate| {
            gate.wait();
            while !gate.stopped() {
                thread::yield_now();
            }
        });
        crew.add(first(), |_| panic!("on purpose"));
        assert!(crew.run().is_err());

        let mut crew = Crew::new();
        crew.add(first(), |gate| gate.wait());
        crew.add(first(), |_| ());
        assert!(crew.run().is_ok());
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_answer() {
        assert!(cannot_run(&[first(), 100_000]).is_some());
        assert!(cannot_run(&[first()]).is_none());
    }

    #[test]
    fn the_whole_lasts_from_the_first_to_the_last_and_the_mean_is_of_all() {
        let stretch = |begin, end, elements| Stretch { begin, end, elements };
        let members = [stretch(10, 30, 5), stretch(20, 50, 15)];
        let (whole, mean) = (Stretch::whole(&members, 15), Stretch::mean(&members));
        assert_eq!((whole.ticks, whole.elements, mean.ticks, mean.elements), (40, 15, 50, 20));
    }
}
