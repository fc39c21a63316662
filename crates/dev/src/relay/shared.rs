//! What the threads of a relay share: its counters, and the word to stop.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::stats::RelayStats;

#[derive(Debug)]
pub(super) struct Shared {
    /// Readable once the workers shall end.
    stop: OwnedFd,
    workers: Vec<Mutex<Published>>,
    /// Somebody wants to know who holds pages.
    asked: AtomicBool,
    /// Where to connect: what can be connected to first is taken. Asked for once a connection.
    targets: Mutex<Arc<[SocketAddr]>>,
}

#[derive(Debug, Default)]
struct Published {
    stats: RelayStats,
    holders: Vec<(String, usize)>,
}

fn lock(published: &Mutex<Published>) -> MutexGuard<'_, Published> {
    published.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(workers: usize, connect: SocketAddr) -> rustix::io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Ok(Self { stop, workers, asked: AtomicBool::new(false), targets: Mutex::new([connect].into()) })
    }

    /// Without an address it stays as it was.
    pub(super) fn connect_to(&self, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() {
            *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = addresses.into();
        }
    }

    pub(super) fn targets(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.targets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self) {
        // It cannot fail: its count is far from full.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }

    pub(super) fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Shows what worker `index` has done.
    pub(super) fn publish(&self, index: usize, stats: &RelayStats, holders: impl FnOnce() -> Vec<(String, usize)>) {
        let mut published = lock(&self.workers[index]);
        published.stats = *stats;
        if self.asked.load(Ordering::Relaxed) {
            published.holders = holders();
        }
    }

    pub(super) fn stats(&self) -> RelayStats {
        let mut all = RelayStats::default();
        self.workers.iter().for_each(|worker| all.add(&lock(worker).stats));
        all
    }

    pub(super) fn holders(&self) -> Vec<(String, usize)> {
        self.asked.store(true, Ordering::Relaxed);
        self.workers.iter().flat_map(|worker| lock(worker).holders.clone()).collect()
    }
}
