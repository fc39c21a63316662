//! Bytes of a capture, as they come.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::stream::Stream;

/// Bytes that are read at once, and the length of a record up to which the buffer need not grow.
const BUFFER: usize = 1 << 20;

/// What reading on has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    More,
    /// Nothing yet.
    Starved,
    End,
}

/// A stream, and of its bytes those that were read and not consumed.
pub(super) struct Input {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    consumed: u64,
    /// The end was seen: what another writer puts into the pipe later is a capture of its own.
    ended: bool,
    /// Where the capture begins in the stream.
    begin: u64,
}

impl Input {
    pub(super) fn new(stream: Stream) -> Self {
        let begin = if stream.is_file() { stream.place() } else { 0 };
        Self { stream, buffer: vec![0; BUFFER], start: 0, end: 0, consumed: 0, ended: false, begin }
    }

    pub(super) fn is_file(&self) -> bool {
        self.stream.is_file()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Bytes that were consumed.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        self.consumed += len as u64;
    }

    /// Reads on, by one call, as there are less than `want` bytes. The buffer grows with what comes, not with what is announced.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<Fill> {
        if self.ended {
            return Ok(Fill::End);
        }
        if self.buffer.len() - self.start < want || self.start == self.end {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(want.min(2 * self.buffer.len()), 0);
        }
        Ok(match self.stream.read(&mut self.buffer[self.end..])? {
            None => Fill::Starved,
            Some(0) => {
                self.ended = true;
                Fill::End
            }
            Some(n) => {
                self.end += n;
                Fill::More
            }
        })
    }

    /// Begins again, at the beginning of a file.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.stream.go_to(self.begin)?;
        (self.start, self.end, self.consumed, self.ended) = (0, 0, 0, false);
        Ok(())
    }
}
