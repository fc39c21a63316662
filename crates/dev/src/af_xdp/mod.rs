//! AF_XDP: the packets of one queue of an interface, straight from and to the pool's pages (`Documentation/networking/af_xdp.rst`).
//!
//! [`AfXdp`] is the device. Under it, from the bottom: [`rings`], sockets, the steering program ([`Steering`]), and what is known of interfaces ([`link`]).
//!
//! - A socket sees one queue. All queues of an interface: one device each ([`rx_queues`](link::Link::rx_queues)); they share one steering program.
//! - One process has an interface: the program and its map of sockets are its own, and go with it. Two processes cannot have queues of the same interface.
//! - Several devices over one [`Zone`](waterwheel_xdp::Zone) exchange packets without a copy of ours.
//! - Nothing of the machine is changed but what ends with the process: the program (a link of this process) and promiscuous mode (a membership of a packet
//!   socket).
//! - Packets of more than 3840 bytes have fragments, which takes Linux 6.6 (and a driver that can, for native XDP and zero copy); else they are dropped, and most drivers want an MTU
//!   below 3500.
//! - Packets from a local stack on the other end of a veth carry partial checksums, which only that machine's stack understands: switch that off there
//!   (`ethtool -K IF tx off`) when they go on to anybody else.
//!
//! # Counters
//!
//! | name | what |
//! |---|---|
//! | `rx_dropped` | packets lost: too long, or (in copy mode) without an empty page (`XDP_STATISTICS`, as the five that follow) |
//! | `rx_invalid_descs` | addresses in the fill ring that the kernel refused: 0 |
//! | `rx_ring_full` | packets lost because they were not taken out in time |
//! | `rx_fill_ring_empty_descs` | how often no empty page was there: the pool is too small. In copy mode each is a packet, which is in `rx_dropped` too; in zero copy the driver asks ahead, and the card counts what it then loses |
//! | `tx_invalid_descs` | packets to send that the kernel refused: 0 |
//! | `tx_ring_empty_descs` | how often the kernel found nothing more to send |
//! | `copied_frames` | packets to send that lay in memory of another region |
//! | `tx_refused_by_driver` | packets that the driver dropped when it was given them (copy mode): not sent. Their bytes are taken to be those of the mean packet |
//! | `tx_calls`, `rx_calls` | rounds with a system call to send, to receive |
//! | `rx_left_at_close` | received packets that nobody had looked at when the device closed |
//! | `bad_rx_descs`, `bad_completions`, `ring_index_errors` | what the kernel said and cannot be: 0 |
//! | `quarantined_pages` | pages that did not come back when the device closed, as somebody kept the socket |
//! | `released_pages` | pages of former sockets, found to be gone when this one was opened, that came out of quarantine |
//!
//! Of these, [`lost`](waterwheel_xdp::Device::lost) tells the packets that came and that nobody received, each once: `rx_ring_full`, `rx_fill_ring_empty_descs` (in copy mode), what else there is of `rx_dropped`,
//! `rx_left_at_close`, and `bad_rx_descs`. `tx_invalid_descs` and `tx_refused_by_driver` were [not sent](waterwheel_xdp::Device::unsent).

mod bpf;
mod caps;
mod device;
mod error;
pub mod link;
mod params;
mod posts;
mod quarantine;
mod queue;
pub mod rings;
mod socket;
mod sys;
#[cfg(any(test, fuzzing))]
pub mod unbound;
mod watchdog;

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod posts_tests;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod testing;

#[cfg(fuzzing)]
pub use bpf::assemble;
pub use bpf::{AttachMode, Ports, Prefix, Rule, Rules, Steering, XdpMode};
pub use caps::setcap;
pub use device::AfXdp;
pub use params::{AfXdpParams, BusyPoll, ZeroCopy};
