//! Behaviour of the peer: everything that is taken comes back, the thread and the folders are as before.

use super::cross::lap;
use super::eal::{Eal, ring};
use super::ffi::{Haul, what};
use super::{Crossing, Load, Object, RingKind, cross, pool_loop, ring_loop};
use crate::harness::Clock;
use crate::peers::Work;
use std::sync::{Mutex, MutexGuard};
use waterwheel_mm::cpu;

const OBJECTS: usize = 32767;

/// The pools are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|dead| dead.into_inner())
}

fn first() -> usize {
    cpu::allowed_cpus()[0]
}

#[test]
fn starting_dpdk_changes_no_affinity_and_leaves_no_folder() {
    let _alone = alone();
    let before = cpu::allowed_cpus();
    Eal::get(first()).map(drop).expect("DPDK starts");
    assert_eq!(cpu::allowed_cpus(), before);
    let folder = |parent: &str| format!("{parent}/dpdk/waterwheel{}", std::process::id());
    assert!(["/var/run", "/tmp"].iter().all(|parent| !std::path::Path::new(&folder(parent)).exists()));
}

#[test]
fn every_kind_of_loop_gives_back_what_it_took() {
    let _alone = alone();
    for object in [Object::Bare, Object::Mbuf] {
        let pool = Eal::get(first()).and_then(|eal| eal.pool(object)).expect("a pool");
        for how in [0, what::TOUCH, what::BULK, what::BULK | what::TOUCH] {
            for count in [1, 64, 1000] {
                assert_eq!(pool.each(&mut vec![0; count], 10, object.what() | how), 10);
            }
        }
        assert_eq!(pool.available(), OBJECTS);
    }
}

#[test]
fn more_objects_than_there_are_is_an_answer() {
    let _alone = alone();
    let work = Work { count: 40000, bulk: false, touch: false };
    assert!(pool_loop(first(), Object::Mbuf, work).is_err());
}

#[test]
fn numbers_go_through_each_kind_of_ring() {
    let _alone = alone();
    for many in [false, true] {
        for words in [false, true] {
            ring_loop(first(), RingKind { many, words }, 32, 64).expect("a loop")(1000);
        }
    }
    assert!(ring_loop(first(), RingKind { many: false, words: false }, 64, 64).is_err());
}

#[test]
fn what_crosses_is_counted() {
    let _alone = alone();
    let consumers: Vec<usize> = cpu::allowed_cpus().into_iter().skip(1).take(2).collect();
    if consumers.is_empty() {
        return; // one CPU: nothing to cross
    }
    let plain = [(false, false), (false, true), (true, false), (true, true)];
    let plain = plain.map(|(many, words)| Load::Numbers(RingKind { many, words }));
    let loads = plain.into_iter().chain([Object::Bare, Object::Mbuf].map(Load::Objects));
    for load in loads {
        for batch in [1, 64] {
            let crossing = Crossing { clock: Clock::new(), consumers: consumers.clone(), batch, slots: 1024, load };
            let lap = cross(first(), crossing).expect("a crossing")(10_000).expect("threads");
            assert!(lap.elements >= 10_000 && lap.ticks > 0, "{lap:?}");
        }
    }
}

#[test]
fn objects_that_crossed_are_home_again() {
    let _alone = alone();
    let Some(&second) = cpu::allowed_cpus().get(1) else { return };
    for object in [Object::Bare, Object::Mbuf] {
        for batch in [1, 64] {
            let pool = Eal::get(first()).and_then(|eal| eal.pool(object)).expect("a pool");
            let rings = [ring(1024, object.what()).expect("a ring")];
            let haul = Haul { pool: &pool, batch, what: object.what() };
            let crossed = lap(Clock::new(), haul, &rings, &[second], 100_000).expect("threads");
            assert!(crossed.elements >= 100_000 && crossed.ticks > 0, "{crossed:?}");
            assert_eq!(pool.available(), OBJECTS);
        }
    }
}
