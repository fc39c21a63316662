//! One program, map and link per interface, shared by all sockets that this process has on it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::rules::{Rules, Steering};
use super::{btf, steer, sys};
use crate::af_xdp::link::{Attached, Link};
use crate::af_xdp::{caps, error};
use crate::{DevError, holders};

/// Programs of a process that was just killed are gone within this time.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where the XDP program shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver when it can, else in the network stack.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the network stack (slower; any driver).
    Generic,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, after the kernel made a socket buffer.
    Generic,
    /// On the network card.
    Offloaded,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

/// An attached steering program and the map of its sockets. The program is detached when the last socket lets go.
#[derive(Debug)]
pub(in crate::af_xdp) struct Steer {
    map: OwnedFd,
    _prog: OwnedFd,
    link: OwnedFd,
    mode: XdpMode,
    steering: Steering,
    attach: AttachMode,
}

impl Steer {
    pub(in crate::af_xdp) fn mode(&self) -> XdpMode {
        self.mode
    }

    #[cfg(test)]
    pub(super) fn link_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// From now on the packets of `queue` go to `socket`.
    pub(in crate::af_xdp) fn insert(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        sys::update_xskmap(self.map.as_fd(), queue, socket)
    }

    /// From now on the packets of `queue` go to the host.
    pub(in crate::af_xdp) fn remove(&self, queue: u32) {
        // The kernel takes a socket out of the map when it closes: an error here says that it has.
        let _ = sys::delete_xskmap(self.map.as_fd(), queue);
    }
}

impl Drop for Steer {
    fn drop(&mut self) {
        // Closing the link detaches too (all that kernels before 5.9 do), but only with its last copy.
        let _ = sys::detach_link(self.link.as_fd());
    }
}

/// Attached programs by network namespace (its inode) and interface.
static STEERS: Mutex<Vec<(u64, u32, Weak<Steer>)>> = Mutex::new(Vec::new());

/// The steering program of an interface: the one that this process attached already, else a new one.
pub(in crate::af_xdp) fn attach_steering(
    link: &Link,
    steering: &Steering,
    attach: AttachMode,
) -> Result<Option<Arc<Steer>>, DevError> {
    let rules = match steering {
        Steering::None => return Ok(None),
        Steering::All => None,
        Steering::Rules(rules) => Some(rules),
    };
    let netns = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |meta| meta.ino());
    // Held while attaching: two threads that open two queues of one interface must end up with one program.
    let mut steers = STEERS.lock().unwrap_or_else(PoisonError::into_inner);
    steers.retain(|(_, _, steer)| steer.strong_count() > 0);
    let known = steers.iter().find(|(ns, ifindex, _)| *ns == netns && *ifindex == link.index);
    if let Some(steer) = known.and_then(|(_, _, steer)| steer.upgrade()) {
        return shared(link, steer, steering, attach).map(Some);
    }

    let steer = Arc::new(attach_anew(link, steering, rules, attach)?);
    steers.push((netns, link.index, Arc::downgrade(&steer)));
    Ok(Some(steer))
}

pub(super) fn attach_anew(
    link: &Link,
    steering: &Steering,
    rules: Option<&Rules>,
    attach: AttachMode,
) -> Result<Steer, DevError> {
    let map = sys::create_xskmap(link.rx_queues.max(64)).map_err(|errno| refused("an XSKMAP was refused", errno))?;
    let prog = load(&steer::assemble(rules, map.as_fd())?)?;
    let (xdp_link, mode) = attach_program(link, prog.as_fd(), attach)?;
    Ok(Steer { map, _prog: prog, link: xdp_link, mode, steering: steering.clone(), attach })
}

fn shared(link: &Link, steer: Arc<Steer>, steering: &Steering, attach: AttachMode) -> Result<Arc<Steer>, DevError> {
    if steer.steering != *steering {
        return Err(error::config(format!(
            "{}: another queue is open with steering `{}`, this one asks for `{steering}`: all queues of an interface share one program",
            link.name, steer.steering
        )));
    }
    if steer.attach != attach && attach != AttachMode::Auto {
        return Err(error::config(format!(
            "{}: another queue is open with its program in {} mode: all queues of an interface share one program",
            link.name, steer.mode
        )));
    }
    Ok(steer)
}

pub(super) fn load(insns: &[u64]) -> Result<OwnedFd, DevError> {
    // Functions the program calls are free for any licence; the kernel asks for one all the same.
    const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";
    // Nothing here needs types: a kernel that does not take them gets the program alone.
    let types = sys::load_btf(&btf::types()).ok();
    let types = types.as_ref().map(|types| (types.as_fd(), btf::FUNCTION));
    let errno = match sys::load_xdp(insns, btf::NAME, types, LICENSE, &mut []) {
        Ok(prog) => return Ok(prog),
        Err(errno) => errno,
    };
    if errno == Errno::PERM {
        return Err(refused("the XDP program was refused", errno));
    }
    // The log costs time, so it is asked for only now.
    let mut log = vec![0; 1 << 18];
    match sys::load_xdp(insns, btf::NAME, None, LICENSE, &mut log) {
        Ok(prog) => Ok(prog),
        Err(_) => {
            let text: String = log.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let tail = lines[lines.len().saturating_sub(8)..].join(" | ");
            Err(error::device(format!("the kernel refused the steering program: {errno}; its verifier says: {tail}")))
        }
    }
}

/// The error for a refused `bpf(2)` command: a missing capability is the usual reason.
fn refused(what: &str, errno: Errno) -> DevError {
    if errno == Errno::PERM || errno == Errno::ACCESS {
        return caps::missing(what, &[caps::NET_ADMIN, caps::BPF]);
    }
    error::device(format!("{what}: {errno}"))
}

fn attach_program(link: &Link, prog: BorrowedFd<'_>, attach: AttachMode) -> Result<(OwnedFd, XdpMode), DevError> {
    let native = || sys::link_xdp(prog, link.index, sys::DRV_MODE).map(|fd| (fd, XdpMode::Native));
    let generic = || sys::link_xdp(prog, link.index, sys::SKB_MODE).map(|fd| (fd, XdpMode::Generic));
    let taken = |errno| matches!(errno, Errno::BUSY | Errno::EXIST);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = match attach {
            AttachMode::Native => native(),
            AttachMode::Generic => generic(),
            AttachMode::Auto => native().or_else(|errno| if taken(errno) { Err(errno) } else { generic() }),
        };
        let errno = match result {
            Ok(attached) => return Ok(attached),
            Err(errno) => errno,
        };
        if !taken(errno) {
            return Err(attach_error(link, attach, errno));
        }
        // A process that was killed a moment ago still shows its program; whoever holds one for good can be named.
        let attached = Link::by_index(link.index).ok().and_then(|link| link.xdp);
        let holder = attached.and_then(|attached| holders::of_program(attached.prog_id));
        if holder.is_some() || Instant::now() > deadline {
            let Some(attached) = attached else { return Err(attach_error(link, attach, errno)) };
            let ours = sys::program_name(attached.prog_id).is_ok_and(|name| name == btf::NAME);
            let hint =
                if ours { " (one process has all queues of an interface that are used: give them to one)" } else { "" };
            return Err(error::device(format!(
                "{}: {} is attached already{hint}: stop its owner, or remove it: {}",
                link.name,
                describe_program(&attached),
                removal(&attached, link)
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn attach_error(link: &Link, attach: AttachMode, errno: Errno) -> DevError {
    let name = &link.name;
    match errno {
        Errno::PERM | Errno::ACCESS => {
            caps::missing(&format!("{name}: attaching the XDP program was refused"), &[caps::NET_ADMIN, caps::BPF])
        }
        Errno::NODEV => error::device(format!("{name}: the interface is gone")),
        Errno::OPNOTSUPP if attach == AttachMode::Native => error::device(format!(
            "{name}: the driver ({}) has no native XDP: ask for mode auto or generic",
            link.driver()
        )),
        Errno::RANGE | Errno::INVAL if attach == AttachMode::Native => error::device(format!(
            "{name}: the driver refuses a native XDP program ({errno}), often because the MTU ({}, or its peer's) is too large or offloads are on: \
             lower the MTU below 3498, or ask for mode generic",
            link.mtu
        )),
        errno => error::device(format!("{name}: attaching the XDP program failed: {errno}")),
    }
}

/// The command that takes a program off an interface.
pub(in crate::af_xdp) fn removal(attached: &Attached, link: &Link) -> String {
    // `ip` means the driver's where it says nothing.
    let mode = match attached.mode {
        XdpMode::Native => "xdpdrv",
        XdpMode::Generic => "xdpgeneric",
        XdpMode::Offloaded => "xdpoffload",
    };
    let ip = format!("`ip link set dev {} {mode} off`", link.name);
    match sys::xdp_link_of(attached.prog_id, link.index) {
        Ok(Some(id)) => format!("`bpftool link detach id {id}`"),
        Ok(None) => ip,
        // Who may not see links cannot know.
        Err(_) => format!("{ip}, or, when a link holds it (`bpftool link`), `bpftool link detach id ID`"),
    }
}

/// An attached program in words: id, name, mode, and who loaded it, as far as can be known.
pub(in crate::af_xdp) fn describe_program(attached: &Attached) -> String {
    let name = sys::program_name(attached.prog_id).map_or_else(|_| String::new(), |name| format!(" `{name}`"));
    let holder = holders::of_program(attached.prog_id)
        .map_or_else(|| "held by no process that can be seen".to_owned(), |holder| format!("held by {holder}"));
    format!("XDP program {}{name} ({}, {holder})", attached.prog_id, attached.mode)
}
