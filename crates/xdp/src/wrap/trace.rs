//! Shows every packet to somebody, a pcapng writer for instance.

use crate::buff::{XdpBuff, XdpFrame};
use crate::device::{Device, Traffic};
use crate::drops::Drops;
use waterwheel_page_pool::PagePool;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// It was received.
    Rx,
    /// It is about to be sent. (The device may refuse it still.)
    Tx,
}

/// Looks at packets.
pub trait Sink: Send {
    /// A packet passes: all its bytes.
    fn packet(&mut self, heading: Heading, data: &[u8]);

    /// The device is shut down.
    fn finish(&mut self) {}
}

/// A device whose packets are shown to a [`Sink`].
#[derive(Debug)]
pub struct Trace<D, S> {
    inner: D,
    sink: S,
    /// Where the parts of a packet are put together.
    whole: Vec<u8>,
}

impl<D: Device, S: Sink> Trace<D, S> {
    /// Shows the packets of `inner` to `sink`.
    pub fn new(inner: D, sink: S) -> Self {
        Self { inner, sink, whole: Vec::new() }
    }

    fn show<'a>(&mut self, heading: Heading, first: &'a [u8], frags: impl Iterator<Item = &'a [u8]>) {
        let mut frags = frags.peekable();
        if frags.peek().is_none() {
            return self.sink.packet(heading, first);
        }
        self.whole.clear();
        self.whole.extend_from_slice(first);
        frags.for_each(|part| self.whole.extend_from_slice(part));
        self.sink.packet(heading, &self.whole);
    }
}

impl<D: Device, S: Sink> Device for Trace<D, S> {
    delegate!(
        name,
        capabilities,
        complete,
        tx_room,
        wait_tx,
        flush,
        wait,
        fds,
        health,
        mode,
        counters,
        lost,
        unsent,
        in_flight,
        account
    );

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let received = self.inner.rx(pool, batch, budget);
        for packet in &batch[batch.len() - received..] {
            self.show(Heading::Rx, packet.data(), packet.frags());
        }
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        // Shown before they are given away; what the device then has no room for was shown too.
        frames.iter().for_each(|frame| self.show(Heading::Tx, frame.data(), frame.frags()));
        self.inner.tx(pool, frames, drops)
    }

    fn shutdown(&mut self, homes: &mut crate::Homes<'_>) {
        self.inner.shutdown(homes);
        self.sink.finish();
    }
}
