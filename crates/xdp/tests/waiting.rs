//! When there is nothing to do: what a worker waits for. Nothing here is timed: it is counted how often a worker looks, or asked what it would wait for.

mod common;

use common::{Source, assert_whole, pool, until, zone};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use waterwheel_xdp::{
    Action, BorrowedFd, Context, Device, Direction, DropReason, Drops, Fabric, Homes, Idle, Page, PagePool, PoolParams,
    Traffic, Wait, Worker, XdpBuff, XdpFrame,
};

/// A device with a descriptor that is always readable. It has no room to send as long as `room` is 0, and never receives: for want of pages, if `hungry`.
struct Stuck {
    room: Arc<AtomicUsize>,
    wait: Wait,
    wait_tx: Wait,
    hungry: bool,
    fd: OwnedFd,
}

impl Stuck {
    fn new(wait: Wait, wait_tx: Wait) -> (Box<Self>, Arc<AtomicUsize>) {
        let room = Arc::new(AtomicUsize::new(0));
        let fd = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
        (Box::new(Self { room: room.clone(), wait, wait_tx, hungry: false, fd }), room)
    }

    /// One that has packets for which there are no pages.
    fn hungry(wait: Wait) -> Box<Self> {
        Box::new(Self { hungry: true, ..*Self::new(wait, Wait::Never).0 })
    }
}

impl Device for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, pool: &mut PagePool, _: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if self.hungry {
            assert_eq!(pool.hand_out(Direction::Rx, budget).len(), 0, "there are no pages in this test");
        }
        0
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let mut sent = Traffic::default();
        for frame in frames.drain(..frames.len().min(self.room.load(Ordering::Relaxed))) {
            sent.add(frame.len());
            pool.put(frame.into_page());
        }
        sent
    }
    fn tx_room(&mut self) -> usize {
        self.room.load(Ordering::Relaxed)
    }
    fn wait_tx(&self) -> Wait {
        self.wait_tx
    }
    fn wait(&self) -> Wait {
        self.wait
    }
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        add(self.fd.as_fd());
    }
}

fn drop_all(_: &Context, _: &mut XdpBuff) -> Action {
    Action::Drop(DropReason::Program)
}

fn count_fds(worker: &Worker) -> usize {
    let mut fds = 0;
    worker.fds(&mut |_| fds += 1);
    fds
}

#[test]
fn a_source_whose_target_has_no_room_waits_for_what_the_target_says() {
    let soon = Wait::Until(Instant::now() + Duration::from_secs(1000));
    for (wait_tx, fds) in [(soon, 1), (Wait::Readable, 1), (Wait::Never, 1)] {
        let zone = zone(256);
        let mut fabric = Fabric::new(1);
        let source = fabric.add(0, Source::new(1000), pool(&zone)).unwrap();
        let (target, room) = Stuck::new(Wait::Never, wait_tx);
        let out = fabric.add(0, target, pool(&zone)).unwrap();
        fabric.pace(source, out);
        let mut worker = fabric.build().unwrap().remove(0);
        let mut program = move |_: &Context, _: &mut XdpBuff| Action::Redirect(out);
        assert_eq!((worker.poll(&mut program), worker.wait(), count_fds(&worker)), (0, wait_tx, fds));
        room.store(10, Ordering::Relaxed);
        assert_eq!(
            (worker.poll(&mut program), worker.wait()),
            (10, Wait::Now),
            "there is room, and the source has more"
        );
        drop(worker.close());
        assert_whole(&zone);
    }
}

#[test]
fn a_readable_source_that_is_held_up_is_not_waited_for() {
    let zone = zone(256);
    let mut fabric = Fabric::new(1);
    let (source, _) = Stuck::new(Wait::Readable, Wait::Never);
    let source = fabric.add(0, source, pool(&zone)).unwrap();
    let (target, room) = Stuck::new(Wait::Never, Wait::Never);
    let out = fabric.add(0, target, pool(&zone)).unwrap();
    fabric.pace(source, out);
    let mut worker = fabric.build().unwrap().remove(0);
    worker.poll(&mut drop_all);
    assert_eq!((worker.wait(), count_fds(&worker)), (Wait::Never, 1), "only the target's descriptor is left");
    room.store(1, Ordering::Relaxed);
    worker.poll(&mut drop_all);
    assert_eq!((worker.wait(), count_fds(&worker)), (Wait::Readable, 2));
    drop(worker.close());
    assert_whole(&zone);
}

/// Runs it until it has slept twenty times, and gives rounds and sleeps.
fn rounds_of(mut worker: Worker) -> (u64, u64) {
    let control = worker.control();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            worker.run(&mut drop_all);
            worker.close()
        });
        until(|| control.snapshot().workers[0].sleeps > 20);
        control.stop();
        let end = thread.join().unwrap();
        (end.rounds, end.sleeps)
    })
}

#[test]
fn a_worker_sleeps_after_every_round_in_which_its_target_has_no_room() {
    let zone = zone(256);
    let mut fabric = Fabric::new(1);
    fabric.idle(Idle::Sleep);
    let source = fabric.add(0, Source::new(1000), pool(&zone)).unwrap();
    let (target, _) = common::Sink::new(0); // says nothing of when there will be room: the default
    let out = fabric.add(0, target, pool(&zone)).unwrap();
    fabric.pace(source, out);
    let (rounds, sleeps) = rounds_of(fabric.build().unwrap().remove(0));
    assert!(sleeps + 2 >= rounds, "{rounds} rounds, {sleeps} sleeps");
    assert_whole(&zone);
}

#[test]
fn a_device_that_lacks_pages_is_not_polled_at_once_again() {
    let past = Wait::Until(Instant::now());
    for wait in [Wait::Now, Wait::Readable, past] {
        let zone = zone(64);
        let mut all = PagePool::new(&zone, PoolParams::default()).unwrap();
        let taken: Vec<Page> = all.hand_out(Direction::Rx, 64).collect();
        let mut fabric = Fabric::new(1);
        fabric.idle(Idle::Sleep);
        fabric.add(0, Stuck::hungry(wait), pool(&zone)).unwrap();
        let mut worker = fabric.build().unwrap().remove(0);
        worker.poll(&mut drop_all);
        let now = Instant::now();
        assert!(matches!(worker.wait(), Wait::Until(then) if then > now), "{:?}", worker.wait());
        assert_eq!(count_fds(&worker), 0, "its descriptor is readable, and that is no reason to poll it");
        let (rounds, sleeps) = rounds_of(worker);
        assert!(sleeps + 3 >= rounds, "{wait:?}: {rounds} rounds, {sleeps} sleeps");
        drop((taken, all));
        assert_whole(&zone);
    }
}

#[test]
fn what_was_handed_over_keeps_a_worker_from_sleeping() {
    let zone = zone(256);
    let mut fabric = Fabric::new(2);
    fabric.add(0, Source::new(10), pool(&zone)).unwrap();
    let (sink, _) = common::Sink::new(64);
    let out = fabric.add(1, sink, pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    assert_eq!(workers[1].wait(), Wait::Never);
    assert_eq!(workers[0].poll(&mut move |_: &Context, _: &mut XdpBuff| Action::Redirect(out)), 10);
    assert_eq!(workers[1].wait(), Wait::Now);
    assert_eq!(workers[1].poll(&mut drop_all), 10);
    workers.into_iter().for_each(|worker| drop(worker.close()));
    assert_whole(&zone);
}
