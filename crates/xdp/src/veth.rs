//! A pair of devices in memory: what one sends, the other receives. The page itself crosses, also between threads.
//!
//! It needs no privilege and no kernel, so it is what tests and first steps use.

use crate::buff::{MAX_FRAGS, XdpBuff, XdpFrame};
use crate::device::{Capabilities, Device, Health, Traffic, Wait};
use crate::drops::{DropReason, Drops};
use crate::homes::Homes;
use crate::sync::{AtomicBool, Mutex, Ordering};
use std::sync::{Arc, PoisonError};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::{Account, Consumer, Producer, ptr_ring};

/// One end of a pair of devices in memory: see [`veth`].
#[derive(Debug)]
pub struct Veth {
    name: String,
    to: Producer<XdpFrame>,
    /// Until it leaves.
    from: Option<Consumer<XdpFrame>>,
    /// Between the ring and the batch.
    frames: Vec<XdpFrame>,
    here: Arc<Seat>,
    there: Arc<Seat>,
    /// What was on its way to this end when it left, and was never received.
    lost: u64,
    /// What this end sent when the other one had left.
    unsent: Traffic,
}

/// Where an end is, or was.
#[derive(Debug, Default)]
struct Seat {
    left: AtomicBool,
    /// The end of the ring to it, once it has left: the other one takes back what it still puts in.
    rest: Mutex<Option<Consumer<XdpFrame>>>,
}

/// Two ends, each with room for `ring` frames that the other has not taken yet.
///
/// # Panics
/// If there is no memory for so many.
pub fn veth(left: &str, right: &str, ring: usize) -> (Veth, Veth) {
    let (to_right, from_left) = ptr_ring(ring);
    let (to_left, from_right) = ptr_ring(ring);
    let (here, there) = (Arc::<Seat>::default(), Arc::<Seat>::default());
    let end = |name: &str, to, from, here: &Arc<Seat>, there: &Arc<Seat>| Veth {
        name: name.to_owned(),
        to,
        from: Some(from),
        frames: Vec::new(),
        here: here.clone(),
        there: there.clone(),
        lost: 0,
        unsent: Traffic::default(),
    };
    (end(left, to_right, from_right, &here, &there), end(right, to_left, from_left, &there, &here))
}

impl Veth {
    fn other_has_left(&self) -> bool {
        self.there.left.load(Ordering::Acquire)
    }

    /// Takes back what nobody will receive.
    #[cold]
    fn take_back(&mut self, homes: &mut Homes<'_>) {
        if let Some(rest) = &*self.there.rest.lock().unwrap_or_else(PoisonError::into_inner) {
            rest.consume_batch(&mut self.frames, usize::MAX);
        }
        self.unsent.merge(Traffic::of_frames(&self.frames));
        homes.put_bulk(self.frames.drain(..).map(XdpFrame::into_page));
    }

    /// What is on its way to this end is lost; what is still sent to it the other one takes back.
    fn leave(&mut self, homes: &mut Homes<'_>) {
        let Some(from) = self.from.take() else { return };
        self.lost += from.consume_batch(&mut self.frames, usize::MAX) as u64;
        homes.put_bulk(self.frames.drain(..).map(XdpFrame::into_page));
        *self.here.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        self.here.left.store(true, Ordering::Release);
        self.take_back(homes);
    }
}

impl Device for Veth {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: usize::MAX, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    /// Nothing: what was sent is the other end's, unless that has left.
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        if self.other_has_left() {
            self.take_back(homes);
        }
        0
    }

    fn rx(&mut self, _: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let Some(from) = &self.from else { return 0 };
        let received = from.consume_batch(&mut self.frames, budget);
        batch.extend(self.frames.drain(..).map(XdpBuff::from));
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        if self.other_has_left() {
            drops.add(DropReason::DeviceDown, frames.len() as u64);
            frames.drain(..).for_each(|frame| pool.put(frame.into_page()));
            return Traffic::default();
        }
        let all = Traffic::of_frames(frames);
        let packets = self.to.produce_batch(frames) as u64;
        Traffic { packets, bytes: all.bytes - Traffic::of_frames(frames).bytes }
    }

    fn tx_room(&mut self) -> usize {
        self.to.free()
    }

    /// There is no file descriptor to wait on.
    fn wait(&self) -> Wait {
        if self.from.as_ref().is_none_or(Consumer::is_empty) { Wait::soon() } else { Wait::Now }
    }

    fn health(&mut self) -> Health {
        if self.from.is_none() { Health::Finished } else { Health::Up }
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("other_end_left", self.unsent.packets);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("closed", self.lost);
    }

    fn unsent(&self) -> Traffic {
        self.unsent
    }

    fn account(&self, account: &mut Account) {
        self.frames.iter().for_each(|frame| frame.account(account));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.leave(homes);
    }
}

impl Drop for Veth {
    /// As [`shutdown`](Device::shutdown), for who did not.
    fn drop(&mut self) {
        self.leave(&mut Homes::new(&mut []));
    }
}
