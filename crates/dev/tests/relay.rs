//! The relay over loopback: every byte, every way a connection can end, and every page at the end.
#![cfg(feature = "uring")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use waterwheel_dev::ErrorClass;
use waterwheel_dev::relay::{Relay, RelayParams, RelayStats, Send};
use waterwheel_dev::uring::Without;
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Zone};

/// A relay to a listener of this test. At its end it looks for every page.
struct Rig {
    zone: Zone,
    relay: Relay,
    server: TcpListener,
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl Rig {
    fn new(change: impl FnOnce(&mut RelayParams)) -> Self {
        let server = TcpListener::bind(local()).unwrap();
        let mut params = RelayParams::new(local(), server.local_addr().unwrap());
        params.max_connections = 64;
        change(&mut params);
        let zone = Zone::new(&ZoneParams::pages(params.pages_needed())).unwrap();
        let relay = Relay::start(&zone, &params).unwrap();
        Self { zone, relay, server }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.relay.listen_address()).unwrap();
        patient(&client);
        client
    }

    /// A connection's two ends, with the relay between them.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        let (server, _) = self.server.accept().unwrap();
        patient(&server);
        (client, server)
    }

    /// Waits until the counters say so.
    fn until(&self, what: &str, holds: impl Fn(&RelayStats) -> bool) -> RelayStats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.relay.stats();
            if holds(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "{what}: {stats:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it: all pages are free.
    fn end(self) -> RelayStats {
        let (stats, quarantined) = self.relay.finish().unwrap();
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole() && quarantined == 0, "{account:?} {stats:?}");
        assert_eq!((stats.held, stats.open, stats.stalled, stats.bad_completions), (0, 0, 0, 0), "{stats:?}");
        stats
    }
}

/// Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Else a relay that forgets somebody has the test hang, not fail.
fn patient(socket: &TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Bytes that are different everywhere.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn read_all(mut from: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends `len` bytes each way at once, ends both, and compares.
fn both_ways(rig: &Rig, len: usize) {
    let (client, server) = rig.pair();
    let (up, down) = (pattern(1, len), pattern(2, len));
    let send = |mut to: &TcpStream, bytes: &[u8]| {
        to.write_all(bytes).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| send(&client, &up));
        scope.spawn(|| send(&server, &down));
        let received = scope.spawn(|| read_all(&server));
        assert!(read_all(&client) == down, "down");
        assert!(received.join().unwrap() == up, "up");
    });
}

#[test]
fn a_relay_that_is_only_dropped_has_ended() {
    let rig = Rig::new(|_| {});
    let (_client, _server) = rig.pair();
    let Rig { zone, relay, .. } = rig;
    drop(relay);
    let account = Account::open(&zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

#[test]
fn every_byte_arrives_both_ways_at_once() {
    let rig = Rig::new(|_| {});
    let lengths = [0, 1, 4095, 16384, 16385, 1_000_000, 20_000_000];
    lengths.into_iter().for_each(|len| both_ways(&rig, len));
    rig.until("all are finished", |stats| stats.finished == lengths.len() as u64);
    let stats = rig.end();
    let sum = lengths.iter().sum::<usize>() as u64;
    assert_eq!((stats.bytes_up, stats.bytes_down, stats.bytes_dropped, stats.reset), (sum, sum, 0, 0));
}

#[test]
fn every_byte_arrives_without_this_or_that_feature() {
    let without = [
        Without { buffer_ring: true, ..Without::default() },
        Without { multishot: true, ..Without::default() },
        Without { bundle: true, ..Without::default() },
        Without { multishot: true, bundle: true, ..Without::default() },
        Without { send_zc: true, ..Without::default() },
        Without { fixed: true, ..Without::default() },
        Without { defer_taskrun: true, ..Without::default() },
    ];
    for without in without {
        for (order, send) in [(0, Send::Plain), (4, Send::Zc)] {
            let rig = Rig::new(|params| {
                (params.without, params.order, params.send) = (without, order, send);
                params.max_connections = 8;
            });
            let features = rig.relay.features();
            assert!(!(without.buffer_ring && (features.buffer_ring || features.multishot || features.bundle)));
            assert!(!(without.multishot && features.multishot || without.bundle && features.bundle));
            assert!(!(without.send_zc && features.send_zc || without.fixed && features.fixed));
            assert!(features.missing().count() > 0, "{features}");
            both_ways(&rig, 3_000_000);
            let stats = rig.end();
            assert_eq!((stats.bytes_up, stats.bytes_down), (3_000_000, 3_000_000), "{without:?}");
            // Refused where so much memory may not be locked.
            let tried = stats.zc_sent + stats.zc_refused > 0;
            assert_eq!(tried, send == Send::Zc && !without.send_zc, "{without:?} {stats:?}");
        }
    }
}

#[test]
fn zero_copy_that_is_copied_is_counted_and_given_up() {
    let rig = Rig::new(|_| {});
    both_ways(&rig, 20_000_000);
    let stats = rig.end();
    // Loopback copies what it receives; and where so much memory may not be locked it is refused.
    let tried = stats.zc_copied + stats.zc_refused;
    assert!(stats.zc_copied == stats.zc_sent && tried > 0 && tried < stats.sends / 10, "{stats:?}");
}

#[test]
fn each_way_ends_by_itself() {
    let rig = Rig::new(|_| {});
    for first in [true, false] {
        let (client, server) = rig.pair();
        let (mut one, mut other) = if first { (client, server) } else { (server, client) };
        one.write_all(b"question").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&other), b"question");
        other.write_all(b"a late answer").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        one.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "a late answer");
    }
    rig.until("both are finished", |stats| stats.finished == 2);
    assert_eq!(rig.end().reset, 0);
}

fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
}

fn assert_reset(mut socket: &TcpStream) {
    let mut bytes = [0; 4096];
    let error = loop {
        match socket.read(&mut bytes) {
            Ok(0) => panic!("an end, not a reset"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_resets_the_other_side() {
    let rig = Rig::new(|_| {});
    for by_client in [true, false] {
        let (client, server) = rig.pair();
        let (mut one, mut other) = if by_client { (client, server) } else { (server, client) };
        one.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        reset(one);
        assert_reset(&other);
    }
    assert_eq!(rig.until("both are counted", |stats| stats.reset == 2).finished, 0);
    rig.end();
}

/// Sends until the relay takes no more for a while. Tells how many bytes.
fn fill(mut to: &TcpStream) -> usize {
    to.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let (bytes, mut sent) = (pattern(3, 1 << 16), 0);
    while let Ok(n) = to.write(&bytes[sent % bytes.len()..]) {
        sent += n;
    }
    sent
}

#[test]
fn a_reset_is_noticed_while_nothing_is_received() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.pair();
    fill(&client);
    rig.until("it has stalled", |stats| stats.stalled == 1);
    reset(client);
    rig.until("the reset is seen, the pages are home", |stats| stats.reset == 1 && stats.held == 0);
    assert_reset(&server);
    rig.end();
}

#[test]
fn who_stalls_holds_no_more_than_the_cap_and_slows_nobody() {
    let rig = Rig::new(|params| params.cap = 4);
    let stalled = (0..16).map(|_| rig.pair()).collect::<Vec<_>>();
    thread::scope(|scope| {
        stalled.iter().for_each(|(client, _)| drop(scope.spawn(|| fill(client))));
    });
    let before = rig.until("all have stalled", |stats| stats.stalled == 16);
    both_ways(&rig, 5_000_000);
    let after = rig.until("the other one is done", |stats| stats.finished == 1);
    assert!(after.held <= before.held && after.held_max < 16 * (4 + 32) + 256, "{before:?} {after:?}");
    rig.until("the others are as they were", |stats| stats.stalled == 16);
    // When they are read again everything arrives.
    for (client, server) in stalled {
        client.shutdown(Shutdown::Write).unwrap();
        let received = read_all(&server);
        let expected = pattern(3, 1 << 16);
        assert!(received.chunks(1 << 16).all(|chunk| *chunk == expected[..chunk.len()]));
        drop(server);
    }
    rig.until("all are finished", |stats| stats.finished == 17);
    rig.end();
}

#[test]
fn however_many_have_stalled_there_is_a_page_for_who_has_not() {
    for buffer_ring in [false, true] {
        let rig = Rig::new(|params| {
            // Those that stall may hold all that there is, but for one page for each direction.
            (params.max_connections, params.cap, params.order) = (48, 64, 0);
            params.without.buffer_ring = buffer_ring;
        });
        let reserve = 2 * 48;
        // Each of those that stall may have its own page of the reserve, and no other's.
        let limit = (rig.zone.region().pages() - reserve + 40) as u64;
        let stalled = (0..40).map(|_| rig.pair()).collect::<Vec<_>>();
        thread::scope(|scope| {
            stalled.iter().for_each(|(client, _)| drop(scope.spawn(|| fill(client))));
        });
        let stats = rig.until("all have stalled", |stats| stats.stalled == 40);
        assert!(stats.held > limit / 4 && stats.held <= limit, "{limit} {stats:?}");
        both_ways(&rig, 2_000_000);
        assert!(rig.relay.stats().held_max <= limit + 2, "{limit} {:?}", rig.relay.stats());
        rig.end();
    }
}

#[test]
fn holders_are_named() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.pair();
    fill(&client);
    rig.until("it has stalled", |stats| stats.stalled == 1);
    rig.relay.holders();
    let (mut other, mut echo) = rig.pair(); // something has to happen
    other.write_all(b"x").unwrap();
    echo.read_exact(&mut [0]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let name = format!("tcp:{}", server.local_addr().unwrap());
    while !rig.relay.holders().iter().any(|(holder, pages)| *holder == name && *pages > 0) {
        assert!(Instant::now() < deadline, "{:?}", rig.relay.holders());
        other.write_all(b"x").unwrap();
        echo.read_exact(&mut [0]).unwrap();
    }
    rig.end();
}

#[test]
fn who_cannot_be_connected_is_reset() {
    let free = TcpListener::bind(local()).unwrap().local_addr().unwrap();
    let rig = Rig::new(|params| params.connect = free);
    let client = rig.client();
    assert_reset(&client);
    assert_eq!(rig.until("it is counted", |stats| stats.connect_failed == 1).accepted, 1);
    rig.end();
}

/// A list may name an address twice, and change while it is tried.
#[test]
fn each_address_is_tried_as_often_as_it_is_named() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &local()).unwrap();
    let dead = SocketAddr::try_from(getsockname(&held).unwrap()).unwrap(); // nobody listens, and nobody else can
    let rig = Rig::new(|_| ());
    rig.relay.connect_to(vec![dead, dead]);
    let client = rig.client();
    assert_reset(&client);
    let stats = rig.until("it is counted", |stats| stats.connect_failed == 1);
    assert_eq!((stats.accepted, stats.connect_refused), (1, 1));
    rig.relay.connect_to(vec![dead, dead, rig.server.local_addr().unwrap()]);
    let (mut client, mut server) = rig.pair();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert_eq!(rig.end().connect_failed, 1);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let rig = Rig::new(|params| params.max_connections = 2);
    let pairs = [rig.pair(), rig.pair()];
    let waiting = rig.client();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.relay.stats().accepted, 2);
    drop(pairs);
    let (server, _) = rig.server.accept().unwrap();
    (&waiting).write_all(b"x").unwrap();
    (&server).read_exact(&mut [0]).unwrap();
    assert_eq!(rig.end().accepted, 3);
}

#[test]
fn who_is_idle_is_reset_if_so_wanted() {
    let rig = Rig::new(|params| params.idle_timeout = Some(Duration::from_millis(200)));
    let (client, _server) = rig.pair();
    assert_reset(&client);
    assert_eq!(rig.end().idle_timeout, 1);
}

#[test]
fn what_was_received_is_sent_before_the_end() {
    let rig = Rig::new(|_| {});
    let (client, server) = rig.pair();
    let sent = fill(&client) as u64;
    assert!(sent > 0);
    let reader = thread::spawn(move || {
        let (mut bytes, mut sum) = ([0; 1 << 16], 0);
        while let Ok(n @ 1..) = (&server).read(&mut bytes) {
            sum += n as u64;
        }
        sum
    });
    let stats = rig.end();
    assert_eq!(stats.stopped, 1);
    assert!(reader.join().unwrap() <= stats.bytes_up);
}

#[test]
fn two_workers_share_the_connections() {
    let rig = Rig::new(|params| params.workers = 2);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = rig.client();
                (&client).write_all(b"hello").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let (server, _) = rig.server.accept().unwrap();
                assert_eq!(read_all(&server), b"hello");
            });
        }
    });
    assert_eq!(rig.end().bytes_up, 20);
}

#[test]
fn what_cannot_be_is_refused() {
    let zone = Zone::new(&ZoneParams::pages(1 << 14)).unwrap();
    let refused = |change: &dyn Fn(&mut RelayParams)| {
        let mut params = RelayParams::new(local(), local());
        params.max_connections = 16;
        change(&mut params);
        let error = Relay::start(&zone, &params).map(|_| ()).unwrap_err();
        (error.class(), error.message().to_owned())
    };
    let (class, message) = refused(&|params| params.max_connections = 100_000);
    assert!(class == ErrorClass::Config && message.contains("allow at most"), "{message}");
    let (class, message) = refused(&|params| params.cap = 0);
    assert!(class == ErrorClass::Config && message.contains("cap of 0"), "{message}");
    let (class, message) = refused(&|params| params.listen = ([192, 0, 2, 77], 80).into());
    assert!(class == ErrorClass::Device && message.contains("no interface"), "{message}");
    let listener = TcpListener::bind(local()).unwrap();
    let (class, message) = refused(&|params| params.listen = listener.local_addr().unwrap());
    assert!(class == ErrorClass::Device && message.contains("in use"), "{message}");
    drop(listener);
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
}
