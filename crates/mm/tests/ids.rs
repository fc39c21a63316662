//! Ids of owners: given back when nothing of an owner is out, and not before. (In a binary of its own, as it uses all there are; one test at a time.)

mod common;

use common::{SendHome, assert_whole, bound, owner, zone};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waterwheel_mm::{Destructor, FrozenPage, Home, MAX_OWNERS, Owner, TooManyOwners};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn ids_come_back() {
    let _alone = alone();
    let zone = zone(16);
    let mut seen = HashSet::new();
    for round in 0..MAX_OWNERS + 1000 {
        let mut owner = owner();
        seen.insert(owner.id());
        let page = bound(&zone, &mut owner);
        assert_eq!(page.owner_id(), owner.id());
        if round % 2 == 0 {
            drop(page);
            drop(owner);
        } else {
            drop(owner);
            drop(page);
        }
    }
    assert!(seen.len() < 8, "{} ids were used for one owner at a time", seen.len());
    assert_whole(&zone);
}

#[test]
fn ids_come_back_also_when_the_destructors_drop_panics() {
    struct Panics;
    impl Destructor for Panics {
        fn last_put(&self, _: FrozenPage, _: Home<'_>) {}
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let _alone = alone();
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let owner = Owner::register(Panics).unwrap();
        seen.insert(owner.id());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(owner))).is_err());
    }
    assert!(seen.len() < 8, "{} ids were used for one owner at a time", seen.len());
}

#[test]
fn an_id_with_a_page_out_is_nobody_elses() {
    let _alone = alone();
    let zone = zone(16);
    let home = SendHome::default();
    let mut first = Owner::register(home.clone()).unwrap();
    let id = first.id();
    let kept = bound(&zone, &mut first);
    drop(bound(&zone, &mut first));
    drop(first);
    for _ in 0..MAX_OWNERS + 1000 {
        let mut owner = owner();
        assert_ne!(owner.id(), id, "a page of this id is out");
        drop(bound(&zone, &mut owner));
    }
    assert_eq!(home.calls(), 1);
    drop(kept);
    assert_eq!((home.calls(), Arc::strong_count(&home.0)), (2, 1), "it called its own destructor, and was the last");
    let owners: Vec<Owner> = (0..8).map(|_| owner()).collect();
    assert!(owners.iter().any(|owner| owner.id() == id), "now it can be had again");
    drop(owners);
    assert_whole(&zone);
}

#[test]
fn all_places_can_be_taken_and_one_more_is_refused() {
    let _alone = alone();
    let zone = zone(16);
    let mut owners: Vec<Owner> = Vec::new();
    let error: TooManyOwners = loop {
        match Owner::register(SendHome::default()) {
            Ok(owner) => owners.push(owner),
            Err(error) => break error,
        }
    };
    assert_eq!(owners.len(), MAX_OWNERS);
    assert_eq!(owners.iter().map(Owner::id).collect::<HashSet<_>>().len(), MAX_OWNERS);
    assert_eq!(error.to_string(), "4095 page owners exist already, or still have pages out");
    // The last one's pages find their way too.
    let page = bound(&zone, owners.last_mut().unwrap());
    std::thread::spawn(move || drop(page)).join().unwrap();
    let page = bound(&zone, owners.last_mut().unwrap());
    owners.pop();
    assert!(Owner::register(SendHome::default()).is_err(), "a page of it is out");
    drop(page);
    assert!(Owner::register(SendHome::default()).is_ok());
    drop(owners);
    assert_whole(&zone);
}

#[test]
fn ids_do_not_leak_when_owner_and_pages_go_at_the_same_time() {
    let _alone = alone();
    let zone = zone(64);
    let mut seen = HashSet::new();
    let (send, receive) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || receive.iter().for_each(drop));
    for _ in 0..MAX_OWNERS + 1000 {
        let mut owner = owner();
        seen.insert(owner.id());
        let shared = bound(&zone, &mut owner).share();
        send.send(shared.clone()).unwrap();
        drop(owner);
        drop(shared);
        if zone.stats().free < 32 {
            common::until(|| zone.stats().free == 64);
        }
    }
    drop(send);
    other.join().unwrap();
    assert!(seen.len() < 70, "no more than there were pages: {}", seen.len());
    assert_whole(&zone);
}
