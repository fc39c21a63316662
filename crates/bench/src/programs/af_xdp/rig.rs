//! The rig: for each forwarder a road of two veth pairs, all in a network namespace of their own.
//!
//! ```text
//! XDP_REDIRECT of live frames -> source ==veth== input -> forwarder -> output ==veth== far: counted, and dropped by IP
//! on one CPU, and with them the                           on the other CPU, and in its system calls
//! kernel's side of the input                              the kernel's side of the output and of the far end
//! ```
//!
//! Live frames cost less than a forwarder's packets, so that it never waits for them.

use crate::harness::{Clock, Lap};
use crate::peers::kernel::{self, Counters, Namespace, program, sys, veth};
use crate::programs::usage::{Task, Usage};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use waterwheel_mm::cpu;

/// What arrives is counted for so long.
const INTERVAL: Duration = Duration::from_millis(40);
/// Before that: rings fill, and caches.
const RUN_UP: Duration = Duration::from_millis(10);
/// A flood begins within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Frames of the first flood; the next ones are as long as the last was too short or too long.
const FRAMES: u32 = 1 << 20;
/// A moment is exact if all of it was read within so many nanoseconds; on a shared CPU that may take some attempts.
const EXACT: f64 = 20_000.0;
const ATTEMPTS: u32 = 50;

/// The namespace, and who sends in it.
pub(super) struct Rig {
    namespace: Namespace,
    counters: Counters,
    clock: Clock,
    /// CPU of the flood.
    cpu: usize,
    /// Frames of the next flood.
    frames: AtomicU32,
}

/// Two veth pairs; they go with the namespace.
pub(super) struct Road {
    /// The forwarder receives here.
    pub(super) input: String,
    /// The forwarder sends here.
    pub(super) output: String,
    far: String,
    source: u32,
    /// Redirects to the source.
    program: OwnedFd,
}

/// What a forwarder did in a stretch of time.
pub(super) struct Reading {
    /// Elements are the packets that arrived.
    pub(super) lap: Lap,
    /// CPU time that it took.
    pub(super) usage: Usage,
    /// Packets sent to it.
    pub(super) sent: f64,
}

/// The state of things at one moment.
struct Moment {
    ticks: u64,
    sent: u64,
    arrived: u64,
    usage: Usage,
}

impl Rig {
    pub(super) fn set(cpu: usize, clock: Clock) -> Result<Self, String> {
        let namespace = Namespace::new()?;
        let counters = namespace.run(Counters::open)?;
        Ok(Self { namespace, counters, clock, cpu, frames: AtomicU32::new(FRAMES) })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A road whose interfaces are called after `name`.
    pub(super) fn road(&self, name: &str) -> Result<Road, String> {
        let [source, input, output, far] = ["src", "in", "out", "far"].map(|end| format!("{name}_{end}"));
        let error = |what: &'static str| move |errno: rustix::io::Errno| format!("{what} (needs CAP_BPF): {errno}");
        self.namespace.run(|| {
            let (number, _) = veth(&source, &input)?;
            veth(&output, &far)?;
            let map = sys::devmap(number).map_err(error("a devmap"))?;
            let program =
                sys::load(&program::redirect(map.as_fd())).map_err(error("loading a program for XDP_REDIRECT"))?;
            Ok(Road { input, output, far, source: number, program })
        })
    }

    /// Floods a road, whose forwarder runs, and reads what arrives, and what it costs `task`. On a busy machine the forwarder may not run at all in the time of a reading: that is tried again.
    pub(super) fn flood(&self, road: &Road, task: &Task) -> Result<Reading, String> {
        const FLOODS: u32 = 6;
        let mut why = String::new();
        for _ in 0..FLOODS {
            why = match self.try_flood(road, task)? {
                Some(reading) if reading.lap.elements > 0 => return Ok(reading),
                Some(_) => format!("nothing arrived at {}", road.far),
                None => "the frames were sent faster than they could be counted".to_owned(),
            };
        }
        Err(why)
    }

    /// Nothing if the flood ended before the reading did.
    fn try_flood(&self, road: &Road, task: &Task) -> Result<Option<Reading>, String> {
        let frames = self.frames.load(Relaxed);
        let (before, after) = thread::scope(|scope| {
            let flood = scope.spawn(|| self.send(road, frames));
            let read = self.begun(road, || flood.is_finished()).and_then(|()| {
                thread::sleep(RUN_UP);
                let before = self.moment(road, task)?;
                thread::sleep(INTERVAL);
                Ok((before, self.moment(road, task)?))
            });
            flood.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))?;
            read
        })?;
        if self.counters.received(&road.input)? == after.sent {
            self.frames.store(frames.saturating_mul(2), Relaxed);
            return Ok(None);
        }
        let lap = Lap { ticks: after.ticks - before.ticks, elements: after.arrived - before.arrived };
        let sent = (after.sent - before.sent) as f64;
        let wanted = RUN_UP + INTERVAL + INTERVAL / 2;
        self.frames.store(((sent * wanted.as_nanos() as f64 / self.clock.ns(lap.ticks)) as u32).max(1), Relaxed);
        Ok(Some(Reading { lap, usage: after.usage - before.usage, sent }))
    }

    /// Waits for the first packets of a flood, unless it is over: the kernel makes ready for some ticks of its clock.
    fn begun(&self, road: &Road, over: impl Fn() -> bool) -> Result<(), String> {
        let (deadline, none) = (Instant::now() + PATIENCE, self.counters.received(&road.input)?);
        while self.counters.received(&road.input)? == none && !over() {
            if Instant::now() > deadline {
                return Err(format!("no packet came to {}", road.input));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Sends frames as fast as the kernel can.
    fn send(&self, road: &Road, frames: u32) -> Result<(), String> {
        self.namespace.enter()?;
        cpu::pin_to(self.cpu).map_err(|error| format!("pinning a thread to CPU {}: {error}", self.cpu))?;
        sys::run_live(road.program.as_fd(), &kernel::packet(), road.source, frames, kernel::BATCH as u32)
            .map_err(|errno| format!("BPF_PROG_RUN with live frames (Linux 5.18): {errno}"))
    }

    /// What has been counted up to now, by a clock that was read just before.
    fn moment(&self, road: &Road, task: &Task) -> Result<Moment, String> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let ticks = self.clock.now();
            let sent = self.counters.received(&road.input)?;
            let arrived = self.counters.received(&road.far)?;
            let exact = self.clock.ns(self.clock.now() - ticks) < EXACT;
            if exact || attempts.next().is_none() {
                return Ok(Moment { ticks, sent, arrived, usage: task.usage()? });
            }
        }
    }
}

#[cfg(test)]
impl Rig {
    /// Packets that came to the end of a road.
    pub(super) fn arrived(&self, road: &Road) -> u64 {
        self.counters.received(&road.far).expect("a counter")
    }
}
