#![expect(unsafe_code, reason = "a thread with descriptors of its own; what sockets tell of themselves")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a table of descriptors of its own, with copies of `keep` and of the standard streams in it and nothing else: the limit on open files is
/// then for this thread alone, and no other thread's opens and closes are in its way.
///
/// A copy does not close the original: whoever started this thread keeps what it lent, and closes it.
pub(crate) fn own_descriptors(keep: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    // SAFETY: copies keep their numbers, so what this thread was lent stays valid here; what it opens from now on it closes itself.
    unsafe { unshare_unsafe(UnshareFlags::FILES)? };
    let mut keep = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect::<Vec<_>>();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep.into_iter().map(Some).chain([None]) {
        let last = kept.map_or(u32::MAX, |kept| kept.saturating_sub(1));
        // SAFETY: copies that nobody on this thread uses; the originals stay open.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(last_error());
        }
        first = kept.map_or(first, |kept| first.max(kept + 1));
    }
    Ok(())
}

/// Bytes that were written to a TCP socket and that its peer has not acknowledged (`SIOCOUTQ`), also when the connection is over.
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes an int there.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(bytes.unsigned_abs() as usize),
        _ => Err(last_error()),
    }
}

/// Packets that the kernel dropped instead of letting them wait in `socket`, mostly as its buffer was full: `SK_MEMINFO_DROPS` (Linux 4.12). It starts again after 2^32.
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    const DROPS: usize = 8;
    let mut told = [0u32; DROPS + 1];
    let mut len = size_of_val(&told) as libc::socklen_t;
    // SAFETY: the call writes at most `len` bytes there, of plain numbers.
    let done = unsafe {
        let to = told.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut len)
    };
    match done {
        0 => Ok(told[DROPS]),
        _ => Err(last_error()),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
