//! A socket without a kernel: our ends of the four rings over plain memory, and the table of posted pages that the device has. Who plays the kernel, a test or a
//! fuzzer, has the other ends and may write into them whatever comes to mind.

use std::sync::atomic::Ordering::Relaxed;

use waterwheel_xdp::{Account, Page, PagePool, XdpBuff, XdpFrame, Zone};

use super::posts::Posts;
use super::rings::{Consumer, Desc, Entry, Producer, RingMemory};

/// Our side.
#[derive(Debug)]
pub struct Unbound {
    pub(super) posts: Posts,
    fill: Producer<u64>,
    rx: Consumer<Desc>,
    tx: Producer<Desc>,
    completion: Consumer<u64>,
}

/// The kernel's side: the same four rings, bare.
#[derive(Debug)]
pub struct KernelEnds {
    /// Addresses of empty pages: the kernel consumes.
    pub fill: RingMemory<u64>,
    /// Received packets: the kernel produces.
    pub rx: RingMemory<Desc>,
    /// Packets to send: the kernel consumes.
    pub tx: RingMemory<Desc>,
    /// Addresses of sent packets: the kernel produces.
    pub completion: RingMemory<u64>,
}

impl Unbound {
    /// Rings of `slots` each (a power of two) whose indices begin at `start`, for pages of `zone`.
    #[must_use]
    pub fn new(zone: &Zone, slots: u32, start: u32) -> (Self, KernelEnds) {
        let (fill, kernel_fill) = pair(slots, start);
        let (rx, kernel_rx) = pair(slots, start);
        let (tx, kernel_tx) = pair(slots, start);
        let (completion, kernel_completion) = pair(slots, start);
        let ours = Self {
            posts: Posts::new(zone),
            fill: Producer::new(fill),
            rx: Consumer::new(rx),
            tx: Producer::new(tx),
            completion: Consumer::new(completion),
        };
        (ours, KernelEnds { fill: kernel_fill, rx: kernel_rx, tx: kernel_tx, completion: kernel_completion })
    }

    /// Posts up to `count` empty pages of `pool`. Answers how many.
    pub fn fill(&mut self, pool: &mut PagePool, count: u32) -> usize {
        self.posts.fill(&mut self.fill, pool, count)
    }

    /// Takes up to `budget` packets.
    pub fn receive(&mut self, pool: &mut PagePool, budget: u32) -> Vec<XdpBuff> {
        let mut batch = Vec::new();
        self.posts.receive(&mut self.rx, pool, &mut batch, budget);
        batch
    }

    /// Posts a packet to send.
    ///
    /// # Errors
    /// Gives the frame back when the ring is full, or the frame cannot be sent from where it lies.
    pub fn send(&mut self, frame: XdpFrame) -> Result<(), XdpFrame> {
        let mut slots = self.tx.reserve(1 + frame.frag_count() as u32);
        self.posts.send(&mut slots, frame)?;
        slots.submit();
        Ok(())
    }

    /// Takes the pages of sent packets. Answers how many.
    pub fn complete(&mut self, home: impl FnMut(Page)) -> usize {
        self.posts.complete(&mut self.completion, home)
    }

    /// Pages that wait for packets, and pages with packets on their way out.
    #[must_use]
    pub fn posted(&self) -> (usize, usize) {
        (self.posts.rx_count(), self.posts.tx_count())
    }

    /// Descriptors and completions that made no sense.
    #[must_use]
    pub fn refused(&self) -> (u64, u64) {
        (self.posts.bad_rx, self.posts.bad_completions)
    }

    /// How often an index of the other side made no sense.
    #[must_use]
    pub fn ring_index_errors(&self) -> u64 {
        self.fill.corrupt() + self.rx.corrupt() + self.tx.corrupt() + self.completion.corrupt()
    }

    /// Marks the posted pages.
    pub fn account(&self, account: &mut Account) {
        self.posts.account(account);
    }
}

/// Both ends of a ring whose indices begin at `start`.
fn pair<E: Entry>(slots: u32, start: u32) -> (RingMemory<E>, RingMemory<E>) {
    let (ours, kernel) = RingMemory::pair(slots);
    ours.producer().store(start, Relaxed);
    ours.consumer().store(start, Relaxed);
    (ours, kernel)
}
