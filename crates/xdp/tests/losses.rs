//! What was lost before the loop saw it, and what was not sent after all: part of the statistics, whatever becomes of the devices.

mod common;

use common::{Source, assert_whole, pool, until, zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use waterwheel_xdp::{
    Action, Context, Device, DropReason, Drops, Fabric, Health, Homes, PagePool, PortId, Snapshot, Traffic, Wait,
    Worker, XdpBuff, XdpFrame,
};

/// What a test steers of a [`Lossy`].
#[derive(Default)]
struct State {
    fail: AtomicBool,
    /// Frames that it writes; the rest stays in its buffer, and cannot be written in the end.
    writes: AtomicU64,
    made: AtomicU64,
    taken: AtomicU64,
}

/// Takes what it is given into a buffer, and has lost packets.
struct Lossy {
    lost: u64,
    state: Arc<State>,
    buffered: Traffic,
    unsent: Traffic,
    /// It knows the number of packets only.
    forgets_bytes: bool,
    closed: bool,
}

impl Lossy {
    fn new(lost: u64, state: &Arc<State>) -> Box<Self> {
        state.made.fetch_add(1, Ordering::Relaxed);
        let (buffered, unsent) = (Traffic::default(), Traffic::default());
        Box::new(Self { lost, state: state.clone(), buffered, unsent, forgets_bytes: false, closed: false })
    }
}

impl Device for Lossy {
    fn name(&self) -> &str {
        "lossy"
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, _: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        0
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let mut sent = Traffic::default();
        for frame in frames.drain(..) {
            sent.add(frame.len());
            self.state.taken.fetch_add(1, Ordering::Relaxed);
            if self.state.writes.load(Ordering::Relaxed) > 0 {
                self.state.writes.fetch_sub(1, Ordering::Relaxed);
            } else {
                self.buffered.add(frame.len());
            }
            pool.put(frame.into_page());
        }
        sent
    }
    fn wait(&self) -> Wait {
        Wait::soon()
    }
    fn health(&mut self) -> Health {
        match () {
            () if self.state.fail.load(Ordering::Relaxed) => Health::Failed("unplugged".to_owned()),
            () if self.closed && self.unsent.packets > 0 => Health::Failed("the disk is full".to_owned()),
            () => Health::Up,
        }
    }
    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("looked", 1);
        if self.lost == 100 {
            count("of_the_first", 1);
        }
    }
    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("ring_full", self.lost);
        count("too_long", 1);
    }
    fn unsent(&self) -> Traffic {
        self.unsent
    }
    fn shutdown(&mut self, _: &mut Homes<'_>) {
        self.unsent = self.buffered;
        if self.forgets_bytes {
            self.unsent.bytes = 0;
        }
        self.closed = true;
    }
}

fn to(out: PortId) -> impl FnMut(&Context, &mut XdpBuff) -> Action + Send {
    move |_: &Context, _: &mut XdpBuff| Action::Redirect(out)
}

#[test]
fn what_could_not_be_written_at_the_end_is_not_sent_and_the_port_says_why() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    fabric.add(0, Source::new(100), pool(&zone)).unwrap();
    let state = Arc::new(State { writes: AtomicU64::new(30), ..State::default() });
    let out = fabric.add(0, Lossy::new(0, &state), pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    while worker.poll(&mut to(out)) > 0 {}
    assert_eq!((worker.stats().ports[1].tx.packets, worker.stats().drops.total()), (100, 0), "nobody knows yet");
    let control = worker.control();
    let end = worker.close();
    let port = &end.ports[1];
    assert_eq!(port.tx, Traffic { packets: 30, bytes: 30 * 60 });
    assert_eq!((end.drops.get(DropReason::Unsent), end.drops.total()), (70, 70));
    assert_eq!(port.health, Health::Failed("the disk is full".to_owned()));
    let last = control.snapshot();
    assert_eq!((last.tx().packets, last.drops().get(DropReason::Unsent)), (30, 70), "also in the last snapshot");
    assert_whole(&zone);
}

#[test]
fn bytes_that_the_device_does_not_know_are_those_of_the_mean_packet() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    fabric.add(0, Source::new(100), pool(&zone)).unwrap();
    let state = Arc::new(State { writes: AtomicU64::new(30), ..State::default() });
    let out = Box::new(Lossy { forgets_bytes: true, ..*Lossy::new(0, &state) });
    let out = fabric.add(0, out, pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    while worker.poll(&mut to(out)) > 0 {}
    assert_eq!(worker.close().ports[1].tx, Traffic { packets: 30, bytes: 30 * 60 }, "not 30 packets of 6000 bytes");
    assert_whole(&zone);
}

#[test]
fn losses_and_what_was_not_sent_add_up_over_devices_that_are_made_anew() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = common::Peer::attach(&mut fabric, 0, &zone, 256);
    let state = Arc::new(State::default());
    let out = fabric.add(0, Lossy::new(100, &state), pool(&zone)).unwrap();
    let forge = state.clone();
    let again = move || {
        forge.fail.store(false, Ordering::Relaxed);
        Ok(Lossy::new(10, &forge) as Box<dyn Device>)
    };
    fabric.revive(out, Box::new(again));
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let end = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            worker.run(&mut to(out));
            worker.close()
        });
        let stop = common::Stop(control.clone());
        for time in 1..=3 {
            let before = state.taken.load(Ordering::Relaxed);
            until(|| {
                peer.send(10);
                state.taken.load(Ordering::Relaxed) > before
            });
            if time < 3 {
                state.fail.store(true, Ordering::Relaxed);
                until(|| state.made.load(Ordering::Relaxed) == time + 1);
            }
        }
        until(|| control.snapshot().workers[0].ports[1].revivals == 2);
        assert_eq!(control.snapshot().lost(), [("closed", 0), ("ring_full", 120), ("too_long", 3)], "with the veth's");
        drop(stop);
        thread.join().unwrap()
    });
    let port = &end.ports[1];
    assert_eq!((&port.lost[..], port.lost_total()), (&[("ring_full", 120), ("too_long", 3)][..], 123));
    assert_eq!(port.counters, [("looked", 3), ("of_the_first", 1)], "what only a former device counts is shown, too");
    assert_eq!(port.tx, Traffic::default(), "all three of them wrote nothing");
    let dropped = end.drops.get(DropReason::Unsent) + end.drops.get(DropReason::DeviceDown);
    assert_eq!((end.actions.redirect, end.drops.total()), (dropped, dropped));
    assert_eq!(end.drops.get(DropReason::Unsent), state.taken.load(Ordering::Relaxed));
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn a_snapshot_adds_losses_of_all_ports_by_name() {
    let zone = zone(256);
    let mut fabric = Fabric::new(2);
    let state = Arc::default();
    for worker in [0, 0, 1] {
        fabric.add(worker, Lossy::new(5, &state), pool(&zone)).unwrap();
    }
    let workers = fabric.build().unwrap();
    let snapshot = Snapshot { workers: workers.into_iter().map(Worker::close).collect() };
    assert_eq!(snapshot.lost(), [("ring_full", 15), ("too_long", 3)]);
    assert_whole(&zone);
}
