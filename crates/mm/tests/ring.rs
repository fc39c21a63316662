//! `ptr_ring`: order, bounds, batches, wrap around, values that stay behind, two threads.

mod common;

use common::{Rng, assert_whole, zone};
use std::sync::Arc;
use waterwheel_mm::ptr_ring;

#[test]
fn capacity_is_the_next_power_of_two() {
    for (asked, got) in [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128)] {
        let (producer, _consumer) = ptr_ring::<u8>(asked);
        assert_eq!(producer.capacity(), got);
    }
}

#[test]
fn one_by_one_in_order_and_bounded() {
    let (producer, consumer) = ptr_ring(4);
    assert!(consumer.is_empty() && consumer.consume().is_none());
    for i in 0..4 {
        assert_eq!(producer.free(), 4 - i);
        producer.produce(i).unwrap();
    }
    assert!(producer.is_full());
    assert_eq!(producer.produce(9), Err(9), "what does not fit comes back");
    assert_eq!(consumer.consume(), Some(0));
    assert!(!producer.is_full() && !consumer.is_empty());
    producer.produce(4).unwrap();
    assert_eq!(std::iter::from_fn(|| consumer.consume()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(consumer.is_empty());
}

#[test]
fn batches_take_what_fits_and_what_is_there() {
    let (producer, consumer) = ptr_ring(8);
    let mut values: Vec<u32> = (0..5).collect();
    assert_eq!(producer.produce_batch(&mut values), 5);
    values.extend(5..15);
    assert_eq!(producer.produce_batch(&mut values), 3);
    assert_eq!(values, [8, 9, 10, 11, 12, 13, 14], "the rest stays, in order");
    assert_eq!(producer.produce_batch(&mut values), 0);
    let mut out = vec![99];
    assert_eq!(consumer.consume_batch(&mut out, 0), 0);
    assert_eq!(consumer.consume_batch(&mut out, 3), 3);
    assert_eq!(consumer.consume_batch(&mut out, usize::MAX), 5);
    assert_eq!(consumer.consume_batch(&mut out, 1), 0);
    assert_eq!(out, [99, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(producer.produce_batch(&mut Vec::new()), 0);
}

#[test]
fn a_batch_moves_each_value_once_also_across_the_end() {
    let value = Arc::new(());
    for skip in 0..4 {
        let (producer, consumer) = ptr_ring(4);
        for _ in 0..skip {
            producer.produce(value.clone()).unwrap();
            drop(consumer.consume());
        }
        let mut values = vec![value.clone(); 6];
        assert_eq!((producer.produce_batch(&mut values), values.len()), (4, 2));
        assert_eq!(Arc::strong_count(&value), 7);
        let mut out = Vec::new();
        assert_eq!((consumer.consume_batch(&mut out, 3), out.len()), (3, 3));
        assert_eq!(Arc::strong_count(&value), 7);
        drop((values, out));
        assert_eq!(Arc::strong_count(&value), 2);
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[test]
fn wraps_around_many_times_in_step_with_a_model() {
    let (producer, consumer) = ptr_ring(8);
    let mut model = std::collections::VecDeque::new();
    let (mut rng, mut next) = (Rng(3), 0u64);
    for _ in 0..10_000 {
        match rng.below(4) {
            0 => {
                assert_eq!(producer.produce(next).is_ok(), model.len() < 8);
                if model.len() < 8 {
                    model.push_back(next);
                }
                next += 1;
            }
            1 => assert_eq!(consumer.consume(), model.pop_front()),
            2 => {
                let mut values: Vec<u64> = (next..next + rng.below(12) as u64).collect();
                let (room, wanted) = (8 - model.len(), values.len());
                next += wanted as u64;
                model.extend(values.iter().take(room));
                assert_eq!(producer.produce_batch(&mut values), wanted.min(room));
            }
            _ => {
                let (mut out, max) = (Vec::new(), rng.below(12));
                assert_eq!(consumer.consume_batch(&mut out, max), max.min(model.len()));
                assert!(out.into_iter().eq(model.drain(..max.min(model.len()))));
            }
        }
        assert_eq!((consumer.is_empty(), producer.is_full()), (model.is_empty(), model.len() == 8));
        assert_eq!(producer.free(), 8 - model.len());
    }
}

#[test]
fn what_is_left_is_dropped_with_the_ring_once() {
    let value = Arc::new(());
    for consumer_first in [true, false] {
        let (producer, consumer) = ptr_ring(4);
        for _ in 0..3 {
            producer.produce(value.clone()).unwrap();
            drop(consumer.consume()); // so that the rest lies across the end
        }
        for _ in 0..3 {
            producer.produce(value.clone()).unwrap();
        }
        assert_eq!(Arc::strong_count(&value), 4);
        if consumer_first {
            drop(consumer);
            assert_eq!(Arc::strong_count(&value), 4, "the ring lives as long as one side");
            drop(producer);
        } else {
            drop(producer);
            assert!(consumer.consume().is_some(), "a consumer can still fetch");
            drop(consumer);
        }
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[test]
fn pages_left_in_a_ring_are_freed_with_it() {
    let zone = zone(16);
    let (producer, consumer) = ptr_ring(16);
    while let Some(page) = zone.alloc(0) {
        producer.produce(page).unwrap();
    }
    assert_eq!(zone.stats().free, 0);
    drop((producer, consumer));
    assert_whole(&zone);
}

#[test]
fn two_threads_see_one_sequence() {
    const COUNT: u64 = 300_000;
    let mix = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    for (ring, seed) in [(1, 1), (2, 2), (64, 3), (1024, 4)] {
        let (producer, consumer) = ptr_ring::<(u64, u64)>(ring);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut rng, mut next, mut batch) = (Rng(seed), 0, Vec::new());
                while next < COUNT || !batch.is_empty() {
                    if batch.is_empty() {
                        let end = (next + 1 + rng.below(50) as u64).min(COUNT);
                        batch.extend((next..end).map(|i| (i, mix(i))));
                        next = end;
                    }
                    if batch.len() == 1 {
                        let refused = producer.produce(batch.remove(0)).err();
                        batch.extend(refused);
                    } else {
                        producer.produce_batch(&mut batch);
                    }
                    if producer.is_full() {
                        std::thread::yield_now();
                    }
                }
            });
            let (mut rng, mut expected, mut out) = (Rng(!seed), 0, Vec::new());
            while expected < COUNT {
                if rng.below(2) == 0 {
                    out.extend(consumer.consume());
                } else {
                    consumer.consume_batch(&mut out, 1 + rng.below(80));
                }
                if out.is_empty() {
                    std::thread::yield_now();
                }
                for value in out.drain(..) {
                    assert_eq!(value, (expected, mix(expected)), "ring of {ring}");
                    expected += 1;
                }
            }
            assert!(consumer.is_empty());
        });
    }
}

#[test]
fn a_ring_that_cannot_be_is_refused() {
    for capacity in [(1 << 63) + 1, usize::MAX] {
        assert!(std::panic::catch_unwind(|| ptr_ring::<u64>(capacity)).is_err(), "{capacity} places");
    }
    let (producer, consumer) = ptr_ring(0);
    assert_eq!((producer.capacity(), producer.produce(7), producer.produce(8)), (1, Ok(()), Err(8)));
    assert_eq!((consumer.consume(), consumer.consume()), (Some(7), None));
}
