//! Counts packets where they pass, for whoever holds the other end of the counts.

use crate::buff::{XdpBuff, XdpFrame};
use crate::device::{Device, Traffic};
use crate::drops::Drops;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use waterwheel_page_pool::PagePool;

/// What passed through a [`Count`]; read it from any thread.
#[derive(Debug, Default)]
pub struct Counts {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
}

impl Counts {
    /// Received.
    pub fn rx(&self) -> Traffic {
        Traffic { packets: self.rx_packets.load(Ordering::Relaxed), bytes: self.rx_bytes.load(Ordering::Relaxed) }
    }

    /// Taken to be sent.
    pub fn tx(&self) -> Traffic {
        Traffic { packets: self.tx_packets.load(Ordering::Relaxed), bytes: self.tx_bytes.load(Ordering::Relaxed) }
    }
}

/// A device that is counted.
#[derive(Debug)]
pub struct Count<D> {
    inner: D,
    counts: Arc<Counts>,
}

impl<D: Device> Count<D> {
    /// Counts what passes through `inner`.
    pub fn new(inner: D) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Self { inner, counts: counts.clone() }, counts)
    }
}

impl<D: Device> Device for Count<D> {
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
        account,
        shutdown
    );

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let received = self.inner.rx(pool, batch, budget);
        let traffic = Traffic::of(&batch[batch.len() - received..]);
        self.counts.rx_packets.fetch_add(traffic.packets, Ordering::Relaxed);
        self.counts.rx_bytes.fetch_add(traffic.bytes, Ordering::Relaxed);
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let sent = self.inner.tx(pool, frames, drops);
        self.counts.tx_packets.fetch_add(sent.packets, Ordering::Relaxed);
        self.counts.tx_bytes.fetch_add(sent.bytes, Ordering::Relaxed);
        sent
    }
}
