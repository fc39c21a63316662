//! The standard library's atomics, and in front of each access a point where shuttle may let another thread go on.
//!
//! They are not shuttle's own atomics, as the metadata of a page has to be valid where memory is mapped as zero. What is explored is the same: one thread runs at a time, so
//! every access is sequentially consistent, whatever ordering it asks for. What a weaker ordering allows is for loom to find.
#![allow(dead_code, reason = "each type has what the others have")]

use std::sync::atomic;

pub(crate) use std::sync::atomic::Ordering;

/// Another thread may go on here.
fn step() {
    std::thread_local! {
        /// Reading it is the least that shuttle takes for a step. (All threads of an execution run on one of the system's.)
        static POINT: shuttle::sync::atomic::AtomicBool = const { shuttle::sync::atomic::AtomicBool::new(false) };
    }
    POINT.with(|point| point.load(Ordering::SeqCst));
}

/// A fence, where another thread may go on, too.
pub(crate) fn fence(ordering: Ordering) {
    step();
    atomic::fence(ordering);
}

/// What all of them can do.
macro_rules! stepped {
    ($name:ident $(<$generic:ident>)?, $value:ty) => {
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name$(<$generic>)?(atomic::$name$(<$generic>)?);

        impl$(<$generic>)? $name$(<$generic>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }
        }
    };
}

/// What numbers can do beside.
macro_rules! stepped_number {
    ($name:ident, $value:ty) => {
        stepped!($name, $value);

        impl $name {
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(value, order)
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_sub(value, order)
            }
        }
    };
}

stepped!(AtomicBool, bool);
stepped!(AtomicPtr<T>, *mut T);
stepped!(AtomicU8, u8);
stepped_number!(AtomicU32, u32);
stepped_number!(AtomicU64, u64);
stepped!(AtomicUsize, usize);

impl<T> AtomicPtr<T> {
    pub(crate) fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        step();
        self.0.swap(value, order)
    }

    /// It never fails without a reason: a schedule has to run again as it ran.
    pub(crate) fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        step();
        self.0.compare_exchange(current, new, success, failure)
    }
}
