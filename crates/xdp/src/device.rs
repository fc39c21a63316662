//! Devices: what a driver is.

use crate::buff::{XdpBuff, XdpFrame};
use crate::drops::Drops;
use crate::homes::Homes;
use std::time::Instant;
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::Account;

pub use rustix::fd::BorrowedFd;

/// Most descriptors that one device may wait on.
pub const MAX_FDS: usize = 2;

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It receives.
    pub rx: bool,
    /// It sends.
    pub tx: bool,
    /// The longest frame that it takes, in bytes from the Ethernet header on, without FCS: of all its parts together.
    pub max_frame: usize,
    /// How many fragments behind the first part a frame may have that it takes, up to [`MAX_FRAGS`](crate::MAX_FRAGS). The loop gives it no other.
    pub max_frags: usize,
    /// It sends pages of regions that it has not registered, without copying them.
    pub foreign_pages: bool,
}

impl Default for Capabilities {
    /// Both directions, any page, any frame that fits into a page: a driver need not know of fragments.
    fn default() -> Self {
        Self { rx: true, tx: true, max_frame: 4096 - crate::HEADROOM, max_frags: 0, foreign_pages: true }
    }
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes from the Ethernet header on, without FCS.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one packet.
    #[inline]
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Adds `other`.
    #[inline]
    pub fn merge(&mut self, other: Traffic) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// When a device will have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// At once: poll it.
    Now,
    /// When one of its [file descriptors](Device::fds) becomes readable.
    Readable,
    /// At this time (or when a descriptor becomes readable).
    Until(Instant),
    /// Only when something is sent to it.
    Never,
}

/// How a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// A source that has given everything it had.
    Finished,
    /// It is gone, and why. Its `rx` and `tx` are not called any more.
    Failed(String),
}

/// One queue of one device. Everything is called from the one thread that has the queue.
///
/// Pages are moved, never lent: a frame given to `tx` is the device's until `complete` hands its page back.
pub trait Device: Send {
    /// How it is called: its spec, such as `afxdp:eth0:0`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Hands the pages of frames that have been sent to `homes`, and tells how many.
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize;

    /// Appends up to `budget` packets to `batch`, whose capacity suffices, and tells how many. Empty pages for the device come from `pool`, in bulk.
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize;

    /// Takes frames from the front of `frames` as long as it has room.
    ///
    /// A frame that it must refuse (too long, say) is taken too, dropped, and counted in `drops`. What is left in `frames` found no room; the caller counts and drops it.
    /// `pool` has pages of this device's own region, should it have to copy a foreign page.
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic;

    /// How many frames `tx` would take now. Sources that can wait are [paced](crate::Fabric::pace) by it.
    fn tx_room(&mut self) -> usize {
        usize::MAX
    }

    /// Kicks the hardware: once per round, after everything else.
    fn flush(&mut self) {}

    /// When it will have something to do. Asked when a loop has found nothing for a while.
    fn wait(&self) -> Wait;

    /// Gives `add` what to wait on: at most [`MAX_FDS`] descriptors. Asked when a loop goes to sleep.
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let _ = add;
    }

    /// How it is. Asked now and then, and when a loop goes to sleep.
    fn health(&mut self) -> Health {
        Health::Up
    }

    /// What a person would want to know of how it was opened, such as "native, copy".
    fn mode(&self) -> String {
        String::new()
    }

    /// Its own counters, by stable names. Asked when somebody looks at the statistics; may make system calls.
    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let _ = count;
    }

    /// Pages that are with the device: of frames taken by `tx` and not completed, and posted to the hardware.
    fn in_flight(&self) -> usize {
        0
    }

    /// Marks every page that the device holds.
    fn account(&self, account: &mut Account) {
        let _ = account;
    }

    /// The end: takes nothing in any more, sends what is in flight for a short time, closes, and gives every page back. Called once, before the drop.
    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.complete(homes);
    }
}
