//! Devices: what a driver has to provide.

use crate::buff::{XdpBuff, XdpFrame};
use crate::drops::Drops;
use crate::homes::Homes;
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, RegionId};

pub use rustix::fd::BorrowedFd;

/// The most descriptors that one device may wait on.
pub const MAX_FDS: usize = 2;

/// How soon a loop looks again at a device that gives no signal.
const SOON: Duration = Duration::from_millis(1);

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It can receive.
    pub rx: bool,
    /// It can send.
    pub tx: bool,
    /// The longest frame that it takes, in bytes: from the Ethernet header on, without FCS, all parts together.
    pub max_frame: usize,
    /// The most fragments behind the first part of a frame that it takes, up to [`MAX_FRAGS`](crate::MAX_FRAGS).
    /// The loop drops frames with more, and does not give them to the device.
    pub max_frags: usize,
    /// It sends pages of regions that it has not registered, without copying them.
    pub foreign_pages: bool,
    /// The memory that it has registered, if it can receive only into that.
    /// Its pool must be of the same memory, or it would never receive anything.
    /// [`Fabric::add`](crate::Fabric::add) refuses another pool.
    pub region: Option<RegionId>,
}

impl Default for Capabilities {
    /// Both directions, any page, any frame that fits into a page. A driver need not know of fragments.
    fn default() -> Self {
        Self { rx: true, tx: true, max_frame: 4096 - crate::HEADROOM, max_frags: 0, foreign_pages: true, region: None }
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

    /// What is left without `other`, and never less than nothing.
    pub(crate) fn without(self, other: Traffic) -> Self {
        Self { packets: self.packets.saturating_sub(other.packets), bytes: self.bytes.saturating_sub(other.bytes) }
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

impl Wait {
    /// In a millisecond, for a device that gives no signal.
    pub fn soon() -> Self {
        Wait::Until(Instant::now() + SOON)
    }

    /// For whoever waits for two: until one of them has something.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Wait::Now, _) | (_, Wait::Now) => Wait::Now,
            (Wait::Until(a), Wait::Until(b)) => Wait::Until(a.min(b)),
            (Wait::Until(then), _) | (_, Wait::Until(then)) => Wait::Until(then),
            (Wait::Readable, _) | (_, Wait::Readable) => Wait::Readable,
            (Wait::Never, Wait::Never) => Wait::Never,
        }
    }
}

/// The state of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It is a source, and has given everything it had.
    Finished,
    /// It is gone, and why. Its `rx` and `tx` are not called any more.
    Failed(String),
}

/// What a driver implements: one queue of one device. All calls come from one thread.
///
/// Pages are moved, never lent: a frame that `tx` takes belongs to the device until `complete` hands its page back.
/// `docs/new-driver.md` in the repository writes a driver step by step; the module `conformance` checks one.
pub trait Device: Send {
    /// Its name: its spec, such as `afxdp:eth0:0`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Hands the pages of frames that have been sent to `homes`, which sends them back to their pools.
    /// Returns how many there were.
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize;

    /// Receives: appends up to `budget` packets to `batch`, whose capacity suffices, and returns how many.
    /// Take empty pages from `pool`, in bulk.
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize;

    /// Sends: takes frames from the front of `frames` as long as it has room, and returns what it sent.
    ///
    /// A frame that can never be sent (it is too long, say) is taken too, dropped, and counted in `drops`.
    /// What stays in `frames` found no room; the caller counts and drops it.
    /// If the device has to copy a foreign page, `pool` has pages of its own region.
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic;

    /// How many frames `tx` would take now. It [paces](crate::Fabric::pace) sources that can wait.
    fn tx_room(&mut self) -> usize {
        usize::MAX
    }

    /// When there will be room for a frame.
    /// The loop asks while `tx_room` is 0 and [paced](crate::Fabric::pace) sources wait, to sleep that long.
    ///
    /// - [`Readable`](Wait::Readable): one of its [descriptors](Self::fds) tells.
    /// - [`Until`](Wait::Until): the other side gives no signal.
    /// - [`Never`](Wait::Never): something else has to happen first, of which its `wait` knows.
    ///
    /// Do not return [`Now`](Wait::Now) without room.
    fn wait_tx(&self) -> Wait {
        Wait::soon()
    }

    /// Kicks the hardware. Called once per round, after everything else.
    fn flush(&mut self) {}

    /// When it will have something to do. The loop asks when it has found nothing for a while.
    fn wait(&self) -> Wait;

    /// Calls `add` with the descriptors to wait on, at most [`MAX_FDS`]. The loop asks when it goes to sleep.
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let _ = add;
    }

    /// Its state. The loop asks now and then, when it goes to sleep, and once more after `shutdown`.
    /// After that, [`Failed`](Health::Failed) means that something could not be written at the end, not that the device is closed.
    fn health(&mut self) -> Health {
        Health::Up
    }

    /// How it was opened, for a person to read, such as "native, copy".
    fn mode(&self) -> String {
        String::new()
    }

    /// Calls `count` for each of its own counters. Names must not change.
    /// Called when somebody looks at the statistics; it may make system calls.
    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let _ = count;
    }

    /// Calls `count` for the packets that were lost before `rx` could deliver them,
    /// such as those that the kernel dropped because a ring was full, or those that were too long for a page. Names say why, and must not change.
    ///
    /// It counts from the opening on. No count ever becomes smaller, not by `shutdown` either.
    /// Where the device knows of every loss, received + lost = offered.
    /// Do not count what `rx` delivered, nor what `tx` dropped.
    ///
    /// These losses are part of a port's statistics ([`PortStats::lost`](crate::PortStats::lost)), and reports show them among the drops.
    /// Called when somebody looks at the statistics; it may make system calls.
    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let _ = count;
    }

    /// What `tx` reported as sent, but could not be written afterwards: the disk was full, the pipe closed, the connection broken.
    /// A device that does not know the bytes says 0: they are then taken to be those of as many packets of mean length.
    /// It counts from the opening on, and never becomes smaller.
    ///
    /// Called when somebody looks at the statistics, and after `shutdown`, which writes what was still buffered.
    /// It is subtracted from what the port has sent, and counted as [`DropReason::Unsent`](crate::DropReason::Unsent).
    fn unsent(&self) -> Traffic {
        Traffic::default()
    }

    /// How many pages the device has: of frames that `tx` took and that are not completed, and pages posted to the hardware.
    fn in_flight(&self) -> usize {
        0
    }

    /// For the page account: marks every page that the device holds.
    fn account(&self, account: &mut Account) {
        let _ = account;
    }

    /// Ends it: the device receives no more, sends what is in flight for a short time, closes, and gives every page back.
    /// Called once, before the drop.
    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.complete(homes);
    }
}
