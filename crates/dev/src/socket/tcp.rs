//! `tcp`: one connection at a time.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use waterwheel_xdp::{
    Account, Capabilities, Device, DropReason, Drops, Health, Homes, MAX_FRAGS, PagePool, Traffic, Wait, XdpBuff,
    XdpFrame, Zone,
};

use super::base::{ACCEPT, Base, DRAIN, TX, parts};
use super::outgoing::Outgoing;
use super::{SocketParams, refused};
use crate::error::DevError;
use crate::uring::{Choice, Event, Op, PARTS, Part, unacknowledged};

/// How long to wait for a peer to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// When to look again whether a peer has acknowledged what was sent: nothing tells.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A TCP connection: a packet is a piece of the stream as it was received, a page at most, without any header. What is sent is put behind what was sent before.
///
/// A device that [connects](Self::connect) has failed when its connection ends, after what had come was handed out. One that [listens](Self::listen) accepts the next connection;
/// what is to be sent meanwhile is dropped as [`DropReason::DeviceDown`].
///
/// At the end what is under way may still arrive for a fifth of a second, or for as long as the device was [told](Self::patient). What could not be written, or was not acknowledged when the connection was reset, is [unsent](Device::unsent). A peer that has closed its own half may have taken what was written to it: that counts as
/// sent.
pub struct Tcp {
    name: String,
    /// Where it listens, if it does.
    listener: Option<TcpListener>,
    accepting: bool,
    connection: Option<OwnedFd>,
    address: SocketAddr,
    base: Base,
    choice: Choice,
    /// What is to be sent.
    queue: VecDeque<Part>,
    /// What is being sent, one request at a time, for the order's sake: how many pages.
    sending: Option<(Op, usize)>,
    /// Pages that were sent without a copy and are not acknowledged.
    held: usize,
    outgoing: Outgoing,
    /// Bytes that the kernel had when the connection was over, and that did not arrive.
    lost: usize,
    patience: Option<Patience>,
    counts: Counts,
}

/// Whether to go on waiting.
type Patience = Box<dyn Fn() -> bool + Send>;

#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    closed: u64,
    reset: u64,
    accept_errors: u64,
}

impl Tcp {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Config: a parameter is out of its range. Permission: io_uring is not for this user. Device: nobody listens there or answers for five seconds; the kernel has no io_uring.
    pub fn connect(zone: &Zone, address: SocketAddr, params: &SocketParams) -> Result<Self, DevError> {
        let name = format!("tcp:{address}");
        let base = Base::open(zone, params, true)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT);
        let stream = stream.map_err(|error| refused(&name, "connect to", &address, &error, ""))?;
        let mut tcp = Self::new(name, None, address, base, params);
        tcp.begin(stream.into());
        Ok(tcp)
    }

    /// Listens at `address` (port 0: the kernel chooses), for one connection at a time; others wait in the listen queue.
    ///
    /// # Errors
    /// Config: a parameter is out of its range. Permission: the port, or io_uring, is not for this user. Device: the address is taken or is none of this machine's; the kernel has
    /// no io_uring.
    pub fn listen(zone: &Zone, address: SocketAddr, params: &SocketParams) -> Result<Self, DevError> {
        let name = format!("tcp:{address},listen");
        let base = Base::open(zone, params, true)?;
        let way_out = ": choose another port, or end who listens there (ss -ltnp)";
        let bound = |error: &io::Error| refused(&name, "listen on", &address, error, way_out);
        let listener = TcpListener::bind(address).map_err(|error| bound(&error))?;
        let address = listener.local_addr().map_err(|error| bound(&error))?;
        Ok(Self::new(name, Some(listener), address, base, params))
    }

    fn new(
        name: String,
        listener: Option<TcpListener>,
        address: SocketAddr,
        base: Base,
        params: &SocketParams,
    ) -> Self {
        Self {
            name,
            listener,
            accepting: false,
            connection: None,
            address,
            base,
            choice: Choice::new(params.send),
            queue: VecDeque::with_capacity(params.ring.into()),
            sending: None,
            held: 0,
            outgoing: Outgoing::default(),
            lost: 0,
            patience: None,
            counts: Counts::default(),
        }
    }

    /// The same device, whose end waits for a slow peer as long as `goes_on` says so, and then a fifth of a second.
    #[must_use]
    pub fn patient(mut self, goes_on: impl Fn() -> bool + Send + 'static) -> Self {
        self.patience = Some(Box::new(goes_on));
        self
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where it listens, or what it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    fn begin(&mut self, socket: OwnedFd) {
        // Packets do not wait for others; where it cannot be set they do.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        self.connection = Some(socket);
        self.choice = self.choice.inherited();
        self.counts.connections += 1;
    }

    /// Asks for the next connection, when nothing of the last one is under way.
    fn accept(&mut self) {
        let idle = self.connection.is_none() && self.base.receiving.is_none() && self.sending.is_none();
        if let Some(listener) = self.listener.as_ref().filter(|_| idle && !self.accepting) {
            self.base.ring.accept(listener.as_fd(), ACCEPT);
            self.accepting = true;
        }
    }

    /// Sends what is queued, as much as one request takes.
    fn send(&mut self) {
        let Some(socket) = self.connection.as_ref().filter(|_| self.sending.is_none() && !self.queue.is_empty()) else {
            return;
        };
        let count = self.queue.len().min(PARTS);
        let bytes = self.queue.iter().take(count).map(|part| part.len as usize).sum();
        let zc = self.choice.zc(bytes);
        let op = self.base.ring.send(socket.as_fd(), TX, self.queue.drain(..count), zc);
        self.sending = Some((op, count));
    }

    /// Sees to what has happened. Tells how many pages of what was sent went home.
    fn look(&mut self, homes: &mut Homes<'_>, timeout: Duration) -> usize {
        let mut events = self.base.poll(homes, timeout);
        let home = events.drain(..).map(|event| self.handle(event, homes)).sum();
        self.base.handled(events);
        home
    }

    fn handle(&mut self, event: Event, homes: &mut Homes<'_>) -> usize {
        match event {
            Event::Received { part, .. } => self.base.received.push_back(part),
            Event::Ended { result, .. } => match self.base.receive_ended(result) {
                Ok(0) => return self.hang_up(None, homes),
                Ok(_) => {}
                Err(error) => return self.hang_up(Some(error), homes),
            },
            Event::Sent { result, pages, held, rest, .. } => {
                self.sending = None;
                self.held += held;
                let mut home = pages - held - rest.len();
                if !rest.is_empty() {
                    self.choice.refused(); // or cut: the rest goes plainly
                }
                rest.into_iter().rev().for_each(|part| self.queue.push_front(part));
                self.outgoing.wrote(result.unwrap_or(0));
                match result {
                    Err(error) => home += self.hang_up(Some(error), homes),
                    Ok(_) if self.connection.is_none() => home += self.forget_queue(homes),
                    Ok(_) => {}
                }
                return home;
            }
            Event::Released { pages, copied, .. } => {
                self.held -= pages;
                self.choice.answered(copied);
                return pages;
            }
            Event::Accepted { socket, .. } => {
                self.accepting = false;
                match socket {
                    Ok(socket) => self.begin(socket),
                    Err(Errno::CANCELED) => {}
                    Err(_) => self.counts.accept_errors += 1,
                }
            }
            Event::Connected { .. } | Event::Ready { .. } => {}
        }
        0
    }

    /// The connection is over: by its peer's word, or by an error. Tells how many pages went home.
    fn hang_up(&mut self, error: Option<Errno>, homes: &mut Homes<'_>) -> usize {
        let Some(socket) = self.connection.take() else {
            return self.forget_queue(homes); // the other half says so, too
        };
        // A reset is told to one of those who wait for the socket; to the others it is an end. But then there is no peer any more.
        let error = error.or_else(|| rustix::net::getpeername(&socket).err().map(|_| Errno::CONNRESET));
        if error.is_some() {
            self.lost = unacknowledged(socket.as_fd()).unwrap_or(0);
        }
        for op in self.base.receiving.into_iter().chain(self.sending.map(|(op, _)| op)) {
            self.base.ring.cancel(op);
        }
        *(if error.is_some() { &mut self.counts.reset } else { &mut self.counts.closed }) += 1;
        if self.listener.is_none() {
            let why = error.map_or("its peer has closed it".to_owned(), |error| error.to_string());
            self.base.failure.get_or_insert_with(|| format!("{}: the connection is over: {why}", self.name));
        }
        self.forget_queue(homes)
    }

    fn forget_queue(&mut self, homes: &mut Homes<'_>) -> usize {
        let count = self.queue.len();
        homes.put_bulk(self.queue.drain(..).map(|part| part.page));
        if self.sending.is_none() {
            self.outgoing.cut(std::mem::take(&mut self.lost));
        } // else: when it is known how much of that was written
        count
    }

    /// Pages that are to be sent, are being sent, or are not acknowledged.
    fn waiting(&self) -> usize {
        self.queue.len() + self.sending.map_or(0, |(_, pages)| pages) + self.held
    }

    /// Bytes that were written to the connection, and that its peer has not acknowledged.
    fn unacknowledged(&self) -> usize {
        self.connection.as_ref().map_or(0, |socket| unacknowledged(socket.as_fd()).unwrap_or(0))
    }

    /// What is under way may still arrive for a short time. A connection that still holds pages then is reset, so that it lets go of them.
    fn end(&mut self, homes: &mut Homes<'_>) {
        let (mut deadline, before) = (Instant::now() + DRAIN, self.outgoing.unsent());
        while self.connection.is_some() && self.base.failure.is_none() && Instant::now() < deadline {
            if self.patience.as_ref().is_some_and(|goes_on| goes_on()) {
                deadline = Instant::now() + DRAIN;
            }
            let pause = match self.waiting() {
                0 if self.unacknowledged() == 0 => break,
                0 => LOOK_AGAIN,
                _ => DRAIN / 10,
            };
            self.send();
            self.look(homes, pause);
        }
        let out = self.unacknowledged();
        if let Some(socket) = self.connection.take() {
            if self.waiting() > 0 {
                let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                self.lost = out;
            } else if rustix::io::ioctl_fionread(&socket).is_ok_and(|unread| unread > 0) {
                self.lost = out; // who closes without having read everything resets
            }
        }
        self.forget_queue(homes);
        self.base.end(homes);
        (self.sending, self.held) = (None, 0);
        self.outgoing.cut(std::mem::take(&mut self.lost));
        let unsent = self.outgoing.unsent().packets - before.packets;
        if unsent > 0 {
            let why = || format!("{}: {unsent} packets were not sent: the peer did not take them in time", self.name);
            self.base.failure.get_or_insert_with(why);
        }
    }
}

impl Device for Tcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            rx: self.base.params.receive,
            max_frame: usize::MAX,
            max_frags: MAX_FRAGS,
            ..Capabilities::default()
        }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let home = self.look(homes, Duration::ZERO);
        self.accept();
        home
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let count = self.base.hand_out(batch, budget);
        if let Some(socket) = &self.connection {
            self.base.receive(socket.as_fd(), pool);
        }
        count
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        if self.connection.is_none() {
            drops.add(DropReason::DeviceDown, frames.len() as u64);
            frames.clear();
            return traffic;
        }
        let count = self.tx_room().min(frames.len());
        for frame in frames.drain(..count) {
            let bytes = frame.total_len();
            traffic.add(bytes);
            self.outgoing.take(bytes);
            self.queue.extend(parts(frame));
        }
        traffic
    }

    fn tx_room(&mut self) -> usize {
        match self.connection {
            Some(_) => usize::from(self.base.params.ring).saturating_sub(self.outgoing.waiting() + self.held),
            None => 0,
        }
    }

    fn wait_tx(&self) -> Wait {
        match self.connection {
            None if self.listener.is_none() => Wait::Never, // it has failed
            _ => Wait::Readable,
        }
    }

    fn flush(&mut self) {
        self.send();
        if self.outgoing.is_long() {
            self.outgoing.arrived(self.unacknowledged());
        }
        self.base.submit();
    }

    fn wait(&self) -> Wait {
        match self.connection {
            None if self.base.received.is_empty() => Wait::Readable,
            _ => self.base.wait(),
        }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        add(self.base.ring.as_fd());
    }

    fn health(&mut self) -> Health {
        // What has come is handed out first.
        match &self.base.failure {
            Some(why) if self.base.received.is_empty() => Health::Failed(why.clone()),
            _ => Health::Up,
        }
    }

    fn mode(&self) -> String {
        let role = match (&self.listener, self.is_connected()) {
            (None, _) => format!("connected to {}", self.address),
            (Some(_), true) => format!("listens at {}, connected", self.address),
            (Some(_), false) => format!("listens at {}", self.address),
        };
        format!("{role}, {}", self.base.ring.features())
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("connected", self.is_connected().into());
        count("connections", self.counts.connections);
        count("closed", self.counts.closed);
        count("reset", self.counts.reset);
        count("accept_errors", self.counts.accept_errors);
        self.base.counters(count);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.base.lost(count);
    }

    fn unsent(&self) -> Traffic {
        self.outgoing.unsent()
    }

    fn in_flight(&self) -> usize {
        self.base.pages() + self.queue.len()
    }

    fn account(&self, account: &mut Account) {
        self.base.account(account);
        self.queue.iter().for_each(|part| account.queued(&part.page));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.end(homes);
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").field("name", &self.name).field("base", &self.base).finish_non_exhaustive()
    }
}

impl Drop for Tcp {
    /// As [`shutdown`](Device::shutdown), for who did not.
    fn drop(&mut self) {
        if !self.base.has_ended() {
            self.end(&mut Homes::new(&mut []));
        }
    }
}
