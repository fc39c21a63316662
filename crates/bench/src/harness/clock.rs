//! Time in ticks: of the TSC where it runs at one speed for ever, else nanoseconds of the kernel's clock.
#![expect(unsafe_code, reason = "rdtsc")]

use std::fs;
use std::time::{Duration, Instant};

/// A clock, and how long its tick is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    /// TSC ticks per nanosecond.
    ghz: Option<f64>,
}

impl Clock {
    /// Finds out how fast the TSC runs; takes 50 ms.
    pub(crate) fn new() -> Self {
        let mut clock = Self { origin: Instant::now(), ghz: None };
        if tsc_is_invariant() {
            let (begin, tsc) = (Instant::now(), tsc());
            while begin.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            let ticks = self::tsc() - tsc;
            clock.ghz = Some(ticks as f64 / begin.elapsed().as_nanos() as f64);
        }
        clock
    }

    /// Now, in ticks.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self.ghz {
            Some(_) => tsc(),
            None => self.origin.elapsed().as_nanos() as u64,
        }
    }

    /// Nanoseconds of so many ticks.
    pub(crate) fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ghz.unwrap_or(1.0)
    }

    /// Ticks of so many nanoseconds.
    pub(crate) fn ticks(&self, ns: f64) -> u64 {
        (ns * self.ghz.unwrap_or(1.0)) as u64
    }

    /// TSC ticks per nanosecond, if that is what the clock counts.
    pub(crate) fn ghz(&self) -> Option<f64> {
        self.ghz
    }
}

/// Whether the TSC keeps its speed in all states of the CPU, as the kernel sees it.
fn tsc_is_invariant() -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    cfg!(target_arch = "x86_64")
        && ["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.split(' ').any(|f| f == *flag))
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has rdtsc and lfence. The fences keep what is measured between the two readings.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        let ticks = core::arch::x86_64::_rdtsc();
        core::arch::x86_64::_mm_lfence();
        ticks
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> u64 {
    0
}
