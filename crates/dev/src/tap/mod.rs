//! `tap`: an Ethernet interface of this machine whose other end is this process.

mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, DropReason, Drops, HEADROOM, Health, Homes, Page, PagePool, Traffic,
    Wait, XdpBuff, XdpFrame,
};

use crate::error::{DevError, ErrorClass};
use crate::sent::{Sent, mark};

/// Empty pages that are taken from the pool at once.
const SPARE: usize = 32;

/// The longest frame that is offered to the driver: that of an IP packet of the greatest length.
const MAX_FRAME: usize = 65535;

/// A tap interface (`/dev/net/tun`, Documentation/networking/tuntap.rst).
///
/// What the host sends to the interface is received here, and what is sent here the host receives. The interface is set up, as that is the point of a tap, and
/// nothing else of the machine is changed: no address, no route, no bridge. The host's own traffic begins at once (IPv6 neighbour
/// discovery, for instance). The interface goes away with the process.
///
/// Every packet costs one system call, `read` or `write`, and a copy: a tap is for convenience, not for speed.
#[derive(Debug)]
pub struct Tap {
    name: String,
    interface: String,
    fd: OwnedFd,
    spare: Vec<Page>,
    sent: Sent,
    counters: Counters,
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    /// Packets that filled a page to its end, and so may have been cut by the driver.
    too_long: u64,
    /// Calls that failed because the interface was down.
    interface_down: u64,
    /// Writes that failed because the queue of the interface was full.
    tx_busy: u64,
    /// Calls that failed otherwise.
    errors: u64,
}

impl Tap {
    /// Makes the interface `name` and sets it up. A `%d` in the name becomes the first free number, and an empty name is the kernel's choice; a tap that is there
    /// already (`ip tuntap add mode tap`) and that nobody holds is taken. The device's name is `tap:INTERFACE`.
    ///
    /// # Errors
    /// Usage: no such name is possible. Permission: CAP_NET_ADMIN is missing. Device: the kernel has no tap driver, or the interface is taken.
    pub fn open(name: &str) -> Result<Self, DevError> {
        check_name(name)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(|error| refused(name, "open /dev/net/tun", &error.into()))?;
        let interface = sys::attach(fd.as_fd(), name).map_err(|error| refused(name, "make the interface", &error))?;
        sys::set_up(&interface).map_err(|error| refused(&interface, "set the interface up", &error))?;
        Ok(Self {
            name: format!("tap:{interface}"),
            interface,
            fd,
            spare: Vec::with_capacity(SPARE),
            sent: Sent::new(),
            counters: Counters::default(),
            failure: None,
        })
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The name of the interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    fn spare_page(&mut self, pool: &mut PagePool) -> Option<Page> {
        if self.spare.is_empty() {
            let spare = &mut self.spare;
            spare.extend(pool.hand_out(Direction::Rx, SPARE));
        }
        self.spare.pop()
    }

    /// Counts a failed call; false when the interface is gone.
    fn note(&mut self, error: Errno) -> bool {
        match error {
            Errno::IO | Errno::NETDOWN => self.counters.interface_down += 1,
            Errno::BADFD => {
                self.failure = Some(format!("{}: the interface is gone", self.name));
                return false;
            }
            _ => self.counters.errors += 1,
        }
        true
    }
}

impl Device for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: MAX_FRAME, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let mut received = 0;
        while received < budget && self.failure.is_none() {
            let Some(mut page) = self.spare_page(pool) else { break };
            let room = &mut page.as_mut_slice()[HEADROOM..];
            match rustix::io::read(&self.fd, &mut *room) {
                // The driver cuts without a word what does not fit.
                Ok(len) if len == room.len() => {
                    self.counters.too_long += 1;
                    self.spare.push(page);
                }
                Ok(len) => {
                    batch.push(XdpBuff::new(page, HEADROOM, len));
                    received += 1;
                }
                Err(error) => {
                    self.spare.push(page);
                    if error != Errno::AGAIN && error != Errno::INTR {
                        self.note(error);
                    }
                    break;
                }
            }
        }
        received
    }

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let mut taken = 0;
        for frame in frames.iter() {
            match rustix::io::write(&self.fd, frame.data()) {
                Ok(_) => {
                    traffic.packets += 1;
                    traffic.bytes += frame.len() as u64;
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.counters.tx_busy += 1;
                    break;
                }
                Err(Errno::INVAL) => drops.add(DropReason::Malformed, 1), // shorter than an Ethernet header
                Err(Errno::MSGSIZE) => drops.add(DropReason::FrameTooLong, 1),
                Err(error) => {
                    self.note(error);
                    drops.add(DropReason::DeviceDown, 1);
                }
            }
            taken += 1;
        }
        frames.drain(..taken).for_each(|frame| self.sent.push(frame));
        traffic
    }

    fn wait(&self) -> Wait {
        Wait::Readable
    }

    fn fds<'a>(&'a self, each: &mut dyn FnMut(BorrowedFd<'a>)) {
        each(self.fd.as_fd());
    }

    fn health(&mut self) -> Health {
        self.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn counters(&self, f: &mut dyn FnMut(&'static str, u64)) {
        f("too_long", self.counters.too_long);
        f("interface_down", self.counters.interface_down);
        f("tx_busy", self.counters.tx_busy);
        f("errors", self.counters.errors);
    }

    fn in_flight(&self) -> usize {
        self.sent.len() + self.spare.len()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
        for page in &self.spare {
            mark(account, page);
        }
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.sent.complete(homes);
        homes.put_bulk(self.spare.drain(..));
    }
}

/// What `dev_valid_name` (net/core/dev.c) lets through.
fn check_name(name: &str) -> Result<(), DevError> {
    let wrong = |what: &str| DevError::new(ErrorClass::Usage, format!("tap:{name:?} {what}"));
    if name.len() > sys::LONGEST_NAME {
        return Err(wrong(&format!("is too long: an interface name has {} bytes at most", sys::LONGEST_NAME)));
    }
    if name == "." || name == ".." || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) {
        return Err(wrong("cannot name an interface: leave out '/', ':' and blanks"));
    }
    Ok(())
}

fn refused(name: &str, action: &str, error: &io::Error) -> DevError {
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
