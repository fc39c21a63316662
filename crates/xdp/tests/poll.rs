//! One worker, round by round: what happens to packets for each verdict, and that each is counted.

mod common;

use common::{Peer, Sink, Source, assert_balance, assert_counted, assert_whole, number, sum, zone};
use std::sync::{Arc, Mutex};
use std::thread;
use waterwheel_xdp::{
    Action, Context, Device, Direction, DropReason, Drops, Fabric, Homes, PagePool, PoolParams, PortId, Program,
    Traffic, Veth, Worker, XdpBuff, XdpFrame, veth,
};

/// Rounds until nothing is left to do.
fn drain(worker: &mut Worker, program: &mut dyn Program) {
    while worker.poll(program) > 0 {}
}

#[test]
fn drop_and_abort_send_the_page_home() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let mut workers = fabric.build().unwrap();
    assert_eq!(peer.send(100), 100);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Malformed));
    assert_eq!(peer.pool.outstanding(), 0, "at once, to the pool that has it");
    peer.send(50);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Aborted);
    struct SaysNothing;
    impl Program for SaysNothing {
        fn run(&mut self, _: &Context, _: &mut [XdpBuff], _: &mut [Action]) {}
    }
    peer.send(25);
    drain(&mut workers[0], &mut SaysNothing);
    assert_balance(&zone, &mut workers, &mut [&mut peer.pool], 0);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!((end.actions().drop, end.actions().aborted), (100, 75));
    assert_eq!((end.drops().get(DropReason::Malformed), end.drops().get(DropReason::Aborted)), (100, 75));
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn tx_goes_back_in_order_and_in_the_same_page() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let mut workers = fabric.build().unwrap();
    peer.send(200);
    let pages = Arc::new(Mutex::new(Vec::new()));
    let seen = pages.clone();
    drain(&mut workers[0], &mut move |_: &Context, packet: &mut XdpBuff| {
        seen.lock().unwrap().push(packet.page().number());
        Action::Tx
    });
    assert!(peer.receive().into_iter().eq(0..200));
    let mut pages = std::mem::take(&mut *pages.lock().unwrap());
    pages.sort_unstable();
    pages.dedup();
    assert_eq!(pages.len(), 200);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!((end.tx().packets, end.tx().bytes), (200, end.rx().bytes));
    assert_eq!(end.workers[0].ports[0].pool.hold, 0, "the worker's own pool had nothing to do");
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn redirect_goes_out_elsewhere_or_is_counted() {
    let zone = zone(2048);
    let mut fabric = Fabric::new(1);
    let (mut a, port_a) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (mut b, port_b) = Peer::attach(&mut fabric, 0, &zone, 64);
    let mut workers = fabric.build().unwrap();
    a.send(50);
    b.send(50);
    drain(&mut workers[0], &mut |cx: &Context, _: &mut XdpBuff| {
        Action::Redirect(if cx.port == port_a { port_b } else { port_a })
    });
    assert!(a.receive().into_iter().eq(0..50) && b.receive().into_iter().eq(0..50));
    a.send(100);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Redirect(PortId(7)));
    a.send(200);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Redirect(port_b)); // room for 64
    assert_eq!(b.receive().len(), 64);
    assert_balance(&zone, &mut workers, &mut [&mut a.pool, &mut b.pool], 0);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!((end.actions().redirect, end.drops().get(DropReason::NoTarget)), (400, 100));
    assert_eq!(end.drops().get(DropReason::TxRingFull), 136);
    assert_counted(&end);
    drop((a, b));
    assert_whole(&zone);
}

#[test]
fn pass_goes_to_the_host_who_may_hold_it() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, port) = Peer::attach(&mut fabric, 0, &zone, 256);
    let held: Arc<Mutex<Vec<(PortId, XdpFrame)>>> = Arc::default();
    let host = held.clone();
    fabric.host(0, Box::new(move |from, frame| host.lock().unwrap().push((from, frame))));
    let mut workers = fabric.build().unwrap();
    peer.send(40);
    let mut pass = |_: &Context, _: &mut XdpBuff| Action::Pass;
    drain(&mut workers[0], &mut pass);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!((end.actions().pass, end.drops().total(), peer.pool.outstanding()), (40, 0, 40));
    assert_counted(&end);
    let frames = std::mem::take(&mut *held.lock().unwrap());
    assert!(frames.iter().map(|(from, frame)| (*from, number(frame.data()))).eq((0..40).map(|n| (port, n))));
    drop(frames);
    assert_eq!(peer.pool.outstanding(), 0);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn pass_without_a_host_is_a_drop() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let mut workers = fabric.build().unwrap();
    peer.send(40);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Pass);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!((end.actions().pass, end.drops().get(DropReason::NoHost)), (40, 40));
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn mixed_verdicts_keep_the_order_of_each_target() {
    let zone = zone(2048);
    let mut fabric = Fabric::new(1);
    let (mut a, _) = Peer::attach(&mut fabric, 0, &zone, 1024);
    let (mut b, port_b) = Peer::attach(&mut fabric, 0, &zone, 1024);
    let passed: Arc<Mutex<Vec<u64>>> = Arc::default();
    let host = passed.clone();
    fabric.host(0, Box::new(move |_, frame: XdpFrame| host.lock().unwrap().push(number(frame.data()))));
    let mut workers = fabric.build().unwrap();
    // Pairs, so that a batch may begin with two that are alike.
    let verdict = |number: u64| number / 2 % 7;
    let mut program = |_: &Context, packet: &mut XdpBuff| match verdict(number(packet.data())) {
        0 | 3 => Action::Tx,
        1 | 4 => Action::Redirect(port_b),
        2 => Action::Pass,
        5 => Action::Drop(DropReason::Program),
        _ => Action::Redirect(PortId(99)),
    };
    for _ in 0..10 {
        a.send(700);
        drain(&mut workers[0], &mut program);
        assert_balance(&zone, &mut workers, &mut [&mut a.pool, &mut b.pool], 400); // in the rings to the peers
        let (back, across) = (a.receive(), b.receive());
        assert_eq!((back.len(), across.len()), (200, 200));
        assert!(back.is_sorted() && across.is_sorted());
        assert!(
            back.iter().all(|n| [0, 3].contains(&verdict(*n))) && across.iter().all(|n| [1, 4].contains(&verdict(*n)))
        );
    }
    let passed = passed.lock().unwrap();
    assert!(passed.len() == 1000 && passed.is_sorted() && passed.iter().all(|n| verdict(*n) == 2));
    let end = sum(vec![workers.remove(0).close()]);
    let (actions, drops) = (end.actions(), end.drops());
    assert_eq!((actions.tx, actions.redirect, actions.pass, actions.drop), (2000, 3000, 1000, 1000));
    assert_eq!((drops.get(DropReason::Program), drops.get(DropReason::NoTarget)), (1000, 1000));
    assert_counted(&end);
    drop((a, b));
    assert_whole(&zone);
}

#[test]
fn a_round_takes_no_more_than_its_budget() {
    for budget in [1, 7, 64] {
        let zone = zone(1024);
        let mut fabric = Fabric::new(1);
        fabric.budget(budget);
        let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
        let mut workers = fabric.build().unwrap();
        peer.send(100);
        let mut sizes = Vec::new();
        struct Sizes<'a>(&'a mut Vec<usize>);
        impl Program for Sizes<'_> {
            fn run(&mut self, _: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
                assert_eq!(batch.len(), actions.len());
                assert!(actions.iter().all(|action| *action == Action::Aborted));
                self.0.push(batch.len());
                actions.fill(Action::Tx);
            }
        }
        drain(&mut workers[0], &mut Sizes(&mut sizes));
        assert!(sizes.iter().all(|size| *size <= budget) && sizes.iter().sum::<usize>() == 100);
        assert!(peer.receive().into_iter().eq(0..100));
        drop((workers, peer));
        assert_whole(&zone);
    }
}

#[test]
fn frames_in_flight_come_home_when_they_complete() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (sink, state) = Sink::new(48);
    let out = fabric.add(0, sink, common::pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    let mut program = |_: &Context, _: &mut XdpBuff| Action::Redirect(out);
    peer.send(40);
    assert_eq!(workers[0].poll(&mut program), 80, "received, and completed by the port that is polled later");
    peer.send(64);
    workers[0].poll(&mut program);
    assert_eq!(state.packets.load(std::sync::atomic::Ordering::Relaxed), 88);
    assert_balance(&zone, &mut workers, &mut [&mut peer.pool], 0);
    let end = sum(vec![workers.remove(0).close()]);
    assert_eq!(end.drops().get(DropReason::TxRingFull), 16);
    assert_counted(&end);
    assert_eq!((peer.pool.outstanding(), state.late.load(std::sync::atomic::Ordering::Relaxed)), (0, 0));
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn a_worker_may_be_dropped_with_everything_in_it() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(2);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (_other, far_port) = Peer::attach(&mut fabric, 1, &zone, 256);
    let mut workers = fabric.build().unwrap();
    peer.send(200);
    workers[0].poll(&mut |_: &Context, _: &mut XdpBuff| Action::Redirect(far_port)); // nobody takes it over
    drop(workers);
    drop(peer);
    drop(_other);
    assert_whole(&zone);
}

#[test]
fn what_was_handed_over_and_not_sent_is_counted_at_the_end() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(2);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (other, far_port) = Peer::attach(&mut fabric, 1, &zone, 256);
    let mut workers = fabric.build().unwrap();
    peer.send(60);
    drain(&mut workers[0], &mut |_: &Context, _: &mut XdpBuff| Action::Redirect(far_port));
    let end = sum(workers.into_iter().map(Worker::close).collect());
    assert_eq!((end.actions().redirect, end.drops().get(DropReason::Shutdown)), (60, 60));
    assert_counted(&end);
    drop((peer, other));
    assert_whole(&zone);
}

#[test]
fn what_a_limit_allowed_and_did_not_come_may_come_later() {
    let zone = zone(1024);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let mut workers = fabric.build().unwrap();
    let control = workers[0].control();
    control.limit(100);
    let mut program = |_: &Context, _: &mut XdpBuff| Action::Tx;
    let mut received = 0;
    for _ in 0..20 {
        assert!(!control.is_stopped());
        peer.send(5); // far below what a round may take
        received += workers[0].poll(&mut program);
    }
    peer.send(5);
    assert_eq!((received, workers[0].poll(&mut program), control.is_stopped()), (100, 0, true));
    drop((workers, peer));
    assert_whole(&zone);
}

#[test]
fn a_hand_over_ring_that_is_full_is_told_as_such() {
    let zone = zone(8192);
    let mut fabric = Fabric::new(2);
    fabric
        .add(
            0,
            Source::new(u64::MAX),
            PagePool::new(&zone, PoolParams { limit: 4096, ..PoolParams::default() }).unwrap(),
        )
        .unwrap();
    let (sink, _) = Sink::new(64);
    let out = fabric.add(1, sink, common::pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    let mut program = move |_: &Context, _: &mut XdpBuff| Action::Redirect(out);
    (0..40).for_each(|_| assert_eq!(workers[0].poll(&mut program), 64));
    let stats = workers[0].stats();
    assert_eq!(stats.handed_over, 2048);
    assert_eq!((stats.drops.get(DropReason::HandoverFull), stats.drops.total()), (40 * 64 - 2048, 40 * 64 - 2048));
    workers.into_iter().for_each(|worker| drop(worker.close()));
    assert_whole(&zone);
}

#[test]
fn pages_of_all_pools_of_a_thread_go_into_their_caches() {
    let zone = zone(1024);
    let mut pools = [common::pool(&zone), common::pool(&zone), common::pool(&zone)];
    let mut stranger = common::pool(&zone);
    for bulk in [true, false] {
        let before = pools.each_ref().map(PagePool::cached);
        let mut pages = Vec::new();
        for n in 0..30 {
            pages.push(pools[n % 3].alloc(Direction::Rx).unwrap());
            pages.extend((n % 10 == 9).then(|| stranger.alloc(Direction::Rx).unwrap()));
        }
        let taken = pools.each_ref().map(PagePool::cached);
        let mut homes = Homes::new(&mut pools);
        if bulk {
            homes.put_bulk(pages);
        } else {
            pages.into_iter().for_each(|page| homes.put(page));
        }
        for (at, (pool, taken)) in std::iter::zip(&mut pools, taken).enumerate() {
            assert_eq!(pool.cached(), taken + 10, "pool {at}: in the cache, not on the way by the drop");
            assert_eq!((pool.outstanding(), pool.stats().recycle_ring), (0, 0));
            assert!(pool.cached() >= before[at]);
        }
        assert_eq!(stranger.outstanding(), 0, "and those of others by their drop");
    }
    drop((pools, stranger));
    assert_whole(&zone);
}

#[test]
fn what_is_sent_to_an_end_that_has_left_is_told_and_no_page_stays_there() {
    for shut_down in [true, false] {
        let zone = zone(1024);
        let (mut near, mut far) = veth("near", "far", 64);
        let mut pool = common::pool(&zone);
        let send = |near: &mut Veth, pool: &mut PagePool, drops: &mut Drops| {
            let packet = |_| XdpFrame::from(common::packet(pool.alloc(Direction::Tx).unwrap(), 1, 60));
            let mut frames: Vec<XdpFrame> = (0..10).map(packet).collect();
            (near.tx(pool, &mut frames, drops).packets, frames.len())
        };
        let mut drops = Drops::default();
        assert_eq!(send(&mut near, &mut pool, &mut drops), (10, 0));
        let mut lost = 0;
        if shut_down {
            far.shutdown(&mut Homes::new(&mut []));
            far.lost(&mut |_, n| lost += n);
            assert_eq!(lost, 10, "it had not received them");
        }
        drop(far);
        assert_eq!(pool.outstanding(), 0);
        assert_eq!(send(&mut near, &mut pool, &mut drops), (0, 0));
        assert_eq!((drops.get(DropReason::DeviceDown), drops.total()), (10, 10));
        near.complete(&mut Homes::new(std::slice::from_mut(&mut pool)));
        assert_eq!((near.unsent(), pool.outstanding()), (Traffic::default(), 0));
        drop((near, pool));
        assert_whole(&zone);
    }
}

#[test]
fn what_crosses_an_end_that_leaves_at_once_is_lost_there_or_unsent_here() {
    let zone = zone(4096);
    for _ in 0..50 {
        let (mut near, mut far) = veth("near", "far", 64);
        let mut pool = common::pool(&zone);
        let leaves = thread::spawn(move || {
            thread::yield_now();
            far.shutdown(&mut Homes::new(&mut []));
            let mut lost = 0;
            far.lost(&mut |_, n| lost += n);
            lost
        });
        let (mut sent, mut drops) = (0, Drops::default());
        while drops.total() == 0 {
            let page = pool.alloc(Direction::Tx).unwrap();
            let mut frames = vec![XdpFrame::from(common::packet(page, 1, 60))];
            sent += near.tx(&mut pool, &mut frames, &mut drops).packets;
            frames.drain(..).for_each(|frame| pool.put(frame.into_page()));
        }
        near.complete(&mut Homes::new(std::slice::from_mut(&mut pool)));
        assert_eq!(sent, leaves.join().unwrap() + near.unsent().packets);
        assert_eq!(pool.outstanding(), 0);
        drop((near, pool));
        assert_whole(&zone);
    }
}
