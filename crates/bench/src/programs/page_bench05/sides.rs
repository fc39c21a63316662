//! The original's way of measuring: both sides of a ring at work until one would have to wait.

use crate::harness::carry::{End, In, Load, Out, Sink, Source, carry};
use crate::harness::{Clock, Lap};

/// Which side's time is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Producer,
    Consumer,
}

impl Which {
    pub(super) const BOTH: [Self; 2] = [Self::Producer, Self::Consumer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// A ring between two threads, some of whose values are in it when the clock starts.
pub(super) struct Sides<T, I, P, O, C> {
    pub(super) clock: Clock,
    pub(super) producer: End<I, P, T>,
    pub(super) consumer: End<O, C, T>,
    pub(super) prefill: u64,
    /// Values of one round, at most.
    pub(super) round: u64,
    pub(super) batch: usize,
}

impl<T, I, P, O, C> Sides<T, I, P, O, C>
where
    T: Send,
    I: In<T> + Send,
    P: Source<T> + Send,
    O: Out<T> + Send,
    C: Sink<T> + Send,
{
    /// Rounds until the wanted side has worked on about `count` values; the time is that side's alone.
    pub(super) fn run(&mut self, which: Which, count: u64) -> Result<Lap, String> {
        let mut sum = Lap { ticks: 0, elements: 0 };
        // A round may be short, if the scheduler takes one side's CPU away.
        let most = 4 + 4 * count / self.round;
        for _ in 0..most {
            if sum.elements >= count {
                break;
            }
            let lap = self.once(which, count - sum.elements)?;
            sum = Lap { ticks: sum.ticks + lap.ticks, elements: sum.elements + lap.elements };
        }
        Ok(sum)
    }

    fn once(&mut self, which: Which, count: u64) -> Result<Lap, String> {
        for _ in 0..self.prefill {
            if let Some(value) = self.producer.work.one() {
                let _ = self.producer.ring.put(value);
            }
        }
        let load = Load { count: count.min(self.round), batch: self.batch, patient: false };
        let (producer, consumer) = (std::slice::from_mut(&mut self.producer), std::slice::from_mut(&mut self.consumer));
        let stretches = carry(self.clock, producer, consumer, load)?;
        while let Some(value) = self.consumer.ring.take() {
            self.consumer.work.one(value);
        }
        self.producer.buffer.drain(..).for_each(|value| self.consumer.work.one(value));
        Ok(stretches[usize::from(which == Which::Consumer)].lap())
    }
}
