//! `pcap`: capture files as a source and as a sink.

mod file;
mod params;
mod sink;
mod time;

pub use params::{PcapParams, Timing};
pub use sink::PcapSink;

#[cfg(test)]
mod tests;
