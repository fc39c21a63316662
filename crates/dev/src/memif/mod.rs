//! memif: packets to and from another process of this machine, through shared memory. The interface of VPP, DPDK (`net_memif`) and libmemif, version 2.0; no root is needed.
//!
//! [`Memif`] is the device, one for each queue of an interface. Under it, from the bottom: the shared memory and its rings, the control [`message`]s on a socket, the
//! [`handshake`] that they make, and the interface whose queues share the socket.
//!
//! - One side *listens* on a Unix socket (server), the other one *connects* (client) and brings the memory. Packets flow both ways alike.
//! - The peer is not trusted, in either role. The memory is a file of its own for each connection with nothing in it but rings and buffers; packets are copied
//!   into and out of it, and whatever the peer writes there is checked before it is used. A peer that lies is counted and disconnected, and may come back.
//! - A client may [trust](Trust) its server, by an `unsafe` promise: then packets stay in the pool's pages, and nothing is copied on its side.
//! - Packets of all lengths are sent and received, in as many buffers of 2 KiB, or pages, as they need.
//! - Peers come and go: see [`Memif`], and [`Events`] for what happens meanwhile. A client with more queues than its server has uses as many as that has.
//! - A socket is a path, or `@name` for one without a file, as DPDK and libmemif have it by default.
//!
//! # Counters
//!
//! Those of the interface are told by its first queue, and 0 for the others.
//!
//! | name | what |
//! |---|---|
//! | `connected` | 1 while a peer is there that has a ring for this queue |
//! | `rx_too_long`, `rx_short` | received packets that were dropped: they do not fit into a page; they have no Ethernet header |
//! | `wakeups_sent`, `wakeups_received` | interrupts, one for a burst: to a peer that slept, to us when we slept |
//! | `rx_left_at_close` | packets that were in the ring when the peer went, or the device closed, and were not received: lost |
//! | `tx_left_at_close` | packets that the peer had not taken when it went, or the device closed: not sent |
//! | `copied_frames` | packets to a trusted peer that lay in memory of another region |
//! | `quarantined_pages` | pages that a trusted peer did not let go of |
//! | `connects`, `disconnects` | of the interface |
//! | `bad_messages` | peers that were disconnected for what they said, or offered |
//! | `bad_indices`, `bad_descriptors` | peers that were disconnected for what they wrote into a ring |
//! | `rejected_peers` | clients of the socket that got no interface |
//! | `closing` | files and memory of peers, of all interfaces of the process, that are being closed: a gauge. At 64 of them nobody is let in until some are done |

mod aio;
mod channel;
mod closer;
mod connection;
mod device;
mod event;
mod events;
mod fault;
pub mod handshake;
mod interface;
mod listener;
mod memory;
pub mod message;
mod params;
mod region;
mod rings;
mod rx;
mod trust;
mod tx;
#[cfg(fuzzing)]
pub mod unbound;

pub use closer::Foreign;
pub use device::Memif;
pub use events::Events;
pub use fault::Fault;
pub use params::{MAX_LOG2_SLOTS, MAX_QUEUES, MemifParams, Role, Wakeup};
pub use trust::Trust;
