//! Several workers on several threads: hand-over, sleep and wake-up, limits, statistics while they run.

mod common;

use common::{Peer, Sink, Source, assert_counted, assert_whole, sum, until, zone};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use waterwheel_xdp::{Action, Context, Control, DropReason, Fabric, Idle, PortId, Program, Snapshot, Worker, XdpBuff};

/// From one port to the other.
#[derive(Clone, Copy)]
struct Cross(PortId, PortId);

impl Program for Cross {
    fn run(&mut self, cx: &Context, _: &mut [XdpBuff], actions: &mut [Action]) {
        actions.fill(Action::Redirect(if cx.port == self.0 { self.1 } else { self.0 }));
    }
}

/// Runs each worker on a thread of its own while `drive` runs on this one, which has to stop them (or they have an end of their own).
fn run(workers: Vec<Worker>, program: impl Program + Clone, drive: impl FnOnce(&Control)) -> Snapshot {
    let control = workers[0].control();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                let mut program = program.clone();
                scope.spawn(move || {
                    worker.run(&mut program);
                    worker
                })
            })
            .collect();
        drive(&control);
        let workers: Vec<Worker> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        sum(workers.into_iter().map(Worker::close).collect())
    })
}

#[test]
fn packets_are_handed_over_between_two_workers() {
    const COUNT: usize = 20_000;
    for idle in [Idle::Adaptive, Idle::Sleep] {
        let zone = zone(8192);
        let mut fabric = Fabric::new(2);
        fabric.idle(idle);
        let (mut a, port_a) = Peer::attach(&mut fabric, 0, &zone, 256);
        let (mut b, port_b) = Peer::attach(&mut fabric, 1, &zone, 256);
        let workers = fabric.build().unwrap();
        let end = run(workers, Cross(port_a, port_b), |control| {
            let (mut at_a, mut at_b, mut sent_a, mut sent_b) = (Vec::new(), Vec::new(), 0, 0);
            until(|| {
                // No more under way than every ring on it can hold.
                sent_a += a.send((COUNT - sent_a).min(200 - (sent_a - at_b.len()).min(200)));
                sent_b += b.send((COUNT - sent_b).min(200 - (sent_b - at_a.len()).min(200)));
                at_a.extend(a.receive());
                at_b.extend(b.receive());
                at_a.len() + at_b.len() == 2 * COUNT
            });
            assert!(at_a.into_iter().eq(0..COUNT as u64) && at_b.into_iter().eq(0..COUNT as u64), "all, in order");
            control.stop();
        });
        assert_eq!((end.actions().redirect, end.drops().total()), (2 * COUNT as u64, 0));
        assert_counted(&end);
        drop((a, b));
        assert_whole(&zone);
    }
}

#[test]
fn a_worker_that_sleeps_is_woken_by_a_hand_over() {
    let zone = zone(2048);
    let mut fabric = Fabric::new(2);
    let (mut peer, from) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (sink, state) = Sink::new(64);
    let to = fabric.add(1, sink, common::pool(&zone)).unwrap();
    // The sink alone would end worker 1's interest; something must be able to come in there.
    let (other, _) = Peer::attach(&mut fabric, 1, &zone, 256);
    let workers = fabric.build().unwrap();
    let end = run(workers, Cross(from, to), |control| {
        for n in 1..=20 {
            let sleeps = control.snapshot().workers[1].sleeps;
            until(|| control.snapshot().workers[1].sleeps > sleeps);
            assert_eq!(peer.send(1), 1);
            until(|| state.packets.load(Ordering::Relaxed) == n);
        }
        control.stop();
    });
    assert_counted(&end);
    assert!(end.workers.iter().all(|worker| worker.sleeps >= 20));
    drop((peer, other));
    assert_whole(&zone);
}

#[test]
fn an_idle_worker_sleeps_and_a_spinning_one_does_not() {
    for idle in [Idle::Spin, Idle::Adaptive, Idle::Sleep] {
        let zone = zone(256);
        let mut fabric = Fabric::new(1);
        fabric.idle(idle);
        let (peer, port) = Peer::attach(&mut fabric, 0, &zone, 64);
        let end = run(fabric.build().unwrap(), Cross(port, port), |control| {
            match idle {
                Idle::Spin => until(|| control.snapshot().workers[0].rounds > 10_000),
                _ => until(|| control.snapshot().workers[0].sleeps > 20),
            }
            control.stop();
        });
        let worker = &end.workers[0];
        match idle {
            Idle::Spin => assert_eq!(worker.sleeps, 0),
            Idle::Adaptive => assert!(worker.rounds > u64::from(Idle::SPIN_ROUNDS) && worker.sleeps > 20),
            Idle::Sleep => {
                assert!(worker.sleeps * 2 >= worker.rounds - 2, "it sleeps after each empty round: {worker:?}")
            }
        }
        drop(peer);
        assert_whole(&zone);
    }
}

#[test]
fn a_limit_is_exact_with_one_worker_and_with_two() {
    for workers in [1, 2] {
        for limit in [0, 1, 63, 64, 65, 1000, 12_345] {
            let zone = zone(4096);
            let mut fabric = Fabric::new(workers);
            for worker in 0..workers {
                fabric.add(worker, Source::new(u64::MAX), common::pool(&zone)).unwrap();
            }
            let built = fabric.build().unwrap();
            built[0].control().limit(limit);
            let program = |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program);
            let end = run(built, program, |_| {});
            assert_eq!(end.rx().packets, limit, "{workers} workers");
            assert_counted(&end);
            assert_whole(&zone);
        }
    }
}

#[test]
fn the_run_ends_when_every_source_is_exhausted() {
    let zone = zone(8192);
    let mut fabric = Fabric::new(2);
    fabric.add(0, Source::new(5000), common::pool(&zone)).unwrap();
    fabric.add(1, Source::new(70), common::pool(&zone)).unwrap();
    let (sink, state) = Sink::new(64);
    let out = fabric.add(1, sink, common::pool(&zone)).unwrap();
    let end = run(fabric.build().unwrap(), Cross(out, out), |_| {});
    assert_eq!(end.rx().packets, 5070);
    let lost = end.drops().get(DropReason::HandoverFull) + end.drops().get(DropReason::TxRingFull);
    assert_eq!(state.packets.load(Ordering::Relaxed) + lost, 5070, "what was handed over was sent before the end");
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn a_paced_source_loses_nothing() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let source = fabric.add(0, Source::new(10_000), common::pool(&zone)).unwrap();
    let (sink, state) = Sink::new(10);
    let out = fabric.add(0, sink, common::pool(&zone)).unwrap();
    fabric.pace(source, out);
    let end = run(fabric.build().unwrap(), Cross(source, out), |_| {});
    assert_eq!((state.packets.load(Ordering::Relaxed), end.drops().total()), (10_000, 0));
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn statistics_can_be_read_while_workers_run_and_while_they_sleep() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(2);
    let source = fabric.add(0, Source::new(u64::MAX), common::pool(&zone)).unwrap();
    let (peer, _) = Peer::attach(&mut fabric, 1, &zone, 64);
    let program = |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program);
    let end = run(fabric.build().unwrap(), program, |control| {
        let mut last = 0;
        for _ in 0..20 {
            until(|| {
                let now = control.snapshot();
                assert_eq!(now.rx().packets, now.actions().total(), "each worker's numbers are of one moment");
                assert_eq!(now.drops().get(DropReason::Program), now.actions().drop);
                std::mem::replace(&mut last, now.rx().packets) < now.rx().packets
            });
        }
        let now = control.snapshot();
        let port = &now.workers[0].ports[0];
        assert_eq!((port.port, port.name.as_str(), now.workers[1].ports[0].name.as_str()), (source, "source", "near"));
        assert!(port.pool.hold > 0 && now.workers[1].sleeps > 0);
        control.stop();
        until(|| control.is_stopped());
    });
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn a_run_can_be_stopped_before_and_forced() {
    let zone = zone(512);
    for force in [false, true] {
        let mut fabric = Fabric::new(2);
        fabric.add(0, Source::new(u64::MAX), common::pool(&zone)).unwrap();
        let built = fabric.build().unwrap();
        let control = built[0].control();
        if force {
            control.force()
        } else {
            control.stop()
        }
        let begin = Instant::now();
        let end = run(built, |_: &Context, _: &mut XdpBuff| Action::Aborted, |_| {});
        assert_eq!((end.rx().packets, control.is_stopped()), (0, true));
        assert!(begin.elapsed() < Duration::from_secs(60), "it hung");
        assert_whole(&zone);
    }
}

#[test]
fn what_was_handed_over_before_the_end_is_sent() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(2);
    let source = fabric.add(0, Source::new(u64::MAX), common::pool(&zone)).unwrap();
    let (sink, state) = Sink::new(256);
    let out = fabric.add(1, sink, common::pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    let mut program = Cross(source, out);
    assert_eq!((workers[0].poll(&mut program), workers[0].poll(&mut program)), (64, 64));
    workers[0].control().stop(); // while they are in the ring
    let end = run(workers, program, |_| {});
    assert_eq!((end.rx().packets, state.packets.load(Ordering::Relaxed)), (128, 128));
    assert_counted(&end);
    assert_whole(&zone);
}
