//! What is told of bytes when connections end. The relay as its users see it is tested in `tests/relay.rs`.

mod driven;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Zone};

use super::sys::acknowledged;
use super::{Relay, RelayParams, RelayStats};
use crate::uring::Send;

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

    /// Tells it to stop, and gives it some time to do so while nobody reads: if it is too short a fault may be missed.
    fn stop(&self) {
        self.relay.stop();
        std::thread::sleep(Duration::from_millis(100));
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
    rig.stop();
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
    rig.stop();
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
    rig.taken(&server, 0); // it has noticed
    assert_eq!(read(&server), (BYTES as u64, false));
    let stats = rig.end();
    assert_eq!((stats.bytes_up, stats.bytes_dropped, stats.reset), (BYTES as u64 + 2 * PINGS, 0, 1), "{stats:?}");
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
