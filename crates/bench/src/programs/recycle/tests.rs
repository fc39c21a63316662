//! What the schemes must show by logic alone, and that every page comes home.

use super::run::{Figures, Run};
use super::scheme::Scheme;
use super::*;
use waterwheel_mm::{Account, Users};

/// The figures of one scheme under one load; its pages are all free afterwards.
fn figures<S: Scheme, E: std::fmt::Debug>(load: &Load, scheme: impl FnOnce(&Zone, usize) -> Result<S, E>) -> Figures {
    let plan = Rc::new((load.plan)());
    let zone = Zone::new(&waterwheel_mm::ZoneParams::pages(zone_pages(&plan))).expect("memory");
    let mut run = Run::new(scheme(&zone, limit(&plan)).expect("an owner's place"), &plan);
    let figures = run.figures();
    drop(run);
    let account = Account::open(&zone).close(Users::Gone);
    assert!(account.is_whole(), "{}: {account:?}", load.name);
    assert_eq!(figures.lost, 0, "{}: nobody lacks a page", load.name);
    assert!(figures.most_pages >= plan.most_held().max(RING) as u64, "{}: {figures:?}", load.name);
    figures
}

/// Of each load by name: least and greatest hits, in per cent.
type Expected = [(&'static str, f64, f64); LOADS.len()];

fn check<S: Scheme, E: std::fmt::Debug>(expected: Expected, scheme: fn(&Zone, usize) -> Result<S, E>) {
    for (load, (name, least, greatest)) in LOADS.iter().zip(expected) {
        assert_eq!(load.name, name);
        let figures = figures(load, scheme);
        assert!((least..=greatest).contains(&figures.hits), "{name}: {figures:?}");
        // In the steady state what is allocated is freed, and what is allocated is mapped and unmapped.
        let missed = 2.0 * (1.0 - figures.hits / 100.0);
        assert!((figures.allocator - missed).abs() < 0.03, "{name}: {figures:?}");
        assert!((figures.mapping - missed).abs() < 0.03, "{name}: {figures:?}");
    }
}

#[test]
fn without_recycling_every_page_is_allocated() {
    let expected = LOADS.map(|load| (load.name, 0.0, 0.0));
    check(expected, |zone, _| AllocatorOnly::new(zone));
}

#[test]
fn the_ring_recycles_what_is_held_for_less_than_a_ring() {
    let expected = [
        ("drop at once", 100.0, 100.0),
        ("tcp 64", 100.0, 100.0),
        ("tcp 1k", 0.0, 0.0),
        ("tcp 8k", 0.0, 0.0),
        ("sockets", 40.0, 50.0),
        ("bursts", 50.0, 60.0),      // and the last ring of the burst
        ("slow reader", 93.7, 93.8), // all but one of 16
        ("second holder", 100.0, 100.0),
    ];
    check(expected, |zone, _| IntelRing::new(zone));
}

#[test]
fn the_head_of_the_drivers_queue_blocks_it() {
    let expected = [
        ("drop at once", 99.9, 100.0),
        ("tcp 64", 99.9, 100.0),
        ("tcp 1k", 10.0, 25.6), // 256 places in the time of 1024 packets and more
        ("tcp 8k", 1.0, 3.2),
        ("sockets", 0.0, 10.0),
        ("bursts", 53.1, 53.2), // what is dropped as it comes, and for the burst what the queue had
        ("slow reader", 0.0, 6.5),
        ("second holder", 99.9, 100.0),
    ];
    check(expected, |zone, _| DriverCache::new(zone));
}

#[test]
fn the_generic_pool_loses_what_overflows_and_what_others_hold() {
    let expected = [
        ("drop at once", 100.0, 100.0),
        ("tcp 64", 100.0, 100.0),
        ("tcp 1k", 99.9, 100.0),
        ("tcp 8k", 98.0, 100.0), // a loss holds its connection up, whose packets then come all at once
        ("sockets", 98.0, 100.0),
        ("bursts", 64.0, 64.1), // of a burst of 4096 it keeps 128 + 1024
        ("slow reader", 99.9, 100.0),
        ("second holder", 75.0, 75.0), // all but each fourth
    ];
    check(expected, |zone, _| GenericPool::new(zone));
}

#[test]
fn the_pool_with_destructor_loses_nothing_whoever_lets_go_and_how() {
    let expected = LOADS.map(|load| (load.name, 100.0, 100.0));
    check(expected, |zone, limit| DestructorPool::new(zone, limit, Way::Drop));
    check(expected, |zone, limit| DestructorPool::new(zone, limit, Way::Put));
}
