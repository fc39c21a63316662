//! Carrying values from one thread to another: the loops of both sides, for any kind of ring.

use super::clock::Clock;
use super::crew::{Crew, Gate, Stretch};
use super::group::Lap;
use std::hint::{black_box, spin_loop};
use std::thread;

/// Where values come from.
pub(crate) trait Source<T> {
    /// One value; `None`: there is none now.
    fn one(&mut self) -> Option<T>;

    /// Appends up to `count` values to `out`.
    #[inline]
    fn many(&mut self, out: &mut Vec<T>, count: usize) {
        out.extend((0..count).map_while(|_| self.one()));
    }
}

/// Where values go.
pub(crate) trait Sink<T> {
    /// Called on the sink's own thread before the clock runs.
    fn begin(&mut self) {}

    /// One value.
    fn one(&mut self, value: T);

    /// All of them.
    #[inline]
    fn many(&mut self, values: &mut Vec<T>) {
        values.drain(..).for_each(|value| self.one(value));
    }

    /// Called on the sink's own thread after the clock has stopped.
    fn end(&mut self) {}
}

/// The side of a ring that puts in.
pub(crate) trait In<T> {
    /// One value, or it comes back as the ring is full.
    fn put(&mut self, value: T) -> Result<(), T>;

    /// As many from the front of `values` as fit.
    fn put_batch(&mut self, values: &mut Vec<T>);
}

/// The side of a ring that takes out.
pub(crate) trait Out<T> {
    /// One value, or `None` as the ring is empty.
    fn take(&mut self) -> Option<T>;

    /// Appends at most `max` values to `out`.
    fn take_batch(&mut self, out: &mut Vec<T>, max: usize);
}

/// How much to carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) count: u64,
    /// Values that are put in, and taken out, at a time.
    pub(crate) batch: usize,
    /// Waits where the ring is full or empty. Else that is the end for both sides, and so is that one of them has carried its share: only work is measured, while both are at it
    /// (as in `page_bench05`, where however the other side works on alone).
    pub(crate) patient: bool,
}

/// The loop of the side that puts in; tells how many values it could. Those that were made but not put in stay in `rest`.
pub(crate) fn produce<T>(
    gate: &Gate<'_>,
    source: &mut impl Source<T>,
    ring: &mut impl In<T>,
    load: Load,
    rest: &mut Vec<T>,
) -> u64 {
    let mut sent = 0;
    while sent < load.count && !gate.stopped() {
        let put = if load.batch == 1 {
            put_one(source, ring, rest)
        } else {
            let wanted = (load.count - sent).min(load.batch as u64) as usize;
            put_batch(source, ring, rest, wanted)
        };
        sent += put as u64;
        if put == 0 || !rest.is_empty() {
            // Full, or nothing to put in as all is on its way.
            if load.patient { spin_loop() } else { break }
        }
    }
    if !load.patient {
        gate.stop();
    }
    sent
}

#[inline]
fn put_one<T>(source: &mut impl Source<T>, ring: &mut impl In<T>, rest: &mut Vec<T>) -> usize {
    let value = match rest.pop() {
        Some(value) => Some(value),
        None => black_box(source).one(),
    };
    match value.map(|value| ring.put(value)) {
        Some(Ok(())) => 1,
        Some(Err(value)) => {
            rest.push(value);
            0
        }
        None => 0,
    }
}

#[inline]
fn put_batch<T>(source: &mut impl Source<T>, ring: &mut impl In<T>, rest: &mut Vec<T>, wanted: usize) -> usize {
    if rest.is_empty() {
        black_box(source).many(rest, wanted);
    }
    let before = rest.len();
    ring.put_batch(rest);
    before - rest.len()
}

/// The loop of the side that takes out; tells how many values came. `buffer` is empty, and has room for a batch.
pub(crate) fn consume<T>(
    gate: &Gate<'_>,
    ring: &mut impl Out<T>,
    sink: &mut impl Sink<T>,
    load: Load,
    buffer: &mut Vec<T>,
) -> u64 {
    let mut got = 0;
    while got < load.count && !gate.stopped() {
        let came = if load.batch == 1 {
            match ring.take() {
                Some(value) => {
                    black_box(&mut *sink).one(value);
                    1
                }
                None => 0,
            }
        } else {
            ring.take_batch(buffer, load.batch);
            let came = buffer.len();
            black_box(&mut *sink).many(buffer);
            came
        };
        got += came as u64;
        if came == 0 {
            if load.patient { spin_loop() } else { break }
        }
    }
    if !load.patient {
        gate.stop();
    }
    got
}

/// One end of the way: a thread with its side of a ring. On cache lines of its own, as what a thread has would be: the ends lie one beside the other here.
#[repr(align(128))]
pub(crate) struct End<R, W, T> {
    pub(crate) cpu: usize,
    pub(crate) ring: R,
    /// Source or sink.
    pub(crate) work: W,
    /// What is between ring and work; its room is taken beforehand.
    pub(crate) buffer: Vec<T>,
}

impl<R, W, T> End<R, W, T> {
    pub(crate) fn new(cpu: usize, ring: R, work: W, batch: usize) -> Self {
        Self { cpu, ring, work, buffer: Vec::with_capacity(batch) }
    }
}

/// Does something `times` times that may not succeed at once: before the clock runs a value goes from each producer to each consumer, so that what happens with a thread's first one (it
/// opens a lane) is not measured.
fn until(gate: &Gate<'_>, times: usize, mut succeeds: impl FnMut() -> bool) {
    for _ in 0..times {
        while !succeeds() && !gate.stopped() {
            thread::yield_now();
        }
    }
}

/// Carries `load` from each of the producers (so that each consumer's share is `load.count` times producers / consumers), and tells when each began and ended, producers first.
///
/// # Errors
/// As [`Crew::run`].
pub(crate) fn carry<T, I, P, O, C>(
    clock: Clock,
    producers: &mut [End<I, P, T>],
    consumers: &mut [End<O, C, T>],
    load: Load,
) -> Result<Vec<Stretch>, String>
where
    T: Send,
    I: In<T> + Send,
    P: Source<T> + Send,
    O: Out<T> + Send,
    C: Sink<T> + Send,
{
    let (from, to) = (producers.len(), consumers.len());
    let share = Load { count: load.count * from as u64 / to as u64, ..load };
    let mut crew = Crew::new();
    for End { cpu, ring, work, buffer } in producers {
        crew.add(*cpu, move |gate| {
            until(gate, to, || put_one(work, ring, buffer) > 0);
            gate.wait();
            let begin = clock.now();
            let elements = produce(gate, work, ring, load, buffer);
            Stretch { begin, end: clock.now(), elements }
        });
    }
    for End { cpu, ring, work, buffer } in consumers {
        crew.add(*cpu, move |gate| {
            work.begin();
            until(gate, from, || ring.take().map(|value| work.one(value)).is_some());
            gate.wait();
            let begin = clock.now();
            let elements = consume(gate, ring, work, share, buffer);
            let end = clock.now();
            work.end();
            Stretch { begin, end, elements }
        });
    }
    crew.run()
}

/// Carries `count` values in all, with patience; the time is that from the first to the last.
///
/// # Errors
/// As [`Crew::run`], or nothing came through in time.
pub(crate) fn whole<T, I, P, O, C>(
    clock: Clock,
    producers: &mut [End<I, P, T>],
    consumers: &mut [End<O, C, T>],
    count: u64,
    batch: usize,
) -> Result<Lap, String>
where
    T: Send,
    I: In<T> + Send,
    P: Source<T> + Send,
    O: Out<T> + Send,
    C: Sink<T> + Send,
{
    let split = (batch * producers.len() * consumers.len()) as u64; // whole batches, the same number to each
    let each = count.div_ceil(split) * split / producers.len() as u64;
    let load = Load { count: each, batch, patient: true };
    let from = producers.len();
    let stretches = carry(clock, producers, consumers, load)?;
    match stretches[from..].iter().map(|stretch| stretch.elements).sum() {
        0 => Err("nothing came through".into()),
        elements => Ok(Stretch::whole(&stretches, elements)),
    }
}
