//! `gen`: a source of made packets.

mod flows;
mod pace;
mod params;
mod random;
mod range;
mod template;

pub use params::{GenParams, IMIX, IpVersion, MAX_SIZE, MIN_SIZE, Protocol, Size, Vary};
pub use range::AddressRange;

#[cfg(test)]
mod tests;
