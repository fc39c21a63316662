//! Programs, hosts and devices that panic, and workers that end before their time: what was under way is counted, the others are told, and no page is lost.

mod common;

use common::{Peer, Sink, Source, Stop, assert_counted, assert_whole, packet, pool, sum, until, zone};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use waterwheel_xdp::{
    Action, Context, Control, Device, Direction, DropReason, Drops, Fabric, Health, Homes, Idle, PagePool, PortId,
    Program, Traffic, Wait, Worker, WorkerStats, XdpBuff, XdpFrame,
};

/// Whether it panicked.
fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

/// Received + taken over = sent + dropped + passed + handed over.
#[track_caller]
fn assert_books(worker: &WorkerStats, passed: u64) {
    let sum = |which: fn(&waterwheel_xdp::PortStats) -> u64| worker.ports.iter().map(which).sum::<u64>();
    let (received, sent) = (sum(|port| port.rx.packets), sum(|port| port.tx.packets));
    assert_eq!(received, worker.actions.total(), "every packet has a verdict: {worker:?}");
    let gone = sent + worker.drops.total() + passed + worker.handed_over;
    assert_eq!(received + worker.taken_over, gone, "{worker:?}, passed {passed}");
}

/// A program that says an action for each packet and panics at packet `at`.
struct Panics {
    at: u64,
    seen: u64,
    action: fn(u64) -> Action,
}

impl Program for Panics {
    fn run(&mut self, _: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        for (_, action) in std::iter::zip(batch, actions) {
            assert!(self.seen != self.at, "at packet {}", self.at);
            self.seen += 1;
            *action = (self.action)(self.seen);
        }
    }
}

#[test]
fn a_batch_under_a_panic_counts_as_aborted_and_the_next_one_is_as_any_other() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    fabric.add(0, Source::new(1000), pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    let mut program = Panics { at: 64 + 8, seen: 0, action: |_| Action::Drop(DropReason::Program) };
    assert_eq!(worker.poll(&mut program), 64);
    assert!(panics(|| worker.poll(&mut program)));
    let stats = worker.stats();
    assert_eq!((stats.ports[0].rx.packets, stats.actions.drop, stats.actions.aborted), (128, 64, 64));
    assert_eq!((stats.drops.get(DropReason::Program), stats.drops.get(DropReason::Aborted)), (64, 64));
    let mut longest = 0;
    let mut counts = |_: &Context, _: &mut XdpBuff| {
        longest += 1;
        Action::Drop(DropReason::Program)
    };
    assert_eq!(worker.poll(&mut counts), 64, "a round is within its budget");
    assert_eq!(longest, 64, "and the program sees what was received, once");
    let end = worker.close();
    assert_eq!((end.ports[0].rx.packets, end.actions.total(), &end.died), (192, 192, &None));
    assert_books(&end, 0);
    assert_whole(&zone);
}

#[test]
fn a_program_that_panics_ends_the_run_and_everything_is_counted() {
    let of_all: fn(u64) -> Action = |_| Action::Tx;
    let mixed: fn(u64) -> Action =
        |n| [Action::Tx, Action::Redirect(PortId(1)), Action::Drop(DropReason::Program), Action::Pass][n as usize % 4];
    for (action, at) in [(of_all, 0), (of_all, 7), (of_all, 200), (mixed, 0), (mixed, 150), (mixed, 191)] {
        let zone = zone(2048);
        let mut fabric = Fabric::new(1);
        let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
        let (sink, _) = Sink::new(100);
        fabric.add(0, sink, pool(&zone)).unwrap();
        let mut worker = fabric.build().unwrap().remove(0);
        let control = worker.control();
        assert_eq!(peer.send(250), 250);
        assert!(panics(|| worker.run(&mut Panics { at, seen: 0, action })));
        let died = Some(format!("at packet {at}"));
        assert_eq!(control.snapshot().workers[0].died, died, "the snapshot says so before it is closed");
        worker.run(&mut |_: &Context, _: &mut XdpBuff| -> Action { panic!("a worker that is over does not run") });
        let end = worker.close();
        assert_eq!((&end.died, &control.snapshot().workers[0].died), (&died, &died));
        assert!(end.actions.aborted > at % 64 && end.drops.get(DropReason::Aborted) > 0, "{end:?}");
        assert_books(&end, 0);
        assert_counted(&sum(vec![end]));
        drop(peer);
        assert_whole(&zone);
    }
}

#[test]
fn a_host_that_panics_has_the_packets_that_it_was_given_and_no_others() {
    for of_all in [true, false] {
        let zone = zone(1024);
        let mut fabric = Fabric::new(1);
        fabric.add(0, Source::new(1000), pool(&zone)).unwrap();
        let given = Arc::new(AtomicU64::new(0));
        let count = given.clone();
        fabric.host(
            0,
            Box::new(move |_: PortId, _: XdpFrame| {
                assert_ne!(count.fetch_add(1, Ordering::Relaxed), 40, "enough");
            }),
        );
        let mut worker = fabric.build().unwrap().remove(0);
        let mut n = 0;
        let mut program = move |_: &Context, _: &mut XdpBuff| {
            n += 1;
            if of_all || n % 2 == 0 { Action::Pass } else { Action::Drop(DropReason::Program) }
        };
        let mut rounds = 0;
        while !panics(|| worker.poll(&mut program)) {
            rounds += 1;
        }
        let passed = given.load(Ordering::Relaxed);
        assert_eq!((rounds, passed), (if of_all { 0 } else { 1 }, 41));
        assert_books(&worker.stats(), passed);
        assert_eq!(worker.poll(&mut program), 64, "it goes on");
        let end = worker.close();
        assert_books(&end, given.load(Ordering::Relaxed));
        assert_whole(&zone);
    }
}

/// Where a [`Faulty`] device panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Complete,
    RxBefore,
    RxAfterSome,
    RxAfterAll,
    TxBefore,
    TxAfterSome,
    TxAfterSomeDropped,
    TxRoom,
    Flush,
    Health,
    Wait,
    Counters,
    Shutdown,
}

use Where::*;

const EVERYWHERE: [Where; 13] = [
    Complete,
    RxBefore,
    RxAfterSome,
    RxAfterAll,
    TxBefore,
    TxAfterSome,
    TxAfterSomeDropped,
    TxRoom,
    Flush,
    Health,
    Wait,
    Counters,
    Shutdown,
];

/// A source that takes everything as well, and panics in one of its methods, for some times.
struct Faulty {
    at: Where,
    times: AtomicU64,
    after: AtomicU64,
    left: u64,
}

impl Faulty {
    /// Panics at the third time and the one after it.
    fn new(at: Where, packets: u64) -> Box<Self> {
        Box::new(Self { at, times: AtomicU64::new(2), after: AtomicU64::new(2), left: packets })
    }

    fn maybe(&self, at: Where) {
        if self.at == at
            && self.after.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
            && self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            panic!("in {at:?}");
        }
    }
}

impl Device for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        self.maybe(Complete);
        0
    }
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.maybe(RxBefore);
        assert!(batch.is_empty() && batch.capacity() >= budget, "a batch is empty and has room");
        let mut got = 0;
        for page in pool.hand_out(Direction::Rx, budget.min(self.left as usize)) {
            batch.push(packet(page, 0, 60));
            got += 1;
            self.left -= 1;
            if got == 5 {
                self.maybe(RxAfterSome);
            }
        }
        self.maybe(RxAfterAll);
        got
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.maybe(TxBefore);
        let mut sent = Traffic::default();
        for (n, frame) in frames.drain(..).enumerate() {
            if n % 3 == 2 {
                drops.add(DropReason::Malformed, 1);
                self.maybe(TxAfterSomeDropped);
            } else {
                sent.add(frame.len());
            }
            pool.put(frame.into_page());
            if n == 10 {
                self.maybe(TxAfterSome);
            }
        }
        sent
    }
    fn tx_room(&mut self) -> usize {
        self.maybe(TxRoom);
        32
    }
    fn flush(&mut self) {
        self.maybe(Flush);
    }
    fn wait(&self) -> Wait {
        self.maybe(Where::Wait);
        if self.left > 0 { waterwheel_xdp::Wait::Now } else { waterwheel_xdp::Wait::soon() }
    }
    fn health(&mut self) -> Health {
        self.maybe(Where::Health);
        if self.left > 0 { waterwheel_xdp::Health::Up } else { waterwheel_xdp::Health::Finished }
    }
    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.maybe(Counters);
        count("one", 1);
    }
    fn shutdown(&mut self, _: &mut Homes<'_>) {
        if self.at == Shutdown {
            panic!("in the end");
        }
    }
}

/// Verdicts of all kinds, by packet, or of one kind for a whole batch.
fn verdicts(mixed: bool) -> impl FnMut(&Context, &mut XdpBuff) -> Action + Send {
    let mut n = 0;
    move |_, _| {
        n += 1;
        match (if mixed { n } else { n / 64 }) % 4 {
            0 => Action::Tx,
            1 => Action::Redirect(PortId(1)),
            2 => Action::Drop(DropReason::Program),
            _ => Action::Pass,
        }
    }
}

#[test]
fn wherever_a_device_panics_everything_is_counted_and_the_loop_may_go_on() {
    for at in EVERYWHERE {
        for mixed in [true, false] {
            let zone = zone(2048);
            let mut fabric = Fabric::new(1);
            let faulty = fabric.add(0, Faulty::new(at, 2000), pool(&zone)).unwrap();
            let (sink, _) = Sink::new(1000);
            fabric.add(0, sink, pool(&zone)).unwrap();
            let source = fabric.add(0, Source::new(500), pool(&zone)).unwrap();
            fabric.pace(source, faulty);
            let mut worker = fabric.build().unwrap().remove(0);
            worker.control().limit(2200);
            let mut program = verdicts(mixed);
            let mut panicked = 0;
            for _ in 0..100 {
                panicked += u64::from(panics(|| worker.poll(&mut program)));
                panicked += u64::from(panics(|| worker.is_alive()));
                panicked += u64::from(panics(|| worker.wait()));
                let mut stats = None;
                panicked += u64::from(panics(|| stats = Some(worker.stats())));
                if let Some(stats) = stats {
                    assert_books(&stats, 0);
                }
            }
            assert_eq!(panicked, if at == Shutdown { 0 } else { 2 }, "{at:?}");
            let end = worker.close();
            assert_eq!(end.actions.total(), 2200, "{at:?}: the limit is exact all the same");
            assert_books(&end, 0);
            assert_counted(&sum(vec![end.clone()]));
            if at == Shutdown {
                let why = "shutting it down panicked: in the end".to_owned();
                assert_eq!(end.ports[0].health, waterwheel_xdp::Health::Failed(why));
            }
            assert_whole(&zone);
        }
    }
}

#[test]
fn wherever_a_device_panics_a_run_ends_and_is_told_of() {
    for at in EVERYWHERE {
        let zone = zone(2048);
        let mut fabric = Fabric::new(1);
        fabric.idle(Idle::Sleep);
        let faulty = fabric.add(0, Faulty::new(at, 400), pool(&zone)).unwrap();
        let (sink, _) = Sink::new(1000);
        fabric.add(0, sink, pool(&zone)).unwrap();
        let (peer, other) = Peer::attach(&mut fabric, 0, &zone, 64); // so that it does not end when the sources have
        fabric.pace(other, faulty);
        let mut worker = fabric.build().unwrap().remove(0);
        let control = worker.control();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let panicked = panics(|| worker.run(&mut verdicts(true)));
                (panicked, worker.close())
            });
            let stop = Stop(control.clone());
            until(|| {
                let now = control.snapshot(); // in which it may panic
                thread.is_finished() || at == Shutdown && now.workers[0].sleeps > 3
            });
            drop(stop);
            let (panicked, end) = thread.join().unwrap();
            assert_eq!((panicked, end.died.is_some()), (at != Shutdown, at != Shutdown), "{at:?}");
            assert_books(&end, 0);
            assert_eq!(control.snapshot().workers[0].died, end.died);
        });
        drop(peer);
        assert_whole(&zone);
    }
}

/// Two workers; the first one's port is `a`. The second redirects everything there.
fn pair(zone: &waterwheel_xdp::Zone) -> (Worker, Worker, Peer, Peer, PortId) {
    let mut fabric = Fabric::new(2);
    fabric.nap(None);
    let (host, a) = Peer::attach(&mut fabric, 0, zone, 4096);
    let (other, _) = Peer::attach(&mut fabric, 1, zone, 4096);
    let mut workers = fabric.build().unwrap();
    let second = workers.pop().unwrap();
    (workers.pop().unwrap(), second, host, other, a)
}

#[test]
fn what_is_for_a_worker_whose_program_panicked_is_dropped_and_told_and_a_stop_does_not_wait_for_it() {
    let zone = zone(16384);
    let (mut first, mut second, mut host, mut other, a) = pair(&zone);
    let control = first.control();
    let (end, died) = thread::scope(|scope| {
        let dies = scope.spawn(move || {
            let panicked =
                panics(|| first.run(&mut |_: &Context, _: &mut XdpBuff| -> Action { panic!("in worker 0") }));
            (panicked, first)
        });
        let goes_on = scope.spawn(move || {
            second.run(&mut move |_: &Context, _: &mut XdpBuff| Action::Redirect(a));
            second.close()
        });
        let stop = Stop(control.clone());
        host.send(8);
        let (panicked, first) = dies.join().unwrap();
        assert!(panicked);
        assert_eq!(control.snapshot().workers[0].died.as_deref(), Some("in worker 0"));
        assert_eq!(control.snapshot().workers[0].drops.get(DropReason::Aborted), 8);
        let mut sent = 0;
        until(|| {
            sent += other.send(64) as u64;
            let drops = control.snapshot().workers[1].drops;
            assert_eq!(drops.get(DropReason::HandoverFull), 0, "nobody fills a ring that nobody empties");
            drops.get(DropReason::WorkerGone) > 3000 // more than a ring has places
        });
        drop(stop);
        (goes_on.join().unwrap(), first.close())
    });
    assert_eq!(end.drops.get(DropReason::WorkerGone), end.actions.redirect);
    assert_books(&end, 0);
    assert_books(&died, 0);
    assert_counted(&sum(vec![end, died]));
    drop((host, other));
    assert_whole(&zone);
}

/// Ends a worker in some way.
type End = fn(Worker) -> Option<WorkerStats>;

#[test]
fn frames_for_a_worker_that_has_left_are_counted_however_it_left() {
    let closed: End = |worker| Some(worker.close());
    let dropped: End = |worker| {
        drop(worker);
        None
    };
    let dropped_by_a_panic: End = |worker| {
        assert!(
            thread::spawn(move || {
                let _worker = worker;
                panic!("its thread");
            })
            .join()
            .is_err()
        );
        None
    };
    let ran_and_closed: End = |mut worker| {
        worker.control().force();
        worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Aborted);
        Some(worker.close())
    };
    let ways = [
        (closed, None, DropReason::Shutdown),
        (dropped, Some("it was dropped, and not closed"), DropReason::WorkerGone),
        (dropped_by_a_panic, Some("its thread panicked"), DropReason::WorkerGone),
        (ran_and_closed, None, DropReason::Shutdown),
    ];
    for (way, died, reason) in ways {
        let zone = zone(8192);
        let (first, mut second, mut host, mut other, a) = pair(&zone);
        let control: Control = first.control();
        let mut program = move |_: &Context, _: &mut XdpBuff| Action::Redirect(a);
        assert_eq!(other.send(256), 256);
        (0..2).for_each(|_| assert_eq!(second.poll(&mut program), 64));
        let end = way(first); // with 128 frames in its ring
        let seen = control.snapshot().workers[0].clone();
        assert_eq!(seen.died.as_deref(), died);
        let left = seen.drops.get(reason);
        let sent = host.receive().len() as u64;
        assert_eq!((seen.taken_over, left + sent), (128, 128), "{seen:?}");
        assert_eq!(seen.ports.len(), 1, "its ports are still shown");
        (0..2).for_each(|_| assert_eq!(second.poll(&mut program), 64));
        let end = end.unwrap_or(seen);
        let rest = second.close();
        assert_eq!((rest.handed_over, rest.taken_over, rest.drops.get(DropReason::WorkerGone)), (256, 128, 128));
        assert_books(&end, 0);
        assert_books(&rest, 0);
        assert_counted(&sum(vec![end, rest]));
        drop((host, other));
        assert_whole(&zone);
    }
}

#[test]
fn a_worker_that_died_gives_nothing_more_and_the_others_come_to_their_end() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(2);
    fabric.nap(None);
    fabric.add(0, Source::new(u64::MAX), pool(&zone)).unwrap();
    fabric.add(1, Source::new(100), pool(&zone)).unwrap();
    let workers = fabric.build().unwrap();
    let control = workers[0].control();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                scope.spawn(move || {
                    panics(|| worker.run(&mut Panics { at: 1000, seen: 0, action: |_| Action::Aborted }))
                })
            })
            .collect();
        let _stop = Stop(control.clone());
        until(|| control.is_stopped());
        let panicked: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(panicked, [true, false]);
    });
    assert_whole(&zone);
}
