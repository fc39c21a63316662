//! Back ends: the devices that packets come from and go to.

mod error;
#[cfg(feature = "gen")]
pub mod generator;
mod value;

pub use error::{DevError, ErrorClass};
