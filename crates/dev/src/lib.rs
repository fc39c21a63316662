//! Back ends: the devices that packets come from and go to, one cargo feature each.
//!
//! | feature | device | what it is |
//! |---|---|---|
//! | `af_xdp` | [`af_xdp::AfXdp`] | one queue of an interface of this machine, past its network stack |
//! | `gen` | [`generator::Gen`] | makes packets |
//! | `memif` | [`memif::Memif`] | one queue of an interface to another process, through shared memory |
//! | `null` | [`null::Null`] | swallows packets; with a size, gives packets that nobody wrote |
//! | `pcap` | [`pcap::PcapReader`], [`pcap::PcapWriter`] | plays and writes capture files |
//! | `tap` | [`tap::Tap`] | an interface of this machine |
//! | `uring` | [`socket::Udp`], [`socket::Tcp`] | payloads of a socket: datagrams, or pieces of a stream |
//! | | [`relay::Relay`] | TCP connections, passed on in the pages in which they were received; [`uring`] is the io_uring below |

#[cfg(feature = "af_xdp")]
pub mod af_xdp;
mod error;
#[cfg(feature = "gen")]
pub mod generator;
#[cfg(any(feature = "af_xdp", feature = "tap"))]
mod holders;
#[cfg(feature = "memif")]
pub mod memif;
#[cfg(feature = "null")]
pub mod null;
#[cfg(any(feature = "gen", feature = "pcap"))]
mod pace;
#[cfg(feature = "pcap")]
pub mod pcap;
#[cfg(feature = "uring")]
pub mod relay;
#[cfg(any(feature = "af_xdp", feature = "memif", feature = "uring"))]
#[cfg_attr(not(feature = "memif"), allow(dead_code, reason = "memif takes every step, the others some"))]
mod ring;
#[cfg(any(feature = "gen", feature = "memif", feature = "null", feature = "pcap", feature = "tap"))]
mod sent;
#[cfg(all(test, any(feature = "af_xdp", feature = "memif", feature = "pcap", feature = "tap")))]
#[path = "../tests/common/signals.rs"]
mod signals;
#[cfg(feature = "uring")]
pub mod socket;
pub mod spec;
#[cfg(feature = "tap")]
pub mod tap;
#[cfg(feature = "uring")]
pub mod uring;
#[cfg(any(feature = "gen", feature = "null", feature = "pcap"))]
mod value;

pub use error::{DevError, ErrorClass};
#[cfg(any(feature = "gen", feature = "pcap"))]
pub use pace::Rate;
