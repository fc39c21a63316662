//! SIGINT and SIGTERM: the first asks for a clean end, the second forces one. SIGUSR1 asks who has pages.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

/// Where the main thread sleeps until a signal, a worker or the clock wakes it.
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    who: Arc<AtomicBool>,
    wake: UnixStream,
    waker: Waker,
}

/// Whether who has something to hand over may still wait for a slow taker: nobody has asked for the end, and the time is not up.
pub(crate) type Patience = Arc<dyn Fn() -> bool + Send + Sync>;

/// Wakes the main thread; a worker uses it when it has ended.
pub(crate) struct Waker(UnixStream);

impl Waker {
    /// Ends the current or the next [`Signals::sleep_until`].
    pub(crate) fn wake(&self) {
        // A full socket has woken the sleeper already.
        let _ = (&self.0).write(&[1]);
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl Signals {
    /// Takes SIGINT, SIGTERM and SIGUSR1 over from here on.
    ///
    /// # Errors
    /// No socket pair, or no handler, can be had.
    pub(crate) fn take_over() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in the order registered: the second signal finds `asked` set and ends the process in the handler itself, so that it
            // works while the main thread waits for the workers to drain.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        let who = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&who))?;
        signal_hook::low_level::pipe::register(SIGUSR1, waker.try_clone()?)?;
        Ok(Self { asked, who, wake, waker: Waker(waker) })
    }

    /// Whether a signal has asked for the end.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether SIGUSR1 came since the last time that this was asked.
    pub(crate) fn who_asked(&self) -> bool {
        self.who.swap(false, Ordering::Relaxed)
    }

    /// For a run that may last so long from now on.
    pub(crate) fn patience(&self, duration: Option<Duration>) -> Patience {
        let asked = Arc::clone(&self.asked);
        let deadline = duration.and_then(|duration| Instant::now().checked_add(duration));
        Arc::new(move || !asked.load(Ordering::Relaxed) && deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    /// What is set once a signal has asked for the end.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// The handle for other threads.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sleeps until `until`, or until something happens.
    pub(crate) fn sleep_until(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        // An hour at a time keeps every duration within what the system call takes.
        let timeout = Timespec::try_from(left.min(Duration::from_secs(3600))).ok();
        // An error is an interruption by a signal, which the caller looks for anyway.
        let _ = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], timeout.as_ref());
        while matches!(self.wake.read(&mut [0; 64]), Ok(64)) {}
    }
}
