//! The ring over sockets of loopback: what a completion says of the pages of a bundle, what a cut send leaves, and what happens when the kernel does not want to go on.
#![cfg(feature = "uring")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::locked::{in_a_process_with_a_limit, lock_at_most, lock_nothing_more};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use waterwheel_dev::uring::{Event, Op, PARTS, Part, Receive, Ring, RingParams, Without};
use waterwheel_xdp::mm::{Backing, HugePages, Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, PagePool, PoolParams, Zone};

/// Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const BUFFERS: usize = 32;

/// A ring with pages of 4 KiB. At its end it looks for every page.
struct Rig {
    zone: Zone,
    pool: PagePool,
    ring: Ring,
}

impl Rig {
    fn new() -> Self {
        Self::with(&RingParams { buffers: BUFFERS as u16, ..RingParams::default() })
    }

    fn with(params: &RingParams) -> Self {
        let zone = Zone::new(&ZoneParams { huge_pages: HugePages::Never, ..ZoneParams::pages(256) }).unwrap();
        let pool = PagePool::new(&zone, PoolParams { limit: 128, ..PoolParams::default() }).unwrap();
        let mut rig = Self { pool, ring: Ring::open(&zone, params).unwrap(), zone };
        rig.ring.fill(&mut rig.pool, BUFFERS);
        rig
    }

    /// Parts of a page each, full of `byte`.
    fn parts(&mut self, count: usize, byte: u8) -> Vec<Part> {
        let mut part = |_| {
            let mut page = self.pool.alloc(Direction::Tx).unwrap();
            page.as_mut_slice().fill(byte);
            Part::new(page, 0, 4096)
        };
        (0..count).map(&mut part).collect()
    }

    fn send(&mut self, to: &TcpStream, count: usize, byte: u8, zc: bool) -> Op {
        let parts = self.parts(count, byte);
        self.ring.send(to.as_fd(), 7, parts.into_iter(), zc)
    }

    /// Turns until an event is `last`; all events up to there.
    fn until(&mut self, last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        while !events.iter().any(&last) {
            assert!(Instant::now() < deadline, "{events:?}");
            self.ring.turn(&mut self.pool, Some(Duration::from_millis(100)), &mut events).unwrap();
        }
        events
    }

    /// Turns a few times. Tells how much has happened.
    fn until_idle(&mut self) -> usize {
        let mut events = Vec::new();
        (0..3).for_each(|_| self.ring.turn(&mut self.pool, Some(Duration::from_millis(20)), &mut events).unwrap());
        events.len()
    }

    /// Takes so many bytes out of a socket.
    fn read(&self, mut socket: &TcpStream, len: usize) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.read_exact(&mut vec![0; len]).unwrap();
    }

    /// Receives until the request ends.
    fn receive(&mut self, from: &TcpStream, how: Receive) -> Vec<Event> {
        self.ring.receive(from.as_fd(), 7, how, &mut self.pool).unwrap();
        self.until(|event| matches!(event, Event::Ended { .. }))
    }

    fn end(mut self) {
        assert_eq!(self.ring.close(&mut self.pool, PATIENCE), 0);
        assert_eq!(self.ring.stats().bad_completions, 0);
        self.account(0);
    }

    /// All pages are free but those that the kernel has not given back.
    fn account(self, quarantined: usize) {
        assert_eq!(self.ring.pages(), 0);
        drop((self.ring, self.pool));
        let account = Account::open(&self.zone).close(Users::Gone);
        assert_eq!((account.leaked, account.conflicts, account.quarantined), (0, 0, quarantined), "{account:?}");
        assert_eq!(account.free + quarantined, self.zone.region().pages(), "{account:?}");
    }
}

/// Two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// The bytes of all events, in their order, and how many pages they came in.
fn received(events: &[Event]) -> (Vec<u8>, usize) {
    let parts = events.iter().filter_map(|event| match event {
        Event::Received { part, .. } => Some(part.bytes()),
        _ => None,
    });
    (parts.clone().flatten().copied().collect(), parts.count())
}

/// Waits until `socket` has `len` bytes to be received.
fn wait_for(socket: &TcpStream, len: u64) {
    let deadline = Instant::now() + PATIENCE;
    while rustix::io::ioctl_fionread(socket).unwrap() < len {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that lie in `to`, waiting to be received.
fn send(mut from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    wait_for(to, bytes.len() as u64);
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn one_receive_takes_one_page_whatever_else_there_is() {
    let mut rig = Rig::new();
    let (from, to) = pair();
    let bytes = pattern(40_000);
    send(&from, &to, &bytes);
    for page in bytes.chunks(4096) {
        assert_eq!(received(&rig.receive(&to, Receive::Once)), (page.to_vec(), 1));
    }
    rig.end();
}

#[test]
fn a_bundle_is_every_byte_in_its_order_as_often_as_the_ring_wraps() {
    let mut rig = Rig::new();
    for len in [1, 4096, 4097, 40_000, 100_000, 5000, 131_072] {
        let (mut from, to) = pair();
        let bytes = pattern(len);
        from.write_all(&bytes).unwrap();
        from.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        while all.len() < len {
            // It ends for want of pages now and then.
            all.extend(received(&rig.receive(&to, Receive::Multi)).0);
            rig.ring.fill(&mut rig.pool, BUFFERS);
        }
        assert!(all == bytes, "{len} bytes");
    }
    rig.end();
}

#[test]
fn numbers_that_would_lead_out_of_a_page_are_refused() {
    let mut rig = Rig::new();
    for (offset, len) in [(0, 4097), (4096, 1), (4097, 0), (57_600, 64), (usize::MAX, 2), (1 << 32, 64), (0, 1 << 32)] {
        let page = rig.pool.alloc(Direction::Rx).unwrap();
        let part = std::panic::catch_unwind(|| Part::new(page, offset, len));
        assert!(part.is_err(), "{len} bytes at {offset}");
    }
    for buffers in [0, 3] {
        let params = RingParams { buffers, ..RingParams::default() };
        let refused = Ring::open(&rig.zone, &params).expect_err("no ring has so many places");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()));
    }
    rig.end();
}

#[test]
fn what_is_left_of_a_cut_send_is_not_lost() {
    const LEN: usize = PARTS * 4096;
    for zc in [false, true] {
        let mut rig = Rig::new();
        let (from, to) = pair();
        // There is less room between them than is to be sent.
        rustix::net::sockopt::set_socket_send_buffer_size(&from, 4096).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&to, 4096).unwrap();
        let op = rig.send(&from, PARTS, 1, zc);
        let told = rig.until_idle();
        if zc && rig.ring.stats().zc_refused > 0 {
            rig.end(); // so much memory may not be locked here
            continue;
        }
        assert_eq!(told, 0);
        rig.ring.cancel(op);
        let mut events = rig.until(|event| matches!(event, Event::Sent { .. }));
        let sent = events.iter().position(|event| matches!(event, Event::Sent { .. })).unwrap();
        let cut = events.swap_remove(sent);
        let Event::Sent { result, pages, held, rest, .. } = cut else { unreachable!() };
        assert_eq!(pages, PARTS);
        match result {
            Ok(sent) => {
                assert_eq!(rest.iter().map(Part::len).sum::<usize>(), LEN - sent as usize);
                assert!(
                    rest.iter().all(|part| part.offset() + part.len() == 4096),
                    "what is left is the end: {rest:?}"
                );
            }
            // The network has the pages: whoever gets this must send nothing more.
            Err(error) => assert!(zc && held == PARTS && error == rustix::io::Errno::IO, "{error} {held}"),
        }
        assert_eq!(zc, result.is_err());
        drop((from, to, rest));
        rig.end();
    }
}

/// A listener whose queue is full: connecting to it takes its time.
fn full() -> (SocketAddr, TcpListener, Vec<OwnedFd>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        let _ = rustix::net::connect(&socket, &address); // most are not done
        waiting.push(socket);
    }
    (address, listener, waiting)
}

#[test]
fn a_request_that_is_done_cancels_nobody_elses() {
    let mut rig = Rig::new();
    let (from, to) = pair();
    let (address, listener, waiting) = full();
    // One of each kind, all of them over.
    let mut done = vec![rig.send(&from, 1, 1, false), rig.send(&from, 2, 1, true)];
    done.push(rig.ring.receive(to.as_fd(), 7, Receive::Once, &mut rig.pool).unwrap());
    done.push(rig.ring.watch(to.as_fd(), 7, 4)); // it can be written to
    let mut events = rig.until(|event| matches!(event, Event::Ready { .. }));
    while rig.ring.pending() > 0 {
        events.extend(rig.until(|_| true));
    }
    let sent = |event: &Event| match event {
        Event::Sent { result, .. } => result.unwrap() as usize, // none where it was refused
        _ => 0,
    };
    rig.read(&to, events.iter().map(sent).sum::<usize>() - received(&events).0.len());
    // Others in their slots, which go on for ever: with the same key, too.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let others = [
        rig.ring.connect(socket.as_fd(), 7, &address),
        rig.ring.receive(to.as_fd(), 7, Receive::Multi, &mut rig.pool).unwrap(),
        rig.ring.watch(from.as_fd(), 7, 1),
        rig.ring.watch(from.as_fd(), 7, 1),
        rig.ring.receive(from.as_fd(), 7, Receive::Once, &mut rig.pool).unwrap(),
    ];
    done.iter().for_each(|op| rig.ring.cancel(*op));
    assert_eq!((rig.until_idle(), rig.ring.pending()), (0, others.len()), "nothing has ended");
    // The one that is meant is the one that ends.
    for (left, op) in (0..others.len()).rev().zip(others) {
        rig.ring.cancel(op);
        let events = rig.until(|_| true);
        let cancelled = match &events[0] {
            Event::Connected { result, .. } => result.map(|()| 0),
            Event::Ended { result, .. } | Event::Ready { result, .. } => *result,
            event => panic!("{event:?}"),
        };
        assert_eq!((cancelled, events.len()), (Err(Errno::CANCELED), 1));
        rig.until_idle(); // the answer to the cancelling
        assert_eq!(rig.ring.pending(), left);
    }
    drop((from, to, listener, waiting, events));
    rig.end();
}

#[test]
fn the_second_of_two_requests_with_one_key_is_cancelled_alone() {
    let mut rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = rig.ring.accept(listener.as_fd(), 7);
    let second = rig.ring.accept(listener.as_fd(), 7);
    assert_ne!(first, second);
    rig.ring.cancel(second);
    let events = rig.until(|event| matches!(event, Event::Accepted { .. }));
    assert!(matches!(events.as_slice(), [Event::Accepted { key: 7, socket: Err(Errno::CANCELED) }]), "{events:?}");
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let events = rig.until(|event| matches!(event, Event::Accepted { .. }));
    assert!(matches!(events.as_slice(), [Event::Accepted { key: 7, socket: Ok(_) }]), "{events:?}");
    rig.end();
}

#[test]
fn a_ring_keeps_the_memory_that_it_has_registered() {
    let Rig { zone, mut pool, mut ring } = Rig::new();
    let (from, mut to) = pair();
    let before = (zone.id(), zone.region().base());
    let watched = zone.downgrade();
    ring.close(&mut pool, PATIENCE);
    drop((zone, pool));
    assert_eq!(watched.upgrade().is_some(), ring.features().fixed);
    // Its bytes are those that are sent, not what lay there in another zone before.
    for byte in 0..3 {
        let zone = Zone::new(&ZoneParams { huge_pages: HugePages::Never, ..ZoneParams::pages(256) }).unwrap();
        assert!(!ring.features().fixed || (zone.id(), zone.region().base()) != before);
        let pool = PagePool::new(&zone, PoolParams { limit: 128, ..PoolParams::default() }).unwrap();
        let mut rig = Rig { zone, pool, ring };
        rig.send(&from, 1, byte, true);
        let mut bytes = [9; 4096];
        let mut events = rig.until(|event| matches!(event, Event::Sent { .. }));
        match events.pop() {
            // So much memory may not be locked here: what is refused is sent plainly.
            Some(Event::Sent { result: Ok(0), held: 0, rest, .. }) => {
                rig.ring.send(from.as_fd(), 7, rest.into_iter(), false);
                rig.until(|event| matches!(event, Event::Sent { result: Ok(4096), .. }));
            }
            Some(Event::Sent { result: Ok(4096), held: 1, .. }) => {
                rig.until(|event| matches!(event, Event::Released { .. }));
            }
            Some(Event::Released { .. }) => {} // both at once
            event => panic!("{event:?}"),
        }
        to.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [byte; 4096]);
        let Rig { zone, pool, ring: again } = rig;
        drop(pool);
        assert!(Account::open(&zone).close(Users::Gone).is_whole());
        ring = again;
    }
    drop(ring);
    assert!(watched.upgrade().is_none());
}

#[test]
fn memory_in_huge_pages_is_not_registered() {
    for huge_pages in [HugePages::Never, HugePages::Try] {
        let zone = Zone::new(&ZoneParams { huge_pages, ..ZoneParams::pages(512) }).unwrap();
        let ring = Ring::open(&zone, &RingParams::default()).unwrap();
        let small = zone.region().backing() == Backing::Small;
        assert!(small || !ring.features().fixed, "{:?} {}", zone.region().backing(), ring.features());
    }
}

#[test]
fn what_may_still_be_written_is_not_taken_back_at_the_end() {
    for (busy, how, order) in [(true, Receive::Multi, 1), (true, Receive::Once, 0), (false, Receive::Multi, 1)] {
        let mut rig = Rig::new();
        if order > 0 {
            assert_eq!(rig.ring.close(&mut rig.pool, PATIENCE), 0);
            rig.ring = Ring::open(&rig.zone, &RingParams { buffers: BUFFERS as u16, ..RingParams::default() }).unwrap();
            rig.pool = PagePool::new(&rig.zone, PoolParams { order, limit: 64, ..PoolParams::default() }).unwrap();
            rig.ring.fill(&mut rig.pool, BUFFERS);
        }
        let (from, to) = pair();
        if busy {
            rig.ring.receive(to.as_fd(), 7, how, &mut rig.pool).unwrap();
            rig.until_idle();
        }
        // Nobody has waited for the end of what is being received.
        let quarantined = rig.ring.close(&mut rig.pool, Duration::ZERO);
        assert_eq!(quarantined, if busy { BUFFERS << order } else { 0 });
        // The ring is still a ring: what was under way goes on to its end.
        let mut events = Vec::new();
        while rig.ring.pending() > 0 {
            rig.ring.turn(&mut rig.pool, Some(PATIENCE), &mut events).unwrap();
        }
        drop((from, to, events));
        rig.account(quarantined);
    }
}

#[test]
fn a_ring_that_was_closed_is_used_again() {
    let usual = RingParams { buffers: BUFFERS as u16, ..RingParams::default() };
    let plain = RingParams { without: Without { buffer_ring: true, ..Without::default() }, ..usual.clone() };
    for params in [usual, plain] {
        let mut rig = Rig::with(&params);
        for _ in 0..2 {
            assert_eq!(rig.ring.close(&mut rig.pool, PATIENCE), 0);
            assert_eq!((rig.ring.pages(), rig.ring.pending()), (0, 0));
            // No page waits any more, and none can be made to: a receive brings its own.
            rig.ring.fill(&mut rig.pool, BUFFERS);
            assert_eq!(rig.ring.waiting_pages(), 0);
            let (from, to) = pair();
            rig.ring.watch(to.as_fd(), 7, 1);
            rig.send(&from, 1, 5, false);
            let (mut sent, mut ready) = (0, 0);
            while (sent, ready) != (1, 1) {
                for event in rig.until(|_| true) {
                    sent += usize::from(matches!(event, Event::Sent { result: Ok(4096), .. }));
                    ready += usize::from(matches!(event, Event::Ready { result: Ok(_), .. }));
                }
            }
            let events = rig.receive(&to, Receive::Multi);
            assert_eq!(received(&events), (vec![5; 4096], 1));
            drop(events);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let op = rig.ring.accept(listener.as_fd(), 7);
            rig.ring.cancel(op);
            rig.until(|event| matches!(event, Event::Accepted { socket: Err(Errno::CANCELED), .. }));
        }
        rig.end();
    }
}

#[test]
fn a_kernel_that_takes_no_request_ends_in_an_error_and_every_page_is_told_of() {
    const SENDS: usize = 20;
    let mut rig = Rig::with(&RingParams { entries: 4, buffers: BUFFERS as u16, ..RingParams::default() });
    if !rig.ring.features().defer_taskrun {
        return rig.end(); // any thread may use it
    }
    rig.ring.turn(&mut rig.pool, Some(Duration::ZERO), &mut Vec::new()).unwrap();
    let (from, to) = pair();
    // The kernel refuses the ring to other threads, for ever: more requests than it has places for are asked for there.
    let ended = std::thread::spawn(move || {
        for _ in 0..SENDS {
            rig.send(&from, 1, 1, false);
        }
        assert_eq!((rig.ring.pending(), rig.ring.pages()), (SENDS, SENDS + BUFFERS));
        let mut account = Account::open(&rig.zone);
        rig.ring.account(&mut account);
        rig.pool.account(&mut account);
        let account = account.close(Users::Alive);
        assert_eq!((account.held_by_devices, account.conflicts), (SENDS + BUFFERS, 0), "{account:?}");
        for _ in 0..3 {
            rig.ring.submit().unwrap_err();
            rig.ring.turn(&mut rig.pool, Some(PATIENCE), &mut Vec::new()).unwrap_err();
        }
        let quarantined = rig.ring.close(&mut rig.pool, PATIENCE);
        // None of it was given to the kernel; nobody knows.
        assert!(quarantined >= SENDS, "{quarantined}");
        rig.account(quarantined);
        drop(to);
    });
    ended.join().unwrap();
}

#[test]
fn more_requests_than_places_are_all_done_in_their_order() {
    const SENDS: usize = 64;
    let mut rig = Rig::with(&RingParams { entries: 4, buffers: BUFFERS as u16, ..RingParams::default() });
    let (from, to) = pair();
    for byte in 0..SENDS {
        rig.send(&from, 1, byte as u8, false);
    }
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; SENDS * 4096];
        (&to).read_exact(&mut bytes).unwrap();
        bytes
    });
    let mut sent = 0;
    while sent < SENDS {
        sent += rig.until(|event| matches!(event, Event::Sent { .. })).len();
    }
    let bytes = reader.join().unwrap();
    assert!(bytes.chunks(4096).enumerate().all(|(n, page)| page.iter().all(|byte| *byte == n as u8)));
    rig.end();
}

/// Sends the thread that `work` runs on one signal after the other.
fn under_signals(work: impl FnOnce(&AtomicBool)) {
    let came = Arc::new(AtomicBool::new(false));
    let id = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&came)).unwrap();
    let (over, worker) = (AtomicBool::new(false), rustix::thread::gettid());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // To a thread of ours, which is there until this one has ended.
                rustix::process::kill_process(worker, rustix::process::Signal::USR1).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&came)));
        over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    signal_hook::low_level::unregister(id);
}

#[test]
fn a_stream_of_signals_ends_no_wait_in_an_error_and_loses_nothing() {
    under_signals(|came| {
        let mut rig = Rig::new();
        // Nothing happens but signals: a wait without an end has one.
        for _ in 0..20 {
            came.store(false, Ordering::Relaxed);
            let mut events = Vec::new();
            rig.ring.turn(&mut rig.pool, None, &mut events).unwrap();
            assert!(events.is_empty());
        }
        assert!(came.load(Ordering::Relaxed) || rig.ring.turn(&mut rig.pool, None, &mut Vec::new()).is_ok());
        for zc in [false, true] {
            let (from, to) = pair();
            let mut got = 0;
            for byte in 0..50 {
                rig.send(&from, 3, byte, zc);
                let mut left = 1;
                while left > 0 {
                    for event in rig.until(|event| matches!(event, Event::Sent { .. })) {
                        let Event::Sent { result, rest, .. } = event else { continue };
                        assert!(result.is_ok(), "{result:?}");
                        left = rest.len();
                        // So much memory may not be locked here.
                        (left > 0).then(|| rig.ring.send(from.as_fd(), 7, rest.into_iter(), false));
                    }
                }
                while got < (usize::from(byte) + 1) * 3 * 4096 {
                    got += received(&rig.receive(&to, Receive::Once)).0.len();
                    rig.ring.fill(&mut rig.pool, BUFFERS);
                }
            }
        }
        rig.end();
    });
}

#[test]
fn a_ring_leaves_some_of_what_may_be_locked_to_others() {
    in_a_process_with_a_limit("a_ring_leaves_some_of_what_may_be_locked_to_others", || {
        lock_at_most(64 << 10);
        let rigs = [(); 3].map(|()| Rig::new());
        for mut rig in rigs {
            let (from, to) = pair();
            rig.send(&from, 1, 1, false);
            rig.until(|event| matches!(event, Event::Sent { result: Ok(4096), .. }));
            rig.read(&to, 4096);
            rig.end();
        }
    });
}

#[test]
fn a_ring_is_smaller_where_little_may_be_locked() {
    in_a_process_with_a_limit("a_ring_is_smaller_where_little_may_be_locked", || {
        // The ring that is asked for takes three times as much.
        lock_at_most(256 << 10);
        let params = RingParams { entries: 4096, fixed: false, buffers: BUFFERS as u16, ..RingParams::default() };
        let mut rig = Rig::with(&params);
        let (from, to) = pair();
        rig.send(&from, 1, 3, false);
        rig.until(|event| matches!(event, Event::Sent { result: Ok(4096), .. }));
        rig.read(&to, 4096);
        rig.end();
    });
}

#[test]
fn what_is_refused_for_want_of_locked_memory_is_sent_plainly() {
    in_a_process_with_a_limit("what_is_refused_for_want_of_locked_memory_is_sent_plainly", || {
        let mut rig = Rig::with(&RingParams { fixed: false, buffers: BUFFERS as u16, ..RingParams::default() });
        assert!(rig.ring.features().send_zc, "{}", rig.ring.features());
        lock_nothing_more();
        let (from, to) = pair();
        rig.send(&from, PARTS, 3, true);
        let mut events = rig.until(|event| matches!(event, Event::Sent { .. }));
        let Some(Event::Sent { result: Ok(0), pages: PARTS, held: 0, rest, .. }) = events.pop() else {
            panic!("{events:?}")
        };
        assert_eq!((rest.len(), rig.ring.stats().zc_refused, rig.ring.pending()), (PARTS, 1, 0));
        rig.ring.send(from.as_fd(), 7, rest.into_iter(), false);
        rig.until(|event| matches!(event, Event::Sent { result: Ok(sent), .. } if *sent as usize == PARTS * 4096));
        rig.read(&to, PARTS * 4096);
        rig.end();
    });
}
