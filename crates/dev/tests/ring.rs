//! The ring over sockets of loopback: what a completion says of the pages of a bundle, and what a cut send leaves.
#![cfg(feature = "uring")]

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use waterwheel_dev::uring::{Event, PARTS, Part, Receive, Ring, RingParams};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, PagePool, PoolParams, Zone};

/// Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFERS: usize = 32;

/// A ring with pages of 4 KiB. At its end it looks for every page.
struct Rig {
    zone: Zone,
    pool: PagePool,
    ring: Ring,
}

impl Rig {
    fn new() -> Self {
        let zone = Zone::new(&ZoneParams::pages(256)).unwrap();
        let pool = PagePool::new(&zone, PoolParams { limit: 128, ..PoolParams::default() }).unwrap();
        let mut ring = Ring::open(&zone, &RingParams { buffers: BUFFERS as u16, ..RingParams::default() }).unwrap();
        let mut pool = pool;
        ring.fill(&mut pool, BUFFERS);
        Self { zone, pool, ring }
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

    /// Receives until the request ends.
    fn receive(&mut self, from: &TcpStream, how: Receive) -> Vec<Event> {
        self.ring.receive(from.as_fd(), 7, how, &mut self.pool).unwrap();
        self.until(|event| matches!(event, Event::Ended { .. }))
    }

    fn end(mut self) {
        assert_eq!(self.ring.close(&mut self.pool, PATIENCE), 0);
        assert_eq!(self.ring.stats().bad_completions, 0);
        drop((self.ring, self.pool));
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole(), "{account:?}");
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
    for (headroom, buffers) in [(4096, 8), (4097, 8), (8192, 8), (u32::MAX, 8), (0, 3), (0, 0)] {
        let params = RingParams { headroom, buffers, ..RingParams::default() };
        let refused = Ring::open(&rig.zone, &params).expect_err("the kernel would be told of bytes behind the page");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()));
    }
    rig.end();
}

#[test]
fn a_key_does_not_reach_into_the_kind_of_its_request() {
    let mut rig = Rig::new();
    let (from, _to) = pair();
    let long = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.ring.watch(from.as_fd(), 1 << 56, 1)));
    assert!(long.is_err());
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
        let page = |_| Part::new(rig.pool.alloc(Direction::Rx).unwrap(), 0, 4096);
        let parts = (0..PARTS).map(page).collect::<Vec<_>>();
        let op = rig.ring.send(from.as_fd(), 7, parts.into_iter(), zc);
        assert_eq!(rig.until_idle(), 0);
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
