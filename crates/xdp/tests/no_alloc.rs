//! Once a loop turns, no packet costs an allocation. (In a binary of its own, which has the allocator.)
#![expect(unsafe_code, reason = "an allocator that counts")]

mod common;

use common::{Peer, Sink, Source, assert_counted, assert_whole, number, sum, zone};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use waterwheel_xdp::{Action, Context, DropReason, Fabric, Program, Worker, XdpBuff};

/// The system's allocator, counting what a thread asks of it while it is watched.
struct Watched;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn called() {
    // A thread whose locals are gone is not watched.
    let _ = WATCHING.try_with(|watching| {
        if watching.get() {
            let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        }
    });
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        called();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        called();
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        called();
        // SAFETY: the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Calls of the allocator while `f` runs on this thread.
fn calls(f: impl FnOnce()) -> u64 {
    CALLS.set(0);
    WATCHING.set(true);
    f();
    WATCHING.set(false);
    CALLS.get()
}

const PACKETS: usize = 1_000_000;
/// Packets before the loop turns: rings are opened and vectors have their size.
const WARM_UP: usize = 20_000;

/// Feeds a million packets through `worker`, and counts the allocator's calls after the first of them.
fn turn(worker: &mut Worker, program: &mut dyn Program, peers: &mut [&mut Peer]) -> u64 {
    let (mut sent, mut allocations) = (0, 0);
    while sent < PACKETS {
        let round = calls(|| {
            for peer in peers.iter_mut() {
                sent += peer.send(200);
            }
            while worker.poll(program) > 0 {}
            for peer in peers.iter_mut() {
                peer.receive_count();
            }
        });
        if sent > WARM_UP {
            allocations += round;
        }
    }
    allocations
}

#[test]
fn the_allocator_is_watched() {
    assert!(calls(|| drop(std::hint::black_box(Box::new(1)))) >= 2);
}

#[test]
fn drop_tx_redirect_and_a_mixture() {
    let zone = zone(8192);
    let mut fabric = Fabric::new(1);
    let (mut a, port_a) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (mut b, port_b) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (sink, _) = Sink::new(64);
    let sink = fabric.add(0, sink, common::pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    let mut discard = |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program);
    let mut reflect = |_: &Context, _: &mut XdpBuff| Action::Tx;
    let mut cross = |cx: &Context, _: &mut XdpBuff| Action::Redirect(if cx.port == port_a { port_b } else { port_a });
    let mut mixture = |_: &Context, packet: &mut XdpBuff| match number(packet.data()) % 5 {
        0 => Action::Tx,
        1 => Action::Redirect(port_a),
        2 => Action::Redirect(sink),
        3 => Action::Pass,
        _ => Action::Aborted,
    };
    let programs: [(&str, &mut dyn Program); 4] =
        [("drop", &mut discard), ("tx", &mut reflect), ("redirect", &mut cross), ("mixture", &mut mixture)];
    for (name, program) in programs {
        assert_eq!(turn(&mut worker, program, &mut [&mut a, &mut b]), 0, "{name}");
    }
    let end = sum(vec![worker.close()]);
    assert!(end.rx().packets >= 4 * PACKETS as u64);
    assert_counted(&end);
    drop((a, b));
    assert_whole(&zone);
}

#[test]
fn large_batches_of_several_pools() {
    let zone = zone(16384);
    for budget in [1, 7, 1000] {
        let mut fabric = Fabric::new(1);
        fabric.budget(budget);
        for _ in 0..3 {
            fabric.add(0, Source::new(200 * budget as u64), common::pool(&zone)).unwrap();
        }
        let (sink, _) = Sink::new(3 * budget);
        let sink = fabric.add(0, sink, common::pool(&zone)).unwrap();
        let mut worker = fabric.build().unwrap().remove(0);
        // What goes to the sink comes back from there with pages of two pools together; a source takes nothing.
        let mut program = |cx: &Context, _: &mut XdpBuff| match cx.port.0 {
            0 | 1 => Action::Redirect(sink),
            _ => Action::Tx,
        };
        (0..10).for_each(|_| assert!(worker.poll(&mut program) > 0));
        let mut work = 0;
        let calls = calls(|| {
            for _ in 0..180 {
                work += worker.poll(&mut program);
            }
        });
        assert_eq!(calls, 0, "a budget of {budget}");
        assert!(work >= 180 * 3 * budget);
        worker.close();
        assert_whole(&zone);
    }
}

#[test]
fn pages_that_come_home_from_another_thread() {
    let zone = zone(8192);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    // The host is another thread, behind a ring that was made before.
    let (to, from) = waterwheel_xdp::mm::ptr_ring::<waterwheel_xdp::XdpFrame>(1024);
    fabric.host(0, Box::new(move |_, frame| drop(to.produce(frame))));
    let mut worker = fabric.build().unwrap().remove(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (here, there) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let from = from;
            let mut taken = 0;
            let mut allocations = 0;
            let mut frames = Vec::with_capacity(1024);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let count = calls(|| {
                    taken += from.consume_batch(&mut frames, 256);
                    frames.clear();
                });
                if taken > WARM_UP {
                    allocations += count;
                }
                std::thread::yield_now();
            }
            allocations
        });
        let here = turn(&mut worker, &mut |_: &Context, _: &mut XdpBuff| Action::Pass, &mut [&mut peer]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (here, other.join().unwrap())
    });
    assert_eq!((here, there), (0, 0));
    drop((worker, peer));
    assert_whole(&zone);
}
