//! What the queues of one interface share: the socket, the handshake, and the connection that comes of it.
//!
//! Nothing here is on the way of a packet. A queue sees by one number, the [epoch](Interface::epoch), that something has changed, and comes for its [link](Interface::visit).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use waterwheel_xdp::Zone;
use waterwheel_xdp::mm::RegionId;

use super::channel::{Channel, Received};
use super::closer;
use super::connection::{Export, Link, import};
use super::events::News;
use super::fault::Fault;
use super::handshake::{Client, Reply, Server, agree};
use super::listener::{Listener, PATIENCE, check_kind, dial, lock, namesake, refused};
use super::message::{Init, Message, Text};
use super::params::{MemifParams, Role};
use super::region::MAX_REGION;
use crate::error::{DevError, ErrorClass};

/// A client looks for its server again after so long, then twice as long, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Messages that are read at once.
const MESSAGES: usize = 64;

/// One interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) params: MemifParams,
    pub(super) name: String,
    pub(super) counts: Counts,
    listener: Option<Arc<Listener>>,
    /// A trusted peer is given its pages.
    lent: Option<Zone>,
    /// What its user hears.
    pub(super) news: Arc<Mutex<News>>,
    epoch: AtomicU32,
    control: Mutex<Control>,
}

/// Counters of all queues together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connects: AtomicU64,
    pub(super) disconnects: AtomicU64,
    pub(super) bad_messages: AtomicU64,
    pub(super) bad_indices: AtomicU64,
    pub(super) bad_descriptors: AtomicU64,
}

#[derive(Debug)]
struct Control {
    state: State,
    /// Counts connections, and their ends.
    generation: u64,
    /// For the queues to fetch.
    links: Vec<Option<Link>>,
    /// What a client asks for next: fewer than its user wants, where the server has refused more.
    queues: u16,
    /// Who is there, or about to be.
    peer: String,
    /// Why nobody is.
    why: String,
    /// Somebody was, and it came to nothing.
    refused: bool,
    retry_at: Instant,
    retry_after: Duration,
    /// Nobody is let in any more.
    closed: bool,
}

#[derive(Debug)]
enum State {
    Down,
    /// Client: waits for Hello.
    Dialled(Channel, Instant),
    /// Client: tells what it has made.
    Offering(Channel, Instant, Client, Option<Export>),
    /// Server: hears what it is offered.
    Hearing(Channel, Instant, Server),
    Up(Channel),
}

/// What a queue finds when it [visits](Interface::visit).
pub(super) struct Visit {
    /// The connection that `link` is of.
    pub(super) generation: u64,
    /// Fetched once.
    pub(super) link: Option<Link>,
    /// What to wait on for news.
    pub(super) watch: Option<Watch>,
    pub(super) epoch: u32,
}

/// Readable when there is news.
#[derive(Debug)]
pub(super) enum Watch {
    Listener(Arc<OwnedFd>),
    Peer(Channel),
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(watch) => watch.as_fd(),
            Self::Peer(channel) => channel.as_fd(),
        }
    }
}

impl Interface {
    /// Opens the socket; nobody is connected yet.
    ///
    /// # Errors
    /// What is wrong with the parameters or the socket. That there is no server yet is no error of a client.
    pub(super) fn open(zone: &Zone, params: &MemifParams) -> Result<Arc<Self>, DevError> {
        params.check()?;
        closer::start().map_err(|error| {
            DevError::new(ErrorClass::Device, format!("{}: cannot start a thread: {error}", params.name()))
        })?;
        let lent = (params.trust.is_some() && params.role == Role::Client).then(|| zone.clone());
        if lent.as_ref().is_some_and(|zone| zone.region().len() as u64 > MAX_REGION) {
            let message = "trust=peer: descriptors reach 4 GiB, and the packet memory is larger: take fewer pages";
            return Err(DevError::new(ErrorClass::Config, format!("{}: {message}", params.name())));
        }
        let path = params.socket.as_path();
        let mut state = State::Down;
        let mut why = format!("waiting for a {}", if params.role == Role::Server { "client" } else { "server" });
        let listener = match params.role {
            Role::Server => Some(Listener::open(path)?),
            Role::Client => {
                check_kind(path)?;
                match dial(path) {
                    Ok(channel) => state = State::Dialled(channel, Instant::now()),
                    Err(Errno::NOENT)
                        if path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir()) => {}
                    Err(Errno::CONNREFUSED | Errno::AGAIN) => {}
                    Err(errno) => return Err(refused(path, "connect", errno)),
                }
                if let (State::Down, Some(other)) = (&state, namesake(path)) {
                    why += &format!(", and nobody listens there; did you mean {other}?");
                }
                None
            }
        };
        let (retry_at, retry_after) = (Instant::now(), RETRY.0);
        let control = Control {
            state,
            generation: 0,
            links: Vec::new(),
            queues: params.queues,
            peer: String::new(),
            why,
            refused: false,
            retry_at,
            retry_after,
            closed: false,
        };
        let interface = Arc::new(Self {
            params: params.clone(),
            name: params.name(),
            counts: Counts::default(),
            listener,
            lent,
            news: Arc::default(),
            epoch: AtomicU32::new(1),
            control: Mutex::new(control),
        });
        if let Some(listener) = &interface.listener {
            listener.join(&interface)?;
        }
        Ok(interface)
    }

    /// Changes when there is something to [fetch](Self::visit), or nothing more to be had.
    #[inline]
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// For a queue that has seen a new epoch.
    pub(super) fn visit(&self, queue: u16) -> Visit {
        let mut control = lock(&self.control);
        let link = control.links.get_mut(usize::from(queue)).and_then(Option::take);
        let watch = match &control.state {
            State::Down => self.listener.as_ref().map(|listener| Watch::Listener(Arc::clone(listener.watch()))),
            State::Dialled(channel, _)
            | State::Offering(channel, ..)
            | State::Hearing(channel, ..)
            | State::Up(channel) => Some(Watch::Peer(channel.clone())),
        };
        Visit { generation: control.generation, link, watch, epoch: self.epoch() }
    }

    /// Reads what the peer has said, and looks for one where there is none. Never waits; does nothing while another thread does.
    pub(super) fn tend(&self) {
        if let Some(listener) = &self.listener {
            listener.tend();
        }
        if let Ok(mut control) = self.control.try_lock() {
            self.step(&mut control);
        }
    }

    /// A queue has found that its peer lies, on connection `generation`.
    pub(super) fn report(&self, generation: u64, fault: &Fault) {
        let mut control = lock(&self.control);
        if control.generation == generation {
            self.end(&mut control, fault);
        }
    }

    /// The end: the peer is told, and nobody is let in any more.
    pub(super) fn close(&self) {
        let mut control = lock(&self.control);
        control.closed = true;
        self.end(&mut control, &Fault::Shutdown);
    }

    /// The memory that the peer has, when nothing is copied.
    pub(super) fn lends(&self) -> Option<RegionId> {
        self.lent.as_ref().map(Zone::id)
    }

    /// A client that wants this interface. That it was turned away is told.
    pub(super) fn adopt(&self, channel: Channel, init: &Init) -> Result<(), Fault> {
        let mut control = lock(&self.control);
        self.step(&mut control); // the one before may be gone, and nobody has looked yet
        if !matches!(control.state, State::Down) {
            self.tell_refusal(format!("another client ({}) was turned away: there is one", init.name));
            return Err(Fault::protocol("already connected"));
        }
        if control.closed {
            return Err(Fault::Shutdown);
        }
        let server = Server::new(init, self.params.queues, &self.params.secret_bytes())
            .and_then(|(server, answer)| channel.send(&answer, None).map(|()| server))
            .inspect_err(|fault| self.refuse(&mut control, never_connected(fault)))?;
        control.peer = init.name.to_string();
        control.state = State::Hearing(channel, Instant::now(), server);
        self.announce();
        Ok(())
    }

    /// A client of the socket was turned away before it had an interface.
    pub(super) fn turned_away(&self, fault: &Fault, aloud: bool) {
        let mut control = lock(&self.control);
        let why = never_connected(fault);
        if aloud {
            self.tell_refusal(why.clone());
        }
        if matches!(control.state, State::Down) && !control.closed {
            control.why = why;
        }
    }

    /// Nobody is there, as one who would be was turned away.
    fn refuse(&self, control: &mut Control, why: String) {
        self.tell_refusal(why.clone());
        (control.refused, control.why) = (true, why);
    }

    fn tell(&self, what: String) {
        lock(&self.news).tell(&self.name, &what);
    }

    fn tell_refusal(&self, what: String) {
        lock(&self.news).tell_refusal(&self.name, what);
    }

    /// Who is connected, or why nobody is, for people.
    pub(super) fn peer(&self) -> (bool, String) {
        let control = lock(&self.control);
        let up = matches!(control.state, State::Up(_));
        (up, if up { control.peer.clone() } else { control.why.clone() })
    }

    /// What is wrong, at the end, with a queue that was never connected: it was refused, or somebody `wanted` to send.
    pub(super) fn why_nobody_came(&self, wanted: bool) -> Option<String> {
        let control = lock(&self.control);
        let why = match control.state {
            State::Up(_) => format!("{} has no ring for it", control.peer),
            _ => control.why.clone(),
        };
        (wanted || control.refused && self.params.role == Role::Client)
            .then(|| format!("it was never connected: {why}"))
    }

    /// Whether somebody may be waiting at the door whom nobody is woken by.
    pub(super) fn is_shut(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.is_shut())
    }

    /// Clients that were sent away before they got an interface.
    pub(super) fn rejected(&self) -> u64 {
        self.listener.as_ref().map_or(0, |listener| listener.rejected())
    }

    fn step(&self, control: &mut Control) {
        for _ in 0..MESSAGES {
            let (channel, since) = match &control.state {
                State::Down => {
                    if self.params.role == Role::Client && !control.closed && Instant::now() >= control.retry_at {
                        self.dial(control);
                    }
                    return;
                }
                State::Up(channel) => (channel, None),
                State::Dialled(channel, since)
                | State::Offering(channel, since, ..)
                | State::Hearing(channel, since, _) => (channel, Some(*since)),
            };
            let outcome = match channel.receive(matches!(control.state, State::Hearing(..))) {
                Ok(None) if since.is_some_and(|since| since.elapsed() > PATIENCE) => Err(Fault::Silent),
                Ok(None) => return,
                Ok(Some(received)) => self.hear(control, received),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = outcome {
                return self.end(control, &fault);
            }
        }
    }

    fn dial(&self, control: &mut Control) {
        control.retry_at = Instant::now() + control.retry_after;
        control.retry_after = (control.retry_after * 2).min(RETRY.1);
        // A server that sends what it takes long to close is not asked for more.
        if !closer::has_room() {
            return;
        }
        match dial(&self.params.socket) {
            Ok(channel) => {
                control.state = State::Dialled(channel, Instant::now());
                self.announce();
            }
            Err(Errno::NOENT | Errno::CONNREFUSED) => control.queues = self.params.queues, // the next one may have more
            Err(Errno::AGAIN) => {}
            Err(errno) => self.refuse(control, format!("cannot connect: {errno}")),
        }
    }

    /// What a message means now.
    fn hear(&self, control: &mut Control, (message, file): Received) -> Result<(), Fault> {
        let queues = self.params.queues;
        let now = Instant::now();
        match &mut control.state {
            State::Dialled(channel, _) => {
                let hello = match message {
                    Message::Hello(hello) => hello,
                    Message::Disconnect { reason, .. } => return Err(Fault::Said(reason.to_string())),
                    _ => return Err(Fault::protocol("unexpected message")),
                };
                let regions = if self.lent.is_some() { 2 } else { 1 };
                let agreed = agree(&hello, control.queues, self.params.log2_slots(), regions)?;
                let (export, lines) = Export::new(agreed, self.lent.as_ref())?;
                let mut client =
                    Client::new(self.params.id, self.params.secret_bytes(), &self.params.short_name(), lines);
                let channel = channel.clone();
                say(&channel, client.next_line())?;
                control.peer = hello.name.to_string();
                control.state = State::Offering(channel, now, client, Some(export));
            }
            State::Offering(channel, since, client, export) => match client.on(message.clone())? {
                Some(line) => {
                    *since = now;
                    say(channel, Some(line))?;
                }
                None => {
                    let links =
                        export.take().map(|export| export.links(queues, channel)).transpose()?.unwrap_or_default();
                    let channel = channel.clone();
                    self.up(control, channel, links, &message);
                }
            },
            State::Hearing(channel, since, server) => match server.on(message.clone(), file)? {
                Reply::Say(answer) => {
                    *since = now;
                    channel.send(&answer, None)?;
                }
                Reply::Connect(offer) => {
                    let links = import(offer, queues, self.params.trust.is_some(), channel)?;
                    channel.send(&Message::Connected(Text::new(&self.params.short_name())), None)?;
                    let channel = channel.clone();
                    self.up(control, channel, links, &message);
                }
            },
            State::Up(_) => {
                return Err(match message {
                    Message::Disconnect { reason, .. } => Fault::Said(reason.to_string()),
                    _ => Fault::protocol("unexpected message"),
                });
            }
            State::Down => {}
        }
        Ok(())
    }

    /// `last`: the peer's last word, which says how its interface is called.
    fn up(&self, control: &mut Control, channel: Channel, links: Vec<Option<Link>>, last: &Message) {
        if let Message::Connect(name) | Message::Connected(name) = last
            && !name.to_string().is_empty()
        {
            control.peer += &format!(" ({name})");
        }
        let (count, all) = (links.iter().flatten().count(), self.params.queues);
        let share = if count < all.into() {
            format!(", with {count} of {all} queues (what is sent to the others is dropped)")
        } else {
            String::new()
        };
        self.tell(format!("connected to {}{share}", control.peer));
        self.counts.connects.fetch_add(1, Ordering::Relaxed);
        control.state = State::Up(channel);
        control.refused = false;
        control.links = links;
        control.generation += 1;
        control.retry_after = RETRY.0;
        self.announce();
    }

    /// Tells the peer why, unless it knows, and lets go of it.
    fn end(&self, control: &mut Control, why: &Fault) {
        match why {
            Fault::Protocol(_) => self.counts.bad_messages.fetch_add(1, Ordering::Relaxed),
            Fault::Index => self.counts.bad_indices.fetch_add(1, Ordering::Relaxed),
            Fault::Descriptor => self.counts.bad_descriptors.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let mut pause = control.retry_after;
        match std::mem::replace(&mut control.state, State::Down) {
            State::Down => return,
            State::Up(channel) => {
                self.counts.disconnects.fetch_add(1, Ordering::Relaxed);
                part(&channel, why);
                control.queues = self.params.queues;
                // DPDK's driver writes into one ring from all of its queues that have none of their own.
                let hint = match (why, self.params.role) {
                    (Fault::Index, Role::Server) => {
                        " (a DPDK client with more queues does that: give as many by queues=)"
                    }
                    _ => "",
                };
                control.why = format!("{why}{hint}");
                self.tell(if is_theirs(why) { why.to_string() } else { format!("disconnected: {why}{hint}") });
            }
            State::Dialled(channel, _) | State::Offering(channel, ..) | State::Hearing(channel, ..)
                if matches!(why, Fault::Shutdown) =>
            {
                part(&channel, why);
                control.why = why.to_string();
            }
            State::Dialled(channel, _) => {
                part(&channel, why);
                self.refuse(control, why.to_string());
            }
            State::Hearing(channel, ..) => {
                part(&channel, why);
                self.refuse(control, never_connected(why));
            }
            State::Offering(channel, _, client, _) => {
                part(&channel, why);
                match client.offered_queue() {
                    // It says what it can before it knows which of its interfaces is wanted; DPDK's says what any could. So this is a step on the way, and nobody was refused.
                    Some(fewer) if fewer > 0 && is_answer(why) => {
                        control.queues = fewer;
                        pause = Duration::ZERO;
                        control.why = format!("{why}; it has fewer queues: trying {fewer}");
                        self.tell_refusal(control.why.clone());
                    }
                    _ => self.refuse(control, why.to_string()),
                }
            }
        }
        control.links.clear();
        control.generation += 1;
        control.retry_at = Instant::now() + pause;
        self.announce();
    }

    fn announce(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let mut control = lock(&self.control);
        let state = std::mem::replace(&mut control.state, State::Down);
        if let State::Up(channel) | State::Offering(channel, ..) | State::Hearing(channel, ..) = state {
            part(&channel, &Fault::Shutdown);
        }
    }
}

fn say(channel: &Channel, line: Option<super::handshake::Line>) -> Result<(), Fault> {
    match line {
        Some((message, file)) => channel.send(&message, file.as_ref().map(|file| file.as_fd())),
        None => Ok(()),
    }
}

/// Whether the peer has ended it.
fn is_theirs(why: &Fault) -> bool {
    matches!(why, Fault::Closed | Fault::Said(_))
}

/// Whether it has ended it because of what it was told, and not because it has ended itself.
fn is_answer(why: &Fault) -> bool {
    matches!(why, Fault::Said(reason) if *reason != Fault::Shutdown.to_string())
}

/// What is told of a client that came to nothing.
fn never_connected(why: &Fault) -> String {
    let what = if is_theirs(why) { "a client left before it was connected" } else { "a client was turned away" };
    format!("{what}: {why}")
}

/// Says good-bye, to who listens.
fn part(channel: &Channel, why: &Fault) {
    if !is_theirs(why) {
        let reason = Text::new(&why.to_string());
        let _ = channel.send(&Message::Disconnect { code: 0, reason }, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_xdp::mm::ZoneParams;

    /// A client that has no server looks for it ever more seldom, and soon again after one was there.
    #[test]
    fn pauses_between_attempts_grow_and_begin_anew() {
        let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
        let path = std::env::temp_dir().join(format!("ww-memif-nobody-{}", std::process::id()));
        let interface = Interface::open(&zone, &MemifParams::new(path)).expect("no server is no error");
        let mut control = lock(&interface.control);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            control.retry_at = Instant::now();
            interface.step(&mut control);
            pauses.push(control.retry_after.as_millis());
        }
        assert_eq!(pauses, [40, 80, 160, 320, 500, 500, 500]);
        let (near, _far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        interface.up(&mut control, Channel::new(near.into()), Vec::new(), &Message::Ack);
        assert_eq!(control.retry_after, RETRY.0);
    }
}
