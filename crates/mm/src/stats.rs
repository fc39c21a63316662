//! Counting allocations: not at all, per CPU, or in one shared place.
//!
//! The talk measured what counting costs: 46 of 143 cycles for `zone_statistics`. The three ways are types, so the one that is off leaves no instruction behind. (A
//! pool needs none of them: its statistics follow from counts that ownership needs anyway.)

use crate::sync::{AtomicU64, Ordering};

/// A way of counting what passes through a [`Pcp`](crate::Pcp).
pub trait Count {
    /// Counts `n` events.
    fn add(&mut self, n: u64);
    /// How many there were, as far as this way of counting knows.
    fn get(&self) -> u64;
}

/// Counts nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Off;

impl Count for Off {
    #[inline(always)]
    fn add(&mut self, _: u64) {}
    fn get(&self) -> u64 {
        0
    }
}

/// A plain number beside the lists of one CPU: whoever wants the sum adds them up.
#[derive(Debug, Default, Clone, Copy)]
pub struct PerCpu(u64);

impl Count for PerCpu {
    #[inline(always)]
    fn add(&mut self, n: u64) {
        self.0 += n;
    }
    fn get(&self) -> u64 {
        self.0
    }
}

/// One number for all CPUs, with a locked instruction for each event: what kernels did before `vm.numa_stat`. For comparison.
#[derive(Debug, Clone, Copy)]
pub struct Shared(pub &'static SharedCounter);

/// The number behind [`Shared`].
#[derive(Debug)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Zero.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

#[cfg(not(loom))]
impl Default for SharedCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl Count for Shared {
    #[inline(always)]
    fn add(&mut self, n: u64) {
        self.0.0.fetch_add(n, Ordering::Relaxed);
    }
    fn get(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}
