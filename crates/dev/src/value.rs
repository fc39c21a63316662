//! Reads the values of `key=value` parameters.

use crate::error::{DevError, ErrorClass};

pub(crate) fn usage(message: impl Into<String>) -> DevError {
    DevError::new(ErrorClass::Usage, message)
}

/// A whole number; `k`, `M` and `G` multiply by thousands (`10k`, `14.88M` for rates).
pub(crate) fn number(key: &str, value: &str) -> Result<u64, DevError> {
    let wrong = || usage(format!("{key}={value}: want a number such as 1000, 10k or 1.5M"));
    let (digits, unit): (&str, u64) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 1_000),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 1_000_000),
        Some(b'g' | b'G') => (&value[..value.len() - 1], 1_000_000_000),
        _ => (value, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 9 || !whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut result = whole.checked_mul(unit).ok_or_else(wrong)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        if !place.is_multiple_of(10) {
            return Err(wrong());
        }
        place /= 10;
        result = result.checked_add(u64::from(digit - b'0') * place).ok_or_else(wrong)?;
    }
    Ok(result)
}

/// A length of time: a whole number with its unit, `500ms`, `10s`.
#[cfg(any(feature = "gen", feature = "pcap"))]
pub(crate) fn duration(key: &str, value: &str) -> Result<std::time::Duration, DevError> {
    let wrong = || usage(format!("{key}={value}: want a length of time such as 500ms, 10s or 5m"));
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let nanos: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(wrong()),
    };
    let nanos = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(nanos)).filter(|nanos| *nanos > 0);
    nanos.map(std::time::Duration::from_nanos).ok_or_else(wrong)
}

/// The error for a key that the device does not have; names the keys it has.
pub(crate) fn unknown_key(device: &str, key: &str, keys: &[(&str, &str)]) -> DevError {
    let known: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    usage(format!("{device} has no key {key:?}; its keys are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(feature = "gen", feature = "pcap"))]
    fn times_with_units() {
        use std::time::Duration;
        for (text, millis) in [("5", 5000), ("250ms", 250), ("2000us", 2), ("3m", 180_000), ("1h", 3_600_000)] {
            assert_eq!(duration("t", text), Ok(Duration::from_millis(millis)));
        }
        for bad in ["", "s", "0", "0ms", "1.5s", "5x", "-1s", "9999999999999h"] {
            assert!(duration("t", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_with_units() {
        assert_eq!(number("n", "0"), Ok(0));
        assert_eq!(number("n", "14880952"), Ok(14_880_952));
        assert_eq!(number("n", "10k"), Ok(10_000));
        assert_eq!(number("n", "1.5M"), Ok(1_500_000));
        assert_eq!(number("n", "0.05G"), Ok(50_000_000));
        for bad in
            ["", "k", "-1", "1.5", "1.2345k", "1e3", "18446744073709551616", "99999999999999999999k", "1 k", ".5k", "é"]
        {
            assert!(number("n", bad).is_err(), "{bad}");
        }
    }
}
