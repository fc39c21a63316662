//! An output whose reader may be slow, or not there at all: it is waited for until the run is to end, and a little longer.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use crate::signals::Patience;

/// What is written at once: a pipe that can be written to has room for so much (PIPE_BUF of pipe(7)).
const PIECE: usize = 4096;

/// How long it is waited when patience is over.
const GRACE: Duration = Duration::from_secs(1);

/// How often one who waits looks whether there is patience left.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long it is waited once there is none: whoever has much to say is not waited for again and again.
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub(crate) struct Patient {
    out: Box<dyn AsFd + Send>,
    patience: Patience,
    /// Until when there is any, once it is over.
    end: Option<Instant>,
}

impl Patient {
    pub(super) fn new(out: impl AsFd + Send + 'static, patience: Patience) -> Self {
        Self { out: Box::new(out), patience, end: None }
    }
}

impl AsFd for Patient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.out.as_fd()
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let time = if self.end.is_some_and(|end| Instant::now() >= end) { NO_TIME } else { LOOK };
            match poll(&mut [PollFd::from_borrowed_fd(self.out.as_fd(), PollFlags::OUT)], Some(&time)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => match rustix::io::write(self.out.as_fd(), &bytes[..bytes.len().min(PIECE)]) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    result => return Ok(result?),
                },
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            if !(self.patience)() && now >= *self.end.get_or_insert(now + GRACE) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
