//! `tap`: an Ethernet interface of this machine whose other end is this process.

mod lost;
mod sys;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, DropReason, Drops, HEADROOM, Health, Homes, MAX_FRAGS, Page, PagePool,
    Traffic, Wait, XdpBuff, XdpFrame,
};

use crate::error::{DevError, ErrorClass};
use crate::holders;
use crate::sent::Sent;
use lost::QueueFull;

/// Empty pages that are taken from the pool at once.
const SPARE: usize = 32;

/// Pages that a packet is given room in: what 9000 bytes need. They become more when a packet has filled them.
const USUAL_PARTS: usize = 3;

/// The longest frame that is offered to the driver: that of an IP packet of the greatest length.
const MAX_FRAME: usize = 65535;

/// How long packets may be counted at the end, if the host goes on sending.
const LET_GO: Duration = Duration::from_millis(200);

/// The most queues of a tap (`MAX_TAP_QUEUES`, drivers/net/tun.c).
pub const MAX_QUEUES: u16 = 256;

/// A tap interface, or a queue of one (`/dev/net/tun`, Documentation/networking/tuntap.rst).
///
/// What the host sends to the interface is received here, and what is sent here the host receives. The interface is set up, as that is the point of a tap, and
/// nothing else of the machine is changed: no address, no route, no bridge. The host's own traffic begins at once (IPv6 neighbour
/// discovery, for instance). The interface goes away with the process.
///
/// Every packet costs one system call, `read` or `write`, and a copy: a tap is for convenience, not for speed.
///
/// Packets that were in the queue when the device ended are lost, as `rx_left_at_close`. From then on the interface has no carrier,
/// or one queue less if it has several.
#[derive(Debug)]
pub struct Tap {
    name: String,
    interface: String,
    fd: OwnedFd,
    /// A queue of an interface that may have others.
    one_of_many: bool,
    spare: Vec<Page>,
    /// Pages that the next packet may need.
    parts: usize,
    sent: Sent,
    counters: Counters,
    /// Of the interface: its first queue tells.
    queue_full: Option<QueueFull>,
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    /// Packets that filled all pages to their end, and so may have been cut by the driver.
    too_long: u64,
    /// Packets that were cut as there were fewer pages than they needed.
    no_pages: u64,
    /// Calls that failed because the interface was down.
    interface_down: u64,
    /// Writes that failed because the queue of the interface was full.
    tx_busy: u64,
    /// Calls that failed otherwise.
    errors: u64,
    /// Packets that were in the queue at the end.
    left_at_close: u64,
}

impl Tap {
    /// Makes the interface `name` and sets it up. A `%d` in the name becomes the first free number, and an empty name is the kernel's choice; a tap that is there
    /// already (`ip tuntap add mode tap`, also with `multi_queue`) and that nobody holds is taken. The device's name is `tap:INTERFACE`.
    ///
    /// # Errors
    /// Usage: no such name is possible. Permission: CAP_NET_ADMIN is missing. Device: the kernel has no tap driver, or the interface is taken.
    pub fn open(name: &str) -> Result<Self, DevError> {
        let fd = tun(name)?;
        let (interface, one_of_many) = match sys::attach(fd.as_fd(), name, false) {
            // One that was made for several queues is opened as one of these, if it has no others.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                nobody_else(name, 0)?;
                let interface =
                    sys::attach(fd.as_fd(), name, true).map_err(|_| refused(name, "open the interface", &error))?;
                nobody_else(&interface, 1)?;
                (interface, true)
            }
            attached => (attached.map_err(|error| refused(name, "make the interface", &error))?, false),
        };
        sys::set_up(&interface).map_err(|error| refused(&interface, "set the interface up", &error))?;
        Ok(Self::of(fd, interface, one_of_many))
    }

    /// Several queues of one interface, which may go to different workers: the kernel keeps the packets of a flow in one of them. Their names are `tap:INTERFACE:QUEUE`.
    ///
    /// # Errors
    /// As [`open`](Self::open). Usage: 1 to [`MAX_QUEUES`] are possible. Device: a tap of that name is there that was made for one queue.
    pub fn open_queues(name: &str, queues: u16) -> Result<Vec<Self>, DevError> {
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(DevError::new(
                ErrorClass::Usage,
                format!("tap:{name}: queues={queues}: want 1 to {MAX_QUEUES}"),
            ));
        }
        check_name(name)?;
        nobody_else(name, 0)?;
        let mut all = vec![Self::open_queue(name, 0)?];
        let interface = all[0].interface.clone();
        for queue in 1..queues {
            all.push(Self::open_queue(&interface, queue)?);
        }
        nobody_else(&interface, queues.into())?;
        Ok(all)
    }

    /// One queue of an interface that has several, when the others are opened elsewhere, or are open: [`open_queues`](Self::open_queues) is for all of them. `queue` is its number in its
    /// name; the first one tells what is known of the interface.
    ///
    /// # Errors
    /// As [`open_queues`](Self::open_queues).
    pub fn open_queue(name: &str, queue: u16) -> Result<Self, DevError> {
        let fd = tun(name)?;
        let interface = sys::attach(fd.as_fd(), name, true).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => {
                let message = "there is an interface of that name that takes one queue, or is no tap: leave queues out, or choose another name";
                DevError::new(ErrorClass::Device, format!("tap:{name}: cannot open a queue: {message}"))
            }
            _ => refused(name, "open a queue", &error),
        })?;
        sys::set_up(&interface).map_err(|error| refused(&interface, "set the interface up", &error))?;
        let tap = Self::of(fd, interface, true);
        let name = format!("{}:{queue}", tap.name);
        let queue_full = tap.queue_full.filter(|_| queue == 0);
        Ok(Self { name, queue_full, ..tap })
    }

    fn of(fd: OwnedFd, interface: String, one_of_many: bool) -> Self {
        Self {
            name: format!("tap:{interface}"),
            queue_full: Some(QueueFull::new(&interface)),
            interface,
            fd,
            one_of_many,
            spare: Vec::with_capacity(SPARE),
            parts: USUAL_PARTS,
            sent: Sent::new(),
            counters: Counters::default(),
            failure: None,
        }
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

    /// Reads one packet: into the last of the spare pages, and where it goes on into those before it. `None`: there are no pages. `MSGSIZE`: it had no room in them.
    fn read(&mut self, pool: &mut PagePool) -> Option<Result<XdpBuff, Errno>> {
        if self.spare.len() < self.parts {
            self.spare.extend(pool.hand_out(Direction::Rx, SPARE));
        }
        let parts = self.parts.min(self.spare.len());
        if parts == 0 {
            return None; // nothing is read that would have no place
        }
        let mut room: [IoSliceMut<'_>; 1 + MAX_FRAGS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (i, page) in self.spare.iter_mut().rev().take(parts).enumerate() {
            room[i] = IoSliceMut::new(&mut page.as_mut_slice()[if i == 0 { HEADROOM } else { 0 }..]);
        }
        let whole: usize = room.iter().map(|part| part.len()).sum();
        let result = retry_on_intr(|| rustix::io::readv(&self.fd, &mut room[..parts]));
        let mut left = match result {
            // The driver cuts without a word what does not fit.
            Ok(len) if len == whole => {
                if parts < self.parts {
                    self.counters.no_pages += 1;
                    return Some(Err(Errno::MSGSIZE));
                }
                self.counters.too_long += 1;
                self.parts = (2 * self.parts).min(1 + MAX_FRAGS);
                return Some(Err(Errno::MSGSIZE));
            }
            Ok(len) => len,
            Err(error) => return Some(Err(error)),
        };
        let first = self.spare.pop()?;
        let len = left.min(first.size() - HEADROOM);
        let mut packet = XdpBuff::new(first, HEADROOM, len);
        left -= len;
        while left > 0 {
            let page = self.spare.pop()?;
            let len = left.min(page.size());
            let _ = packet.push_frag(page, 0, len); // there are as many as parts
            left -= len;
        }
        Some(Ok(packet))
    }

    /// Writes one packet; tells its length.
    fn write(&self, frame: &XdpFrame) -> Result<usize, Errno> {
        if !frame.has_frags() {
            return retry_on_intr(|| rustix::io::write(&self.fd, frame.data()));
        }
        let mut parts = [IoSlice::new(&[]); 1 + MAX_FRAGS];
        parts.iter_mut().zip(frame.parts()).for_each(|(to, part)| *to = IoSlice::new(part));
        retry_on_intr(|| rustix::io::writev(&self.fd, &parts[..=frame.frag_count()]))
    }

    /// Counts what the host has sent and nobody has read. What it sends from here until the descriptor is closed, nobody can count.
    fn empty(&mut self) {
        // The carrier is that of all queues: others may go on. An error means that the interface is gone.
        if !self.one_of_many {
            let _ = sys::drop_carrier(self.fd.as_fd());
        }
        let deadline = Instant::now() + LET_GO;
        // What does not fit into the byte is cut.
        let next = || retry_on_intr(|| rustix::io::read(&self.fd, &mut [0_u8]));
        while Instant::now() < deadline && matches!(next(), Ok(1)) {
            self.counters.left_at_close += 1;
        }
        // Flows go to the other queues from here on. The kernel forgets what came since that look.
        if self.one_of_many {
            let _ = sys::detach(self.fd.as_fd());
        }
    }

    /// Counts a failed call.
    fn note(&mut self, error: Errno) {
        match error {
            Errno::IO | Errno::NETDOWN => self.counters.interface_down += 1,
            Errno::BADFD => self.failure = Some(format!("{}: the interface is gone", self.name)),
            _ => self.counters.errors += 1,
        }
    }
}

impl Device for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: MAX_FRAME, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        for _ in 0..budget {
            match self.read(pool) {
                Some(Ok(packet)) => batch.push(packet),
                Some(Err(Errno::MSGSIZE)) => {}
                Some(Err(error)) => {
                    if error != Errno::AGAIN {
                        self.note(error);
                    }
                    break;
                }
                None => break,
            }
        }
        batch.len() - before
    }

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let mut taken = 0;
        for frame in frames.iter() {
            // The driver would take longer ones, which no IP packet is.
            let written = if frame.total_len() > MAX_FRAME { Err(Errno::MSGSIZE) } else { self.write(frame) };
            match written {
                Ok(len) => traffic.add(len),
                Err(Errno::AGAIN) => {
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

    fn lost(&self, f: &mut dyn FnMut(&'static str, u64)) {
        f("tap_queue_full", self.queue_full.as_ref().map_or(0, QueueFull::now));
        f("too_long", self.counters.too_long);
        f("no_pages", self.counters.no_pages);
        f("rx_left_at_close", self.counters.left_at_close);
    }

    fn in_flight(&self) -> usize {
        self.sent.pages() + self.spare.len()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
        self.spare.iter().for_each(|page| account.queued(page));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.empty();
        self.queue_full.as_ref().map(QueueFull::now); // as long as the interface is there
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

/// An open `/dev/net/tun`.
fn tun(name: &str) -> Result<OwnedFd, DevError> {
    check_name(name)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open("/dev/net/tun", flags, Mode::empty())
        .map_err(|error| refused(name, "open /dev/net/tun", &error.into()))
}

/// A tap with several queues has no owner: others could have some of its packets. It is looked before a queue is attached, as from then on flows go
/// there, whose packets would be lost if it had to be given back; and afterwards, as others may have come at the same time.
fn nobody_else(interface: &str, own: usize) -> Result<(), DevError> {
    match holders::of_tap(interface, own).as_slice() {
        [] => Ok(()),
        others => {
            let message =
                format!("tap:{interface}: taken: queues of it are open in {}: choose another name", others.join(", "));
            Err(DevError::new(ErrorClass::Device, message))
        }
    }
}

fn refused(name: &str, action: &str, error: &io::Error) -> DevError {
    let (class, hint) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (
            ErrorClass::Permission,
            "; it takes CAP_NET_ADMIN: run as root, or give the program the capability (`setcap cap_net_admin+ep FILE`)",
        ),
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            (ErrorClass::Device, "; the kernel has no tap driver here: modprobe tun")
        }
        Some(libc::EBUSY) => {
            let holder = holders::of_tap(name, 0).into_iter().next().unwrap_or_else(|| "another process".to_owned());
            (ErrorClass::Device, &*format!("; {holder} holds that tap: choose another name"))
        }
        Some(libc::EINVAL) => {
            (ErrorClass::Device, "; an interface of that name is there and is no tap: choose another name")
        }
        _ => (ErrorClass::Device, ""),
    };
    DevError::new(class, format!("tap:{name}: cannot {action}: {error}{hint}"))
}
