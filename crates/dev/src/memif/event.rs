//! The eventfd of a ring. The other side has it, too, and with it its flags: it can make it one that blocks. So nothing is done to it that could wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr, write};

use super::aio;

/// A new one.
pub(super) fn new() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Whether the file that a stranger has sent is an eventfd: to write to anything else could wait for ever.
pub(super) fn is_one(file: BorrowedFd<'_>) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

/// Wakes whoever waits for it.
#[inline]
pub(super) fn set(event: impl AsFd) {
    if aio::signal(event.as_fd()).is_err() {
        write_one(event);
    }
}

/// The same where the kernel does not signal it for us. One that is full to the brim wakes already, and would make us wait; one that becomes so after the look does.
fn write_one(event: impl AsFd) {
    let mut fds = [PollFd::new(&event, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A signal ends the look only if there is no room.
    if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
        let _ = write(&event, &1u64.to_ne_bytes());
    }
}

/// What it said is heard. Tells whether it said something.
pub(super) fn clear(event: impl AsFd) -> bool {
    let mut count = [0; 8];
    // Never waits, whatever the flags are; -1: no offset.
    let mut to = [std::io::IoSliceMut::new(&mut count)];
    retry_on_intr(|| preadv2(&event, &mut to, u64::MAX, ReadWriteFlags::NOWAIT)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signals;
    use rustix::fs::{OFlags, fcntl_setfl};

    fn is_set(event: &OwnedFd) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(event.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") > 0
    }

    #[test]
    fn it_is_set_and_cleared_and_never_waits() {
        let event = new().expect("an eventfd");
        assert!(is_one(event.as_fd()) && !is_one(std::fs::File::open("/dev/null").expect("a file").as_fd()));
        fcntl_setfl(&event, OFlags::empty()).expect("now it blocks");
        assert!(!clear(&event));
        for set in [set, write_one] {
            set(&event);
            assert!(is_set(&event) && clear(&event) && !is_set(&event));
            write(&event, &(u64::MAX - 1).to_ne_bytes()).expect("full");
            set(&event);
            clear(&event);
            assert!(!is_set(&event));
        }
    }

    /// Whoever has the other end may fill it and make it block at any moment, after any look.
    #[test]
    fn the_kernels_signal_needs_no_look_before() {
        let event = new().expect("an eventfd");
        fcntl_setfl(&event, OFlags::empty()).expect("now it blocks");
        for number in 0..1000 {
            aio::signal(event.as_fd()).expect("a signal");
            assert!(clear(&event), "signal {number}");
        }
        write(&event, &(u64::MAX - 1).to_ne_bytes()).expect("full");
        aio::signal(event.as_fd()).expect("it does not wait");
        assert!(clear(&event) && !is_set(&event));
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert_eq!(aio::signal(file.as_fd()), Err(Errno::INVAL), "no eventfd");
        let threads = (0..4).map(|_| std::thread::spawn(signals_of_one)).collect::<Vec<_>>();
        threads.into_iter().for_each(|thread| thread.join().expect("none is lost"));
    }

    fn signals_of_one() {
        let event = new().expect("an eventfd");
        for number in 0..10_000 {
            set(&event);
            assert!(clear(&event), "signal {number}");
        }
    }

    /// A wake-up is for a whole burst, and there may be no other.
    #[test]
    fn no_wake_up_is_lost_to_a_signal() {
        let event = new().expect("an eventfd");
        let _signals = Signals::to_this_thread();
        for number in 0..50_000 {
            set(&event);
            assert!(clear(&event), "wake-up {number}");
            write_one(&event);
            assert!(clear(&event), "wake-up {number}, without help");
        }
    }
}
