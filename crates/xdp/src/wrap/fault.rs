//! A bad line: loses, damages and repeats packets, reproducibly.

use crate::buff::{XdpBuff, XdpFrame};
use crate::device::{Device, Traffic};
use crate::drops::{DropReason, Drops};
use waterwheel_page_pool::{Direction, PagePool};

/// How bad the line is: each in packets per million, independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultParams {
    /// Received packets that are lost.
    pub rx_loss: u32,
    /// Packets to be sent that are lost.
    pub tx_loss: u32,
    /// Received packets in which one bit is flipped.
    pub corrupt: u32,
    /// Received packets that come twice.
    pub duplicate: u32,
    /// Seed of the random numbers: the same seed and packets give the same faults.
    pub seed: u64,
}

impl Default for FaultParams {
    /// A perfect line.
    fn default() -> Self {
        Self { rx_loss: 0, tx_loss: 0, corrupt: 0, duplicate: 0, seed: 1 }
    }
}

/// A device behind a bad line.
#[derive(Debug)]
pub struct Fault<D> {
    inner: D,
    params: FaultParams,
    dice: Dice,
    rx_lost: u64,
    tx_lost: u64,
    corrupted: u64,
    duplicated: u64,
}

/// xorshift64* (Vigna, 2016): good enough to lose packets by, and the same everywhere.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// True in `per_million` of a million cases.
    fn hits(&mut self, per_million: u32) -> bool {
        per_million > 0 && (self.roll() * 1_000_000) >> 32 < u64::from(per_million)
    }
}

impl<D: Device> Fault<D> {
    /// Puts a bad line in front of `inner`.
    pub fn new(inner: D, params: FaultParams) -> Self {
        Self { inner, params, dice: Dice(params.seed.max(1)), rx_lost: 0, tx_lost: 0, corrupted: 0, duplicated: 0 }
    }
}

impl<D: Device> Device for Fault<D> {
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
        unsent,
        in_flight,
        account,
        shutdown
    );

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let start = batch.len();
        self.inner.rx(pool, batch, budget);
        let mut i = start;
        while i < batch.len() {
            if self.dice.hits(self.params.rx_loss) {
                self.rx_lost += 1;
                pool.put(batch.remove(i).into_page());
                continue;
            }
            if self.dice.hits(self.params.corrupt) && batch[i].len() > 0 {
                self.corrupted += 1;
                let bit = self.dice.roll() as usize % (batch[i].len() * 8);
                batch[i].data_mut()[bit / 8] ^= 1 << (bit % 8);
            }
            if batch.len() - start < budget
                && self.dice.hits(self.params.duplicate)
                && let Some(copy) = batch[i].duplicate(pool, Direction::Rx)
            {
                self.duplicated += 1;
                batch.insert(i + 1, copy);
                i += 1;
            }
            i += 1;
        }
        batch.len() - start
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let (dice, loss) = (&mut self.dice, self.params.tx_loss);
        for lost in frames.extract_if(.., |_| dice.hits(loss)) {
            self.tx_lost += 1;
            drops.add(DropReason::Fault, 1);
            pool.put(lost.into_page());
        }
        self.inner.tx(pool, frames, drops)
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.inner.counters(count);
        count("fault_lost", self.rx_lost + self.tx_lost);
        count("fault_corrupted", self.corrupted);
        count("fault_duplicated", self.duplicated);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.inner.lost(count);
        count("fault", self.rx_lost);
    }
}
