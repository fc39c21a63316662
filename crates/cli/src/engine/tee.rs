//! Copies of packets that go on elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fd::BorrowedFd;
use waterwheel_dev::pcap::PcapWriter;
use waterwheel_xdp::mm::Account;
use waterwheel_xdp::{Capabilities, Device, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame};

use crate::report::snapshot::Capture;

/// What the queues of a device tell of the capture that they share.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The file. Unset: there are no copies.
    name: OnceLock<String>,
    /// Packets that the capture took, with those that it did not want.
    taken: AtomicU64,
    /// Packets that there was no place for.
    refused: AtomicU64,
    unwanted: AtomicU64,
    /// Packets that it took and could not write in the end.
    unsent: AtomicU64,
    /// Why nothing is captured any more.
    failure: OnceLock<String>,
}

impl Told {
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What there is to show.
    pub(super) fn shown(&self) -> Option<Capture> {
        let [taken, unwanted, unsent] =
            [&self.taken, &self.unwanted, &self.unsent].map(|count| count.load(Ordering::Relaxed));
        let reason = self.failure.get().cloned();
        Some(Capture {
            name: self.name.get()?.clone(),
            state: if reason.is_some() { "failed" } else { "up" },
            reason,
            // It is looked at while they change.
            captured: taken.saturating_sub(unwanted + unsent),
            missed: self.refused() + unsent,
            unwanted,
        })
    }

    /// Copies are captured in this file.
    pub(super) fn begins(&self, file: &str) {
        let _ = self.name.set(file.to_owned());
    }

    fn note(&self, capture: &mut PcapWriter) {
        capture.counters(&mut |name, n| {
            if name == "unwanted" {
                self.unwanted.store(n, Ordering::Relaxed);
            }
        });
        self.unsent.store(capture.unsent().packets, Ordering::Relaxed);
        if self.failure.get().is_none()
            && let Health::Failed(why) = capture.health()
        {
            let _ = self.failure.set(why);
        }
    }
}

/// A device whose packets, both ways, are copied into a capture. A capture that fails is no failure of the device.
pub(super) struct Tee {
    device: Box<dyn Device>,
    /// Shared by the queues of the device. The last one closes it.
    capture: Option<Arc<Mutex<PcapWriter>>>,
    told: Arc<Told>,
}

impl Tee {
    pub(super) fn new(device: Box<dyn Device>, capture: Arc<Mutex<PcapWriter>>, told: Arc<Told>) -> Self {
        Self { device, capture: Some(capture), told }
    }

    /// Copies so many packets, or those of them that there is a place for.
    fn copy(&mut self, packets: usize, copy: impl FnOnce(&mut PcapWriter) -> usize) {
        if packets > 0 {
            let taken = self.capture().map_or(0, |mut capture| copy(&mut capture));
            self.told.taken.fetch_add(taken as u64, Ordering::Relaxed);
            self.told.refused.fetch_add((packets - taken) as u64, Ordering::Relaxed);
        }
    }

    fn capture(&self) -> Option<MutexGuard<'_, PcapWriter>> {
        self.capture.as_ref().map(|capture| capture.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Device for Tee {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.device.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        let received = self.device.rx(pool, batch, budget);
        let new = &batch[before..];
        self.copy(new.len(), |capture| new.iter().filter(|packet| capture.copy(packet.parts(), packet.meta())).count());
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.copy(frames.len(), |capture| {
            frames.iter().filter(|frame| capture.copy(frame.parts(), frame.meta())).count()
        });
        self.device.tx(pool, frames, drops)
    }

    fn tx_room(&mut self) -> usize {
        self.device.tx_room()
    }

    fn wait_tx(&self) -> Wait {
        self.device.wait_tx()
    }

    fn flush(&mut self) {
        self.device.flush();
        if let Some(mut capture) = self.capture() {
            capture.flush();
            self.told.note(&mut capture);
        }
    }

    fn wait(&self) -> Wait {
        let capture = self.capture().map_or(Wait::Never, |capture| match capture.wait() {
            Wait::Readable => Wait::soon(), // its descriptor is not among those of the device
            wait => wait,
        });
        self.device.wait().or(capture)
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        self.device.fds(add);
    }

    fn health(&mut self) -> Health {
        self.device.health()
    }

    fn mode(&self) -> String {
        self.device.mode()
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.counters(count);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.lost(count);
    }

    fn unsent(&self) -> Traffic {
        self.device.unsent()
    }

    fn in_flight(&self) -> usize {
        self.device.in_flight()
    }

    fn account(&self, account: &mut Account) {
        self.device.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.device.shutdown(homes);
        if let Some(capture) = self.capture.take().and_then(Arc::into_inner) {
            let mut capture = capture.into_inner().unwrap_or_else(PoisonError::into_inner);
            capture.shutdown(homes);
            self.told.note(&mut capture);
        }
    }
}
