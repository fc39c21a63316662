//! What a pool does when the last holder of one of its pages lets go, on whatever thread.

use crate::trace::Trace;
use std::slice;
use waterwheel_mm::{Destructor, FrozenPage, Home};

/// Steals the page: instead of being freed it travels home. When the pool is gone, [`mm`](waterwheel_mm) frees what arrives.
pub(crate) struct Recycle {
    /// The pool's pages are followed.
    pub(crate) trace: Option<Trace>,
}

impl Destructor for Recycle {
    #[inline]
    fn last_put(&self, page: FrozenPage, home: Home<'_>) {
        if let Some(trace) = &self.trace {
            trace.got_back(slice::from_ref(&page));
        }
        home.send(page);
    }

    fn only_sends_home(&self) -> bool {
        self.trace.is_none()
    }
}
