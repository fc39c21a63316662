//! A cell for what atomics guard.

use crate::census::touch;
use crate::model::Access;
use std::cell;

/// [`std::cell::UnsafeCell`], counted; its accesses are calls, as loom has them.
#[derive(Debug)]
#[repr(transparent)]
pub struct UnsafeCell<T>(cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// As in std.
    pub const fn new(value: T) -> Self {
        Self(cell::UnsafeCell::new(value))
    }

    /// Reads: gives `f` the value's address.
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        touch(self.0.get().cast_const(), Access::Read);
        f(self.0.get())
    }

    /// Writes: gives `f` the value's address.
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        touch(self.0.get().cast_const(), Access::Write);
        f(self.0.get())
    }
}
