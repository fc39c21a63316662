//! Counting instructions: a loop runs in a process of its own, which is single-stepped.
//!
//! It is the CPU that counts, one trap after each instruction, so the figure is exact, the same on every run, and the same for what is compiled by other compilers. It needs no
//! hardware counters, which most virtual machines do not have, and nothing that has to be installed. Instructions of the kernel are not in it, and a repeated string
//! instruction counts once for each repetition.
//!
//! The loop is stepped for `n` iterations and then for `2 n`; the difference is what `n` iterations take, without what surrounds them.
#![expect(unsafe_code, reason = "fork, ptrace")]

use crate::peers::Loop;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Instructions after which a loop is taken to hang.
const MOST: u64 = 100_000_000;

/// What the process raises to halt. Not SIGSTOP, which others may send, too.
const HALT: i32 = libc::SIGUSR2;

/// User space instructions of one iteration, of so many; `make` is called in the other process.
///
/// # Errors
/// There is no loop, as `make` says; it failed; or this machine does not allow a process to trace its child.
pub(crate) fn per_iteration(make: impl FnOnce() -> Result<Loop, String>, loops: u64) -> Result<f64, String> {
    let mut child = Stepped::start(make, loops)?;
    child.warmed_up()?;
    let once = child.step_to_halt()?;
    let twice = child.step_to_halt()?;
    Ok(twice.saturating_sub(once) as f64 / loops as f64)
}

/// The process; it ends with this.
struct Stepped {
    pid: libc::pid_t,
    /// It has ended, and its number may be another process's by now.
    ended: bool,
    /// What it says if it cannot go on.
    why: PipeReader,
}

/// How a process that is waited for stands.
enum State {
    /// It halted where it wanted to.
    Halted,
    /// It did one instruction.
    Stepped,
    /// Somebody stopped or continued it, which is withheld from it.
    Disturbed,
}

impl Stepped {
    fn start(make: impl FnOnce() -> Result<Loop, String>, loops: u64) -> Result<Self, String> {
        let (why, tell) = std::io::pipe().map_err(|error| error.to_string())?;
        // SAFETY: the new process runs nothing but `be_stepped`, which never returns. Other threads are not in it: what they have locked stays locked, but memory (the C library sees
        // to that) can be had. What DPDK has is shared with it: so this bench is the last one of a run, and its processes begin with what DPDK had then.
        match unsafe { libc::fork() } {
            -1 => Err(format!("no process for it: {}", std::io::Error::last_os_error())),
            0 => be_stepped(make, loops, tell),
            pid => Ok(Self { pid, ended: false, why }),
        }
    }

    /// Waits until it halts for the first time.
    fn warmed_up(&mut self) -> Result<(), String> {
        loop {
            match self.wait()? {
                State::Halted => return Ok(()),
                State::Stepped => return Err("it was trapped before it was stepped".into()),
                State::Disturbed => self.go_on(libc::PTRACE_CONT)?,
            }
        }
    }

    fn go_on(&self, how: libc::c_uint) -> Result<(), String> {
        // SAFETY: touches nothing of this process; the other one is stopped, and is ours.
        match unsafe { libc::ptrace(how, self.pid, 0, 0) } {
            0 => Ok(()),
            _ => Err(format!("it cannot be stepped: {}", std::io::Error::last_os_error())),
        }
    }

    /// Steps it to its next halt; tells how many instructions that took.
    fn step_to_halt(&mut self) -> Result<u64, String> {
        let mut steps = 0;
        while steps < MOST {
            self.go_on(libc::PTRACE_SINGLESTEP)?;
            match self.wait()? {
                State::Halted => return Ok(steps),
                State::Stepped => steps += 1,
                State::Disturbed => {}
            }
        }
        Err("the loop has no end".into())
    }

    fn wait(&mut self) -> Result<State, String> {
        let mut status = 0;
        // SAFETY: the status is ours to write; the process is our child and was not waited for to its end.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } != self.pid {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error.to_string());
            }
        }
        if !libc::WIFSTOPPED(status) {
            self.ended = true;
            let mut why = String::new();
            let _ = self.why.read_to_string(&mut why);
            return Err(if why.is_empty() { format!("its process ended, status {status:#x}") } else { why });
        }
        match libc::WSTOPSIG(status) {
            HALT => Ok(State::Halted),
            libc::SIGTRAP => Ok(State::Stepped),
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGCONT | libc::SIGWINCH => Ok(State::Disturbed),
            signal => Err(format!("its process got signal {signal}")),
        }
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut status = 0;
        // SAFETY: the process is our child and was not waited for to its end, so the number is its own; the status is ours to write.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, &raw mut status, libc::__WALL);
        }
    }
}

/// The life of the other process: it makes the loop and warms it up at full speed, and from then on halts before and after each stretch.
fn be_stepped(make: impl FnOnce() -> Result<Loop, String>, loops: u64, mut tell: PipeWriter) -> ! {
    let life = || {
        // SAFETY: takes numbers only. So that it does not outlive us, however we end.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let mut body = make()?;
        body(2 * loops);
        // SAFETY: takes numbers only.
        if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
            return Err(format!("this machine allows no tracing: {}", std::io::Error::last_os_error()));
        }
        halt();
        body(loops);
        halt();
        body(2 * loops);
        halt();
        Ok::<(), String>(())
    };
    let why = match catch_unwind(AssertUnwindSafe(life)) {
        Ok(Ok(())) => "it was let go".to_owned(),
        Ok(Err(why)) => why,
        Err(_) => "the loop panicked".to_owned(),
    };
    let _ = tell.write_all(why.as_bytes());
    // SAFETY: ends the process without what belongs to the other one: no destructors, nothing written that was buffered before the fork.
    unsafe { libc::_exit(1) }
}

/// Stops until the tracer lets it go on.
fn halt() {
    // SAFETY: a signal to this thread, which the tracer takes.
    unsafe { libc::raise(HALT) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// A loop with `extra` more additions, each of which the compiler has to do.
    fn additions<const N: usize>() -> Result<Loop, String> {
        Ok(Box::new(|loops| {
            let mut number = 0u64;
            for _ in 0..loops {
                for _ in 0..N {
                    number = black_box(number + 1);
                }
            }
        }))
    }

    #[test]
    fn more_work_is_more_instructions_and_the_same_work_the_same() {
        let count = || per_iteration(additions::<3>, 10).expect("it can be stepped");
        assert_eq!(count(), count());
        let more = per_iteration(additions::<30>, 10).expect("it can be stepped");
        assert!(more > count() + 26.0, "{more} {}", count());
    }

    #[test]
    fn what_goes_wrong_in_the_other_process_is_told_here() {
        let why = per_iteration(|| Err("no memory".to_owned()), 1);
        assert_eq!(why, Err("no memory".to_owned()));
        let body = || -> Result<Loop, String> { Ok(Box::new(|_| std::process::abort())) };
        assert!(per_iteration(body, 1).is_err_and(|why| why.starts_with("its process ended")));
    }

    #[test]
    fn the_process_is_gone_afterwards() {
        let children = || {
            std::fs::read_to_string(format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero()))
                .unwrap_or_default()
        };
        let before = children();
        per_iteration(additions::<1>, 1).expect("it can be stepped");
        assert_eq!(children(), before);
    }
}
