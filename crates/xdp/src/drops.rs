//! Why packets are dropped.

/// Why a packet was dropped. Each reason has a counter.
/// Its name ([`as_str`](Self::as_str)) is a key of the statistics, and does not change.
///
/// The *target* is the device that the packet was to be sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DropReason {
    /// The program decided so.
    Program,
    /// The program failed, or said nothing.
    Aborted,
    /// The target's transmit ring had no room.
    TxRingFull,
    /// The frame is longer than the target can send.
    FrameTooLong,
    /// The frame has more fragments than the target takes.
    TooManyFrags,
    /// The page lies in memory that the target has not registered, and there was no page to copy it to.
    ForeignPage,
    /// There was no page to receive into.
    NoPages,
    /// The packet is cut short, or its lengths contradict each other.
    Malformed,
    /// The program named a port that does not exist.
    NoTarget,
    /// The target, or the device that received it, is gone or down.
    DeviceDown,
    /// The target cannot send.
    NotSupported,
    /// The target belongs to another worker, which did not take frames fast enough.
    HandoverFull,
    /// It was passed to the host, and there is no [`Host`](crate::Host).
    NoHost,
    /// A [`Fault`](crate::wrap::Fault) around the device dropped it, for a test.
    Fault,
    /// It was still in a queue when the loop ended.
    Shutdown,
    /// The target took it and could not write it later: see [`Device::unsent`](crate::Device::unsent).
    Unsent,
    /// The target belongs to another worker, which has ended, with a panic or without.
    /// What was handed over to it is not sent.
    WorkerGone,
}

impl DropReason {
    /// All of them, in the order of the statistics.
    pub const ALL: [DropReason; 17] = [
        DropReason::Program,
        DropReason::Aborted,
        DropReason::TxRingFull,
        DropReason::FrameTooLong,
        DropReason::TooManyFrags,
        DropReason::ForeignPage,
        DropReason::NoPages,
        DropReason::Malformed,
        DropReason::NoTarget,
        DropReason::DeviceDown,
        DropReason::NotSupported,
        DropReason::HandoverFull,
        DropReason::NoHost,
        DropReason::Fault,
        DropReason::Shutdown,
        DropReason::Unsent,
        DropReason::WorkerGone,
    ];

    /// The name, which is a key of the statistics and does not change.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::Program => "program",
            DropReason::Aborted => "aborted",
            DropReason::TxRingFull => "tx_ring_full",
            DropReason::FrameTooLong => "frame_too_long",
            DropReason::TooManyFrags => "too_many_frags",
            DropReason::ForeignPage => "foreign_page",
            DropReason::NoPages => "no_pages",
            DropReason::Malformed => "malformed",
            DropReason::NoTarget => "no_target",
            DropReason::DeviceDown => "device_down",
            DropReason::NotSupported => "not_supported",
            DropReason::HandoverFull => "handover_full",
            DropReason::NoHost => "no_host",
            DropReason::Fault => "fault",
            DropReason::Shutdown => "shutdown",
            DropReason::Unsent => "unsent",
            DropReason::WorkerGone => "worker_gone",
        }
    }
}

/// A count for each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts `n` more packets that were dropped for this reason.
    #[inline]
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    /// How many were dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason)))
    }

    /// Their sum.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Drops) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}
