//! A worker that is driven by hand: what nobody can see from outside.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, Zone};

use super::{PATIENCE, local};
use crate::relay::conn::{Asked, Conn, Conns, Key, State, UP};
use crate::relay::end::{ASK_BYTES, LOOKS, Why};
use crate::relay::params::{FILL_MAX, FILL_MIN};
use crate::relay::worker::{LISTENER, Worker};
use crate::relay::{RelayParams, RelayStats, accept, local_address, memory, shared};
use crate::uring::{Choice, Event, Op, Part, Receive, Send};

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
        let listen = local_address(&listener).unwrap();
        params.connect = listen;
        let shared = Arc::new(shared::Shared::new(1, params.connect).unwrap());
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
    rustix::net::send(&worker.conns.get(key).unwrap().sockets[1], &[7; 10], SendFlags::empty()).unwrap();
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
    let mut former = Vec::<Key>::new();
    for _ in 0..5 {
        let (key, _peers) = driven.open();
        assert_eq!(Key::of(key.bits()), key);
        for &other in &former {
            assert!(other.place == key.place && other.bits() != key.bits());
            assert!(driven.worker().conns.get(other).is_none() && driven.worker().conns.remove(other).is_none());
        }
        former.push(key);
        driven.worker().close(key, Why::Reset);
        driven.worker().remove(key);
    }
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

#[test]
fn who_cannot_be_accepted_is_asked_again_later() {
    let mut driven = Driven::new(|_| {});
    let _waiting = TcpStream::connect(driven.listen).unwrap();
    let mut events = vec![Event::Ready { key: LISTENER, result: Err(Errno::NOMEM) }];
    driven.worker().handle_all(&mut events);
    driven.worker().listen_on();
    assert!(driven.worker().stats.accepted == 0 && driven.worker().listening.is_none(), "not at once");
    driven.worker().tick();
    driven.worker().listen_on();
    assert!(driven.worker().listening.is_some());
    events.push(Event::Ready { key: LISTENER, result: Ok(1) });
    driven.worker().handle_all(&mut events);
    let worker = driven.worker();
    assert!(worker.stats.accepted == 1 && worker.listening.is_none());
    let key = worker.conns.keys()[0];
    for socket in &worker.conns.get(key).unwrap().sockets {
        assert!(sockopt::tcp_nodelay(socket).unwrap(), "what comes is passed on");
    }
}

/// Bytes that flow `key` has received and given to its socket, and that its peer has.
fn give(driven: &mut Driven, key: Key, peer: &mut TcpStream, len: usize) {
    let conn = driven.conn(key);
    conn.flows[key.way].received += len as u64;
    rustix::net::send(&conn.sockets[1 - key.way], &vec![7; len], SendFlags::empty()).unwrap();
    peer.read_exact(&mut vec![0; len]).unwrap();
}

#[test]
fn many_bytes_are_asked_for_without_waiting() {
    let mut driven = Driven::new(|_| {});
    let (key, [_client, mut server]) = driven.open();
    give(&mut driven, key, &mut server, 10);
    driven.worker().given(key, 10);
    assert_eq!(driven.worker().stats.bytes_up, 0);
    driven.worker().given(key, ASK_BYTES as u32 - 10);
    assert_eq!(driven.worker().stats.bytes_up, 10);
    driven.worker().given(key, 10);
    assert_eq!(driven.worker().unsure.len(), 1, "it stands in the list once");
}

#[test]
fn who_drains_is_looked_at_soon_and_then_now_and_then() {
    let mut driven = Driven::new(|_| {});
    let (key, [_client, mut server]) = driven.open();
    driven.conn(key).flows[UP].received = 20;
    give(&mut driven, key, &mut server, 10);
    driven.worker().drain(key, Why::Finished, None);
    assert!(driven.worker().settle_drain(key), "ten bytes are missing");
    for _ in 0..LOOKS {
        assert_eq!(driven.worker().leaving.len(), 1);
        driven.worker().leave();
    }
    assert_eq!((driven.worker().leaving.len(), driven.worker().draining), (0, 1));
    driven.conn(key).flows[UP].received = 20; // of which ten were already there
    let conn = driven.conn(key);
    rustix::net::send(&conn.sockets[1], &[7; 20], SendFlags::empty()).unwrap();
    server.read_exact(&mut [0; 20]).unwrap();
    driven.worker().tick();
    assert_eq!((driven.worker().draining, driven.worker().stats.finished), (0, 1));
}

#[test]
fn no_deadline_is_put_off_and_a_reset_is_a_reset() {
    let mut driven = Driven::new(|_| {});
    let (key, _peers) = driven.open();
    driven.conn(key).flows[UP].received = 10;
    let now = driven.worker().now;
    let soon = now + Duration::from_millis(10);
    driven.worker().drain(key, Why::Stopped, Some(soon));
    driven.worker().drain(key, Why::Finished, Some(soon + TIMEOUT));
    assert_eq!(driven.conn(key).state, State::Draining(Why::Stopped, Some(soon)));
    driven.worker().lost(key, 1);
    assert_eq!(driven.conn(key).state, State::Draining(Why::Reset, Some(soon)));
    assert_eq!(driven.worker().draining, 1);
    driven.worker().now = soon;
    assert!(!driven.worker().settle_drain(key));
    assert_eq!((driven.worker().draining, driven.worker().stats.reset), (0, 1));
    driven.worker().close(key, Why::Stopped);
    assert_eq!(driven.worker().stats.stopped, 0, "it has one end");
}

#[test]
fn who_hung_up_is_not_watched_again() {
    let mut driven = Driven::new(|params| params.cap = 1);
    let (key, _peers) = driven.open();
    driven.worker().share = 1;
    let part = driven.part(10);
    driven.worker().received(key, part);
    driven.worker().settle_flow(key);
    assert!(driven.conn(key).flows[UP].stalled && driven.conn(key).flows[UP].watch.is_some());
    driven.worker().ready(key, Ok(u32::from(libc::POLLHUP.unsigned_abs())));
    driven.worker().settle_flow(key);
    let flow = &driven.conn(key).flows[UP];
    assert!(flow.hung_up && flow.watch.is_none() && !flow.gone, "what it sent last is still to be received");
    assert_eq!(driven.worker().stats.stalls, 1);
}

#[test]
fn more_pages_wait_while_they_do_not_suffice_and_fewer_when_they_have() {
    let mut driven = Driven::new(|_| {});
    let (key, _peers) = driven.open();
    driven.worker().starved.push_back(key);
    let targets = (0..4).map(|_| {
        driven.worker().adapt();
        driven.worker().target
    });
    assert_eq!(targets.collect::<Vec<_>>(), [2 * FILL_MIN, 4 * FILL_MIN, FILL_MAX, FILL_MAX]);
    driven.worker().starved.clear();
    for _ in 0..10 * 4096 {
        driven.worker().adapt();
    }
    assert_eq!(driven.worker().target, FILL_MIN);
}

#[test]
fn every_counter_is_told_and_added() {
    let one = RelayStats {
        accepted: 1,
        open: 2,
        finished: 3,
        bytes_up: 4,
        bytes_down: 5,
        connect_failed: 6,
        connect_refused: 7,
        connect_timed_out: 8,
        connect_unreachable: 9,
        reset: 10,
        idle_timeout: 11,
        stopped: 12,
        accept_errors: 13,
        stalls: 14,
        stalled: 15,
        starved: 16,
        bytes_dropped: 17,
        bytes_unacknowledged: 18,
        sends: 19,
        zc_sent: 20,
        zc_copied: 21,
        zc_refused: 22,
        enters: 23,
        held: 24,
        held_max: 25,
        waiting: 26,
        taken: 27,
        missed: 28,
        bad_completions: 29,
        unlogged: 30,
    };
    let told = |stats: &RelayStats| {
        let mut told = Vec::new();
        stats.each(|name, count| told.push((name, count)));
        told
    };
    let mut two = one;
    two.add(&one);
    for (n, ((name, once), (_, twice))) in (1..).zip(told(&one).into_iter().zip(told(&two))) {
        assert_eq!((once, twice), (n, 2 * n), "{name}");
    }
    assert_eq!(told(&one).len() * size_of::<u64>(), size_of::<RelayStats>());
}

#[test]
fn what_is_told_of_pages_and_connections_agrees() {
    for (workers, order) in [(1, 0), (1, 2), (3, 1)] {
        let params = RelayParams { workers, order, max_connections: 300, ..RelayParams::new(local(), local()) };
        assert_eq!(params.connections_for(params.pages_needed()), 300);
        assert!(params.connections_for(params.pages_needed() - 1) < 300);
        assert!(params.pages_wanted() > params.pages_needed());
    }
}
