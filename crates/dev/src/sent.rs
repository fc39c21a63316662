//! Frames that a device took and has not reported yet.

#[cfg(any(feature = "gen", feature = "memif", feature = "null"))]
use waterwheel_xdp::Traffic;
use waterwheel_xdp::{Account, Homes, XdpFrame};
#[cfg(any(feature = "gen", feature = "null", feature = "pcap"))]
use waterwheel_xdp::{HEADROOM, PagePool, mm::PAGE_SIZE};

/// Room for what a few rounds bring without a completion between them; more than that makes it grow once.
const CAPACITY: usize = 1024;

/// Frames between `tx` and `complete`: their pages go home then, all at once, as those of a network card do.
#[derive(Debug)]
pub(crate) struct Sent(Vec<XdpFrame>);

impl Sent {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(CAPACITY))
    }

    /// Takes all of `frames`.
    #[cfg(any(feature = "gen", feature = "memif", feature = "null"))]
    pub(crate) fn take(&mut self, frames: &mut Vec<XdpFrame>) -> Traffic {
        let traffic = Traffic::of_frames(frames);
        if self.0.is_empty() {
            std::mem::swap(&mut self.0, frames);
        } else {
            self.0.append(frames);
        }
        traffic
    }

    /// Takes one frame.
    #[cfg(any(feature = "memif", feature = "pcap", feature = "tap"))]
    pub(crate) fn push(&mut self, frame: XdpFrame) {
        self.0.push(frame);
    }

    /// Sends the pages home and tells how many.
    pub(crate) fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let count = self.0.len();
        if count > 0 {
            homes.put_bulk(self.0.drain(..).map(XdpFrame::into_page));
        }
        count
    }

    /// Pages of these frames.
    pub(crate) fn pages(&self) -> usize {
        self.0.iter().map(|frame| 1 + frame.frag_count()).sum()
    }

    pub(crate) fn account(&self, account: &mut Account) {
        self.0.iter().for_each(|frame| frame.account(account));
    }
}

/// Bytes behind the head room of a page of `pool`.
#[cfg(any(feature = "gen", feature = "null", feature = "pcap"))]
pub(crate) fn room(pool: &PagePool) -> usize {
    (PAGE_SIZE << pool.order()) - HEADROOM
}
