//! io_uring over pages of a pool: sockets of the running kernel, whose bytes are received into pages and sent from them.
//!
//! [`Ring`] is the layer above the kernel's rings: requests go in, [`Event`]s come out. Pages that wait for what is received lie in a buffer ring that all sockets share; a page that is sent
//! comes home when the kernel says that it holds it no more: at once after a plain send, which copies, and after the notification of a zero-copy send, which for TCP means that its bytes
//! are acknowledged (or that the connection was reset). What the kernel lacks is found out when the ring is opened ([`Features`]), and a plain path is used.
//!
//! After `io_uring_enter(2)`, `io_uring_register(2)` and Linux `include/uapi/linux/io_uring.h`.

mod buffers;
mod choice;
mod features;
mod requests;
#[cfg(test)]
mod requests_tests;
mod ring;
mod slots;
mod sys;

pub(crate) use choice::Choice;
pub use choice::Send;
pub use features::{Features, Without};
pub use requests::{Event, RingStats};
pub(crate) use ring::LONGEST_WAIT;
pub use ring::{Receive, Ring, RingParams};
pub use slots::{Op, PARTS, Part};
pub(crate) use sys::{dropped, own_descriptors, unacknowledged};

use std::io;

use crate::error::{DevError, ErrorClass};

/// Why there is no io_uring, and the way out.
pub(crate) fn refused(error: &io::Error) -> DevError {
    let (class, why) = match error.raw_os_error() {
        Some(libc::ENOSYS) => (ErrorClass::Device, "this kernel has no io_uring: it takes Linux 5.11, built with CONFIG_IO_URING".to_owned()),
        Some(libc::EPERM | libc::EACCES) => (
            ErrorClass::Permission,
            "io_uring is not allowed here: set the sysctl kernel.io_uring_disabled to 0, or let the container's seccomp profile allow it".to_owned(),
        ),
        Some(libc::EINVAL) => (ErrorClass::Device, "the io_uring of this kernel is too old: it takes Linux 5.11".to_owned()),
        Some(libc::ENOMEM) => (ErrorClass::Device, "no memory for io_uring: raise the limit of locked memory (ulimit -l)".to_owned()),
        _ => (ErrorClass::Device, format!("io_uring cannot be set up: {error}")),
    };
    DevError::new(class, why)
}
