//! The four rings of an AF_XDP socket.
//!
//! | ring | slots | user space | kernel |
//! |---|---|---|---|
//! | fill | `u64` address | [`Producer`]: empty pages for packets to come | consumer |
//! | rx | [`Desc`] | [`Consumer`]: packets | producer |
//! | tx | [`Desc`] | [`Producer`]: packets to send | consumer |
//! | completion | `u64` address | [`Consumer`]: pages whose packet was sent | producer |
//!
//! Addresses are byte offsets into the UMEM. Indices are free running 32-bit numbers that wrap; only their difference means anything (`net/xdp/xsk_queue.h`).
//! Both sides keep a copy of the other side's index and look at the shared one only when the copy says that there is nothing to do, so that a batch costs one
//! shared cache line, not one a packet.
//!
//! Nothing here believes the other side: indices that jump are counted and answered with "nothing to do", and a slot's content is plain data for the caller to
//! check. [`RingMemory::pair`] builds a ring over plain memory, with both ends, so that a test can play a kernel that is wrong.

mod consumer;
mod entry;
mod memory;
mod producer;

pub use consumer::{Consumer, Peek};
pub use entry::{Desc, Entry};
pub use memory::RingMemory;
pub use producer::{Producer, Reserve};

#[cfg(test)]
mod tests;
