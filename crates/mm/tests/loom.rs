//! `ptr_ring` under loom: every interleaving that the memory model allows. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p waterwheel-mm --test loom --release`.
#![cfg(loom)]

use loom::thread;
use std::sync::Arc;
use waterwheel_mm::ptr_ring;

#[test]
fn one_by_one_through_a_ring_that_wraps() {
    loom::model(|| {
        let (producer, consumer) = ptr_ring(2);
        let other = thread::spawn(move || {
            for i in 0..3 {
                let mut value = Box::new(i);
                while let Err(back) = producer.produce(value) {
                    value = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 0..3 {
            let value = loop {
                match consumer.consume() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        other.join().unwrap();
        assert!(consumer.is_empty());
    });
}

#[test]
fn batches_become_visible_whole() {
    loom::model(|| {
        let (producer, consumer) = ptr_ring(4);
        let other = thread::spawn(move || {
            let mut values = vec![Box::new(0), Box::new(1)];
            assert_eq!(producer.produce_batch(&mut values), 2);
            values.push(Box::new(2));
            assert_eq!(producer.produce_batch(&mut values), 1);
        });
        let mut out = Vec::new();
        while out.len() < 3 {
            let before = out.len();
            consumer.consume_batch(&mut out, 4);
            assert!(out.len() != 1 && out.len() >= before, "half of a batch was seen");
            thread::yield_now();
        }
        assert!(out.iter().map(|value| **value).eq(0..3));
        other.join().unwrap();
    });
}

#[test]
fn what_is_left_is_dropped_once_by_whoever_goes_last() {
    loom::model(|| {
        let value = Arc::new(());
        let (producer, consumer) = ptr_ring(2);
        let mine = value.clone();
        let other = thread::spawn(move || {
            drop(producer.produce(mine.clone()));
            drop(producer.produce(mine));
        });
        drop(consumer.consume());
        drop(consumer);
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
