//! Programs that decide what happens to a packet: forward, reflect, discard.
//! They do no I/O and have no clock of their own.
#![forbid(unsafe_code)]

mod discard;
mod ethernet;
mod forward;
mod reflect;

pub use discard::Discard;
pub use ethernet::{Ethernet, EthernetMut};
pub use forward::Forward;
pub use reflect::Reflect;
