//! Packets per second.

use std::time::{Duration, Instant};

/// Tells how many packets are due. Packet number k is due k / rate seconds after the first question.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    /// What may be caught up on at once when somebody was late: a millisecond's packets, 64 at least.
    burst: u64,
    start: Option<Instant>,
    /// Packets that were sent or given up since `start`.
    past: u64,
    /// Packets that were given up, because more than `burst` of them were due.
    missed: u64,
}

const NANOS: u128 = 1_000_000_000;

impl Pace {
    /// `rate` packets per second; 0 counts as 1.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), burst: (rate / 1000).max(64), start: None, past: 0, missed: 0 }
    }

    /// How many packets may be sent at `now`.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start).as_nanos();
        let total = u64::try_from(elapsed * u128::from(self.rate) / NANOS + 1).unwrap_or(u64::MAX);
        let mut due = total.saturating_sub(self.past);
        if due > self.burst {
            self.missed += due - self.burst;
            self.past = total - self.burst;
            due = self.burst;
        }
        due
    }

    /// So many were sent.
    pub(super) fn sent(&mut self, packets: u64) {
        self.past += packets;
    }

    /// When the next packet is due; `None` before the first question.
    pub(super) fn next(&self) -> Option<Instant> {
        let nanos = (u128::from(self.past) * NANOS).div_ceil(self.rate.into());
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.start.and_then(|start| start.checked_add(Duration::from_nanos(nanos)))
    }

    /// Packets that were given up because nobody asked in time.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_when_their_time_has_come_and_not_before() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut pace = Pace::new(10_000);
        assert_eq!(pace.next(), None);
        assert_eq!(pace.due(at(0)), 1);
        pace.sent(1);
        assert_eq!(pace.due(at(99)), 0);
        assert_eq!(pace.next(), Some(at(100)));
        assert_eq!(pace.due(at(100)), 1);
        assert_eq!(pace.due(at(1000)), 10, "what was not sent stays due");
        pace.sent(10);
        assert_eq!(pace.due(at(1000)), 0);
        assert_eq!(pace.missed(), 0);
    }

    #[test]
    fn who_sleeps_long_does_not_send_all_of_it_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000);
        assert_eq!(pace.due(start), 1);
        assert_eq!(pace.due(start + Duration::from_secs(1)), 1000);
        assert_eq!(pace.missed(), 999_001);
        pace.sent(1000);
        assert_eq!(pace.due(start + Duration::from_secs(1)), 0);
        assert_eq!(pace.due(start + Duration::from_secs(1) + Duration::from_micros(5)), 5);
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        let start = Instant::now();
        let mut pace = Pace::new(u64::MAX);
        assert_eq!(pace.due(start), 1);
        assert!(pace.due(start + Duration::from_secs(1 << 20)) > 0);
        pace.sent(1);
        let _ = pace.next();
    }
}
