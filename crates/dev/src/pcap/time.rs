//! Time stamps of capture files.

use std::time::{SystemTime, UNIX_EPOCH};

/// How an interface counts time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    per_second: u64,
    /// Seconds that are added.
    offset: i64,
}

const NANOS: u128 = 1_000_000_000;

impl Clock {
    /// Ticks of 10^-`digits` seconds; `digits` is 19 at most.
    pub(super) fn decimal(digits: u32) -> Self {
        Self { per_second: 10_u64.pow(digits), offset: 0 }
    }

    /// From pcapng's `if_tsresol` and `if_tsoffset` (draft-ietf-opsawg-pcapng, section 4.2): with the highest bit set a negative power of two, else of ten.
    /// `None` when a second has more than 2^64 ticks.
    pub(super) fn new(resolution: u8, offset: i64) -> Option<Self> {
        let exponent = u32::from(resolution & 0x7f);
        let per_second =
            if resolution & 0x80 == 0 { 10_u64.checked_pow(exponent)? } else { 1_u64.checked_shl(exponent)? };
        Some(Self { per_second, offset })
    }

    pub(super) fn per_second(self) -> u64 {
        self.per_second
    }

    /// Nanoseconds since the epoch, rounded down; times before the epoch are 0, those after the year 2554 the greatest number.
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * NANOS / u128::from(self.per_second);
        let offset = u128::from(self.offset.unsigned_abs()) * NANOS;
        let nanos = if self.offset < 0 { nanos.saturating_sub(offset) } else { nanos + offset };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds since the epoch by the clock on the wall.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_of_ten_and_of_two() {
        let nanos = |resolution, offset, ticks| Clock::new(resolution, offset).map(|clock| clock.nanoseconds(ticks));
        assert_eq!(nanos(6, 0, 1_700_000_000_123_456), Some(1_700_000_000_123_456_000));
        assert_eq!(nanos(9, 0, 1_700_000_000_123_456_789), Some(1_700_000_000_123_456_789));
        assert_eq!(nanos(12, 0, 1_999), Some(1));
        assert_eq!(nanos(0, 0, 7), Some(7_000_000_000));
        assert_eq!(nanos(0x80 | 32, 0, 1 << 31), Some(500_000_000));
        assert_eq!(nanos(0x80, 0, 3), Some(3_000_000_000));
        assert_eq!(nanos(6, 100, 5_000_000), Some(105_000_000_000));
        assert_eq!(nanos(6, -3, 5_000_000), Some(2_000_000_000));
        assert_eq!(nanos(6, -9, 5_000_000), Some(0));
        assert_eq!(nanos(0, i64::MAX, u64::MAX), Some(u64::MAX));
        assert_eq!(nanos(20, 0, 1), None);
        assert_eq!(nanos(0x80 | 64, 0, 1), None);
    }
}
