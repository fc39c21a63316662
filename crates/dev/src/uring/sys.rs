#![expect(unsafe_code, reason = "a thread with descriptors of its own")]

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
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS));
        }
        first = kept.map_or(first, |kept| first.max(kept + 1));
    }
    Ok(())
}
