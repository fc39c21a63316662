//! Devices: what a driver is.

use crate::buff::{XdpBuff, XdpFrame};
use crate::drops::Drops;
use crate::homes::Homes;
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, RegionId};

pub use rustix::fd::BorrowedFd;

/// Most descriptors that one device may wait on.
pub const MAX_FDS: usize = 2;

/// How soon a loop looks again at what gives no signal.
const SOON: Duration = Duration::from_millis(1);

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
    /// The memory that it has registered, if it receives into that and no other: its pool has to be of it, or it would never receive anything. [`Fabric::add`](crate::Fabric::add) refuses
    /// another pool.
    pub region: Option<RegionId>,
}

impl Default for Capabilities {
    /// Both directions, any page, any frame that fits into a page: a driver need not know of fragments.
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

    /// What is left without `other`. It is never below nothing.
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
    /// In a millisecond: for what gives no signal.
    pub fn soon() -> Self {
        Wait::Until(Instant::now() + SOON)
    }
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

    /// When there will be room for a frame. Asked while `tx_room` is 0 and sources that are [paced](crate::Fabric::pace) by it wait, so that the loop can sleep as long:
    /// [`Readable`](Wait::Readable) where one of its [descriptors](Self::fds) tells, [`Until`](Wait::Until) where the other side gives no signal, [`Never`](Wait::Never) where something else has to happen
    /// first of which its `wait` knows. Never [`Now`](Wait::Now) without room.
    fn wait_tx(&self) -> Wait {
        Wait::soon()
    }

    /// Kicks the hardware: once per round, after everything else.
    fn flush(&mut self) {}

    /// When it will have something to do. Asked when a loop has found nothing for a while.
    fn wait(&self) -> Wait;

    /// Gives `add` what to wait on: at most [`MAX_FDS`] descriptors. Asked when a loop goes to sleep.
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let _ = add;
    }

    /// How it is. Asked now and then, when a loop goes to sleep, and once more after `shutdown`: then it is [`Failed`](Health::Failed) if something could not be written at the end, and not because it
    /// is closed.
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

    /// Packets that were lost before `rx` could give them, since it was opened, by stable names that say why: what the kernel dropped as a ring was full, what was too long for a page. No count ever
    /// becomes smaller, not by `shutdown` either.
    ///
    /// Where the device knows of every loss, received + lost = offered. What `rx` gave and what `tx` dropped is not in here. They are part of a port's statistics
    /// ([`PortStats::lost`](crate::PortStats::lost)), and of the drops that a report shows. Asked when somebody looks at the statistics; may make system calls.
    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let _ = count;
    }

    /// Of what `tx` said that it sends: what could not be written afterwards (a full disk, a closed pipe, a connection that broke), since it was opened. It never becomes smaller.
    ///
    /// Asked when somebody looks at the statistics, and after `shutdown`, which writes what was still buffered. It is taken out of what the port has sent, and counted as
    /// [`DropReason::Unsent`](crate::DropReason::Unsent).
    fn unsent(&self) -> Traffic {
        Traffic::default()
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
