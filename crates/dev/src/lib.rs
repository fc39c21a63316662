//! Back ends: the devices that packets come from and go to.

mod error;
#[cfg(feature = "gen")]
pub mod generator;
#[cfg(feature = "pcap")]
pub mod pcap;
#[cfg(feature = "tap")]
pub mod tap;
mod value;

pub use error::{DevError, ErrorClass};
