//! Numbers as people type and read them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use waterwheel_dev::spec;
use waterwheel_xdp::mm::Sampling;

/// Where a socket is: `127.0.0.1:80`, `[::1]:80`; an IPv4 address in the shape of IPv6 is one of IPv4.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    spec::address(text).map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Address(SocketAddr),
    /// `HOST:PORT`, to be looked up.
    Name(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An address, or a name and a port.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let port_0 = || "the port of the other side is missing: 0 is none".to_owned();
    let why = match address(text) {
        Ok(address) if address.port() == 0 => return Err(port_0()),
        Ok(address) => return Ok(Target::Address(address)),
        Err(why) => why,
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(|| why.clone())?;
    let is_name = host.contains(|c: char| c.is_ascii_alphabetic())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    match port.parse::<u16>() {
        Ok(0) if is_name => Err(port_0()),
        Ok(_) if is_name => Ok(Target::Name(text.to_owned())),
        _ => Err(why.replace(" (names are not looked up)", "")),
    }
}

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

/// Keys with values; what they are is told later.
pub(crate) fn keys(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("want KEY=VALUE,...: nothing is no key, leave the option out".to_owned());
    }
    Ok(text.to_owned())
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
    fn targets() {
        let v4 = Target::Address(([127, 0, 0, 1], 80).into());
        assert_eq!((target("127.0.0.1:80"), target("[::ffff:127.0.0.1]:80")), (Ok(v4.clone()), Ok(v4)));
        for name in ["localhost:80", "db-1.example.net:5432", "x_y:1"] {
            assert_eq!(target(name), Ok(Target::Name(name.to_owned())));
        }
        for (text, why) in [
            ("localhost", "port is missing"),
            ("localhost:x", "no port"),
            ("localhost:0", "0 is none"),
            ("127.0.0.1:0", "0 is none"),
            ("300.1.1.1:80", "no IP address"),
            ("a b:80", "no IP address"),
            ("::1:80", "in brackets"),
            (":80", "no IP address"),
        ] {
            assert!(target(text).expect_err(text).contains(why), "{text}: {:?}", target(text));
        }
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
