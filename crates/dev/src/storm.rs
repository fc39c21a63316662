//! Tests: signals without end for one thread, of which each interrupts the call that it waits in.

#![expect(unsafe_code, reason = "sigaction(2) without SA_RESTART, pthread_kill(3)")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Over the thread that began it, until it is dropped there.
pub(crate) struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    pub(crate) fn begin() -> Self {
        // SAFETY: all of the structure may be zero; the handler only adds to an atomic, which a handler may do. Without SA_RESTART the calls return EINTR.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(installed, 0);
        // SAFETY: it has no conditions.
        let target = unsafe { libc::pthread_self() };
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // SAFETY: the thread is there: it waits for this one in its drop.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR2) }, 0);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self { over, thread: Some(thread) }
    }

    /// Waits, in another thread, until so many more signals have come.
    pub(crate) fn rages(count: u64) {
        let end = HANDLED.load(Ordering::Relaxed) + count;
        while HANDLED.load(Ordering::Relaxed) < end {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}
