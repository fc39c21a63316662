//! What requests make of completions that this test scripts: nothing is submitted, and the kernel's part is played here.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use waterwheel_xdp::mm::{HugePages, Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, PagePool, PoolParams, Zone};

use super::ring::went_on;
use super::slots::{Op, Part, Request, Zc};
use super::{Event, Receive, Ring, RingParams};

/// `IORING_CQE_F_*`.
const BUFFER: u32 = 1;
const MORE: u32 = 2;
const NOTIF: u32 = 8;
const COPIED: i32 = i32::MIN;

const NOMEM: i32 = -libc::ENOMEM;
const NOBUFS: i32 = -libc::ENOBUFS;
const RESET: i32 = -libc::ECONNRESET;

struct Script {
    zone: Zone,
    pool: PagePool,
    ring: Ring,
    socket: TcpStream,
    events: Vec<Event>,
}

impl Script {
    fn new() -> Self {
        let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
        let pool = PagePool::new(&zone, PoolParams { limit: 64, ..PoolParams::default() }).unwrap();
        let ring = Ring::open(&zone, &RingParams { buffers: 8, ..RingParams::default() }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { zone, pool, ring, socket, events: Vec::new() }
    }

    /// A send of `count` parts of 100 bytes, each its own number.
    fn send(&mut self, count: u8, zc: bool) -> Op {
        let pool = &mut self.pool;
        let parts = (0..count).map(|number| {
            let mut page = pool.alloc(Direction::Tx).unwrap();
            page.as_mut_slice().fill(number);
            Part { page, offset: 8, len: 100 }
        });
        self.ring.send(self.socket.as_fd(), 5, parts, zc)
    }

    fn says(&mut self, op: Op, result: i32, flags: u32) {
        self.ring.requests.complete(op.user_data(), result, flags, &mut self.events);
    }

    fn turn(&mut self) {
        self.events.append(&mut self.ring.requests.told);
        self.pool.put_bulk(&mut self.ring.requests.home);
    }

    /// Looks for all pages: `quarantined` of them, which nobody says are done, are quarantined with the ring.
    fn end(mut self, quarantined: usize) {
        self.turn();
        assert_eq!((self.ring.requests.slots.pages, self.ring.pages()), (0, quarantined));
        drop((self.events, self.ring, self.pool));
        let account = Account::open(&self.zone).close(Users::Gone);
        assert_eq!((account.leaked, account.conflicts, account.quarantined), (0, 0, quarantined), "{account:?}");
        assert_eq!(account.free + quarantined, 64, "{account:?}");
    }
}

/// What a test expects of a send: its result, pages that are held, and bytes that are left.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Sent(Result<u32, Errno>, usize, u32),
    Released(usize, bool),
}

fn told(event: Event) -> Told {
    match event {
        Event::Sent { key: 5, result, pages: 3, held, rest } => {
            // What is left is the end, byte by byte.
            let all = (0..3).flat_map(|number| [number; 100]).collect::<Vec<u8>>();
            let left = rest.iter().flat_map(Part::bytes).copied().collect::<Vec<_>>();
            assert!(all.ends_with(&left));
            Told::Sent(result, held, left.len() as u32)
        }
        Event::Released { key: 5, pages, copied } => Told::Released(pages, copied),
        event => panic!("{event:?}"),
    }
}

#[test]
fn a_zero_copy_send_is_told_by_its_result_and_its_notification_in_any_order() {
    use Told::{Released, Sent};
    let notif = |copied| (if copied { COPIED } else { 0 }, NOTIF);
    // What the kernel says; what is told by then; how many were sent without a copy, and refused.
    type Case = (Vec<(i32, u32)>, Vec<Told>, u64, u64);
    let cases: Vec<Case> = vec![
        (vec![(300, MORE), notif(false)], vec![Sent(Ok(300), 3, 0), Released(3, false)], 1, 0),
        (vec![(300, MORE), notif(true)], vec![Sent(Ok(300), 3, 0), Released(3, true)], 1, 0),
        (vec![(300, MORE)], vec![Sent(Ok(300), 3, 0)], 0, 0),
        (vec![(300, 0)], vec![Sent(Ok(300), 0, 0)], 0, 0),
        (vec![notif(true), (300, MORE)], vec![Sent(Ok(300), 0, 0), Released(0, true)], 1, 0),
        (vec![notif(false), (300, 0)], vec![Sent(Ok(300), 0, 0), Released(0, false)], 1, 0),
        (vec![notif(false)], vec![], 0, 0),
        // Refused: with the notification that follows, without one, behind it; nothing is told before the pages are back.
        (vec![(NOMEM, MORE)], vec![], 0, 0),
        (vec![(NOMEM, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(NOBUFS, MORE), notif(true)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(-libc::EOPNOTSUPP, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(-libc::EMSGSIZE, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(-libc::EINVAL, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(-libc::EINTR, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 0),
        (vec![(NOMEM, 0)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![(NOBUFS, 0)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        (vec![notif(false), (NOMEM, MORE)], vec![Sent(Ok(0), 0, 300)], 0, 1),
        // Cut: what is left may be sent once the network has let go of the pages in which it lies.
        (vec![(150, MORE)], vec![], 0, 0),
        (vec![(150, MORE), notif(false)], vec![Sent(Ok(150), 0, 150)], 0, 0),
        (vec![(299, MORE), notif(true)], vec![Sent(Ok(299), 0, 1)], 0, 0),
        (vec![(0, MORE), notif(false)], vec![Sent(Ok(0), 0, 300)], 0, 0),
        (vec![(100, 0)], vec![Sent(Ok(100), 0, 200)], 0, 0),
        (vec![notif(false), (150, MORE)], vec![Sent(Ok(150), 0, 150)], 0, 0),
        // An end: nothing is left to be sent.
        (vec![(RESET, MORE), notif(false)], vec![Sent(Err(Errno::CONNRESET), 0, 0)], 0, 0),
        (vec![(RESET, 0)], vec![Sent(Err(Errno::CONNRESET), 0, 0)], 0, 0),
    ];
    for (says, expected, zc_sent, zc_refused) in cases {
        let mut script = Script::new();
        let op = script.send(3, true);
        let done = says.len() == 2 || says.iter().any(|(_, flags)| *flags == 0);
        says.iter().for_each(|(result, flags)| script.says(op, *result, *flags));
        let all = std::mem::take(&mut script.events).into_iter().map(told).collect::<Vec<_>>();
        assert_eq!(all, expected, "{says:?}");
        let stats = script.ring.stats();
        assert_eq!((stats.zc_sent, stats.zc_refused, stats.bad_completions), (zc_sent, zc_refused, 0), "{says:?}");
        assert_eq!(script.ring.pending(), usize::from(!done), "{says:?}");
        if done {
            // Whatever else is said of it reaches nobody.
            for (result, flags) in [(NOMEM, 0), (300, MORE), notif(true)] {
                script.says(op, result, flags);
            }
            assert_eq!((script.events.len(), script.ring.stats().bad_completions), (0, 3), "{says:?}");
            script.end(0);
        } else {
            drop(script.ring); // with its pages
            drop(script.pool);
            let account = Account::open(&script.zone).close(Users::Gone);
            assert_eq!((account.quarantined, account.free), (3, 61), "{says:?}: {account:?}");
        }
    }
}

#[test]
fn who_cancels_a_cut_zero_copy_send_waits_for_no_acknowledgement() {
    for first in [150, NOMEM] {
        for before in [true, false] {
            let mut script = Script::new();
            let op = script.send(3, true);
            if before {
                script.ring.cancel(op);
                script.says(op, first, MORE);
            } else {
                script.says(op, first, MORE);
                assert!(script.events.is_empty());
                script.ring.cancel(op);
            }
            script.turn();
            let error = if first < 0 { Errno::NOMEM } else { Errno::IO };
            assert_eq!(script.events.drain(..).map(told).collect::<Vec<_>>(), [Told::Sent(Err(error), 3, 0)]);
            script.ring.cancel(op);
            script.says(op, 0, NOTIF);
            assert_eq!(script.events.drain(..).map(told).collect::<Vec<_>>(), [Told::Released(3, false)]);
            script.ring.cancel(op);
            script.turn();
            assert!(script.events.is_empty());
            script.end(0);
        }
    }
}

#[test]
fn a_plain_send_is_told_once_with_what_is_left_of_it() {
    use Told::Sent;
    for (result, expected) in [
        (300, Sent(Ok(300), 0, 0)),
        (250, Sent(Ok(250), 0, 50)),
        (0, Sent(Ok(0), 0, 300)),
        (-libc::EINTR, Sent(Ok(0), 0, 300)),
        (NOMEM, Sent(Err(Errno::NOMEM), 0, 0)),
        (RESET, Sent(Err(Errno::CONNRESET), 0, 0)),
        (i32::MIN, Sent(Err(Errno::IO), 0, 0)),
    ] {
        let mut script = Script::new();
        let op = script.send(3, false);
        script.says(op, result, 0);
        assert_eq!(script.events.drain(..).map(told).collect::<Vec<_>>(), [expected]);
        assert_eq!((script.ring.pending(), script.ring.stats().zc_refused), (0, 0));
        script.says(op, result, 0);
        assert!(script.events.is_empty());
        script.end(0);
    }
}

#[test]
fn a_kernel_that_knows_no_report_of_use_is_not_asked_again() {
    let mut script = Script::new();
    for (result, flags, asks) in [(-libc::EINVAL, MORE, true), (NOMEM, 0, true), (-libc::EINVAL, 0, false)] {
        let op = script.send(3, true);
        script.says(op, result, flags);
        if flags == MORE {
            script.says(op, 0, NOTIF);
        }
        assert_eq!(!script.ring.requests.no_report, asks);
        script.events.drain(..).for_each(|event| assert_eq!(told(event), Told::Sent(Ok(0), 0, 300)));
    }
    script.end(0);
}

/// Requests of every kind, by a word that says which.
fn each(script: &mut Script) -> Vec<(&'static str, Op)> {
    let nobody: SocketAddr = ([127, 0, 0, 1], 9).into();
    let socket = script.socket.try_clone().unwrap();
    let Script { ring, pool, .. } = script;
    let fd = socket.as_fd();
    let mut without = vec![
        ("accept", ring.accept(fd, 7)),
        ("watch", ring.watch(fd, 7, 1)),
        ("connect", ring.connect(fd, 7, &nobody)),
        ("receive", ring.receive(fd, 7, Receive::Once, pool).unwrap()),
        ("receive more", ring.receive(fd, 7, Receive::Multi, pool).unwrap()),
    ];
    without.push(("send", script.send(1, false)));
    without.push(("send without a copy", script.send(1, true)));
    without
}

#[test]
fn requests_with_the_same_key_are_told_apart_and_one_that_is_done_cancels_none() {
    let mut script = Script::new();
    let first = each(&mut script);
    let second = each(&mut script);
    let ops = first.iter().chain(&second).map(|(_, op)| *op).collect::<std::collections::HashSet<_>>();
    assert_eq!((ops.len(), script.ring.pending()), (14, 14));
    // The first of each kind are done, in any order; their slots are taken by others.
    for (_, op) in &first {
        script.says(*op, -libc::ECANCELED, 0);
    }
    script.events.clear();
    let third = each(&mut script);
    for (name, op) in &first {
        assert!(third.iter().all(|(_, other)| other != op), "{name}");
        let asked = script.ring.requests.cancels;
        script.ring.cancel(*op);
        assert_eq!(script.ring.requests.cancels, asked, "{name} is done: nothing is asked of the kernel");
        // Nor does an event of the former one reach whoever has its slot.
        script.says(*op, 1, 0);
        assert!(script.events.is_empty(), "{name}");
    }
    assert_eq!(script.ring.stats().bad_completions, 7);
    for (name, op) in second.iter().chain(&third) {
        let asked = script.ring.requests.cancels;
        script.ring.cancel(*op);
        assert_eq!(script.ring.requests.cancels, asked + 1, "{name} is under way");
        script.says(*op, -libc::ECANCELED, 0);
        script.ring.cancel(*op);
        assert_eq!((script.ring.requests.cancels, script.events.drain(..).count()), (asked + 1, 1), "{name}");
    }
    // The answers to those that cancel.
    for left in (0..14).rev() {
        script.ring.requests.complete(0, 0, 0, &mut script.events);
        assert_eq!(script.ring.pending(), left);
    }
    script.ring.requests.complete(0, 0, 0, &mut script.events);
    assert_eq!((script.ring.pending(), script.events.len()), (0, 0));
    script.end(0);
}

#[test]
fn a_place_whose_page_the_kernel_has_is_not_filled_anew() {
    let mut script = Script::new();
    script.ring.fill(&mut script.pool, 8);
    assert_eq!(script.ring.waiting_pages(), 8);
    let op = script.ring.receive(script.socket.as_fd(), 5, Receive::Multi, &mut script.pool).unwrap();
    // The second place comes back before the first, which is the next to be filled.
    script.says(op, 100, BUFFER | MORE | 1 << 16);
    assert!(matches!(script.events.as_slice(), [Event::Received { key: 5, part }] if part.len == 100));
    script.ring.fill(&mut script.pool, 8);
    assert_eq!((script.ring.waiting_pages(), script.ring.pages()), (7, 7));
    script.says(op, 100, BUFFER | MORE);
    script.ring.fill(&mut script.pool, 8);
    assert_eq!(script.ring.waiting_pages(), 8);
    // An id of no page, of no place, and a bundle longer than all pages: none is believed.
    script.says(op, 100, BUFFER | MORE | 3 << 16);
    for flags in [BUFFER | MORE | 3 << 16, BUFFER | MORE | 99 << 16, MORE] {
        script.says(op, 100, flags);
    }
    assert_eq!((script.events.len(), script.ring.stats().bad_completions), (3, 3));
    script.says(op, 1 << 20, BUFFER | 4 << 16);
    assert_eq!((script.ring.waiting_pages(), script.ring.stats().bad_completions), (0, 4));
    // One that comes for nobody gives its page back.
    script.ring.fill(&mut script.pool, 1);
    let waits = (0..8).find(|id| {
        script.says(op, 100, BUFFER | id << 16);
        script.ring.waiting_pages() == 0
    });
    assert!(waits.is_some());
    script.events.clear();
    script.end(0);
}

#[test]
fn a_page_that_is_all_headroom_is_never_given_to_the_kernel() {
    for buffer_ring in [true, false] {
        let mut script = Script::new();
        let mut params = RingParams { buffers: 8, headroom: 4096, ..RingParams::default() };
        params.without.buffer_ring = !buffer_ring;
        for headroom in [4095, 4096, 4097, u32::MAX] {
            params.headroom = headroom;
            let mut ring = Ring::open(&script.zone, &params).unwrap();
            ring.fill(&mut script.pool, 8);
            let op = ring.receive(script.socket.as_fd(), 5, Receive::Once, &mut script.pool);
            let posted = if headroom > 4095 { 0 } else { 8 };
            match buffer_ring {
                true => assert_eq!((ring.waiting_pages(), op.is_some()), (posted, true)),
                false => assert_eq!((ring.pages(), op.is_some()), (posted / 8, posted > 0)),
            }
            ring.close(&mut script.pool, Duration::from_secs(10));
            assert_eq!(ring.pages(), 0);
        }
        script.end(0);
    }
    let zone = Zone::new(&ZoneParams::pages(1)).unwrap();
    for buffers in [0, 3, 65535] {
        let error = Ring::open(&zone, &RingParams { buffers, ..RingParams::default() }).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}

#[test]
fn registered_memory_is_sent_from_wherever_it_lies() {
    const CHUNK: usize = 4 << 20;
    let params = ZoneParams { huge_pages: HugePages::Never, ..ZoneParams::pages(3 * CHUNK / 4096) };
    let zone = Zone::new(&params).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams { order: 10, limit: 3, ..PoolParams::default() }).unwrap();
    let mut ring = Ring::open_with(&zone, &RingParams::default(), CHUNK).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let from = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut to, _) = listener.accept().unwrap();
    let pages = [(); 3].map(|()| pool.alloc(Direction::Tx).unwrap());
    let base = zone.region().base().addr();
    let mut chunks = pages.iter().map(|page| (page.as_slice().as_ptr().addr() - base) / CHUNK).collect::<Vec<_>>();
    chunks.sort_unstable();
    assert_eq!(chunks, [0, 1, 2]);
    for (number, mut page) in pages.into_iter().enumerate() {
        page.as_mut_slice().fill(number as u8);
        let part = Part { page, offset: (CHUNK - 1000) as u32, len: 1000 };
        ring.send(from.as_fd(), 5, std::iter::once(part), true);
        let mut events = Vec::new();
        while ring.pending() > 0 {
            ring.turn(&mut pool, Some(Duration::from_secs(10)), &mut events).unwrap();
        }
        assert!(matches!(events[0], Event::Sent { result: Ok(1000), .. }), "{events:?}");
        let mut bytes = [0; 1000];
        std::io::Read::read_exact(&mut to, &mut bytes).unwrap();
        assert_eq!(bytes, [number as u8; 1000]);
    }
    assert_eq!(ring.close(&mut pool, Duration::from_secs(10)), 0);
    drop((ring, pool));
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
}

#[test]
fn what_is_known_already_is_not_waited_for() {
    let mut script = Script::new();
    let quiet = TcpListener::bind("127.0.0.1:0").unwrap();
    let watched = script.ring.watch(quiet.as_fd(), 5, 1);
    script.ring.turn(&mut script.pool, Some(Duration::ZERO), &mut script.events).unwrap();
    assert!(script.events.is_empty());
    // Taken out of the kernel's ring as it was in the way; nothing else will come.
    script.ring.completions.push((watched.user_data(), 1, 0));
    script.ring.turn(&mut script.pool, None, &mut script.events).unwrap();
    assert!(matches!(script.events.as_slice(), [Event::Ready { key: 5, result: Ok(1) }]), "{:?}", script.events);
    // Told by nobody but us.
    let (cut, _) = script.ring.requests.slots.take_with_memory(5, Request::SendZc(Zc::Left(Ok(1))));
    script.ring.cancel(cut);
    script.ring.turn(&mut script.pool, None, &mut script.events).unwrap();
    assert!(matches!(script.events.as_slice(), [_, Event::Sent { result: Err(Errno::IO), .. }]), "{:?}", script.events);
    drop(script);
}

#[test]
fn only_what_keeps_the_ring_from_going_on_is_an_error() {
    for fine in [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN] {
        assert!(went_on(Err(std::io::Error::from_raw_os_error(fine))).is_ok(), "{fine}");
    }
    for bad in [libc::EBADF, libc::EEXIST, libc::ENOMEM, libc::EFAULT, libc::EINVAL, libc::ENXIO] {
        let error = went_on(Err(std::io::Error::from_raw_os_error(bad))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(bad));
    }
    assert!(went_on(Ok(0)).is_ok());
}

#[test]
fn what_waits_for_a_place_waits_in_its_order() {
    let zone = Zone::new(&ZoneParams::pages(1)).unwrap();
    let mut ring = Ring::open(&zone, &RingParams { entries: 4, buffers: 8, ..RingParams::default() }).unwrap();
    if !ring.features().defer_taskrun {
        return; // any thread may use it
    }
    // The kernel refuses the ring to other threads, so nothing gets a place.
    let other = std::thread::spawn(move || {
        let quiet = TcpListener::bind("127.0.0.1:0").unwrap();
        let ops = (0..20).map(|key| ring.watch(quiet.as_fd(), key, 1)).collect::<Vec<_>>();
        let waiting = ring.backlog.iter().map(|entry| Op::of(entry.get_user_data())).collect::<Vec<_>>();
        assert_eq!(waiting, ops[4..]);
        assert_eq!(ring.pending(), 20);
    });
    other.join().unwrap();
}
