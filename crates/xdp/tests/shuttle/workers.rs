//! Workers that redirect to each other, hosts that hold packets and drop them on threads of their own, devices that break, and an end at any moment.

use crate::common::{assert_counted, assert_whole, sum, zone};
use crate::explore::{Dice, explore, runs_again_as_it_ran};
use crate::port::{Port, assert_undamaged};
use shuttle::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use shuttle::thread::{self, yield_now};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use waterwheel_xdp::mm::PageRef;
use waterwheel_xdp::{
    Action, Context, DropReason, Fabric, Idle, PagePool, PoolParams, PortId, Program, Worker, WorkerStats, XdpBuff,
    XdpFrame, Zone,
};

/// An action per packet, by dice; more often for the whole batch.
struct AnyAction {
    dice: Dice,
    ports: usize,
    /// It panics now and then.
    nervous: bool,
}

impl AnyAction {
    fn action(&mut self) -> Action {
        match self.dice.below(10) {
            0 => Action::Drop(DropReason::Program),
            1 => Action::Tx,
            2 => Action::Aborted,
            3 | 4 => Action::Pass,
            _ => Action::Redirect(PortId(self.dice.below(self.ports) as u16)),
        }
    }
}

impl Program for AnyAction {
    fn run(&mut self, _: &Context, packets: &mut [XdpBuff], actions: &mut [Action]) {
        packets.iter().for_each(|packet| assert_undamaged(packet.page(), packet.data()));
        let of_all = self.dice.one_in(2).then(|| self.action());
        for action in actions {
            if self.nervous && self.dice.one_in(8) {
                resume_unwind(Box::new("nervous")); // a panic without a report
            }
            *action = of_all.unwrap_or_else(|| self.action());
        }
    }
}

/// How the owner of a worker leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    ByClosing,
    ByDropping,
}

fn leave(worker: Worker, how: Leaves) {
    match how {
        Leaves::ByClosing => drop(worker.close()),
        Leaves::ByDropping => drop(worker),
    }
}

/// Shares what a worker passes on, and keeps it for a while. It ends when the worker does.
fn hold(packets: &Receiver<XdpFrame>, mut dice: Dice) {
    let mut held: Vec<PageRef> = Vec::new();
    loop {
        match packets.try_recv() {
            Ok(frame) => {
                let offset = frame.offset();
                let page = frame.into_page().share();
                assert_undamaged(&page, &page[offset..offset + 60]);
                held.extend(dice.one_in(2).then(|| page.clone()));
                held.push(page);
            }
            Err(TryRecvError::Empty) => {
                held.pop(); // a pool may have no other page left
                yield_now();
            }
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// One or two ports a worker, a pool each, all of one zone.
fn fabric(zone: &Zone, workers: usize, dice: &mut Dice, hosts: &[Sender<XdpFrame>]) -> (Vec<Worker>, usize) {
    let mut fabric = Fabric::new(workers);
    let mut ports = 0;
    for (worker, host) in hosts.iter().enumerate() {
        for _ in 0..1 + dice.below(2) {
            let floor = dice.below(2);
            let params =
                PoolParams { limit: 2 + dice.below(6), floor_rx: floor, floor_tx: floor, ..PoolParams::default() };
            fabric.add(worker, Port::new(dice), PagePool::new(zone, params).unwrap()).unwrap();
            ports += 1;
        }
        let host = host.clone();
        fabric.host(worker, Box::new(move |_: PortId, frame: XdpFrame| drop(host.send(frame))));
    }
    fabric.budget(1 + dice.below(4));
    fabric.nap(None);
    fabric.idle(Idle::Sleep); // who spins without end leaves PCT no choice
    (fabric.build().unwrap(), ports)
}

fn workers_and_their_end(mut dice: Dice) {
    let zone = zone(48); // enough for the limits of six pools
    let count = 2 + dice.below(2);
    let (hosts, holders): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (host, packets) = channel();
            let dice = dice.split();
            (host, thread::spawn(move || hold(&packets, dice)))
        })
        .unzip();
    let (workers, ports) = fabric(&zone, count, &mut dice, &hosts);
    drop(hosts);
    let control = workers[0].control();
    let (stop, force) = (dice.one_in(2), dice.one_in(4));
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let mut program = AnyAction { dice: dice.split(), ports: ports + dice.below(2), nervous: dice.one_in(4) };
            // Who is rid of his worker at once leaves while the others still work.
            let (how, at_once) = ([Leaves::ByClosing, Leaves::ByDropping][dice.below(2)], dice.one_in(2));
            thread::spawn(move || {
                let panicked = catch_unwind(AssertUnwindSafe(|| worker.run(&mut program))).is_err();
                // The devices of one that is over hold pages which another may need to come to its end.
                if at_once || panicked && !stop && !force {
                    leave(worker, how);
                    (panicked, None)
                } else {
                    (panicked, Some((worker, how)))
                }
            })
        })
        .collect();
    if stop || force {
        (0..dice.below(100)).for_each(|_| yield_now());
        if force { control.force() } else { control.stop() }
    }
    let mut panicked = Vec::new();
    for thread in threads {
        let (panics, left) = thread.join().unwrap();
        panicked.push(panics);
        if let Some((worker, how)) = left {
            leave(worker, how);
        }
    }
    let end = control.snapshot();
    // Who is stopped in order takes everything that the others still had for him.
    let in_order = !force && !panicked.contains(&true);
    assert!(!in_order || end.drops().get(DropReason::WorkerGone) == 0, "{end:?}");
    for (worker, panicked) in std::iter::zip(&end.workers, panicked) {
        assert!(worker.died.is_some() || !panicked, "it panicked, and nobody is told");
    }
    assert_counted(&end);
    let sum = |which: fn(&WorkerStats) -> u64| end.workers.iter().map(which).sum::<u64>();
    assert_eq!(sum(|worker| worker.handed_over), sum(|worker| worker.taken_over), "{end:?}");
    holders.into_iter().for_each(|holder| holder.join().unwrap());
    assert_whole(&zone);
}

#[test]
fn workers_end_at_any_moment_and_no_page_is_lost() {
    explore(workers_and_their_end);
}

/// One worker sleeps as long as the other has nothing for it. Every packet arrives, and both come to their end: without a wake-up neither would.
fn hand_over(mut dice: Dice) {
    let zone = zone(32);
    let mut fabric = Fabric::new(2);
    fabric.nap(None);
    fabric.idle(Idle::Sleep);
    // With a page or two, no packet comes before another one has gone out and its page has come home.
    let limit = 1 + dice.below(2);
    let pool = || PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() }).unwrap();
    let packets = 1 + dice.below(5) as u64;
    fabric.add(0, Port::source(packets), pool()).unwrap();
    fabric.add(1, Port::source(0), pool()).unwrap();
    fabric.budget(1);
    let threads: Vec<_> = fabric
        .build()
        .unwrap()
        .into_iter()
        .map(|mut worker| {
            thread::spawn(move || {
                worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Redirect(PortId(1)));
                worker.close()
            })
        })
        .collect();
    let end = sum(threads.into_iter().map(|thread| thread.join().unwrap()).collect());
    assert_eq!((end.rx().packets, end.tx().packets, end.drops().total()), (packets, packets, 0));
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn who_is_handed_something_wakes_up() {
    explore(hand_over);
}

/// Workers whose ports are quiet sleep until they are told: by the last packet of a limit, by a stop, by who asks for statistics.
fn told_by_others(mut dice: Dice) {
    let zone = zone(32);
    let count = 2 + dice.below(2);
    let mut fabric = Fabric::new(count);
    fabric.nap(None);
    fabric.idle(Idle::Sleep);
    fabric.budget(1 + dice.below(3));
    let mut packets = 0;
    for worker in 0..count {
        let pool = || PagePool::new(&zone, PoolParams { limit: 3, ..PoolParams::default() }).unwrap();
        fabric.add(worker, Port::quiet(), pool()).unwrap();
        if worker == 0 || dice.one_in(2) {
            let some = 1 + dice.below(4) as u64;
            fabric.add(worker, Port::source(some), pool()).unwrap();
            packets += some;
        }
    }
    let mut workers = fabric.build().unwrap();
    let control = workers[0].control();
    let by_limit = dice.one_in(2);
    if by_limit {
        control.limit(1 + dice.below(packets as usize) as u64);
    }
    // Who ends by force does not wait for one who does not even run.
    let force = !by_limit && dice.one_in(2);
    let idles = if force { workers.pop() } else { None };
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            thread::spawn(move || {
                worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program));
                worker.close()
            })
        })
        .collect();
    for _ in 0..if force { 0 } else { dice.below(3) } {
        let now = control.snapshot();
        assert!(now.workers.iter().all(|worker| !worker.ports.is_empty()), "one has not answered");
    }
    if !by_limit {
        (0..dice.below(60)).for_each(|_| yield_now());
        if force { control.force() } else { control.stop() }
    }
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    drop(idles);
    assert_counted(&control.snapshot());
    assert_whole(&zone);
}

#[test]
fn who_sleeps_is_told_by_the_others() {
    explore(told_by_others);
}

#[test]
fn a_schedule_of_workers_runs_again_as_it_ran() {
    runs_again_as_it_ran(workers_and_their_end);
}
