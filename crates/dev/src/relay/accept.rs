//! How connections begin.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::conn::{Asked, Conn, Key, State};
use super::end::Why;
use super::worker::{LISTENER, Worker};

/// Connections that wait until they are accepted; the kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 1024;
/// Connections that one worker accepts before it looks at its others again; meanwhile another worker may accept.
const AT_ONCE: usize = 16;

/// Listens on `address`.
pub(super) fn listen(address: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = tcp(address, SocketFlags::NONBLOCK)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn tcp(address: &SocketAddr, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | flags, Some(ipproto::TCP))
}

/// Where a connection may go, in the order in which it is tried. It keeps its list, and knows its place in it: the relay may have another one meanwhile, and an
/// address may stand there twice.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Arc<[SocketAddr]>,
    tried: usize,
}

impl Targets {
    /// The next one that there can be a socket for.
    fn socket(&mut self) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
        let mut result = Err(Errno::ADDRNOTAVAIL);
        while result.is_err()
            && let Some(target) = self.all.get(self.tried)
        {
            self.tried += 1;
            result = socket_to(target).map(|socket| (socket, *target));
        }
        result
    }
}

fn socket_to(target: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = tcp(target, SocketFlags::empty())?;
    sockopt::set_tcp_nodelay(&socket, true)?; // what comes is passed on
    Ok(socket)
}

/// An IPv4 address as such, also where it came in the shape of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Worker {
    /// Goes on listening, as long as there may be more connections.
    ///
    /// All workers watch the listener, and whoever comes first accepts. Requests to accept would be woken one at a time (the ring polls for them with `EPOLLEXCLUSIVE`): a worker that is
    /// woken and has no room any more leaves a connection of which no other hears.
    pub(super) fn listen_on(&mut self) {
        if self.listening.is_none() && self.may_accept() {
            let events = u32::from(libc::POLLIN.unsigned_abs());
            self.listening = Some(Asked::new(self.ring.watch(self.listener.as_fd(), LISTENER, events)));
        }
    }

    fn may_accept(&self) -> bool {
        self.ending.is_none() && !self.accept_later && self.conns.len() < self.max_connections
    }

    /// Accepts some of those who wait, if another worker has not.
    pub(super) fn accept(&mut self, watched: Result<u32, Errno>) {
        self.accept_later |= watched.is_err(); // else this could go round and round
        for _ in 0..AT_ONCE {
            if !self.may_accept() {
                return;
            }
            let begun = match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(client) => self.begin(client),
                Err(Errno::AGAIN) => return,
                // It was gone before it was accepted, or a signal came.
                Err(Errno::CONNABORTED | Errno::PROTO | Errno::INTR) => Ok(()),
                Err(error) => Err(error),
            };
            if begun.is_err() {
                self.stats.accept_errors += 1;
                self.accept_later = true;
            }
        }
    }

    /// Begins a connection: its other half is asked for.
    fn begin(&mut self, client: OwnedFd) -> Result<(), Errno> {
        let peer = match rustix::net::getpeername(&client) {
            Ok(Some(peer)) => SocketAddr::try_from(peer)?,
            _ => return Ok(()), // gone already
        };
        let mut targets = Targets { all: self.shared.targets(), tried: 0 };
        let (server, target) = targets.socket()?;
        sockopt::set_tcp_nodelay(&client, true)?; // what comes is passed on
        self.stats.accepted += 1;
        let key = self.conns.next_key();
        let op = self.ring.connect(server.as_fd(), key.bits(), &target);
        let peers = [canonical(peer), target];
        let conn = Conn::new([client, server], peers, self.choices, State::Connecting(op), self.now);
        self.conns.insert(key, Conn { targets, ..conn });
        Ok(())
    }

    /// Tries the address behind the one that could not be connected to. Tells whether there is one.
    fn try_next(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get(key).filter(|_| self.ending.is_none()) else { return false };
        let Ok((server, target)) = conn.targets.socket() else { return false };
        let op = self.ring.connect(server.as_fd(), key.bits(), &target);
        (conn.sockets[1], conn.peers[1], conn.state) = (server, target, State::Connecting(op));
        conn.requests += 1;
        true
    }

    /// The other half is there, or not.
    pub(super) fn connected(&mut self, key: Key, result: Result<(), Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        match (conn.state, result) {
            (State::Connecting(_), Ok(())) => {
                conn.opened();
                key.both().into_iter().for_each(|key| self.mark(key));
            }
            (State::Connecting(_), Err(error)) => {
                if !self.try_next(key) {
                    self.close(key, Why::ConnectFailed(error));
                }
            }
            _ => self.mark(key),
        }
    }
}
