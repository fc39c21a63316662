//! Numbers as people type and read them.

use std::time::Duration;

pub(crate) use waterwheel_dev::spec::address;
use waterwheel_xdp::mm::Sampling;

/// A length of time: `5` and `5s` are seconds, `500ms`, `2m`, `1h`, `1.5s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a length of time is longer than 0, e.g. 5s or 500ms".to_owned());
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time: use us, ms, s, m or h, e.g. 5s or 500ms")),
    };
    let number = number.parse::<f64>().map_err(|_| "not a length of time: use e.g. 5, 5s, 500ms or 2m".to_owned())?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|_| "longer than this clock runs".to_owned())?;
    if duration.is_zero() { Err("must be longer than 0".to_owned()) } else { Ok(duration) }
}

/// A whole number of things, with a suffix when it is large: `64`, `10k`, `1.5M`, `2G`, `1_000`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    const HELP: &str = "not a count: use a whole number, with k, M or G for thousands, millions, billions, e.g. 10k";
    if text.starts_with('-') {
        return Err("a count is not negative: use a whole number, e.g. 64 or 10k".to_owned());
    }
    let plain = text.replace('_', "");
    let (number, scale) = match plain.char_indices().last() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1_000),
        Some((at, 'm' | 'M')) => (&plain[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&plain[..at], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return Err(HELP.to_owned());
    }
    let too_large = || "larger than a 64-bit count".to_owned();
    let mut total = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(too_large)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        if unit % 10 != 0 {
            return Err(HELP.to_owned());
        }
        unit /= 10;
        total = total.checked_add(u64::from(digit - b'0') * unit).ok_or_else(too_large)?;
    }
    Ok(total)
}

/// The same, of which there must be one at least.
pub(crate) fn positive(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("must be 1 or more".to_owned()),
        n => Ok(n),
    }
}

/// A share of the pages: `1/64`.
pub(crate) fn sampling(text: &str) -> Result<Sampling, String> {
    let n = text.strip_prefix("1/").and_then(|n| n.parse().ok());
    let n = n.ok_or_else(|| "not a share of the pages: use 1/N, e.g. 1/64; 1/1 is every page".to_owned())?;
    Sampling::one_in(n).map_err(|error| error.to_string())
}

/// `rate` with its SI prefix, seven columns wide without the unit: ` 12.346 M`, `  0.000  `.
pub(crate) fn si(rate: f64) -> String {
    let (scaled, prefix) = match rate {
        r if r >= 1e9 => (r / 1e9, 'G'),
        r if r >= 1e6 => (r / 1e6, 'M'),
        r if r >= 1e3 => (r / 1e3, 'k'),
        r => (r, ' '),
    };
    format!("{scaled:7.3} {prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, millis) in
            [("5", 5000), ("5s", 5000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("1.5s", 1500)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in
            [("", "not a length"), ("x", "no unit"), ("5d", "no unit"), ("0", "longer than 0"), ("-1", "longer than 0")]
        {
            assert!(duration(text).expect_err(text).contains(why), "{text}");
        }
        assert!(duration("99999999999999999999").expect_err("huge").contains("clock"));
        assert!(duration("1..5").is_err());
    }

    #[test]
    fn counts() {
        for (text, n) in [
            ("0", 0),
            ("64", 64),
            ("10k", 10_000),
            ("1.5M", 1_500_000),
            ("2G", 2_000_000_000),
            ("1_000", 1000),
            ("0.5k", 500),
        ] {
            assert_eq!(count(text), Ok(n), "{text}");
        }
        for text in ["", "k", "1.", "1.5", "-1", "1e6", "1.0005k", "ten", "1 000"] {
            assert!(count(text).is_err(), "{text}");
        }
        assert!(count("18446744073709551616").expect_err("2^64").contains("64-bit"));
        assert!(count("18446744073709552k").expect_err("scaled").contains("64-bit"));
        assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
        assert!(positive("0").is_err());
    }

    #[test]
    fn rates_keep_their_width() {
        for (rate, text) in
            [(0.0, "  0.000  "), (999.0, "999.000  "), (12_345_678.0, " 12.346 M"), (1e12, "1000.000 G")]
        {
            assert_eq!(si(rate), text);
        }
    }
}
