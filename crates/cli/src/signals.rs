//! SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, the second forces one. SIGUSR1 asks who has pages. To a relay SIGHUP is no end, and the second signal
//! forces nothing: it ends soon anyway, and tells its total. SIGWINCH and SIGCONT spoil what is drawn.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH};

/// Signals that come within so long of the first are the same request: timeout(1) signals its process and then the group that it is in.
const ONCE: Duration = Duration::from_millis(250);

/// Where the main thread sleeps until a signal, a worker or the clock wakes it.
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    who: Arc<AtomicBool>,
    hung_up: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
    #[cfg(feature = "tui")]
    continued: Arc<AtomicBool>,
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
    /// Takes the signals over from here on.
    ///
    /// # Errors
    /// No socket pair, or no handler, can be had.
    pub(crate) fn take_over() -> io::Result<Self> {
        let signals = Self::new()?;
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        let insists = Arc::new(AtomicBool::new(false));
        let (mut first, told) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // What it asks for comes first: a signal that is handled is heard.
            signals.register(signal, &signals.asked)?;
            // The second signal ends the process in the handler itself, so that it works while the main thread waits for the workers to drain.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&insists))?;
            signal_hook::low_level::pipe::register(signal, told.try_clone()?)?;
        }
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let _ = first.read(&mut [0]);
            std::thread::sleep(ONCE);
            insists.store(true, Ordering::Relaxed);
        })?;
        Ok(signals)
    }

    /// The same for a relay: SIGHUP is [no end](Self::hung_up), and no signal keeps it from telling its total.
    ///
    /// # Errors
    /// As of [`take_over`](Self::take_over).
    pub(crate) fn take_over_for_relay() -> io::Result<Self> {
        let signals = Self::new()?;
        for signal in [SIGINT, SIGTERM] {
            signals.register(signal, &signals.asked)?;
        }
        signals.register(SIGHUP, &signals.hung_up)?;
        Ok(signals)
    }

    fn new() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let flag = Arc::<AtomicBool>::default;
        let signals = Self {
            asked: flag(),
            who: flag(),
            hung_up: flag(),
            resized: flag(),
            #[cfg(feature = "tui")]
            continued: flag(),
            wake,
            waker: Waker(waker),
        };
        signals.register(SIGUSR1, &signals.who)?;
        signals.register(SIGWINCH, &signals.resized)?;
        #[cfg(feature = "tui")]
        signals.register(signal_hook::consts::SIGCONT, &signals.continued)?;
        Ok(signals)
    }

    /// From now on `signal` sets `flag`, and wakes the main thread.
    fn register(&self, signal: i32, flag: &Arc<AtomicBool>) -> io::Result<()> {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
        signal_hook::low_level::pipe::register(signal, self.waker.0.try_clone()?)?;
        Ok(())
    }

    /// Whether a signal has asked for the end.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether SIGUSR1 came since the last time that this was asked.
    pub(crate) fn who_asked(&self) -> bool {
        self.who.swap(false, Ordering::Relaxed)
    }

    /// Whether SIGHUP came since, where it is no end.
    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up.swap(false, Ordering::Relaxed)
    }

    /// Whether the terminal got another size since.
    pub(crate) fn resized(&self) -> bool {
        self.resized.swap(false, Ordering::Relaxed)
    }

    /// What is set when this process goes on after it was stopped.
    #[cfg(feature = "tui")]
    pub(crate) fn continued(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.continued)
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

/// Whether who started us wants us not to hear of it, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
