//! `udp` and `tcp`: sockets of this machine as devices, over [io_uring](crate::uring).
//!
//! Packets here are payloads, not Ethernet frames: one for each datagram, or for each piece of a stream as it was received; a stream keeps no boundaries. A program that parses
//! Ethernet finds none in them. They are received into pages of the pool and sent from whatever page they lie in.
//!
//! ```text
//! rx        lets empty pages of the pool wait in the buffer ring, asks to receive, hands out what has come
//! tx        asks to send, as long as there is room
//! flush     one system call for all that was asked for
//! complete  one more: what has come, which sends are done, whose pages go home
//! ```
//!
//! An empty pool stops receiving: datagrams then wait in the socket's buffer, and are lost when that is full; a stream's peer finds the window closed.

mod base;
mod outgoing;
mod tcp;
mod udp;

pub use tcp::Tcp;
pub use udp::Udp;

use std::io;
use std::net::SocketAddr;

use crate::error::{DevError, ErrorClass};
use crate::uring::{Send, Without};

/// Most packets that a socket's rings may have.
pub const MAX_RING: u16 = 4096;

/// What both kinds of sockets are opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketParams {
    /// Pages that wait for what is received, and packets that may wait to be sent: a power of two, 2 to [`MAX_RING`].
    pub ring: u16,
    /// How to send.
    pub send: Send,
    /// Whether to receive at all.
    pub receive: bool,
    /// Features of io_uring to do without.
    pub without: Without,
}

impl Default for SocketParams {
    fn default() -> Self {
        Self { ring: 256, send: Send::Auto, receive: true, without: Without::default() }
    }
}

impl SocketParams {
    /// # Errors
    /// Config: a number is out of its range.
    pub fn check(&self) -> Result<(), DevError> {
        if self.ring.is_power_of_two() && (2..=MAX_RING).contains(&self.ring) {
            return Ok(());
        }
        Err(DevError::new(ErrorClass::Config, format!("ring={}: want a power of two from 2 to {MAX_RING}", self.ring)))
    }
}

/// Why there is no socket, and the way out. `which` is its spec, `way_out` for an address that is taken.
fn refused(which: &str, action: &str, address: &SocketAddr, error: &io::Error, way_out: &str) -> DevError {
    let (class, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => (ErrorClass::Device, way_out),
        io::ErrorKind::AddrNotAvailable => {
            (ErrorClass::Device, ": no interface of this machine has that address (ip addr)")
        }
        io::ErrorKind::PermissionDenied => (
            ErrorClass::Permission,
            ": ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE, and a firewall may refuse",
        ),
        io::ErrorKind::ConnectionRefused => (ErrorClass::Device, ": nobody listens there; start the other side first"),
        io::ErrorKind::TimedOut => {
            (ErrorClass::Device, ": nobody answers; look at the address and at firewalls between")
        }
        _ => return DevError::new(ErrorClass::Device, format!("{which}: cannot {action} {address}: {error}")),
    };
    DevError::new(class, format!("{which}: cannot {action} {address}: {error}{hint}"))
}
