//! `udp`: datagrams.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use waterwheel_xdp::{
    Account, Capabilities, Device, DropReason, Drops, HEADROOM, Health, Homes, MAX_FRAGS, PagePool, Traffic, Wait,
    XdpBuff, XdpFrame, Zone, mm::PAGE_SIZE,
};

use super::base::{Base, DRAIN, LET_GO, parts};
use super::{SocketParams, refused};
use crate::error::DevError;
use crate::uring::{Choice, Event, Part, dropped};

/// The most payload of an IPv4 datagram: 65535 less the headers of IP and UDP.
const MAX_DATAGRAM: usize = 65507;
/// What the socket's buffer should hold; the kernel may allow less (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;

/// A UDP socket: a packet is the payload of a datagram, without any header.
///
/// With a peer it sends to it, and receives from it alone. Without one it receives from everybody and sends to nobody. A datagram must fit into a page of the pool behind its
/// headroom, with a byte to spare ([`Udp::order_for`]); others are [lost](Device::lost) as `too_long`, and empty ones as `empty`, as there is no packet in them. So are those that found the socket's
/// buffer full, as `socket_full`, and those that were in it when the device ended, as `left_in_socket`.
///
/// Datagrams leave in their order, but for one that the kernel refuses to send without a copy (where little memory may be locked): it is sent plainly, behind those that were asked for with it. After that
/// many are sent plainly until that is tried again.
///
/// Nothing tells whether a datagram arrives. One that the kernel refused is [unsent](Device::unsent). That nobody has the peer's port is told by ICMP now and then: it is counted as `refused`, and no failure.
#[derive(Debug)]
pub struct Udp {
    name: String,
    socket: UdpSocket,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    base: Base,
    choice: Choice,
    /// Datagrams with the kernel.
    sending: usize,
    /// Of those, of which it has said nothing.
    asked: Traffic,
    unsent: Traffic,
    /// Datagrams that the kernel has dropped, as it said last; its count has 32 bits.
    dropped: Cell<u64>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    too_long: u64,
    empty: u64,
    left_in_socket: u64,
    refused: u64,
    rx_errors: u64,
    tx_errors: u64,
}

impl Udp {
    /// Binds `local` (port 0: the kernel chooses), and sends to `peer`.
    ///
    /// # Errors
    /// Config: a parameter is out of its range. Permission: the port, or io_uring, is not for this user. Device: the address is taken or is none of this machine's, the peer cannot be
    /// reached from it; the kernel has no io_uring.
    pub fn open(
        zone: &Zone,
        local: SocketAddr,
        peer: Option<SocketAddr>,
        params: &SocketParams,
    ) -> Result<Self, DevError> {
        let name = format!("udp:{local}");
        let base = Base::open(zone, params, false)?; // each datagram by itself
        let way_out = ": choose another port, or end who has it (ss -lunp)";
        let bound = |error: &io::Error| refused(&name, "bind", &local, error, way_out);
        let socket = UdpSocket::bind(local).map_err(|error| bound(&error))?;
        let local = socket.local_addr().map_err(|error| bound(&error))?;
        if let Some(peer) = peer {
            socket.connect(peer).map_err(|error| refused(&name, "send to", &peer, &error, ""))?;
        }
        enlarge(&socket);
        Ok(Self {
            name,
            socket,
            local,
            peer,
            base,
            choice: Choice::new(params.send),
            sending: 0,
            asked: Traffic::default(),
            unsent: Traffic::default(),
            dropped: Cell::new(0),
            counts: Counts::default(),
        })
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The longest datagram that can be received, in bytes: a packet's place in its page is counted in 16 bits.
    pub const LONGEST: usize = (1 << 16) - HEADROOM - 1;

    /// The order of a pool into whose pages datagrams of so many bytes can be received, if there may be such.
    pub fn order_for(bytes: usize) -> Option<u8> {
        if !(1..=Self::LONGEST).contains(&bytes) {
            return None;
        }
        Some((HEADROOM + bytes + 1).div_ceil(PAGE_SIZE).next_power_of_two().ilog2() as u8)
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sees to what has happened. Tells how many pages of datagrams went home.
    fn look(&mut self, homes: &mut Homes<'_>, timeout: Duration) -> usize {
        let mut events = self.base.poll(homes, timeout);
        let home = events.drain(..).map(|event| self.handle(event, homes)).sum();
        self.base.handled(events);
        home
    }

    fn handle(&mut self, event: Event, homes: &mut Homes<'_>) -> usize {
        match event {
            Event::Received { part, .. } => self.received(part, homes),
            Event::Ended { result, .. } => match self.base.receive_ended(result) {
                Ok(0) => self.counts.empty += 1, // no end: a datagram without bytes
                Ok(_) => {}
                Err(error) => self.refused(error, true),
            },
            Event::Sent { key, result, pages, held, rest } => {
                let home = pages - held - rest.len();
                if !rest.is_empty() {
                    self.choice.overtaken();
                    self.base.ring.send(self.socket.as_fd(), key, rest.into_iter(), false);
                    return home;
                }
                self.sending -= usize::from(held == 0);
                let datagram = Traffic { packets: 1, bytes: key };
                self.asked = less(self.asked, datagram);
                if let Err(error) = result {
                    self.choice.answered(true);
                    self.unsent.merge(datagram);
                    self.refused(error, false);
                }
                return home;
            }
            Event::Released { pages, copied, .. } => {
                self.sending -= 1;
                self.choice.answered(copied);
                return pages;
            }
            Event::Accepted { .. } | Event::Connected { .. } | Event::Ready { .. } => {}
        }
        0
    }

    /// Nobody says whether a datagram was cut; one that has filled its page to the end may have been.
    fn received(&mut self, part: Part, homes: &mut Homes<'_>) {
        if part.offset as usize + part.len as usize == part.page.size() {
            self.counts.too_long += 1;
            return homes.put(part.page);
        }
        self.base.received.push_back(part);
    }

    fn refused(&mut self, error: Errno, receiving: bool) {
        match error {
            Errno::CONNREFUSED => self.counts.refused += 1,
            Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::FAULT if receiving => {
                self.base.failure = Some(format!("{}: cannot receive: {error}", self.name));
            }
            _ if receiving => self.counts.rx_errors += 1,
            _ => self.counts.tx_errors += 1,
        }
    }

    /// What is under way may still be sent for a short time.
    fn end(&mut self, homes: &mut Homes<'_>) {
        // What comes by the request that is under way is counted as ever, empty datagrams too.
        self.base.receiving.into_iter().for_each(|op| self.base.ring.cancel(op));
        let deadline = Instant::now() + DRAIN;
        let busy = |udp: &Self| udp.sending > 0 || udp.base.receiving.is_some();
        while busy(self) && self.base.failure.is_none() && Instant::now() < deadline {
            self.look(homes, DRAIN / 10);
        }
        self.base.end(homes);
        if self.base.params.receive {
            self.empty();
        }
        self.sending = 0;
        self.unsent.merge(std::mem::take(&mut self.asked)); // nobody knows
        self.socket_full(); // once more, for who asks later
    }

    /// Counts what waits in the socket's buffer. From here on the socket hears itself alone, so that no more comes, and whoever sends is told that nobody has the port.
    fn empty(&mut self) {
        let _ = rustix::net::connect(&self.socket, &self.local);
        let deadline = Instant::now() + LET_GO;
        while Instant::now() < deadline {
            match rustix::net::recv(&self.socket, &mut [0_u8], RecvFlags::DONTWAIT) {
                Ok(_) => self.counts.left_in_socket += 1,
                Err(Errno::AGAIN) => break,
                Err(_) => {} // of what was sent
            }
        }
    }

    /// Datagrams that the kernel has dropped, mostly as the socket's buffer was full.
    fn socket_full(&self) -> u64 {
        let last = self.dropped.get();
        let Ok(now) = dropped(self.socket.as_fd()) else { return last };
        let more = now.wrapping_sub(last as u32); // the lower half of what there was
        self.dropped.set(last + u64::from(more));
        self.dropped.get()
    }
}

/// `all` without `part` of it.
fn less(all: Traffic, part: Traffic) -> Traffic {
    Traffic { packets: all.packets.saturating_sub(part.packets), bytes: all.bytes.saturating_sub(part.bytes) }
}

/// Asks for a large receive buffer. What it gets is what the kernel allows (`net.core.rmem_max`) unless it is privileged, and never less than there was.
fn enlarge(socket: &UdpSocket) {
    use rustix::net::sockopt;
    let before = sockopt::socket_recv_buffer_size(socket);
    if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_ok() {
        return;
    }
    let _ = sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER);
    if let (Ok(before), Ok(after)) = (before, sockopt::socket_recv_buffer_size(socket))
        && after < before
    {
        let _ = sockopt::set_socket_recv_buffer_size(socket, before / 2); // the kernel doubles it
    }
}

impl Device for Udp {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            rx: self.base.params.receive,
            tx: self.peer.is_some(),
            max_frame: MAX_DATAGRAM,
            max_frags: MAX_FRAGS,
            ..Capabilities::default()
        }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.look(homes, Duration::ZERO)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let count = self.base.hand_out(batch, budget);
        self.base.receive(self.socket.as_fd(), pool);
        count
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        if self.peer.is_none() {
            drops.add(DropReason::NotSupported, frames.len() as u64);
            frames.clear();
            return traffic;
        }
        let room = self.tx_room().min(frames.len());
        for frame in frames.drain(..room) {
            let bytes = frame.total_len();
            if bytes > MAX_DATAGRAM {
                drops.add(DropReason::FrameTooLong, 1);
                continue;
            }
            traffic.add(bytes);
            let zc = self.choice.zc(bytes);
            // Named by its bytes, so that they are known when it was refused.
            self.base.ring.send(self.socket.as_fd(), bytes as u64, parts(frame), zc);
            self.asked.add(bytes);
            self.sending += 1;
        }
        traffic
    }

    fn tx_room(&mut self) -> usize {
        usize::from(self.base.params.ring) - self.sending
    }

    fn wait_tx(&self) -> Wait {
        Wait::Readable
    }

    fn flush(&mut self) {
        self.base.submit();
    }

    fn wait(&self) -> Wait {
        self.base.wait()
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        add(self.base.ring.as_fd());
    }

    fn health(&mut self) -> Health {
        self.base.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn mode(&self) -> String {
        let peer = self.peer.map_or("receives only".to_owned(), |peer| format!("peer {peer}"));
        format!("bound to {}, {peer}, {}", self.local, self.base.ring.features())
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let buffer = rustix::net::sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(0);
        count("receive_buffer", buffer as u64);
        count("rx_errors", self.counts.rx_errors);
        count("tx_errors", self.counts.tx_errors);
        count("refused", self.counts.refused);
        self.base.counters(count);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("socket_full", self.socket_full());
        count("too_long", self.counts.too_long);
        count("empty", self.counts.empty);
        count("left_in_socket", self.counts.left_in_socket);
        self.base.lost(count);
    }

    fn unsent(&self) -> Traffic {
        self.unsent
    }

    fn in_flight(&self) -> usize {
        self.base.pages()
    }

    fn account(&self, account: &mut Account) {
        self.base.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.end(homes);
    }
}

impl Drop for Udp {
    /// As [`shutdown`](Device::shutdown), for who did not.
    fn drop(&mut self) {
        if !self.base.has_ended() {
            self.end(&mut Homes::new(&mut []));
        }
    }
}
