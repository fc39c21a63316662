//! The rings against another side that keeps the rules, and against one that does not.

use std::sync::atomic::Ordering::Relaxed;

use super::{Consumer, Desc, Producer, RingMemory};

/// Both ends of a ring whose indices start at `start`, and a third view to break the rules with.
fn ends_at(size: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
    let (a, b) = RingMemory::<u64>::pair(size);
    a.producer().store(start, Relaxed);
    a.consumer().store(start, Relaxed);
    (Producer::new(a), Consumer::new(b))
}

#[test]
fn entries_arrive_in_order_across_the_wrap_of_the_index() {
    let (mut producer, mut consumer) = ends_at(8, u32::MAX - 20);
    let (mut sent, mut received) = (0u64, 0u64);
    for round in 0..40u32 {
        let mut slots = producer.reserve(round % 9);
        while slots.push(sent).is_ok() {
            sent += 1;
        }
        slots.submit();
        for value in consumer.peek(1 + round % 5) {
            assert_eq!(value, received);
            received += 1;
        }
    }
    received += consumer.peek(u32::MAX).count() as u64;
    assert_eq!(sent, received);
    assert!(sent > 80, "the index must have wrapped: {sent}");
    assert_eq!(producer.corrupt() + consumer.corrupt(), 0);
}

#[test]
fn a_reservation_that_is_dropped_never_happened() {
    let (mut producer, mut consumer) = ends_at(4, 0);
    {
        let mut slots = producer.reserve(4);
        assert_eq!(slots.room(), 4);
        slots.push(1).unwrap();
        slots.push(2).unwrap();
    }
    assert_eq!(consumer.available(), 0);
    assert_eq!(producer.free(4), 4);

    let mut slots = producer.reserve(1);
    slots.push(7).unwrap();
    assert_eq!(slots.push(8), Err(8), "no room was reserved for a second one");
    assert_eq!(slots.submit(), 1);
    assert_eq!(consumer.peek(9).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_full_ring_has_no_room_and_what_was_not_read_stays() {
    let (mut producer, mut consumer) = ends_at(4, u32::MAX - 1);
    let mut slots = producer.reserve(100);
    for value in 0..4 {
        slots.push(value).unwrap();
    }
    assert!(slots.push(4).is_err());
    assert_eq!(slots.submit(), 4);
    assert_eq!(producer.free(1), 0);
    assert_eq!(producer.pending(), 4);

    let mut peek = consumer.peek(4);
    assert_eq!(peek.len(), 4);
    assert_eq!(peek.next(), Some(0));
    drop(peek);
    assert_eq!(producer.free(1), 1, "only the one that was read came back");
    assert_eq!(consumer.peek(4).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(producer.pending(), 0);
}

#[test]
fn a_consumer_index_that_jumps_is_counted_and_frees_nothing() {
    let (ours, theirs) = RingMemory::<u64>::pair(8);
    let mut producer = Producer::new(ours);
    for bad in [1, 9, 1 << 31, u32::MAX - 8] {
        theirs.consumer().store(bad, Relaxed);
        assert_eq!(producer.free(1), 0, "consumer index {bad}");
    }
    assert_eq!(producer.corrupt(), 4);
    theirs.consumer().store(0, Relaxed);
    assert_eq!(producer.free(8), 8, "it recovers when the index makes sense again");
}

#[test]
fn a_producer_index_that_jumps_is_counted_and_gives_nothing() {
    let (ours, theirs) = RingMemory::<Desc>::pair(8);
    let mut consumer = Consumer::new(ours);
    for bad in [9, 1 << 31, u32::MAX] {
        theirs.producer().store(bad, Relaxed);
        assert_eq!(consumer.peek(64).count(), 0, "producer index {bad}");
    }
    assert_eq!(consumer.corrupt(), 3);
    assert!(!consumer.is_empty(), "the index does differ");
    theirs.producer().store(8, Relaxed);
    assert_eq!(consumer.peek(64).count(), 8, "it recovers when the index makes sense again");
}

#[test]
fn descriptors_have_the_layout_of_struct_xdp_desc() {
    let (ours, theirs) = RingMemory::<Desc>::pair(2);
    let mut producer = Producer::new(ours);
    let mut slots = producer.reserve(1);
    slots.push(Desc { addr: 0x1122_3344_5566_7788, len: 0x99aa_bbcc, options: 1 }).unwrap();
    slots.submit();
    let bytes: Vec<u8> = theirs.slot(0).iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    let mut expected = 0x1122_3344_5566_7788u64.to_ne_bytes().to_vec();
    expected.extend(0x99aa_bbccu32.to_ne_bytes());
    expected.extend(1u32.to_ne_bytes());
    assert_eq!(bytes, expected);
}

#[test]
fn the_wakeup_flag_is_read_from_the_shared_word() {
    let (ours, theirs) = RingMemory::<u64>::pair(2);
    let mut producer = Producer::new(ours);
    assert!(!producer.needs_wakeup());
    theirs.flags().unwrap().store(1, Relaxed);
    assert!(producer.needs_wakeup());
    theirs.flags().unwrap().store(2, Relaxed);
    assert!(!producer.needs_wakeup());
}

#[test]
fn a_million_entries_cross_between_two_threads() {
    let (mut producer, mut consumer) = ends_at(64, u32::MAX - 1000);
    const COUNT: u64 = 1_000_000;
    let sender = std::thread::spawn(move || {
        let mut value = 0u64;
        while value < COUNT {
            let mut slots = producer.reserve(32);
            while value < COUNT && slots.push(value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).is_ok() {
                value += 1;
            }
            if slots.submit() == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0u64;
    while expected < COUNT {
        let before = expected;
        for value in consumer.peek(32) {
            assert_eq!(value, expected.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            expected += 1;
        }
        if before == expected {
            std::thread::yield_now();
        }
    }
    sender.join().unwrap();
    assert_eq!(consumer.corrupt(), 0);
}
