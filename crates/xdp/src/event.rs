//! What a worker that has nothing to do waits for: another worker, or its devices.

pub(crate) use imp::{Event, is_readable};
use std::time::Duration;

/// A sleeping loop looks around at least this often, unless it is told otherwise: for devices that went away without a sign.
pub(crate) const NAP: Duration = Duration::from_millis(100);

#[cfg(not(shuttle))]
mod imp {
    use crate::device::{BorrowedFd, MAX_FDS};
    use crate::fabric::MAX_PORTS;
    use arrayvec::ArrayVec;
    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fd::{AsFd, OwnedFd};
    use std::time::Duration;

    /// An eventfd(2).
    #[derive(Debug)]
    pub(crate) struct Event(OwnedFd);

    impl Event {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
        }

        /// Ends a wait, this one or the next.
        pub(crate) fn set(&self) {
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        /// What was set is done with.
        pub(crate) fn clear(&self) {
            let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
        }

        /// Waits in poll(2) until it is set, or one of the descriptors that `fds` adds is readable, for at most `timeout`.
        pub(crate) fn wait<'a>(&'a self, timeout: Option<Duration>, fds: impl FnOnce(&mut dyn FnMut(BorrowedFd<'a>))) {
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            });
            let mut all = ArrayVec::<PollFd<'_>, { MAX_PORTS * MAX_FDS + 1 }>::new();
            all.push(PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN));
            fds(&mut |fd| drop(all.try_push(PollFd::from_borrowed_fd(fd, PollFlags::IN))));
            let _ = poll(&mut all, timeout.as_ref()); // interrupted: the loop looks for itself
        }
    }

    /// Whether one of the descriptors that `fds` adds is readable now.
    pub(crate) fn is_readable<'a>(fds: impl FnOnce(&mut dyn FnMut(BorrowedFd<'a>))) -> bool {
        let mut all = ArrayVec::<PollFd<'a>, MAX_FDS>::new();
        fds(&mut |fd| drop(all.try_push(PollFd::from_borrowed_fd(fd, PollFlags::IN))));
        !all.is_empty() && poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

/// For shuttle. Devices have no descriptors here, and who has nothing to look at waits until he is woken: a wake-up that was forgotten is a deadlock, which shuttle finds.
#[cfg(shuttle)]
mod imp {
    use crate::device::BorrowedFd;
    use shuttle::sync::{Condvar, Mutex};
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub(crate) struct Event {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl Event {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self::default())
        }

        pub(crate) fn set(&self) {
            *self.set.lock().expect("nobody panics with it") = true;
            self.changed.notify_one();
        }

        pub(crate) fn clear(&self) {
            *self.set.lock().expect("as above") = false;
        }

        pub(crate) fn wait<'a>(&'a self, timeout: Option<Duration>, _: impl FnOnce(&mut dyn FnMut(BorrowedFd<'a>))) {
            if timeout.is_some() {
                return shuttle::thread::yield_now();
            }
            let set = self.set.lock().expect("as above");
            drop(self.changed.wait_while(set, |set| !*set));
        }
    }

    pub(crate) fn is_readable<'a>(_: impl FnOnce(&mut dyn FnMut(BorrowedFd<'a>))) -> bool {
        false
    }
}
