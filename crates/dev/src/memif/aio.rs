#![expect(unsafe_code, reason = "io_setup(2) and its like, which neither std nor rustix has")]
//! To signal an eventfd without ever waiting.
//!
//! A write to an eventfd waits when it is full and blocks, and whoever has it too can make it so at any moment, after any look of ours. The kernel's own signal, which an asynchronous read sends at
//! its end (`IOCB_FLAG_RESFD`, `eventfd_signal`), never waits: what is full stays full. So we read nothing, of `/dev/null`, which ends within the call.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::io::Errno;

/// Reads that may have ended before their results are thrown away.
const EVENTS: usize = 64;
/// What was made room for may be gone again: others signal, too.
const TRIES: usize = 32;
/// `IOCB_CMD_PREAD`, `IOCB_FLAG_RESFD` (`include/uapi/linux/aio_abi.h`).
const PREAD: u16 = 0;
const RESFD: u32 = 1;

/// `struct iocb`. The order of `key` and `rw_flags` depends on the byte order; both are 0.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    second: i64,
}

const _: () = assert!(size_of::<Request>() == 64 && size_of::<Event>() == 32);

/// A context of asynchronous reads, and what they read nothing of. It goes with the process.
struct Context {
    id: libc::c_ulong,
    null: File,
}

/// One for all threads: the kernel has its locks.
static CONTEXT: OnceLock<Option<Context>> = OnceLock::new();

/// Signals an eventfd.
///
/// # Errors
/// It is none; or this kernel does not do that, or not for us.
pub(super) fn signal(event: BorrowedFd<'_>) -> Result<(), Errno> {
    let context = CONTEXT.get_or_init(Context::new).as_ref().ok_or(Errno::NOSYS)?;
    for _ in 0..TRIES {
        match context.submit(event) {
            Err(Errno::AGAIN) => context.forget(),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

impl Context {
    fn new() -> Option<Self> {
        let null = File::open("/dev/null").ok()?;
        let mut id: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word, which lives through the call.
        check(unsafe { libc::syscall(libc::SYS_io_setup, EVENTS as libc::c_uint, &raw mut id) }).ok()?;
        Some(Self { id, null })
    }

    fn submit(&self, event: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut request = Request {
            opcode: PREAD,
            file: self.null.as_raw_fd().cast_unsigned(),
            flags: RESFD,
            event: event.as_raw_fd().cast_unsigned(),
            ..Request::default()
        };
        let mut list = [&raw mut request];
        // SAFETY: a list of one request, both of which live through the call; the request reads no bytes, and so nothing of it is used after the call.
        check(unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1 as libc::c_long, list.as_mut_ptr()) }).map(drop)
    }

    /// Throws the results away.
    fn forget(&self) {
        let mut events = [Event::default(); EVENTS];
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes at most as many events as there are, and reads a time; both live through the call.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0 as libc::c_long,
                EVENTS as libc::c_long,
                events.as_mut_ptr(),
                &raw const now,
            )
        };
    }
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
