//! Why packets are dropped.

/// A reason. Its name is a key of the statistics and stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DropReason {
    /// The program said so.
    Program,
    /// The program failed, or said nothing.
    Aborted,
    /// The target's transmit ring had no room.
    TxRingFull,
    /// The frame is longer than the target can send.
    FrameTooLong,
    /// The frame has more fragments than the target takes.
    TooManyFrags,
    /// The page belongs to a region that the target has not registered, and there was no page to copy it to.
    ForeignPage,
    /// There was no page to receive into.
    NoPages,
    /// The packet is cut or contradicts itself.
    Malformed,
    /// The program named a port that does not exist.
    NoTarget,
    /// The target, or the device itself, is gone or down.
    DeviceDown,
    /// The target sends nothing.
    NotSupported,
    /// The worker that has the target did not take frames fast enough.
    HandoverFull,
    /// Passed to the host, and nobody is there.
    NoHost,
    /// Injected by the fault wrapper.
    Fault,
    /// It was in a queue when the loop ended.
    Shutdown,
    /// The device took it, and could not write it afterwards: see [`Device::unsent`](crate::Device::unsent).
    Unsent,
    /// The worker that has the target is over, with a panic or without: what it was handed over is not sent.
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

    /// The stable name.
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
    /// `n` packets more were dropped for this reason.
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
