//! Ranges of addresses and ports, and the walk along them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::params::IpVersion;
use crate::error::DevError;
use crate::value::usage;

/// A range of addresses of one IP version; the last one belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddressRange {
    /// IPv4 addresses.
    V4(RangeInclusive<Ipv4Addr>),
    /// IPv6 addresses.
    V6(RangeInclusive<Ipv6Addr>),
}

impl AddressRange {
    /// Reads `ADDRESS`, `FIRST-LAST` or `ADDRESS/LENGTH`. A prefix stands for all its addresses.
    pub(super) fn parse(key: &str, value: &str) -> Result<Self, DevError> {
        let wrong = || usage(format!("{key}={value}: want an address, first-last, or a prefix such as 198.18.0.0/24"));
        if let Some((address, length)) = value.split_once('/') {
            let length: u32 = length.parse().map_err(|_| wrong())?;
            return match address.parse().map_err(|_| wrong())? {
                IpAddr::V4(address) if length <= 32 => {
                    let host = u32::MAX.checked_shr(length).unwrap_or(0);
                    let bits = address.to_bits();
                    Ok(Self::V4(Ipv4Addr::from_bits(bits & !host)..=Ipv4Addr::from_bits(bits | host)))
                }
                IpAddr::V6(address) if length <= 128 => {
                    let host = u128::MAX.checked_shr(length).unwrap_or(0);
                    let bits = address.to_bits();
                    Ok(Self::V6(Ipv6Addr::from_bits(bits & !host)..=Ipv6Addr::from_bits(bits | host)))
                }
                _ => Err(wrong()),
            };
        }
        let (first, last) = value.split_once('-').unwrap_or((value, value));
        match (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ok(Self::V4(first..=last)),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ok(Self::V6(first..=last)),
            _ => Err(wrong()),
        }
    }

    pub(super) fn version(&self) -> IpVersion {
        match self {
            Self::V4(_) => IpVersion::V4,
            Self::V6(_) => IpVersion::V6,
        }
    }

    pub(super) fn bits(&self) -> RangeInclusive<u128> {
        match self {
            Self::V4(range) => range.start().to_bits().into()..=range.end().to_bits().into(),
            Self::V6(range) => range.start().to_bits()..=range.end().to_bits(),
        }
    }
}

/// Reads `PORT` or `FIRST-LAST`.
pub(super) fn parse_ports(key: &str, value: &str) -> Result<RangeInclusive<u16>, DevError> {
    let wrong = || usage(format!("{key}={value}: want a port (0 to 65535) or first-last"));
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    Ok(first.parse().map_err(|_| wrong())?..=last.parse().map_err(|_| wrong())?)
}

/// Walks a range, round and round. Addresses and ports are numbers here.
///
/// Of a range with more than 2^64 values the first 2^64 are walked: nobody sees the end of them.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    first: u128,
    /// Distance from the first value to the last.
    span: u64,
    /// Distance from the first value to the current one.
    at: u64,
}

impl Walk {
    /// Begins at the first value. An empty range is a usage error that names `key`.
    pub(super) fn new(key: &str, range: &RangeInclusive<u128>) -> Result<Self, DevError> {
        if range.is_empty() {
            return Err(usage(format!("{key}: the end of the range is before its beginning; write first-last")));
        }
        let span = u64::try_from(range.end() - range.start()).unwrap_or(u64::MAX);
        Ok(Self { first: *range.start(), span, at: 0 })
    }

    /// Whether the walk ever leaves its first value.
    pub(super) fn moves(&self) -> bool {
        self.span > 0
    }

    #[inline]
    pub(super) fn current(&self) -> u128 {
        self.first + u128::from(self.at)
    }

    /// One step on; true when the walk went back to its beginning.
    #[inline]
    pub(super) fn step(&mut self) -> bool {
        let wraps = self.at == self.span;
        self.at = if wraps { 0 } else { self.at + 1 };
        wraps
    }

    /// Goes to the value that `random` (uniform over 64 bits) picks, by multiplication: no division on the hot path.
    #[inline]
    pub(super) fn jump(&mut self, random: u64) {
        // random * (span + 1) / 2^64, written so that the product cannot overflow.
        self.at = ((u128::from(random) * u128::from(self.span) + u128::from(random)) >> 64) as u64;
    }
}
