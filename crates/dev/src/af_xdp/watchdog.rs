//! Sent frames that never come back: a network card that is reset loses what it had, and AF_XDP tells the socket nothing of it.
//!
//! Without a look at the time such a socket seems well until its rings have run dry, and then it sends nothing for ever. So a device that gets nothing back for long enough says that it has
//! failed; what it had posted is taken back once its queue is proven free, as from any other socket.

use std::time::{Duration, Instant};

/// How long nothing may come back. The kernel takes a transmit queue for stuck after 5 s, and resets the card then (`dev->watchdog_timeo`, `net/sched/sch_generic.c`): what has not come back
/// in twice that time was lost on the way.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Looks whether sent frames come back.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// Something has, since the last look.
    progress: bool,
    /// Since when nothing has.
    since: Option<Instant>,
}

impl Watchdog {
    /// So many have come back.
    #[inline]
    pub(super) fn completed(&mut self, frames: usize) {
        self.progress |= frames > 0;
    }

    /// Whether there are frames under way, and none has come back for [`PATIENCE`].
    pub(super) fn is_stuck(&mut self, now: Instant, in_flight: usize) -> bool {
        if std::mem::take(&mut self.progress) || in_flight == 0 {
            self.since = None;
            return false;
        }
        now.saturating_duration_since(*self.since.get_or_insert(now)) >= PATIENCE
    }

    /// There is a reason for it: from now on anew.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_do_not_come_back_are_noticed_and_slow_ones_are_not() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut watchdog = Watchdog::default();
        assert!(!watchdog.is_stuck(start, 0), "nothing is under way");
        assert!(!watchdog.is_stuck(start + 100 * second, 5), "it begins when it is first seen");
        assert!(!watchdog.is_stuck(start + 109 * second, 5));
        watchdog.completed(0);
        assert!(watchdog.is_stuck(start + 110 * second, 5));
        watchdog.completed(1);
        assert!(!watchdog.is_stuck(start + 111 * second, 4), "slow is not stuck");
        assert!(!watchdog.is_stuck(start + 112 * second, 4));
        assert!(!watchdog.is_stuck(start + 121 * second, 0), "all are back");
        assert!(!watchdog.is_stuck(start + 122 * second, 3));
        watchdog.restart();
        assert!(!watchdog.is_stuck(start + 140 * second, 3), "while there was no carrier");
        assert!(watchdog.is_stuck(start + 150 * second, 3));
    }
}
