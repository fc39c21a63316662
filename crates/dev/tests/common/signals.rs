#![expect(unsafe_code, reason = "sends signals to a thread")]
//! A stream of signals: whatever waits, or looks, is interrupted by one now and then, and says so to who called it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// As long as it lives, the thread that made it gets signals.
pub(crate) struct Signals {
    end: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

/// How many were handled, of all threads. There is one handler in a process, and so this is in one place.
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

impl Signals {
    pub(crate) fn to_this_thread() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        // SAFETY: a handler that adds to an atomic, which a handler may do; without SA_RESTART, so that calls are interrupted. The process and the thread are those of the caller, who outlives the sender.
        let (process, thread) = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
            (libc::getpid(), libc::gettid())
        };
        let told = Arc::clone(&end);
        let sender = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // SAFETY: a signal that has a handler.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR2) };
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Self { end, sender: Some(sender) }
    }

    /// Waits, in another thread, until so many more signals have come.
    #[allow(dead_code, reason = "not every test counts them")]
    pub(crate) fn wait_for(count: u64) {
        let end = HANDLED.load(Ordering::Relaxed) + count;
        while HANDLED.load(Ordering::Relaxed) < end {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        drop(self.sender.take().map(JoinHandle::join));
    }
}
