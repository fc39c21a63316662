//! What a worker counts.

use crate::action::PortId;
use crate::device::{Health, Traffic};
use crate::drops::Drops;
use waterwheel_page_pool::PoolStats;

/// Received packets, counted by the program's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions {
    /// [`Action::Aborted`](crate::Action::Aborted)
    pub aborted: u64,
    /// [`Action::Drop`](crate::Action::Drop)
    pub drop: u64,
    /// [`Action::Pass`](crate::Action::Pass)
    pub pass: u64,
    /// [`Action::Tx`](crate::Action::Tx)
    pub tx: u64,
    /// [`Action::Redirect`](crate::Action::Redirect)
    pub redirect: u64,
}

impl Actions {
    /// Adds `other`.
    pub fn merge(&mut self, other: &Actions) {
        self.aborted += other.aborted;
        self.drop += other.drop;
        self.pass += other.pass;
        self.tx += other.tx;
        self.redirect += other.redirect;
    }

    /// Their sum: every received packet.
    pub fn total(&self) -> u64 {
        self.aborted + self.drop + self.pass + self.tx + self.redirect
    }
}

/// What one port has counted, and how it is.
#[derive(Debug, Clone)]
pub struct PortStats {
    /// Its number.
    pub port: PortId,
    /// Its device's name.
    pub name: String,
    /// How the device was opened.
    pub mode: String,
    /// The state of the device.
    pub health: Health,
    /// The device has failed, and there may be [another](crate::Revive) soon.
    pub reviving: bool,
    /// How often the port has got another device.
    pub revivals: u64,
    /// Packets received.
    pub rx: Traffic,
    /// Packets that were lost before they could be received, by names that say why and do not change ([`Device::lost`](crate::Device::lost)).
    /// Those of earlier devices of the port are added.
    ///
    /// Where the device knows of every loss, received + lost = offered.
    /// A report shows them among the drops, and adds them to their sum.
    pub lost: Vec<(&'static str, u64)>,
    /// Packets that the device took to send, without those that it then could not write ([`Device::unsent`](crate::Device::unsent)).
    pub tx: Traffic,
    /// Frames and pages that the device has.
    pub in_flight: usize,
    /// The device's own counters. Those of earlier devices of the port are added.
    pub counters: Vec<(&'static str, u64)>,
    /// The counters of its pool.
    pub pool: PoolStats,
}

impl PortStats {
    /// Packets that were lost before they could be received, for whatever reason.
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().map(|(_, n)| n).sum()
    }
}

/// What one worker has counted.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Rounds of its loop.
    pub rounds: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Received packets by action.
    pub actions: Actions,
    /// Dropped packets by reason.
    pub drops: Drops,
    /// Frames that it handed over to other workers.
    pub handed_over: u64,
    /// Frames that it took over from other workers, to send them, or to drop them because nobody else could.
    ///
    /// Received + taken over = sent + dropped + passed to the host + handed over.
    pub taken_over: u64,
    /// Why it has ended before its time: the message of a panic. Its ports are gone.
    /// What others hand over to it is dropped as [`WorkerGone`](crate::DropReason::WorkerGone).
    pub died: Option<String>,
    /// Its ports.
    pub ports: Vec<PortStats>,
}

/// Adds to the sum of that name.
pub(crate) fn add_to(sums: &mut Vec<(&'static str, u64)>, name: &'static str, n: u64) {
    match sums.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => *sum += n,
        None => sums.push((name, n)),
    }
}
