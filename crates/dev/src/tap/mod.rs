//! `tap`: an Ethernet interface of this machine whose other end is this process.

mod sys;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{DevError, ErrorClass};

/// Opens `/dev/net/tun` and makes the interface, up.
fn open(name: &str) -> Result<(OwnedFd, String), DevError> {
    check_name(name)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
        .map_err(|error| refused(name, "open /dev/net/tun", error.into()))?;
    let name = sys::attach(fd.as_fd(), name).map_err(|error| refused(name, "make the interface", error))?;
    sys::set_up(&name).map_err(|error| refused(&name, "set the interface up", error))?;
    Ok((fd, name))
}

/// What dev_valid_name (net/core/dev.c) lets through.
fn check_name(name: &str) -> Result<(), DevError> {
    let wrong = |what: &str| DevError::new(ErrorClass::Usage, format!("tap name {name:?} {what}"));
    if name.len() > sys::LONGEST_NAME {
        return Err(wrong(&format!("is too long: an interface name has {} bytes at most", sys::LONGEST_NAME)));
    }
    if name == "." || name == ".." || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) {
        return Err(wrong("cannot name an interface: leave out '/', ':' and blanks"));
    }
    Ok(())
}

fn refused(name: &str, action: &str, error: io::Error) -> DevError {
    let (class, hint) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            (ErrorClass::Permission, "; it takes CAP_NET_ADMIN: run as root, or give the program the capability")
        }
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            (ErrorClass::Device, "; the kernel has no tap driver here: modprobe tun")
        }
        Some(libc::EBUSY) => (ErrorClass::Device, "; another process holds that tap: choose another name"),
        Some(libc::EINVAL) => {
            (ErrorClass::Device, "; an interface of that name is there and is no tap: choose another name")
        }
        _ => (ErrorClass::Device, ""),
    };
    DevError::new(class, format!("tap:{name}: cannot {action}: {error}{hint}"))
}
