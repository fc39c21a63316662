//! What the tests of this crate share: a peer to talk to, a source, a sink.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waterwheel_xdp::mm::{HugePages, Page, Users, ZoneParams};
use waterwheel_xdp::{
    Account, Capabilities, Control, Device, Direction, Drops, Fabric, Health, Homes, PagePool, PoolParams, PortId,
    Snapshot, Traffic, Veth, Wait, Worker, XdpBuff, XdpFrame, Zone, veth,
};

/// A zone of small pages: the machine's huge pages are not for tests.
pub(crate) fn zone(pages: usize) -> Zone {
    Zone::new(&ZoneParams { pages, huge_pages: HugePages::Never, ..ZoneParams::default() }).expect("a test zone")
}

pub(crate) fn pool(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams::default()).expect("a pool")
}

/// The end of every test: all pages are free.
#[track_caller]
pub(crate) fn assert_whole(zone: &Zone) {
    let account = Account::open(zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

/// While workers are there: what they hold and what `users` hold is all that is not free.
#[track_caller]
pub(crate) fn assert_balance(zone: &Zone, workers: &mut [Worker], pools: &mut [&mut PagePool], users: usize) {
    let mut account = Account::open(zone);
    workers.iter_mut().for_each(|worker| worker.account(&mut account));
    pools.iter_mut().for_each(|pool| pool.account(&mut account));
    let account = account.close(Users::Alive);
    assert_eq!((account.held_by_users, account.conflicts), (users, 0), "{account:?}");
}

/// Waits until `done`, for at most a minute.
#[track_caller]
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen within a minute");
        std::thread::yield_now();
    }
}

/// A packet: 14 bytes, then its number, then filler that follows from it.
pub(crate) fn packet(page: Page, number: u64, len: usize) -> XdpBuff {
    assert!(len >= 22);
    let mut packet = XdpBuff::whole(page);
    packet.set_len(len);
    let data = packet.data_mut();
    data[..14].fill(0x11);
    data[14..22].copy_from_slice(&number.to_be_bytes());
    data[22..].fill(number as u8);
    packet
}

/// The number of an undamaged packet.
#[track_caller]
pub(crate) fn number(data: &[u8]) -> u64 {
    let number = u64::from_be_bytes(data[14..22].try_into().unwrap());
    assert!(data[22..].iter().all(|byte| *byte == number as u8), "packet {number} is damaged");
    number
}

/// The other end of a veth whose near end a worker has.
pub(crate) struct Peer {
    pub(crate) veth: Veth,
    pub(crate) pool: PagePool,
    pub(crate) next: u64,
    frames: Vec<XdpFrame>,
    batch: Vec<XdpBuff>,
}

impl Peer {
    /// Gives the near end to `worker`.
    pub(crate) fn attach(fabric: &mut Fabric, worker: usize, zone: &Zone, ring: usize) -> (Self, PortId) {
        Self::attach_as(fabric, worker, zone, ring, |near| Box::new(near))
    }

    /// As `attach`, with something around the near end.
    pub(crate) fn attach_as(
        fabric: &mut Fabric,
        worker: usize,
        zone: &Zone,
        ring: usize,
        wrap: impl FnOnce(Veth) -> Box<dyn Device>,
    ) -> (Self, PortId) {
        let (near, far) = veth("near", "far", ring);
        let port = fabric.add(worker, wrap(near), pool(zone)).unwrap();
        (
            Self {
                veth: far,
                pool: pool(zone),
                next: 0,
                frames: Vec::with_capacity(64),
                batch: Vec::with_capacity(64),
            },
            port,
        )
    }

    /// Sends packets as long as there is room, at most `count`, and tells how many.
    pub(crate) fn send(&mut self, count: usize) -> usize {
        let mut sent = 0;
        while sent < count {
            for _ in 0..64.min(count - sent) {
                let Some(page) = self.pool.alloc(Direction::Tx) else { break };
                let len = 60 + (self.next % 1000) as usize;
                self.frames.push(packet(page, self.next, len).into());
                self.next += 1;
            }
            let wanted = self.frames.len();
            let took = self.veth.tx(&mut self.pool, &mut self.frames, &mut Drops::default()).packets as usize;
            self.next -= self.frames.len() as u64;
            drop(self.pool.take_back(self.frames.drain(..).map(XdpFrame::into_page)));
            sent += took;
            if took == 0 || took < wanted {
                break;
            }
        }
        sent
    }

    /// The numbers of what has come back, in order. The pages go home.
    pub(crate) fn receive(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while self.veth.rx(&mut self.pool, &mut self.batch, 64) > 0 {
            numbers.extend(self.batch.iter().map(|packet| number(packet.data())));
            drop(self.pool.take_back(self.batch.drain(..).map(XdpBuff::into_page)));
        }
        numbers
    }

    /// How many have come back, without looking at them, and without allocating.
    pub(crate) fn receive_count(&mut self) -> usize {
        let mut count = 0;
        while self.veth.rx(&mut self.pool, &mut self.batch, 64) > 0 {
            count += self.batch.len();
            drop(self.pool.take_back(self.batch.drain(..).map(XdpBuff::into_page)));
        }
        count
    }
}

/// A source of `left` packets.
pub(crate) struct Source {
    pub(crate) left: u64,
    pub(crate) next: u64,
}

impl Source {
    pub(crate) fn new(packets: u64) -> Box<Self> {
        Box::new(Self { left: packets, next: 0 })
    }
}

impl Device for Source {
    fn name(&self) -> &str {
        "source"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { tx: false, ..Capabilities::default() }
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let count = (budget as u64).min(self.left) as usize;
        let next = &mut self.next;
        let before = batch.len();
        batch.extend(pool.hand_out(Direction::Rx, count).map(|page| {
            *next += 1;
            packet(page, *next - 1, 60)
        }));
        let got = batch.len() - before;
        self.left -= got as u64;
        got
    }
    fn tx(&mut self, _: &mut PagePool, _: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        Traffic::default()
    }
    fn wait(&self) -> Wait {
        if self.left > 0 { Wait::Now } else { Wait::Never }
    }
    fn health(&mut self) -> Health {
        if self.left > 0 { Health::Up } else { Health::Finished }
    }
}

/// What a test sees and steers of a [`Sink`].
#[derive(Default)]
pub(crate) struct SinkState {
    pub(crate) packets: AtomicU64,
    pub(crate) fail: AtomicBool,
    pub(crate) shutdowns: AtomicUsize,
    /// Calls after the shutdown.
    pub(crate) late: AtomicUsize,
}

/// Takes up to `room` frames, and completes them the next time.
pub(crate) struct Sink {
    room: usize,
    held: Vec<XdpFrame>,
    state: Arc<SinkState>,
}

impl Sink {
    pub(crate) fn new(room: usize) -> (Box<Self>, Arc<SinkState>) {
        let state = Arc::new(SinkState::default());
        (Box::new(Self { room, held: Vec::with_capacity(room), state: state.clone() }), state)
    }

    fn late(&self) {
        if self.state.shutdowns.load(Ordering::Relaxed) > 0 {
            self.state.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Device for Sink {
    fn name(&self) -> &str {
        "sink"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { rx: false, ..Capabilities::default() }
    }
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.late();
        let count = self.held.len();
        homes.put_bulk(self.held.drain(..).map(XdpFrame::into_page));
        count
    }
    fn rx(&mut self, _: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        self.late();
        0
    }
    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        self.late();
        let mut sent = Traffic::default();
        for frame in frames.drain(..frames.len().min(self.room - self.held.len())) {
            sent.add(frame.len());
            self.held.push(frame);
        }
        self.state.packets.fetch_add(sent.packets, Ordering::Relaxed);
        sent
    }
    fn tx_room(&mut self) -> usize {
        self.late();
        self.room - self.held.len()
    }
    fn flush(&mut self) {
        self.late();
    }
    fn wait(&self) -> Wait {
        if self.held.is_empty() { Wait::Never } else { Wait::Now }
    }
    fn health(&mut self) -> Health {
        if self.state.fail.load(Ordering::Relaxed) { Health::Failed("unplugged".to_owned()) } else { Health::Up }
    }
    fn in_flight(&self) -> usize {
        self.held.len()
    }
    fn account(&self, account: &mut Account) {
        self.held.iter().for_each(|frame| frame.account(account));
    }
    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.late();
        homes.put_bulk(self.held.drain(..).map(XdpFrame::into_page));
        self.state.shutdowns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the worker also when the test fails.
pub(crate) struct Stop(pub(crate) Control);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What all workers have counted at their end.
pub(crate) fn sum(workers: Vec<waterwheel_xdp::WorkerStats>) -> Snapshot {
    Snapshot { workers }
}

/// Nothing is lost silently: received = verdicts, and what was to be sent = sent + dropped.
#[track_caller]
pub(crate) fn assert_counted(end: &Snapshot) {
    let (actions, drops) = (end.actions(), end.drops());
    assert_eq!(end.rx().packets, actions.total(), "every packet has a verdict: {actions:?}");
    let passed = actions.pass - drops.get(waterwheel_xdp::DropReason::NoHost);
    assert_eq!(end.rx().packets, end.tx().packets + drops.total() + passed, "{actions:?} {drops:?}");
}
