//! Descriptors that this process was given, by whatever name.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::failure::{Class, Failure};

/// Links that are followed to find out that a name leads to a descriptor.
const LINKS: usize = 8;

/// The descriptor that `file` stands for; `dash` is that of `-`. `None`: a file that is opened by its name.
pub(crate) fn number(file: &str, dash: RawFd) -> Option<RawFd> {
    if file == "-" {
        return Some(dash);
    }
    // As the kernel shows it to whoever asks: /dev/stdin, /dev/fd and others are links that lead there.
    let ours = ["/proc/self/fd", "/proc/thread-self/fd"].map(|path| fs::canonicalize(path).ok());
    let mut path = Path::new(file).to_owned();
    for _ in 0..LINKS {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => ".".into(),
        };
        let name = path.file_name()?;
        if fs::canonicalize(&folder).is_ok_and(|folder| ours.iter().flatten().any(|ours| *ours == folder)) {
            return name.to_str()?.parse().ok();
        }
        path = folder.join(fs::read_link(&path).ok()?);
    }
    None
}

/// Another descriptor of one that this process was given: it is not opened again, as it may be anything, and others may have it.
///
/// # Errors
/// There is no such descriptor, or it is one that this program has for itself.
pub(super) fn take(number: RawFd) -> Result<OwnedFd, Failure> {
    let fd = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        _ => duplicate(number),
    };
    fd.map_err(|error| Failure::new(Class::Config, format!("cannot use descriptor {number}: {error}")))
}

fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // What is given over an exec is not closed by one, and all that is opened here is.
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
    let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok()).map(OFlags::from_bits_retain);
    let Some(flags) = flags.filter(|flags| !flags.contains(OFlags::CLOEXEC)) else {
        return Err(io::Error::other("this program was not given one of that number"));
    };
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    match pidfd_getfd(this, number, PidfdGetfdFlags::empty()) {
        // A container may forbid that. A pipe, as the shell's `<(...)` and `>(...)` make them, may as well be opened again.
        Err(Errno::PERM | Errno::NOSYS) => {
            let path = format!("/proc/self/fd/{number}");
            if !fs::metadata(&path)?.file_type().is_fifo() {
                return Err(Errno::PERM.into());
            }
            Ok(open(path, (flags & OFlags::ACCMODE) | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
        }
        fd => Ok(fd?),
    }
}
