//! What a capture is read from or written to: a file, a pipe, a socket, a terminal. Nothing here waits for another process.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fstat, ftruncate, open, seek, stat};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2, read, retry_on_intr, write};

/// Bytes for which a pipe that says that it can be written to has room (PIPE_BUF of pipe(7)).
const PIPE_BUF: usize = 4096;

/// The place in the file where the kernel stands (preadv2(2)).
const HERE: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Stream {
    fd: OwnedFd,
    way: Way,
}

/// How a call is kept from waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A file on a disk, or the disk: it waits for nobody but the disk.
    File,
    /// Opened here, with O_NONBLOCK.
    Ours,
    /// Given to this process, which others gave it and may use as well. O_NONBLOCK belongs to the open file description (open(2)), and would be theirs, too: each call is
    /// asked by itself not to wait.
    Shared,
}

impl Stream {
    /// A pipe is open at once, whether somebody writes into it or not.
    pub(super) fn to_read(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Self::with(retry_on_intr(|| open(path, flags, Mode::empty()))?, Way::Ours)
    }

    /// Makes the file, or empties it if it is none of those that are `spared`. `None`: a pipe that nobody reads yet.
    pub(super) fn to_write(path: &Path, spared: &[(u64, u64)]) -> io::Result<Option<Self>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
        let opened = retry_on_intr(|| open(path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::from(0o666)));
        match opened {
            Err(Errno::NXIO) if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Fifo => Ok(None),
            opened => {
                let stream = Self::with(opened?, Way::Ours)?;
                stream.spare(spared)?;
                if FileType::from_raw_mode(fstat(&stream.fd)?.st_mode) == FileType::RegularFile {
                    ftruncate(&stream.fd, 0)?;
                }
                Ok(Some(stream))
            }
        }
    }

    /// Fails if this is one of these files.
    pub(super) fn spare(&self, spared: &[(u64, u64)]) -> io::Result<()> {
        if self.is_file() && spared.contains(&self.identity()?) {
            return Err(io::Error::other("this command uses the file already, and it would be overwritten"));
        }
        Ok(())
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// One that this process was given, such as standard input.
    pub(super) fn given(fd: OwnedFd) -> io::Result<Self> {
        Self::with(fd, Way::Shared)
    }

    fn with(fd: OwnedFd, way: Way) -> io::Result<Self> {
        let file = matches!(
            FileType::from_raw_mode(fstat(&fd)?.st_mode),
            FileType::RegularFile | FileType::BlockDevice | FileType::Directory
        );
        Ok(Self { fd, way: if file { Way::File } else { way } })
    }

    /// Whether it is a file: it can be read again, and there is nothing to wait for.
    pub(super) fn is_file(&self) -> bool {
        self.way == Way::File
    }

    /// Where it stands; 0 for what has no places.
    pub(super) fn place(&self) -> u64 {
        seek(&self.fd, SeekFrom::Current(0)).unwrap_or(0)
    }

    /// Goes to a place of a file.
    pub(super) fn go_to(&self, place: u64) -> io::Result<()> {
        seek(&self.fd, SeekFrom::Start(place))?;
        Ok(())
    }

    /// Reads what there is. `None`: nothing yet. 0: the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // Of a pipe without a writer poll(2) alone tells whether there was one: read(2) says for both that this is the end.
        if !self.is_file() && !self.is_ready(PollFlags::IN)? {
            return Ok(None);
        }
        let plainly = |buffer: &mut [u8]| retry_on_intr(|| read(&self.fd, &mut *buffer));
        let result = if self.way == Way::Shared {
            let mut parts = [IoSliceMut::new(buffer)];
            match retry_on_intr(|| preadv2(&self.fd, &mut parts, HERE, ReadWriteFlags::NOWAIT)) {
                // It is ready: without another reader it does not wait.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => plainly(buffer),
                result => result,
            }
        } else {
            plainly(buffer)
        };
        or_not_now(result)
    }

    /// Writes as much as there is room for. `None`: none.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if self.way != Way::Shared {
            return or_not_now(retry_on_intr(|| write(&self.fd, bytes)));
        }
        if !self.is_ready(PollFlags::OUT)? {
            return Ok(None);
        }
        let parts = [IoSlice::new(bytes)];
        or_not_now(match retry_on_intr(|| pwritev2(&self.fd, &parts, HERE, ReadWriteFlags::NOWAIT)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                retry_on_intr(|| write(&self.fd, &bytes[..bytes.len().min(PIPE_BUF)]))
            }
            result => result,
        })
    }

    fn is_ready(&self, what: PollFlags) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(retry_on_intr(|| poll(&mut [PollFd::new(&self.fd, what)], Some(&now)))? > 0)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn or_not_now(result: Result<usize, Errno>) -> io::Result<Option<usize>> {
    match result {
        Err(Errno::AGAIN) => Ok(None),
        result => Ok(Some(result?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signals;

    /// A stream that waits, so that it can be interrupted.
    fn waiting(fd: OwnedFd) -> Stream {
        Stream { fd, way: Way::File }
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        let (back, forth) = rustix::pipe::pipe().unwrap();
        let signals = Signals::to_this_thread();
        let other = std::thread::spawn(move || {
            Signals::wait_for(20);
            write(&write_end, b"hello").unwrap();
            Signals::wait_for(50);
            let mut all = 0;
            while all < 1 << 20 {
                all += read(&back, &mut [0; 65536]).unwrap();
            }
            all
        });
        let mut buffer = [0; 10];
        assert_eq!(waiting(read_end).read(&mut buffer).unwrap(), Some(5));
        let (stream, mut left) = (waiting(forth), 1 << 20);
        while left > 0 {
            left -= stream.write(&vec![0; left]).unwrap().unwrap();
        }
        drop(signals);
        assert_eq!(other.join().unwrap(), 1 << 20);
    }

    #[test]
    fn who_waits_for_a_slow_reader_is_not_disturbed() {
        use super::super::PcapWriter;
        use waterwheel_xdp::{Device, Health, Homes, Traffic};

        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&write_end, true).unwrap();
        while write(&write_end, &[0; 4096]).is_ok() {}
        let other = std::thread::spawn(move || {
            Signals::wait_for(100);
            let mut all = 0;
            while let Ok(n @ 1..) = read(&read_end, &mut [0; 4096]) {
                all += n;
            }
            all
        });
        let signals = Signals::to_this_thread();
        let mut writer = PcapWriter::given(write_end, "-").unwrap().patient(|| true);
        writer.shutdown(&mut Homes::new(&mut []));
        assert_eq!((writer.health(), writer.unsent()), (Health::Up, Traffic::default()));
        drop((signals, writer));
        assert!(other.join().unwrap() > 4096, "the header of the file came behind what filled the pipe");
    }
}
