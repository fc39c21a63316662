//! `pcap`: capture files as a source and as a sink.
//!
//! [`PcapReader`] reads pcap and pcapng, with time stamps in microseconds, nanoseconds, or whatever `if_tsresol` says; [`PcapWriter`] writes pcapng with nanoseconds.
//! What is read and written again keeps its bytes, times and original lengths.
//!
//! The convention that makes it so: the metadata of a packet (`data_meta` of XDP, in front of the packet) of **8 bytes is the time, a `u64` of nanoseconds since the
//! epoch in native byte order**; of 12 bytes it is the time and, as a `u32`, the length on the wire of a packet that was captured only in part; of 4 bytes that length alone, where the
//! capture knows no time.
//! A time finer than nanoseconds is rounded down.
//!
//! Packets of raw IP, Linux cooked (SLL, SLL2) and loopback captures become Ethernet frames: from the address that the capture tells, else from 02:00:00:00:00:01, to 02:00:00:00:00:02 or, if
//! the capture says so, to everybody.
//!
//! Reading and writing are buffered. They wait for the disk, and for nobody else: not for the other end of a pipe, neither when it is opened nor later.

mod blocks;
mod file;
mod input;
mod link;
mod memory;
mod meta;
mod outbox;
mod params;
mod plain;
mod reader;
mod rotation;
mod sink;
mod stream;
mod time;
mod trace;
mod writer;

pub use params::{Flush, PcapParams, PcapWriteParams, Timing};
pub use reader::PcapReader;
pub use sink::PcapSink;
pub use trace::PcapTrace;
pub use writer::{Counted, PcapWriter};

#[cfg(test)]
mod tests;
