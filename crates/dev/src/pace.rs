//! How fast packets come.

use std::time::{Duration, Instant};

use crate::error::DevError;
use crate::value::{duration, number, usage};

/// How much a source catches up on, when it was late.
pub(crate) const BURST: Duration = Duration::from_millis(100);

const NANOS: u128 = 1_000_000_000;

/// How fast packets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// So many packets a second.
    Packets(u64),
    /// So many bits of packets a second, from the Ethernet header on, without FCS.
    Bits(u64),
}

impl Rate {
    /// The keys that [`Rate::parse`] takes, each with a line of help.
    pub(crate) const KEYS: [(&str, &str); 2] = [
        ("rate", "packets per second, e.g. 10k or 1.5M (default: as fast as it goes)"),
        ("mbps", "megabits of packets per second, without FCS, e.g. 100 or 0.5, instead of rate"),
    ];

    /// The value of one of these keys.
    pub(crate) fn parse(key: &str, value: &str) -> Result<Self, DevError> {
        let none = || usage(format!("{key}={value}: want more than 0; leave {key} out for as fast as it goes"));
        let rate = match key {
            "rate" => Self::Packets(number(key, value)?),
            // Its unit is in its name. Whoever adds one means something else: 100M is not 100 million megabits.
            _ => Self::Bits(number(key, &format!("{value}M")).map_err(|_| {
                usage(format!("{key}={value}: want megabits per second, as a number without a unit: 100, 0.5 or 2500"))
            })?),
        };
        if rate.per_second() == 0 { Err(none()) } else { Ok(rate) }
    }

    fn per_second(self) -> u64 {
        match self {
            Self::Packets(n) | Self::Bits(n) => n,
        }
    }

    /// What a packet of `len` bytes takes of it.
    fn cost(self, len: usize) -> u64 {
        match self {
            Self::Packets(_) => 1,
            Self::Bits(_) => 8 * len as u64,
        }
    }
}

/// The key `burst`, and its value.
pub(crate) const BURST_KEY: (&str, &str) = (
    "burst",
    "how much is caught up on at once by a source that was late; the rest is given up and counted (default 100ms)",
);

pub(crate) fn parse_burst(value: &str) -> Result<Duration, DevError> {
    duration("burst", value)
}

/// Tells what is due. What comes at `past` of its rate is due `past / rate` seconds after the first question.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    /// What may be caught up on at once when somebody was late.
    burst: u64,
    start: Option<Instant>,
    /// What was sent or given up since `start`.
    past: u64,
    /// What is due, as of the last question.
    total: u64,
    /// What was sent.
    sent: u64,
    packets: u64,
    /// What was given up, because more than `burst` of it was due.
    missed: u64,
}

impl Pace {
    /// A rate of 0 counts as 1.
    pub(crate) fn new(rate: Rate, burst: Duration) -> Self {
        let burst = u128::from(rate.per_second()).saturating_mul(burst.as_nanos()) / NANOS;
        let burst = u64::try_from(burst).unwrap_or(u64::MAX).max(1);
        Self { rate, burst, start: None, past: 0, total: 0, sent: 0, packets: 0, missed: 0 }
    }

    /// What is due at `now`: how much of it, in packets of `len` bytes, the last of which may not be due whole.
    pub(crate) fn due(&mut self, now: Instant, len: usize) -> u64 {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start).as_nanos();
        let total = elapsed.saturating_mul(self.rate.per_second().max(1).into()) / NANOS + 1;
        self.total = u64::try_from(total).unwrap_or(u64::MAX);
        let due = self.total.saturating_sub(self.past);
        if due > self.burst {
            self.missed += due - self.burst;
            self.past = self.total - self.burst;
        }
        due.min(self.burst).div_ceil(self.rate.cost(len.max(1)))
    }

    /// How many packets of `len` bytes are due, as of the last question, the last of them perhaps not whole.
    #[cfg(feature = "pcap")]
    pub(crate) fn left(&self, len: usize) -> u64 {
        self.total.saturating_sub(self.past).div_ceil(self.rate.cost(len.max(1)))
    }

    /// From `since` to `now` there was nothing to send: what was due in that time is due later, and was not missed.
    #[cfg(feature = "pcap")]
    pub(crate) fn rest(&mut self, since: Instant, now: Instant) {
        let next = self.next();
        if let (Some(start), Some(next)) = (&mut self.start, next) {
            *start += now.saturating_duration_since(next.max(since));
        }
    }

    /// A packet was sent.
    pub(crate) fn sent(&mut self, len: usize) {
        let cost = self.rate.cost(len);
        self.past = self.past.saturating_add(cost);
        (self.sent, self.packets) = (self.sent.saturating_add(cost), self.packets + 1);
    }

    /// When the next packet is due; `None` before the first question.
    pub(crate) fn next(&self) -> Option<Instant> {
        let nanos = (u128::from(self.past) * NANOS).div_ceil(self.rate.per_second().max(1).into());
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.start.and_then(|start| start.checked_add(Duration::from_nanos(nanos)))
    }

    /// Packets that were given up because nobody asked in time. (Of a rate in bits: as many as there would have been of those that were sent.)
    pub(crate) fn missed(&self) -> u64 {
        let missed = u128::from(self.missed) * u128::from(self.packets) / u128::from(self.sent.max(1));
        u64::try_from(missed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_when_their_time_has_come_and_not_before() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut pace = Pace::new(Rate::Packets(10_000), BURST);
        let sent = |pace: &mut Pace, n| (0..n).for_each(|_| pace.sent(60));
        assert_eq!(pace.next(), None);
        assert_eq!(pace.due(at(0), 60), 1);
        sent(&mut pace, 1);
        assert_eq!(pace.due(at(99), 60), 0);
        assert_eq!(pace.next(), Some(at(100)));
        assert_eq!(pace.due(at(100), 60), 1);
        assert_eq!(pace.due(at(100_000), 60), 1000, "what was not sent stays due, for a tenth of a second");
        sent(&mut pace, 1000);
        assert_eq!(pace.due(at(100_000), 60), 0);
        assert_eq!(pace.missed(), 0);
    }

    #[test]
    fn bits_are_due_when_their_time_has_come() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        // A packet of 1000 bytes takes a millisecond.
        let mut pace = Pace::new(Rate::Bits(8_000_000), BURST);
        assert_eq!(pace.due(at(0), 1000), 1);
        pace.sent(1000);
        assert_eq!((pace.due(at(999), 1000), pace.next()), (0, Some(at(1000))));
        assert_eq!(pace.due(at(1000), 1000), 1);
        assert_eq!(pace.due(at(5999), 1000), 5);
        (0..10).for_each(|_| pace.sent(500));
        assert_eq!((pace.due(at(5999), 1000), pace.missed()), (0, 0));
        // A second later nine tenths of it are given up: of the mean of those that were sent.
        assert_eq!(pace.due(at(1_006_000), 1000), 100);
        assert_eq!(pace.missed(), 900_000 * 11 / 6000);
    }

    #[test]
    fn who_sleeps_long_does_not_send_all_of_it_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::Packets(1_000_000), Duration::from_millis(1));
        assert_eq!(pace.due(start, 60), 1);
        assert_eq!(pace.due(start + Duration::from_secs(1), 60), 1000);
        (0..1000).for_each(|_| pace.sent(60));
        assert_eq!(pace.missed(), 999_001);
        assert_eq!(pace.due(start + Duration::from_secs(1), 60), 0);
        assert_eq!(pace.due(start + Duration::from_secs(1) + Duration::from_micros(5), 60), 5);
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        let start = Instant::now();
        for rate in [Rate::Packets(u64::MAX), Rate::Bits(u64::MAX), Rate::Packets(0)] {
            let mut pace = Pace::new(rate, Duration::MAX);
            assert_eq!(pace.due(start, 60), 1);
            assert!(pace.due(start + Duration::from_secs(1 << 20), usize::MAX / 8) > 0);
            pace.sent(60);
            let _ = (pace.next(), pace.missed());
        }
    }

    #[test]
    fn rates_are_numbers_with_units() {
        for (key, text, rate) in [
            ("rate", "10k", Rate::Packets(10_000)),
            ("mbps", "100", Rate::Bits(100_000_000)),
            ("mbps", "0.5", Rate::Bits(500_000)),
            ("mbps", "2500", Rate::Bits(2_500_000_000)),
        ] {
            assert_eq!(Rate::parse(key, text), Ok(rate), "{key}={text}");
        }
        for (key, text) in [("rate", "0"), ("rate", "x")] {
            assert!(Rate::parse(key, text).is_err(), "{key}={text}");
        }
        for (key, text) in ["0", "-1", "x", "", "100M", "2.5k", "1G", "99999999999999"].map(|text| ("mbps", text)) {
            assert!(Rate::parse(key, text).is_err(), "{key}={text}");
        }
    }
}
