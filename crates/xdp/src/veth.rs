//! A pair of devices in memory: what one sends the other receives. The page itself crosses, also between threads.
//!
//! It needs no privilege and no kernel, so it is what tests and first steps use.

use crate::buff::{MAX_FRAGS, XdpBuff, XdpFrame};
use crate::device::{Capabilities, Device, Health, Traffic, Wait};
use crate::drops::Drops;
use crate::homes::Homes;
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, Consumer, Producer, ptr_ring};

/// One end.
#[derive(Debug)]
pub struct Veth {
    name: String,
    to: Producer<XdpFrame>,
    from: Consumer<XdpFrame>,
    /// Between the ring and the batch.
    frames: Vec<XdpFrame>,
    closed: bool,
}

/// Two ends, each with room for `ring` frames that the other has not taken yet.
pub fn veth(left: &str, right: &str, ring: usize) -> (Veth, Veth) {
    let (to_right, from_left) = ptr_ring(ring);
    let (to_left, from_right) = ptr_ring(ring);
    let end = |name: &str, to, from| Veth { name: name.to_owned(), to, from, frames: Vec::new(), closed: false };
    (end(left, to_right, from_right), end(right, to_left, from_left))
}

impl Device for Veth {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: usize::MAX, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    /// Nothing: what was sent is the other end's.
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }

    fn rx(&mut self, _: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let received = self.from.consume_batch(&mut self.frames, budget);
        batch.extend(self.frames.drain(..).map(XdpBuff::from));
        received
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let all = Traffic::of_frames(frames);
        let packets = self.to.produce_batch(frames) as u64;
        Traffic { packets, bytes: all.bytes - Traffic::of_frames(frames).bytes }
    }

    fn tx_room(&mut self) -> usize {
        self.to.free()
    }

    /// There is no file descriptor to wait on.
    fn wait(&self) -> Wait {
        if self.from.is_empty() { Wait::soon() } else { Wait::Now }
    }

    fn health(&mut self) -> Health {
        if self.closed { Health::Finished } else { Health::Up }
    }

    fn account(&self, account: &mut Account) {
        self.frames.iter().for_each(|frame| frame.account(account));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.closed = true;
        self.from.consume_batch(&mut self.frames, usize::MAX);
        homes.put_bulk(self.frames.drain(..).map(XdpFrame::into_page));
    }
}
