//! One queue without a socket, for a fuzzer that plays the peer: it has the file of the shared memory, and may write into it whatever comes to mind.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use waterwheel_xdp::{Drops, PagePool, Traffic, XdpBuff, XdpFrame};

use super::event;
use super::fault::Fault;
use super::memory::{Mapping, Memory, Ring, ring_bytes};
use super::params::Role;
use super::region::export;
use super::rings::{Buffers, End, STRIDE};
use super::rx::{Pages, Rx, RxCounts};
use super::tx::Tx;

/// log2 of the slots.
const LOG2: u8 = 3;

/// Our side.
#[derive(Debug)]
pub struct Unbound {
    rx: Rx,
    tx: Tx,
    spare: Vec<waterwheel_xdp::Page>,
}

/// What the peer has.
#[derive(Debug)]
pub struct Shared {
    /// The memory.
    pub file: OwnedFd,
    /// Its bytes.
    pub size: u64,
    /// Where the ring begins that we receive from.
    pub rx: u64,
    /// Where the ring begins that we send into.
    pub tx: u64,
    /// Slots of either.
    pub slots: u16,
    /// Where the first buffer begins.
    pub buffers: u64,
}

impl Unbound {
    /// A queue as it is right after the handshake.
    ///
    /// # Panics
    /// When there is no memory.
    #[must_use]
    pub fn new(role: Role) -> (Self, Shared) {
        let (rx, tx, buffers) = (0, ring_bytes(LOG2), 4096);
        let size = (buffers + 2 * (u64::from(STRIDE) << LOG2)).next_multiple_of(4096);
        let file = export(size).expect("a memfd");
        let memory = Memory::new(vec![Mapping::new(file.as_fd(), size as usize, true).expect("mapped")]);
        let end = |offset: u64, first: u64| End {
            ring: Ring::new(&memory, 0, offset, LOG2).expect("it lies in the memory"),
            memory: Arc::clone(&memory),
            event: Arc::new(event::new().expect("an eventfd").into()),
            role,
            buffers: if role == Role::Client { Buffers::Ours { first: first as u32 } } else { Buffers::Theirs },
            next: 0,
        };
        let second = buffers + (u64::from(STRIDE) << LOG2);
        let ours = Self { rx: Rx::new(end(rx, buffers)), tx: Tx::new(end(tx, second)), spare: Vec::new() };
        (ours, Shared { file, size, rx, tx, slots: 1 << LOG2, buffers })
    }

    /// Takes up to `budget` packets.
    ///
    /// # Errors
    /// The peer lies.
    pub fn receive(&mut self, pool: &mut PagePool, budget: usize) -> Result<Vec<XdpBuff>, Fault> {
        let mut batch = Vec::new();
        let mut pages = Pages { pool, spare: &mut self.spare };
        self.rx.receive(&mut pages, &mut batch, budget, &mut RxCounts::default()).map(|()| batch)
    }

    /// Sends what has room. Tells how many frames are done with, and how many of them were sent.
    ///
    /// # Errors
    /// The peer lies.
    pub fn send(&mut self, frames: &[XdpFrame]) -> Result<(usize, u64), Fault> {
        let mut traffic = Traffic::default();
        let done = self.tx.send(frames, &mut traffic, &mut Drops::default())?;
        Ok((done, traffic.packets))
    }
}
