//! Each side of a ring is a value, and there is one of each.
use waterwheel::mm::ptr_ring;

fn main() {
    let (producer, consumer) = ptr_ring::<u64>(8);
    producer.produce(1).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(move || consumer.consume());
        threads.spawn(|| producer.produce(2)); //~ E0277
    });
}
