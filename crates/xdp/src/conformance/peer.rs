//! The other end of the wire.

use super::bed;
use crate::buff::{XdpBuff, XdpFrame};
use crate::device::Device;
use crate::drops::Drops;
use crate::homes::Homes;
use crate::{Account, PagePool, Zone};
use std::collections::VecDeque;

/// Puts frames in for the device under test to receive, and takes out what it has sent.
pub trait Peer {
    /// Puts a frame on the wire. False: there is no room for it now.
    fn put(&mut self, frame: &[u8]) -> bool;

    /// The next frame that the device has sent, if there is one now.
    fn take(&mut self) -> Option<Vec<u8>>;

    /// Marks the pages of the suite's zone that it holds.
    fn account(&mut self, account: &mut Account) {
        let _ = account;
    }
}

/// Nobody is at the other end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Peer for Nobody {
    fn put(&mut self, _: &[u8]) -> bool {
        false
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// Another device at the other end, with a pool of its own over the same memory.
pub struct DevicePeer {
    device: Box<dyn Device>,
    pools: [PagePool; 1],
    received: VecDeque<Vec<u8>>,
}

impl DevicePeer {
    /// `device` with a pool in `zone`.
    pub fn new(device: Box<dyn Device>, zone: &Zone) -> Self {
        let mut peer = Self { device, pools: [bed::pool(zone)], received: VecDeque::new() };
        peer.turn(); // posts its first pages, as the first round of a worker would
        peer
    }

    /// One round.
    fn turn(&mut self) {
        self.device.health(); // a worker asks now and then; some devices look after their connection there
        self.device.complete(&mut Homes::new(&mut self.pools));
        let mut batch = Vec::with_capacity(64);
        self.device.rx(&mut self.pools[0], &mut batch, 64);
        self.received.extend(batch.iter().map(bed::bytes_of));
        Homes::new(&mut self.pools).put_bulk(batch.into_iter().map(XdpBuff::into_page));
        self.device.flush();
    }
}

impl Peer for DevicePeer {
    fn put(&mut self, frame: &[u8]) -> bool {
        let frags = self.device.capabilities().max_frags;
        let Some(frame) = bed::packet(&mut self.pools[0], frame, frags) else { return false };
        let mut frames = vec![frame];
        self.device.tx(&mut self.pools[0], &mut frames, &mut Drops::default());
        self.device.flush();
        self.device.complete(&mut Homes::new(&mut self.pools));
        let took = frames.is_empty();
        Homes::new(&mut self.pools).put_bulk(frames.into_iter().map(XdpFrame::into_page));
        took
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        if self.received.is_empty() {
            self.turn();
        }
        self.received.pop_front()
    }

    fn account(&mut self, account: &mut Account) {
        self.device.account(account);
        self.pools[0].account(account);
    }
}

impl Drop for DevicePeer {
    fn drop(&mut self) {
        self.device.shutdown(&mut Homes::new(&mut self.pools));
    }
}
