//! The rings that values are carried through: ours, and the peers'.

use crate::event::Side;
use crate::harness::carry::{In, Out};
use waterwheel_mm::{Consumer, Producer, ptr_ring};

/// A ring of words, of which several are measured by the same loops.
pub(crate) trait Kind {
    const NAME: &'static str;
    const SIDE: Side;
    /// The call for one word, and that for a batch.
    const CALLS: [&'static str; 2];
    type In: In<usize> + Send + 'static;
    type Out: Out<usize> + Send + 'static;

    fn ends(slots: usize) -> (Self::In, Self::Out);

    /// What is called for `batch` words.
    fn calls(batch: usize) -> String {
        if batch == 1 { Self::CALLS[0].to_owned() } else { format!("{batch} words: {}", Self::CALLS[1]) }
    }
}

/// Ours.
pub(crate) struct PtrRing;

impl Kind for PtrRing {
    const NAME: &'static str = "ptr_ring";
    const SIDE: Side = Side::Ours;
    const CALLS: [&'static str; 2] = ["produce, consume", "produce_batch, consume_batch"];
    type In = Producer<usize>;
    type Out = Consumer<usize>;

    fn ends(slots: usize) -> (Self::In, Self::Out) {
        ptr_ring(slots)
    }
}

/// Calls a function that is generic over the [`Kind`] of ring for each of them.
macro_rules! each_ring {
    ($f:ident($group:expr $(, $arg:expr)*)) => {
        $f::<$crate::programs::rings::PtrRing>($group $(, $arg)*);
        #[cfg(feature = "peers")]
        {
            $f::<$crate::programs::rings::peers::Rtrb>($group $(, $arg)*);
            $f::<$crate::programs::rings::peers::Crossbeam>($group $(, $arg)*);
        }
        #[cfg(not(feature = "peers"))]
        for name in ["rtrb", "crossbeam ArrayQueue"] {
            $group.absent(name, "built without the feature peers");
        }
    };
}
pub(crate) use each_ring;

impl<T: Send> In<T> for Producer<T> {
    #[inline]
    fn put(&mut self, value: T) -> Result<(), T> {
        self.produce(value)
    }

    #[inline]
    fn put_batch(&mut self, values: &mut Vec<T>) {
        self.produce_batch(values);
    }
}

impl<T: Send> Out<T> for Consumer<T> {
    #[inline]
    fn take(&mut self) -> Option<T> {
        self.consume()
    }

    #[inline]
    fn take_batch(&mut self, out: &mut Vec<T>, max: usize) {
        self.consume_batch(out, max);
    }
}

/// Several rings, of which one after the other is given a batch.
pub(crate) struct InTurn<R> {
    pub(crate) rings: Vec<R>,
    next: usize,
}

impl<R> InTurn<R> {
    pub(crate) fn new(rings: Vec<R>) -> Self {
        Self { rings, next: 0 }
    }

    fn advance(&mut self) {
        self.next = if self.next + 1 == self.rings.len() { 0 } else { self.next + 1 };
    }
}

impl<T, R: In<T>> In<T> for InTurn<R> {
    #[inline]
    fn put(&mut self, value: T) -> Result<(), T> {
        self.rings[self.next].put(value)?;
        self.advance();
        Ok(())
    }

    #[inline]
    fn put_batch(&mut self, values: &mut Vec<T>) {
        self.rings[self.next].put_batch(values);
        if values.is_empty() {
            self.advance();
        }
    }
}

/// Several rings with one reader: many producers without a word in common.
pub(crate) struct Lanes<R>(pub(crate) Vec<R>);

impl<T, R: Out<T>> Out<T> for Lanes<R> {
    fn take(&mut self) -> Option<T> {
        self.0.iter_mut().find_map(R::take)
    }

    fn take_batch(&mut self, out: &mut Vec<T>, max: usize) {
        for lane in &mut self.0 {
            lane.take_batch(out, max - out.len());
            if out.len() >= max {
                return;
            }
        }
    }
}

#[cfg(feature = "peers")]
pub(crate) mod peers {
    use super::{In, Kind, Out};
    use crate::event::Side;
    use crossbeam_queue::ArrayQueue;
    use std::sync::Arc;

    pub(crate) struct Rtrb;

    impl Kind for Rtrb {
        const NAME: &'static str = "rtrb";
        const SIDE: Side = Side::Peer;
        const CALLS: [&'static str; 2] = ["push, pop", "write_chunk_uninit, read_chunk"];
        type In = rtrb::Producer<usize>;
        type Out = rtrb::Consumer<usize>;

        fn ends(slots: usize) -> (Self::In, Self::Out) {
            rtrb::RingBuffer::new(slots)
        }
    }

    pub(crate) struct Crossbeam;

    impl Kind for Crossbeam {
        const NAME: &'static str = "crossbeam ArrayQueue";
        const SIDE: Side = Side::Peer;
        const CALLS: [&'static str; 2] = [
            "push, pop (safe for many on both sides)",
            "push, pop of each: it has no batches (safe for many on both sides)",
        ];
        type In = Queue<usize>;
        type Out = Queue<usize>;

        fn ends(slots: usize) -> (Self::In, Self::Out) {
            let queue = Arc::new(ArrayQueue::new(slots));
            (Queue(queue.clone()), Queue(queue))
        }
    }

    impl<T: Send> In<T> for rtrb::Producer<T> {
        #[inline]
        fn put(&mut self, value: T) -> Result<(), T> {
            self.push(value).map_err(|rtrb::PushError::Full(value)| value)
        }

        #[inline]
        fn put_batch(&mut self, values: &mut Vec<T>) {
            let chunk = match self.write_chunk_uninit(values.len()) {
                Ok(chunk) => Some(chunk),
                Err(rtrb::chunks::ChunkError::TooFewSlots(room)) => self.write_chunk_uninit(room).ok(),
            };
            if let Some(chunk) = chunk {
                let room = chunk.len();
                chunk.fill_from_iter(values.drain(..room));
            }
        }
    }

    impl<T: Send> Out<T> for rtrb::Consumer<T> {
        #[inline]
        fn take(&mut self) -> Option<T> {
            self.pop().ok()
        }

        #[inline]
        fn take_batch(&mut self, out: &mut Vec<T>, max: usize) {
            let chunk = match self.read_chunk(max) {
                Ok(chunk) => Some(chunk),
                Err(rtrb::chunks::ChunkError::TooFewSlots(there)) => self.read_chunk(there).ok(),
            };
            out.extend(chunk.into_iter().flatten());
        }
    }

    /// Crossbeam's queue, either side; it has no batches.
    pub(crate) struct Queue<T>(pub(crate) Arc<ArrayQueue<T>>);

    impl<T: Send> In<T> for Queue<T> {
        #[inline]
        fn put(&mut self, value: T) -> Result<(), T> {
            self.0.push(value)
        }

        #[inline]
        fn put_batch(&mut self, values: &mut Vec<T>) {
            // From the end: the order of what is carried does not matter here, and the others do not move up either.
            while let Some(value) = values.pop() {
                if let Err(value) = self.0.push(value) {
                    values.push(value);
                    return;
                }
            }
        }
    }

    impl<T: Send> Out<T> for Queue<T> {
        #[inline]
        fn take(&mut self) -> Option<T> {
            self.0.pop()
        }

        #[inline]
        fn take_batch(&mut self, out: &mut Vec<T>, max: usize) {
            out.extend(std::iter::from_fn(|| self.0.pop()).take(max - out.len()));
        }
    }
}
