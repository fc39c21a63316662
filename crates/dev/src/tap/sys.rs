//! The system calls of a tap that rustix does not have: `TUNSETIFF` and its kind, and the interface flags.

#![expect(unsafe_code, reason = "ioctl takes a pointer to a C structure")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Longest interface name in bytes, without its terminating zero (`IFNAMSIZ` of linux/if.h).
pub(super) const LONGEST_NAME: usize = libc::IFNAMSIZ - 1;

/// An `ifreq` for the interface `name`, which is [`LONGEST_NAME`] bytes at most.
fn request(name: &str, flags: libc::c_int) -> libc::ifreq {
    let mut chars = [0; libc::IFNAMSIZ];
    for (to, from) in chars[..LONGEST_NAME].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // The flags are a short in the kernel's structure; all flags used here fit.
    libc::ifreq { ifr_name: chars, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short } }
}

fn ioctl(fd: BorrowedFd<'_>, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the codes passed here (TUNSETIFF, TUNSETQUEUE, SIOCGIFFLAGS, SIOCSIFFLAGS) read and write one ifreq, which `request` is, exclusively
    // borrowed for the call, and TUNSETCARRIER reads an int, which is less; `fd` is open as long as it is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), code as libc::Ioctl, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the open `/dev/net/tun` a tap without packet information header (linux/if_tun.h), and returns the name of its interface: the kernel replaces
/// a `%d` in `name`, and chooses tap0, tap1, ... for an empty one. `one_of_many`: a queue of a tap that may have several.
pub(super) fn attach(tun: BorrowedFd<'_>, name: &str, one_of_many: bool) -> io::Result<String> {
    let queues = if one_of_many { libc::IFF_MULTI_QUEUE } else { 0 };
    let mut request = request(name, libc::IFF_TAP | libc::IFF_NO_PI | queues);
    ioctl(tun, libc::TUNSETIFF as libc::c_ulong, &mut request)?;
    let bytes = request.ifr_name.iter().map(|c| c.cast_unsigned()).take_while(|c| *c != 0).collect();
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Takes the queue from its interface: flows go to the others. What is in it is lost.
pub(super) fn detach(tun: BorrowedFd<'_>) -> io::Result<()> {
    ioctl(tun, libc::TUNSETQUEUE as libc::c_ulong, &mut request("", libc::IFF_DETACH_QUEUE))
}

/// Tells the host that nobody is there, as after the end of who holds it: some moments later it sends nothing to the interface any more. The next one to attach has a carrier again.
pub(super) fn drop_carrier(tun: BorrowedFd<'_>) -> io::Result<()> {
    // The int that is asked for is 0, as all bytes of this are.
    ioctl(tun, libc::TUNSETCARRIER as libc::c_ulong, &mut request("", 0))
}

/// Sets the interface up (netdevice(7)).
pub(super) fn set_up(name: &str) -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let mut request = request(name, 0);
    ioctl(socket.as_fd(), libc::SIOCGIFFLAGS as libc::c_ulong, &mut request)?;
    // SAFETY: SIOCGIFFLAGS filled in the flags, and a short was there before it, too.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ioctl(socket.as_fd(), libc::SIOCSIFFLAGS as libc::c_ulong, &mut request)
}
