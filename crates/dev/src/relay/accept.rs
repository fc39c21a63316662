//! How connections begin.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::conn::{Conn, Key, State};
use super::worker::{LISTENER, Why, Worker};

/// Connections that wait until they are accepted; the kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 1024;

/// Listens on `address`.
pub(super) fn listen(address: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = tcp(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn tcp(address: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))
}

impl Worker {
    /// Goes on accepting, as long as there may be more connections.
    pub(super) fn accept(&mut self) {
        if self.ending.is_some() || self.accept_later {
            return;
        }
        let room = self.max_connections.saturating_sub(self.conns.len());
        // One request for many may take in as many as wait.
        let many = room > BACKLOG as usize;
        match self.accepting {
            None if room > 0 => {
                self.accepting = Some((self.ring.accept(self.listener.as_fd(), LISTENER, many), many));
            }
            Some((op, true)) if !many => self.ring.cancel(op),
            _ => {}
        }
    }

    /// A connection was accepted, or none.
    pub(super) fn accepted(&mut self, socket: Result<OwnedFd, Errno>) {
        match socket {
            Ok(_) if self.ending.is_some() => {} // closed
            Ok(client) => {
                if let Err(error) = self.begin(client) {
                    self.failed_to_accept(error);
                }
            }
            // It was gone before it was accepted.
            Err(Errno::CANCELED | Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
            Err(error) => self.failed_to_accept(error),
        }
    }

    fn failed_to_accept(&mut self, _: Errno) {
        self.stats.accept_errors += 1;
        self.accept_later = true;
    }

    /// Begins a connection: its other half is asked for.
    fn begin(&mut self, client: OwnedFd) -> Result<(), Errno> {
        let peer = match rustix::net::getpeername(&client) {
            Ok(Some(peer)) => SocketAddr::try_from(peer)?,
            _ => return Ok(()), // gone already
        };
        let server = tcp(&self.params.connect)?;
        for socket in [&client, &server] {
            sockopt::set_tcp_nodelay(socket, true)?; // what comes is passed on
        }
        self.stats.accepted += 1;
        let key = self.conns.next_key();
        let op = self.ring.connect(server.as_fd(), key.bits(), &self.params.connect);
        let peers = [peer, self.params.connect];
        self.conns.insert(key, Conn::new([client, server], peers, self.choices, State::Connecting(op), self.now));
        Ok(())
    }

    /// The other half is there, or not.
    pub(super) fn connected(&mut self, key: Key, result: Result<(), Errno>) {
        let Some(conn) = self.conns.get(key) else { return };
        conn.requests -= 1;
        match (conn.state, result) {
            (State::Connecting(_), Ok(())) => {
                conn.state = State::Open;
                key.both().into_iter().for_each(|key| self.mark(key));
            }
            (State::Connecting(_), Err(_)) => self.reset(key, Why::ConnectFailed),
            _ => self.mark(key),
        }
    }
}
