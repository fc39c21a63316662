//! What is told of bytes, and what nobody can see from outside: time, order, and events of connections that are gone. The relay as its users see it is tested in `tests/relay.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, Zone};

use super::conn::{Asked, Conn, Conns, Key, State, UP};
use super::end::Why;
use super::sys::acknowledged;
use super::worker::{LISTENER, Worker};
use super::{Relay, RelayParams, RelayStats, accept, memory, shared};
use crate::uring::{Choice, Event, Op, Part, Receive, Send};

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than the server's socket takes, and less than a flow may hold.
const BYTES: usize = 600_000;

/// A relay to a server whose sockets take little.
struct Rig {
    zone: Zone,
    relay: Relay,
    server: TcpListener,
}

impl Rig {
    fn new(change: impl FnOnce(&mut RelayParams)) -> Self {
        let server = TcpListener::bind(local()).unwrap();
        set_socket_recv_buffer_size(&server, 16 << 10).unwrap(); // those that it accepts have it from it
        let mut params = RelayParams::new(local(), server.local_addr().unwrap());
        (params.max_connections, params.cap, params.drain) = (16, 64, PATIENCE);
        change(&mut params);
        let zone = Zone::new(&ZoneParams::pages(params.pages_wanted())).unwrap();
        let relay = Relay::start(&zone, &params).unwrap();
        Self { zone, relay, server }
    }

    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.relay.listen_address()).unwrap();
        let (server, _) = self.server.accept().unwrap();
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (client, server)
    }

    /// Lets the relay take all that it is sent: its socket has it all, and then it has its turn, many times.
    fn taken(&self, from: &TcpStream, bytes: u64) {
        while sent(from) < bytes {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (mut client, mut server) = self.pair();
        for _ in 0..100 {
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
        }
    }

    /// A connection of which the relay has taken [`BYTES`] up; the server has read none of them.
    fn full(&self) -> (TcpStream, TcpStream) {
        let (mut client, server) = self.pair();
        let before = sent(&client);
        client.write_all(&[7; BYTES]).unwrap();
        self.taken(&client, before + BYTES as u64);
        (client, server)
    }

    fn until(&self, what: &str, holds: impl Fn(&RelayStats) -> bool) -> RelayStats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.relay.stats();
            if holds(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "{what}: {stats:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end: all pages are free, and every connection has ended in one way.
    fn end(self) -> RelayStats {
        let (stats, quarantined) = self.relay.finish().unwrap();
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole() && quarantined == 0, "{account:?} {stats:?}");
        assert_eq!((stats.held, stats.open, stats.stalled, stats.bad_completions), (0, 0, 0, 0), "{stats:?}");
        let ends = stats.finished + stats.reset + stats.connect_failed + stats.idle_timeout + stats.stopped;
        assert_eq!(stats.accepted, ends, "{stats:?}");
        stats
    }
}

/// Bytes of ours that the other side's kernel has.
fn sent(socket: &TcpStream) -> u64 {
    acknowledged(socket.as_fd()).unwrap().bytes
}

/// Reads to the end. Tells how much there was, and whether the end was in order.
fn read(mut from: &TcpStream) -> (u64, bool) {
    let (mut bytes, mut sum) = ([0; 8192], 0);
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return (sum, true),
            Ok(n) => sum += n as u64,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (sum, false),
            Err(error) => panic!("{error} after {sum} bytes"),
        }
    }
}

fn reset(socket: TcpStream) {
    set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
}

/// Bytes of the connections that a test opens to see that the relay has had its turn.
const PINGS: u64 = 100;

#[test]
fn what_is_still_in_the_socket_arrives_before_the_relay_ends() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.full();
    rig.relay.stop();
    assert_eq!(read(&server), (BYTES as u64, false), "all of it, and not as if that were all there was");
    assert_eq!(read(&client), (0, false));
    let stats = rig.end();
    assert_eq!((stats.bytes_up, stats.bytes_dropped), (BYTES as u64 + PINGS, 0), "{stats:?}");
}

#[test]
fn the_other_way_too() {
    let rig = Rig::new(|_| {});
    let (client, mut server) = rig.pair();
    set_socket_recv_buffer_size(&client, 16 << 10).unwrap();
    let before = sent(&server);
    server.write_all(&[7; BYTES]).unwrap();
    rig.taken(&server, before + BYTES as u64);
    rig.relay.stop();
    assert_eq!(read(&client), (BYTES as u64, false));
    let stats = rig.end();
    assert_eq!((stats.bytes_down, stats.bytes_dropped), (BYTES as u64, 0), "{stats:?}");
}

#[test]
fn what_is_cut_off_at_the_end_is_counted() {
    for send in [Send::Plain, Send::Zc] {
        let rig = Rig::new(|params| (params.drain, params.send) = (Duration::from_millis(50), send));
        let (client, server) = rig.full();
        let stats = rig.end();
        let (got, in_order) = read(&server);
        assert!(!in_order && got < BYTES as u64, "{got} {stats:?}");
        assert_eq!((stats.bytes_up, stats.bytes_dropped), (got + PINGS, BYTES as u64 - got), "{send:?} {stats:?}");
        drop(client);
    }
}

#[test]
fn what_was_never_read_is_counted() {
    // With one page for each direction most waits in the relay's socket, acknowledged to who sent it.
    let rig = Rig::new(|params| (params.cap, params.order, params.drain) = (1, 0, Duration::from_millis(50)));
    let (mut client, server) = rig.pair();
    client.set_nonblocking(true).unwrap();
    let mut idle = 0;
    while idle < 100 {
        match client.write(&[7; 4096]) {
            Ok(_) => idle = 0,
            Err(_) => idle += 1,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    rig.until("it has stalled", |stats| stats.stalled == 1);
    let stats = rig.end();
    let (got, in_order) = read(&server);
    assert!(!in_order && got == stats.bytes_up, "{got} {stats:?}");
    assert_eq!(stats.bytes_up + stats.bytes_dropped, sent(&client) - 1, "a SYN counts as one: {stats:?}");
}

#[test]
fn what_came_before_a_reset_is_passed_on() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.full();
    reset(client);
    assert_eq!(read(&server), (BYTES as u64, false));
    let stats = rig.end();
    assert_eq!((stats.bytes_up, stats.bytes_dropped, stats.reset), (BYTES as u64 + PINGS, 0, 1), "{stats:?}");
}

#[test]
fn a_reset_does_not_wait_longer_than_the_relay_is_patient() {
    let rig = Rig::new(|params| params.drain = Duration::from_millis(50));
    let (client, server) = rig.full();
    reset(client);
    rig.until("it is over, the pages are home", |stats| stats.reset == 1 && stats.held == 0 && stats.bytes_dropped > 0);
    let (got, in_order) = read(&server);
    assert!(!in_order);
    let stats = rig.end();
    assert_eq!((stats.bytes_up, stats.bytes_dropped), (got + PINGS, BYTES as u64 - got), "{stats:?}");
}

#[test]
fn who_is_gone_gets_nothing_and_that_is_counted() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.full();
    reset(server);
    assert_eq!(read(&client), (0, false));
    let stats = rig.end();
    assert!(stats.bytes_dropped > 0, "{stats:?}");
    assert_eq!((stats.bytes_up + stats.bytes_dropped, stats.reset), (BYTES as u64 + PINGS, 1), "{stats:?}");
}

/// A connection that both sides have ended, while the server has read nothing.
fn ended(rig: &Rig) -> (TcpStream, TcpStream) {
    let (client, server) = rig.full();
    server.shutdown(Shutdown::Write).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&client), (0, true));
    rig.taken(&client, 0);
    (client, server)
}

#[test]
fn an_end_in_order_is_not_one_before_the_last_byte_has_arrived() {
    let rig = Rig::new(|_| {});
    let (_client, server) = ended(&rig);
    let stats = rig.until("the others are done", |stats| stats.open == 1);
    assert_eq!(stats.finished, 2, "the two that were asked for their turns: {stats:?}");
    assert_eq!(read(&server), (BYTES as u64, true));
    rig.until("now it is", |stats| stats.finished == 3);
    let stats = rig.end();
    assert_eq!((stats.bytes_up, stats.bytes_dropped), (BYTES as u64 + 2 * PINGS, 0), "{stats:?}");
}

#[test]
fn who_resets_after_an_end_in_order_has_not_got_the_rest() {
    let rig = Rig::new(|_| {});
    let (_client, server) = ended(&rig);
    reset(server);
    let stats = rig.until("it is noticed", |stats| stats.reset == 1 && stats.open == 0);
    assert!(stats.bytes_dropped > 0 && stats.finished == 2, "{stats:?}");
    assert_eq!(stats.bytes_up + stats.bytes_dropped, BYTES as u64 + 2 * PINGS, "{stats:?}");
    rig.end();
}

#[test]
fn what_ended_in_order_is_left_to_the_kernel_at_the_end() {
    // Without a copy the pages would stay with the network.
    let rig = Rig::new(|params| (params.drain, params.send) = (Duration::from_millis(50), Send::Plain));
    let (_client, server) = ended(&rig);
    rig.until("the others are done", |stats| stats.open == 1);
    let stats = rig.end();
    assert_eq!((stats.finished, stats.bytes_dropped), (3, 0), "{stats:?}");
    assert!(stats.bytes_unacknowledged > 0, "{stats:?}");
    assert_eq!(stats.bytes_up + stats.bytes_unacknowledged, BYTES as u64 + 2 * PINGS, "{stats:?}");
    assert_eq!(read(&server), (BYTES as u64, true));
}

#[test]
fn the_counters_know_of_an_acknowledgement_without_another_event() {
    let rig = Rig::new(|_| {});
    let (_client, server) = rig.full();
    assert!(rig.relay.stats().bytes_up < BYTES as u64);
    let reader = std::thread::spawn(move || {
        let (mut server, mut left) = (server, BYTES);
        while left > 0 {
            left -= server.read(&mut vec![0; left.min(8192)]).unwrap();
        }
        server
    });
    rig.until("all has arrived", |stats| stats.bytes_up == BYTES as u64 + PINGS);
    drop(reader.join().unwrap());
    rig.end();
}

#[test]
fn a_relay_with_nothing_to_do_sleeps() {
    let rig = Rig::new(|_| {});
    let (mut client, mut server) = rig.pair();
    let mut ping = || {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    };
    ping();
    rig.until("it has asked whether that has arrived", |stats| stats.bytes_up == 1);
    let before = rig.relay.stats().enters;
    std::thread::sleep(Duration::from_secs(2));
    ping();
    let stats = rig.until("it was seen", |stats| stats.bytes_up == 2);
    // Of which one for each of: the byte that came, the byte that was sent, what is acknowledged.
    assert!(stats.enters - before < 10, "{} turns in two seconds in which nothing happened", stats.enters - before);
    rig.end();
}

/// A worker that is driven by hand, with time as the test wants it.
struct Driven {
    zone: Zone,
    worker: Option<Worker>,
    listen: SocketAddr,
}

impl Driven {
    fn new(change: impl FnOnce(&mut RelayParams)) -> Self {
        let mut params = RelayParams::new(local(), local());
        (params.max_connections, params.order) = (4, 0);
        change(&mut params);
        let zone = Zone::new(&ZoneParams::pages(params.pages_needed())).unwrap();
        let listener = Arc::new(accept::listen(&local()).unwrap());
        let listen = super::local_address(&listener).unwrap();
        params.connect = listen;
        let shared = Arc::new(shared::Shared::new(1).unwrap());
        let (ring, pool) = memory(&zone, &params).unwrap();
        let worker = Worker::new(ring, pool, listener, shared, &params);
        Self { zone, worker: Some(worker), listen }
    }

    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().unwrap()
    }

    /// An open connection, and both its peers.
    fn open(&mut self) -> (Key, [TcpStream; 2]) {
        let listener = TcpListener::bind(local()).unwrap();
        let two = || {
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (OwnedFd::from(ours), listener.accept().unwrap().0)
        };
        let ((client, peer), (server, other)) = (two(), two());
        let op = self.op();
        let worker = self.worker();
        let key = worker.conns.next_key();
        let choices = [Choice::new(Send::Plain); 2];
        let mut conn = Conn::new([client, server], [local(); 2], choices, State::Connecting(op), worker.now);
        conn.opened();
        conn.requests = 0;
        worker.conns.insert(key, conn);
        (key, [peer, other])
    }

    /// A request of nobody.
    fn op(&mut self) -> Op {
        let worker = self.worker();
        worker.ring.watch(worker.listener.as_fd(), LISTENER - 7, 0)
    }

    fn part(&mut self, len: u32) -> Part {
        let page = self.worker().pool.alloc(Direction::Rx).unwrap();
        Part { page, offset: 0, len }
    }

    fn conn(&mut self, key: Key) -> &mut Conn {
        self.worker().conns.get(key).unwrap()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let Some(mut worker) = self.worker.take().filter(|_| !std::thread::panicking()) else { return };
        for key in worker.conns.keys() {
            worker.close(key, Why::Stopped);
            worker.remove(key);
        }
        assert_eq!(worker.ring.close(&mut worker.pool, PATIENCE), 0);
        drop(worker);
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole(), "{account:?}");
    }
}

const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn whatever_moves_keeps_a_connection_from_the_idle_timeout() {
    let mut driven = Driven::new(|params| params.idle_timeout = Some(TIMEOUT));
    let (key, [_client, mut server]) = driven.open();
    let later = TIMEOUT * 3 / 4;
    let still_there = |driven: &mut Driven, what: &str| {
        driven.worker().tick();
        assert_eq!(driven.worker().stats.idle_timeout, 0, "{what}");
    };
    driven.worker().now += later;
    let part = driven.part(10);
    driven.worker().received(key, part);
    driven.worker().now += later;
    still_there(&mut driven, "something was received");
    driven.conn(key).requests += 1;
    driven.worker().sent(key, Ok(10), 0, Vec::new());
    driven.worker().now += later;
    still_there(&mut driven, "something was sent");
    // What has been sent long ago arrives: nothing else happens.
    let worker = driven.worker();
    rustix::net::send(&worker.conns.get(key).unwrap().sockets[1], &[7; 10], rustix::net::SendFlags::empty()).unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
    worker.now += later;
    still_there(&mut driven, "something has arrived");
    driven.worker().now += later;
    still_there(&mut driven, "not yet");
    driven.worker().now += later;
    driven.worker().tick();
    assert_eq!(driven.worker().stats.idle_timeout, 1);
}

#[test]
fn what_does_not_move_is_no_reason_to_wait() {
    let mut driven = Driven::new(|params| params.idle_timeout = Some(TIMEOUT));
    let (key, _peers) = driven.open();
    driven.worker().now += TIMEOUT;
    driven.conn(key).requests += 2;
    driven.worker().receive_ended(key, Err(Errno::AGAIN));
    driven.worker().ready(key, Err(Errno::CANCELED));
    driven.worker().tick();
    assert_eq!(driven.worker().stats.idle_timeout, 1);
}

#[test]
fn what_is_left_of_a_send_that_was_cut_goes_first_and_in_its_order() {
    let mut driven = Driven::new(|_| {});
    let (key, _peers) = driven.open();
    for len in [3, 4] {
        let part = driven.part(len);
        driven.worker().received(key, part);
    }
    let rest = [1, 2].map(|len| driven.part(len));
    driven.worker().stats.held += 2;
    driven.worker().stats.held_max += 2;
    let op = driven.op();
    driven.conn(key).requests += 1;
    driven.conn(key).flows[UP].sending = Some((Asked::new(op), 2));
    driven.worker().sent(key, Ok(5), 0, rest.into());
    let lens = driven.conn(key).flows[UP].queue.iter().map(|part| part.len).collect::<Vec<_>>();
    assert_eq!(lens, [1, 2, 3, 4]);
}

#[test]
fn a_place_that_is_used_again_has_another_name() {
    let mut driven = Driven::new(|_| {});
    let (first, _peers) = driven.open();
    driven.worker().close(first, Why::Reset);
    driven.worker().remove(first);
    let (second, _peers) = driven.open();
    assert!(first.place == second.place && first.bits() != second.bits());
    assert!(Key::of(second.bits()) == second && Key::of(first.bits()) == first);
    assert!(driven.worker().conns.get(first).is_none() && driven.worker().conns.remove(first).is_none());
}

#[test]
fn names_begin_anew_before_they_are_too_long() {
    let mut conns = Conns::default();
    conns.next_key();
    conns.set_generation(0, u32::MAX >> 1);
    let driven = &mut Driven::new(|_| {});
    let (key, _peers) = driven.open();
    let conn = driven.worker().conns.remove(key).unwrap();
    let last = conns.next_key();
    assert_eq!(Key::of(last.bits()), last);
    assert!(last.bits() < 1 << 56, "what the ring takes");
    conns.insert(last, *conn);
    conns.remove(last).unwrap();
    assert_eq!(Key::of(conns.next_key().bits()), conns.next_key());
    assert_ne!(conns.next_key(), last);
}

#[test]
fn a_late_event_of_a_former_connection_reaches_nobody() {
    let mut driven = Driven::new(|_| {});
    let (former, _peers) = driven.open();
    driven.worker().close(former, Why::Reset);
    driven.worker().remove(former);
    let (now, _peers) = driven.open();
    driven.conn(now).requests = 1; // which none of these is
    let part = driven.part(10);
    let key = former.bits();
    let mut events = vec![
        Event::Received { key, part },
        Event::Ended { key, result: Ok(0) },
        Event::Ended { key, result: Err(Errno::CONNRESET) },
        Event::Sent { key, result: Err(Errno::PIPE), pages: 0, held: 0, rest: Vec::new() },
        Event::Ready { key, result: Ok(u32::from(libc::POLLERR.unsigned_abs())) },
        Event::Connected { key, result: Err(Errno::CONNREFUSED) },
        Event::Released { key, pages: 0, copied: false },
    ];
    driven.worker().handle_all(&mut events);
    let conn = driven.conn(now);
    assert!(conn.state == State::Open && conn.requests == 1);
    assert!(conn.flows.iter().all(|flow| flow.queue.is_empty() && !flow.ended && !flow.marked && flow.received == 0));
    let stats = driven.worker().stats;
    assert_eq!((stats.bytes_dropped, stats.held, stats.reset, stats.connect_failed), (10, 0, 1, 0));
}

#[test]
fn who_waits_is_accepted_when_all_that_happened_is_known() {
    let mut driven = Driven::new(|_| {});
    let (key, _peers) = driven.open();
    let _waiting = TcpStream::connect(driven.listen).unwrap();
    // The listener speaks first; then a connection ends that had a request under way.
    let socket = driven.conn(key).sockets[0].try_clone().unwrap();
    let worker = driven.worker();
    let receiving = worker.ring.receive(socket.as_fd(), key.bits(), Receive::Once, &mut worker.pool).unwrap();
    let conn = worker.conns.get(key).unwrap();
    conn.requests = 1;
    conn.flows[UP].receiving = Some((Asked::new(receiving), false));
    let watched = Ok(u32::from(libc::POLLIN.unsigned_abs()));
    worker.handle(Event::Ready { key: LISTENER, result: watched });
    assert_eq!(worker.stats.accepted, 0, "there may be more events");
    let mut events = vec![
        Event::Ready { key: LISTENER, result: watched },
        Event::Ended { key: key.bits(), result: Err(Errno::CONNRESET) },
    ];
    worker.handle_all(&mut events);
    assert!(worker.stats.accepted == 1 && worker.conns.get(key).unwrap().flows[UP].receiving.is_none());
}

#[test]
fn it_wakes_only_if_there_is_something_to_look_at() {
    let mut driven = Driven::new(|params| params.idle_timeout = Some(TIMEOUT));
    assert_eq!(driven.worker().pause(), None, "nobody is there");
    let (key, _peers) = driven.open();
    assert!(driven.worker().pause().is_some_and(|pause| pause >= Duration::from_secs(1)), "not ten times a second");
    driven.worker().params.idle_timeout = None;
    assert_eq!(driven.worker().pause(), None);
    driven.worker().accept_later = true;
    assert!(driven.worker().pause().is_some());
    driven.worker().tick();
    assert_eq!(driven.worker().pause(), None, "once");
    driven.conn(key).flows[UP].received = 10;
    driven.worker().given(key, 10);
    assert!(driven.worker().pause().is_some(), "whether they have arrived");
    driven.worker().drain(key, Why::Finished, None);
    assert!(driven.worker().pause().is_some());
    driven.worker().close(key, Why::Finished);
    driven.worker().remove(key);
    let now = driven.worker().now + TIMEOUT;
    driven.worker().now = now;
    driven.worker().tick();
    assert_eq!(driven.worker().pause(), None, "it is gone");
}
