//! The running kernel's own XDP over its own page_pool: `BPF_PROG_RUN` with live frames.
//!
//! A thread of its own goes into a network namespace of its own with a veth pair, and runs the programs there, on the CPU that ours is measured on. The namespace has no
//! name and goes with the thread.

mod namespace;
mod net;
pub(crate) mod program;
pub(crate) mod sys;

use super::NOT_ASKED;
use crate::event::Side;
use crate::harness::{Clock, Group, Lap};
use crate::programs::xdp::{SIZE, Verdict};
pub(crate) use namespace::Namespace;
pub(crate) use net::{Counters, ip, number, veth};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// As it is called in the rows.
pub(crate) const NAME: &str = "kernel XDP, live frames";
/// Frames at a time: what the kernel takes unless told otherwise, and its NAPI budget.
pub(crate) const BATCH: usize = 64;

/// The ends of its veth pair.
const NEAR: &str = "near";
/// See [`NEAR`].
const FAR: &str = "far";
/// Frames of one measurement, at least.
const FRAMES: u64 = 1 << 19;

/// Adds it to the contenders, or says why it is absent.
pub(crate) fn contend(group: &mut Group<'_, '_>, verdict: Verdict) {
    if !group.session().options().peers {
        return group.absent(NAME, NOT_ASKED);
    }
    let live = match Live::start(verdict, group.clock()) {
        Ok(live) => live,
        Err(why) => return group.absent(NAME, why),
    };
    let does = match verdict {
        Verdict::Drop => "XDP_DROP",
        Verdict::Tx => {
            "addresses swapped, XDP_TX (live frames go through ndo_xdp_xmit, as redirected ones do); received and dropped by XDP at the far end of the veth"
        }
        Verdict::Redirect => {
            "XDP_REDIRECT through a devmap to a veth; received and dropped by XDP at the far end, which brings the page home"
        }
    };
    let work = format!(
        "a page from the kernel's page_pool, {SIZE} bytes written when the page was new; {BATCH} at a time; {does}; less a system call of {BATCH} frames"
    );
    group.fallible(Side::Peer, NAME, work, move |frames| live.run(frames));
}

/// What every frame holds: an Ethernet header that says IPv4, and zeros.
pub(crate) fn packet() -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    packet
}

/// A thread in a namespace of its own.
struct Live {
    /// How many frames to run; gone when it is to end.
    ask: Option<Sender<u64>>,
    answer: Receiver<Result<Lap, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    fn start(verdict: Verdict, clock: Clock) -> Result<Self, String> {
        let (ask, asked) = channel();
        let (tell, answer) = channel();
        let thread = std::thread::spawn(move || {
            let stage = Stage::set(verdict);
            let ready = stage.as_ref().map(|_| Lap { ticks: 0, elements: 0 }).map_err(Clone::clone);
            let mut heard = tell.send(ready).is_ok();
            let Ok(stage) = stage else { return };
            while let (true, Ok(frames)) = (heard, asked.recv()) {
                heard = tell.send(stage.run(frames, clock)).is_ok();
            }
        });
        let live = Self { ask: Some(ask), answer, thread: Some(thread) };
        live.hear().map(|_| live)
    }

    fn run(&self, frames: u64) -> Result<Lap, String> {
        self.ask.as_ref().map(|ask| ask.send(frames));
        self.hear()
    }

    fn hear(&self) -> Result<Lap, String> {
        self.answer.recv().unwrap_or_else(|_| Err("its thread ended".to_owned()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of it was reported by itself
        }
    }
}

/// What the thread has set up in its namespace.
struct Stage {
    near: u32,
    program: OwnedFd,
    counters: Counters,
    /// What is sent arrives at the far end, and is counted there.
    arrives: bool,
    /// Keeps the far end's program attached.
    _far: OwnedFd,
}

impl Stage {
    fn set(verdict: Verdict) -> Result<Self, String> {
        let error = |what: &'static str| move |errno: rustix::io::Errno| format!("{what}: {errno}");
        sys::leave_network().map_err(error("a network namespace of its own (needs CAP_SYS_ADMIN)"))?;
        let (near, far) = veth(NEAR, FAR)?;
        let discard = sys::load(&program::drop()).map_err(error("loading an XDP program (needs CAP_BPF)"))?;
        let _far = sys::attach(discard.as_fd(), far).map_err(error("attaching an XDP program to a veth"))?;
        let program = match verdict {
            Verdict::Drop => discard,
            Verdict::Tx => sys::load(&program::tx()).map_err(error("loading a program for XDP_TX"))?,
            Verdict::Redirect => {
                let map = sys::devmap(near).map_err(error("a devmap"))?;
                sys::load(&program::redirect(map.as_fd())).map_err(error("loading a program for XDP_REDIRECT"))?
            }
        };
        Ok(Self { near, program, counters: Counters::open()?, arrives: verdict != Verdict::Drop, _far })
    }

    /// Runs at least so many frames; an error when they do not arrive where they are sent.
    ///
    /// Each system call makes a page_pool and takes it down, which may wait for some ticks of the scheduler: as long as a hundred thousand frames take. So the time of one with a single batch
    /// is subtracted.
    fn run(&self, frames: u64, clock: Clock) -> Result<Lap, String> {
        let elements = frames.clamp(FRAMES, u64::from(u32::MAX) - BATCH as u64);
        let setting_up = self.call(BATCH as u64, clock)?;
        let all = self.call(elements + BATCH as u64, clock)?;
        Ok(Lap { ticks: all.saturating_sub(setting_up), elements })
    }

    /// One system call; tells its ticks.
    fn call(&self, frames: u64, clock: Clock) -> Result<u64, String> {
        let before = self.counters.received(FAR)?;
        let begin = clock.now();
        let ran = sys::run_live(self.program.as_fd(), &packet(), self.near, frames as u32, BATCH as u32);
        let ticks = clock.now() - begin;
        ran.map_err(|errno| format!("BPF_PROG_RUN with live frames (Linux 5.18): {errno}"))?;
        let arrived = self.counters.received(FAR)? - before;
        let under_way = 2 * BATCH as u64; // the far end may not have been polled yet
        if self.arrives && arrived + under_way < frames - frames / 100 {
            return Err(format!("of {frames} frames only {arrived} got from {NEAR} to {FAR}"));
        }
        Ok(ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True when the test may go on: the process is root. Else it fails by name, or, with `WATERWHEEL_SKIP_ROOT=1`, says that it was left out.
    fn root(test: &str) -> bool {
        if rustix::process::geteuid().is_root() {
            return true;
        }
        assert!(
            std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
            "the test `{test}` needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
        );
        eprintln!("left out, as it needs root: {test}");
        false
    }

    #[test]
    fn frames_arrive_and_the_namespace_is_another() {
        if !root("frames_arrive_and_the_namespace_is_another") {
            return;
        }
        for verdict in [Verdict::Drop, Verdict::Tx, Verdict::Redirect] {
            let live = Live::start(verdict, Clock::new()).expect("a stage");
            assert_eq!(live.run(1).expect("frames").elements, FRAMES, "{verdict:?}");
            assert!(
                Counters::open().is_ok_and(|ours| ours.received(FAR).is_err()),
                "our own namespace has no such interface"
            );
        }
    }
}
