//! Owners and destructors, on one thread.

mod common;

use common::{SendHome, assert_whole, bound, collect_all, owner, zone};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use waterwheel_mm::{Destructor, FrozenPage, Home, Owner, Page};

#[test]
fn bound_pages_come_home_and_are_counted() {
    let zone = zone(8);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let pages: Vec<Page> = (0..5).map(|_| bound(&zone, &mut owner)).collect();
    assert!(pages.iter().all(|page| page.owner_id() == owner.id() && page.owner_id() != 0));
    assert_eq!((owner.outstanding(), owner.counts()), (5, (5, 0)));
    let mut numbers: Vec<u32> = pages.iter().map(Page::number).collect();
    drop(pages);
    assert_eq!((home.calls(), owner.outstanding(), zone.stats().free), (5, 0, 3), "home, not free");
    let mut at_home = Vec::new();
    assert_eq!((owner.collect(&mut at_home, 2), owner.collect(&mut at_home, 0)), (2, 0));
    assert_eq!((owner.collect(&mut at_home, 100), owner.collect(&mut at_home, 100)), (3, 0));
    let mut found: Vec<u32> = at_home.iter().map(FrozenPage::number).collect();
    numbers.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, numbers);
    drop((owner, at_home));
    assert_whole(&zone);
}

#[test]
fn unbinding_is_for_own_pages_and_calls_nobody() {
    let zone = zone(8);
    let home = SendHome::default();
    let (mut mine, mut other) = (Owner::register(home.clone()).unwrap(), owner());
    assert_ne!(mine.id(), other.id());
    let page = bound(&zone, &mut mine);
    let page = other.unbind(page).expect_err("a page of somebody else");
    let foreign = bound(&zone, &mut other);
    let foreign = mine.unbind(foreign).expect_err("a page of somebody else");
    let nobodys = mine.unbind(zone.alloc(0).unwrap().into_page()).expect_err("a page of nobody");
    assert_eq!(nobodys.owner_id(), 0);
    let frozen = mine.unbind(page).expect("its own");
    assert_eq!((home.calls(), mine.outstanding(), mine.counts()), (0, 0, (1, 1)));
    assert_eq!((other.outstanding(), other.counts()), (1, (1, 0)));
    let again = other.bind(frozen); // from one owner to the other
    assert_eq!(other.outstanding(), 2);
    drop((again, foreign, nobodys));
    assert_eq!(collect_all(&mut other), 2);
    drop((mine, other));
    assert_whole(&zone);
}

/// Keeps the pages that it is given.
#[derive(Clone, Default)]
struct Thief(Arc<Mutex<Vec<FrozenPage>>>);

impl Destructor for Thief {
    fn last_put(&self, page: FrozenPage, _: Home<'_>) {
        self.0.lock().unwrap().push(page);
    }
}

#[test]
fn a_destructor_may_steal() {
    let zone = zone(8);
    let thief = Thief::default();
    let mut owner = Owner::register(thief.clone()).unwrap();
    drop(bound(&zone, &mut owner));
    drop(bound(&zone, &mut owner).share());
    assert_eq!((owner.outstanding(), collect_all(&mut owner), zone.stats().free), (0, 0, 6));
    assert_eq!(thief.0.lock().unwrap().len(), 2);
    let stolen = thief.0.lock().unwrap().pop().unwrap();
    drop(owner.bind(stolen)); // what was stolen can go out again
    assert_eq!((owner.counts(), thief.0.lock().unwrap().len()), ((3, 0), 2));
    drop(owner);
    assert_eq!(zone.stats().free, 6, "what was stolen outlives the owner");
    drop(thief);
    assert_whole(&zone);
}

#[test]
fn a_destructor_may_drop_which_frees_and_is_no_second_call() {
    struct Drops(Arc<AtomicUsize>);
    impl Destructor for Drops {
        fn last_put(&self, page: FrozenPage, _: Home<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            drop(page);
        }
    }
    let zone = zone(8);
    let calls = Arc::new(AtomicUsize::new(0));
    let mut owner = Owner::register(Drops(calls.clone())).unwrap();
    drop(bound(&zone, &mut owner));
    assert_eq!((calls.load(Ordering::Relaxed), zone.stats().free, owner.outstanding()), (1, 8, 0));
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn the_destructor_is_dropped_when_the_last_page_is_back() {
    let zone = zone(8);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let (first, second) = (bound(&zone, &mut owner), bound(&zone, &mut owner).share());
    let third = second.clone();
    drop(owner);
    assert_eq!(Arc::strong_count(&home.0), 2, "pages are out that need it");
    drop(first);
    drop(second);
    assert_eq!((home.calls(), Arc::strong_count(&home.0)), (1, 2));
    drop(third);
    assert_eq!((home.calls(), Arc::strong_count(&home.0)), (2, 1), "retired");
    assert_whole(&zone);
}

/// Holds a page of another owner, and lets it go inside of its own `last_put`.
struct Chain(Mutex<Option<Page>>);

impl Destructor for Chain {
    fn last_put(&self, page: FrozenPage, home: Home<'_>) {
        let other = self.0.lock().unwrap().take();
        drop(other);
        home.send(page);
    }
}

#[test]
fn a_destructor_may_drop_a_page_of_another_owner() {
    let zone = zone(64);
    let mut last = owner();
    let mut owners: Vec<Owner> = Vec::new();
    let mut page = bound(&zone, &mut last);
    for _ in 0..20 {
        let mut owner = Owner::register(Chain(Mutex::new(Some(page)))).unwrap();
        page = bound(&zone, &mut owner);
        owners.push(owner);
    }
    let sealed: Vec<Owner> = owners.extract_if(.., |owner| owner.id() % 2 == 0).collect();
    drop(sealed); // every other one is gone already when its page comes
    drop(page);
    assert_eq!((last.outstanding(), collect_all(&mut last)), (0, 1), "the whole chain has run");
    for owner in &mut owners {
        assert_eq!((owner.outstanding(), collect_all(owner)), (0, 1));
    }
    drop((last, owners));
    assert_whole(&zone);
}

#[test]
fn a_destructor_may_drop_another_page_of_the_same_owner() {
    struct Two(Mutex<Vec<Page>>);
    struct Handle(Arc<Two>);
    impl Destructor for Handle {
        fn last_put(&self, page: FrozenPage, home: Home<'_>) {
            let next = self.0.0.lock().unwrap().pop();
            drop(next); // runs this again, one level deeper
            home.send(page);
        }
    }
    let zone = zone(64);
    for seal_first in [false, true] {
        let held = Arc::new(Two(Mutex::default()));
        let mut owner = Owner::register(Handle(held.clone())).unwrap();
        held.0.lock().unwrap().extend((0..10).map(|_| bound(&zone, &mut owner)));
        let page = bound(&zone, &mut owner);
        if seal_first {
            drop(owner);
            drop(page);
        } else {
            drop(page);
            assert_eq!((owner.outstanding(), collect_all(&mut owner)), (0, 11));
            drop(owner);
        }
        assert_eq!(Arc::strong_count(&held), 1, "the destructor is gone");
        assert_whole(&zone);
    }
}

#[test]
fn a_destructor_that_panics_loses_nothing_but_its_place() {
    struct Panics;
    impl Destructor for Panics {
        fn last_put(&self, _: FrozenPage, _: Home<'_>) {
            panic!("on purpose");
        }
    }
    let zone = zone(8);
    let mut owner = Owner::register(Panics).unwrap();
    let page = bound(&zone, &mut owner);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(page)));
    assert!(result.is_err());
    assert_eq!(zone.stats().free, 8, "the page went to the zone");
    drop(bound(&zone, &mut common::owner())); // others are not disturbed
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn a_new_owner_begins_to_count_at_zero() {
    let zone = zone(8000);
    let mut pages = Vec::new();
    let mut first = owner();
    zone.alloc_bulk(0, 5000, &mut pages);
    let pages: Vec<Page> = pages.into_iter().map(|page| first.bind(page)).collect();
    drop(pages);
    assert!(first.overflowed() > 0, "5000 at once are more than a lane holds");
    drop(first);
    // One of these has the place of the first.
    let others: Vec<Owner> = (0..16).map(|_| owner()).collect();
    for mut owner in others {
        assert_eq!((owner.outstanding(), owner.counts(), owner.overflowed()), (0, (0, 0), 0));
    }
    assert_whole(&zone);
}
