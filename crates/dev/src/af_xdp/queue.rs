//! Everything that makes one queue of one interface ours: checks, program, socket, entry in the program's map, promiscuous mode.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::bpf::{Steer, XdpMode, attach_steering};
use super::link::Link;
use super::socket::{Promiscuous, Socket, Umem, no_such_queue};
use super::{AfXdpParams, ZeroCopy, error};
use crate::DevError;

/// An open queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) socket: Socket,
    pub(super) link: Link,
    queue: u32,
    steer: Option<Arc<Steer>>,
    _promiscuous: Option<Promiscuous>,
}

impl Queue {
    pub(super) fn open(umem: Umem, params: &AfXdpParams) -> Result<Self, DevError> {
        params.check()?;
        let link = Link::by_name(&params.iface)?;
        if !link.ethernet {
            let message = format!(
                "{} is not an Ethernet interface (driver {}): its packets have no Ethernet header",
                link.name,
                link.driver()
            );
            return Err(error::device(message));
        }
        if !link.up {
            return Err(error::device(format!("{0} is down: `ip link set {0} up`", link.name)));
        }
        if params.queue >= link.rx_queues {
            return Err(no_such_queue(&link, params.queue));
        }
        // The program first: drivers set up zero copy only with one, and a taken interface is the clearer error.
        let steer = attach_steering(&link, &params.steering, params.mode)?;
        let generic = steer.as_ref().is_some_and(|steer| steer.mode() == XdpMode::Generic);
        if generic && params.zero_copy == ZeroCopy::Require {
            return Err(error::device(format!(
                "{}: its XDP program could only be attached in generic mode, which has no zero copy (driver {})",
                link.name,
                link.driver()
            )));
        }
        let promiscuous = if params.promiscuous { Some(Promiscuous::join(&link)?) } else { None };
        let socket = Socket::open(umem, &link, params, generic)?;
        Ok(Self { socket, link, queue: params.queue, steer, _promiscuous: promiscuous })
    }

    /// Where the steering program runs; nothing when it is not ours (`Steering::None`).
    pub(super) fn mode(&self) -> Option<XdpMode> {
        self.steer.as_ref().map(|steer| steer.mode())
    }

    /// New packets come to the socket from here on. Until then they go to the host: a socket without empty pages would lose them.
    pub(super) fn start_rx(&self) -> Result<(), String> {
        let Some(steer) = &self.steer else { return Ok(()) };
        steer
            .insert(self.queue, self.socket.as_fd())
            .map_err(|errno| format!("{}: queue {} in the map of sockets: {errno}", self.link.name, self.queue))
    }

    /// New packets go to the host from here on; what is in the rings stays.
    pub(super) fn stop_rx(&self) {
        if let Some(steer) = &self.steer {
            steer.remove(self.queue);
        }
    }

    /// Nothing while the interface is up, else why the queue is of no more use. One system call.
    pub(super) fn failure(&self) -> Option<String> {
        self.explain(self.socket.kick_rx().err()?)
    }

    /// What an error of the socket's system calls means for the queue; nothing when it passes.
    pub(super) fn explain(&self, errno: Errno) -> Option<String> {
        let name = &self.link.name;
        if !matches!(errno, Errno::NETDOWN | Errno::NXIO | Errno::NODEV) {
            return None;
        }
        Some(match Link::by_index(self.link.index) {
            Ok(link) if !link.up => format!("{name} was set down"),
            Ok(_) if errno == Errno::NXIO => format!(
                "{name} cannot send on queue {}: it has fewer transmit queues than receive queues (`ethtool -L`)",
                self.queue
            ),
            // The socket was unbound: the interface was deleted, or moved to another namespace.
            _ => format!("{name} is gone"),
        })
    }
}
