#![expect(unsafe_code, reason = "loom's cells, which look themselves whether they may be touched")]
//! Both sides of a ring in every order that memory may show their steps. Loom's cells see a slot that two sides touch at once.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU16, AtomicU32, fence};
use loom::thread;

use super::*;

word!(AtomicU16, u16, fence);
word!(AtomicU32, u32, fence);

/// A ring of two slots, whose indices are about to wrap.
struct Shared<W> {
    produced: W,
    consumed: W,
    flags: W,
    slots: [UnsafeCell<u32>; 2],
}

/// What the words of the three drivers have in common.
trait Loomed: Word<Value: From<u8> + Into<u32>> + Send + Sync + 'static {
    fn new(value: Self::Value) -> Self;
    /// Shortly before the wrap.
    const START: Self::Value;
    fn plus(value: Self::Value, steps: u8) -> Self::Value;
}

macro_rules! loomed {
    ($atomic:ty, $value:ty) => {
        impl Loomed for $atomic {
            fn new(value: $value) -> Self {
                Self::new(value)
            }
            const START: $value = <$value>::MAX;
            fn plus(value: $value, steps: u8) -> $value {
                value.wrapping_add(steps.into())
            }
        }
    };
}
loomed!(AtomicU16, u16);
loomed!(AtomicU32, u32);

impl<W: Loomed> Shared<W> {
    fn new() -> Arc<Self> {
        let slots = [UnsafeCell::new(0), UnsafeCell::new(0)];
        Arc::new(Self { produced: W::new(W::START), consumed: W::new(W::START), flags: W::new(0.into()), slots })
    }

    fn slot(&self, index: W::Value) -> &UnsafeCell<u32> {
        &self.slots[(index.into() % 2) as usize]
    }

    /// Fills what is free, up to `until`, in one step.
    fn produce(&self, next: &mut W::Value, value: &mut u32, until: u32) {
        let two = 2.into();
        // The slots that are free: those behind our index that the other side has taken out, of two.
        let behind = W::distance(two, *next);
        let free = ahead(&self.consumed, behind, two).expect("nobody lies").into();
        for _ in 0..free.min(until - *value) {
            // SAFETY: loom checks it.
            self.slot(*next).with_mut(|slot| unsafe { *slot = *value });
            *value += 1;
            *next = W::plus(*next, 1);
        }
        publish(&self.produced, *next);
    }

    /// Takes out what is there.
    fn consume(&self, next: &mut W::Value, expected: &mut u32) {
        let there = ahead(&self.produced, *next, 2.into()).expect("nobody lies").into();
        for _ in 0..there {
            // SAFETY: loom checks it.
            self.slot(*next).with(|slot| assert_eq!(unsafe { *slot }, *expected));
            *expected += 1;
            *next = W::plus(*next, 1);
        }
        publish(&self.consumed, *next);
    }
}

fn crosses<W: Loomed>() {
    loom::model(|| {
        let shared = Shared::<W>::new();
        let producer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (mut next, mut value) = (W::START, 0);
                shared.produce(&mut next, &mut value, 2);
                shared.produce(&mut next, &mut value, 3);
                (next, value)
            })
        };
        let (mut next, mut expected) = (W::START, 0);
        shared.consume(&mut next, &mut expected);
        shared.consume(&mut next, &mut expected);
        let (produced, value) = producer.join().expect("it does not lie");
        shared.consume(&mut next, &mut expected);
        assert!(next == produced && expected == value);
    });
}

#[test]
fn slots_are_touched_by_one_side_at_a_time() {
    crosses::<AtomicU16>();
    crosses::<AtomicU32>();
}

/// Who sleeps until it is woken has seen everything, or is woken.
fn wakes<W: Loomed>() {
    loom::model(|| {
        let shared = Shared::<W>::new();
        let producer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                publish(&shared.produced, W::plus(W::START, 1));
                asked(&shared.flags) == 1.into()
            })
        };
        ask(&shared.flags, 1.into());
        let sleeps = !moved(&shared.produced, W::START);
        let wakes = producer.join().expect("no panic");
        assert!(!sleeps || wakes, "it sleeps over news");
        unask(&shared.flags, 0.into());
        assert!(wish(&shared.flags) == 0.into());
    });
}

#[test]
fn nobody_sleeps_over_news() {
    wakes::<AtomicU16>();
    wakes::<AtomicU32>();
}

#[test]
fn an_index_is_believed_as_far_as_the_ring_goes() {
    use std::sync::atomic::AtomicU16;
    for (theirs, behind, expected) in [
        (5, 5, Some(0)),
        (9, 5, Some(4)),
        (10, 5, None),
        (4, 5, None),
        (2, u16::MAX - 1, Some(4)),
        (3, u16::MAX - 1, None),
        (u16::MAX, 0, None),
    ] {
        assert_eq!(ahead(&AtomicU16::new(theirs), behind, 4), expected, "{theirs} behind {behind}");
    }
    assert!(moved(&AtomicU16::new(1), 0) && !moved(&AtomicU16::new(7), 7));
}
