//! What the kernel says a task has cost.

use std::fs;
use std::ops::{AddAssign, Sub};
use std::path::Path;

/// Nanoseconds of a tick of `/proc`: `USER_HZ` is 100 on all architectures that we run on (`include/asm-generic/param.h`).
const TICK: f64 = 1e7;

/// CPU time, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// In its own code.
    pub(crate) user: f64,
    /// In the kernel, on its behalf.
    pub(crate) system: f64,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { user: self.user - other.user, system: self.system - other.system }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }
}

/// A process, or a thread of ours.
pub(crate) struct Task(String);

impl Task {
    pub(crate) fn process(pid: u32) -> Self {
        Self(format!("/proc/{pid}/stat"))
    }

    /// The thread that calls this.
    pub(crate) fn this_thread() -> Self {
        Self(format!("/proc/self/task/{}/stat", rustix::thread::gettid()))
    }

    /// What it has cost so far. The kernel looks at ticks of its clock: of a tenth of a second this is a rough idea, of some seconds a good one.
    pub(crate) fn usage(&self) -> Result<Usage, String> {
        let text = fs::read_to_string(&self.0).map_err(|error| format!("{}: {error}", self.0))?;
        usage(&text).ok_or_else(|| format!("{}: not as proc_pid_stat(5) has it: {text}", self.0))
    }
}

/// CPU time of the task with that folder in `/proc`, user and system together; 0 if it has ended. Exact, where ticks are not (`schedstat`, the first field).
pub(crate) fn nanoseconds(task: &Path) -> u64 {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Fields 14 and 15, counted from behind the name, which may hold anything.
fn usage(stat: &str) -> Option<Usage> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut time = || Some(fields.next()?.parse::<f64>().ok()? * TICK);
    Some(Usage { user: time()?, system: time()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "17 (a) b (c) R 1 17 17 0 -1 4194304 1 0 0 0 120 34 0 0 20 0 1 0 100 1 1\n";
        assert_eq!(usage(stat), Some(Usage { user: 1.2e9, system: 3.4e8 }));
        assert_eq!(usage("17 (a) R 1 17"), None);
    }

    #[test]
    fn a_busy_thread_costs_time() {
        let task = Task::this_thread();
        let before = task.usage().expect("a thread");
        while (task.usage().expect("a thread") - before) == Usage::default() {
            std::hint::spin_loop();
        }
    }
}
