//! The way home from other threads: pages come back from wherever they are dropped, whatever the thread does then.

mod common;

use common::{Rng, SendHome, assert_whole, bound, collect_all, owner, until, zone};
use std::cell::RefCell;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use waterwheel_mm::{Destructor, FrozenPage, Home, Owner, Page, PageRef, release_pages};

#[test]
fn from_a_thread_that_ends() {
    let zone = zone(64);
    let mut owner = owner();
    for round in 1..=20 {
        let pages: Vec<Page> = (0..3).map(|_| bound(&zone, &mut owner)).collect();
        thread::spawn(move || drop(pages)).join().unwrap();
        assert_eq!(owner.outstanding(), 0, "round {round}");
        assert_eq!(collect_all(&mut owner), 3);
        assert_eq!(owner.outstanding(), 0, "the ended thread's count was kept");
    }
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn from_a_thread_that_then_sleeps_for_ever() {
    let zone = zone(64);
    let mut owner = owner();
    let (wake, sleep) = channel::<()>();
    let (done, dropped) = channel();
    let page = bound(&zone, &mut owner);
    let sleeper = thread::spawn(move || {
        drop(page);
        done.send(()).unwrap();
        let _ = sleep.recv(); // until the end of the test
    });
    dropped.recv().unwrap();
    assert_eq!((owner.outstanding(), collect_all(&mut owner)), (0, 1), "its next step is not waited for");
    drop(owner);
    assert_whole(&zone);
    drop(wake);
    sleeper.join().unwrap();
}

#[test]
fn from_a_sleeping_thread_when_the_owner_goes_before_collecting() {
    let zone = zone(64);
    let mut owner = owner();
    let (wake, sleep) = channel::<()>();
    let (done, dropped) = channel();
    let pages = [bound(&zone, &mut owner), bound(&zone, &mut owner)];
    let sleeper = thread::spawn(move || {
        drop(pages);
        done.send(()).unwrap();
        let _ = sleep.recv();
    });
    dropped.recv().unwrap();
    drop(owner);
    assert_whole(&zone);
    drop(wake);
    sleeper.join().unwrap();
}

thread_local! {
    static HOLDER: RefCell<Vec<Page>> = const { RefCell::new(Vec::new()) };
}

/// What a thread does before it ends with pages in a thread-local.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// Fills the thread-local: it is destroyed after the lanes.
    Holder,
    /// Drops a page, which opens its lane: the lanes are destroyed after the thread-local.
    Lane,
    /// Drops none before its end.
    NoLane,
}

#[test]
fn from_the_destructor_of_a_thread_local() {
    for sealed in [false, true] {
        let zone = zone(64);
        let mut owner = owner();
        for first in [First::Holder, First::Lane, First::NoLane] {
            let (before, kept) = (bound(&zone, &mut owner), bound(&zone, &mut owner));
            thread::spawn(move || {
                let hold = |page| HOLDER.with_borrow_mut(|holder| holder.push(page));
                match first {
                    First::Holder => {
                        hold(kept);
                        drop(before);
                    }
                    First::Lane => {
                        drop(before);
                        hold(kept);
                    }
                    First::NoLane => {
                        hold(kept);
                        hold(before);
                    }
                }
            })
            .join()
            .unwrap();
            if !sealed {
                assert_eq!((owner.outstanding(), collect_all(&mut owner)), (0, 2));
            }
        }
        assert_eq!(owner.overflowed(), 1, "in exactly one of the orders the lanes were gone already");
        drop(owner);
        assert_whole(&zone);
    }
}

#[test]
fn from_the_destructor_of_a_thread_local_after_the_owner() {
    for first in [First::Holder, First::Lane] {
        let zone = zone(64);
        let home = SendHome::default();
        let mut owner = Owner::register(home.clone()).unwrap();
        let (before, kept) = (bound(&zone, &mut owner), bound(&zone, &mut owner));
        let (gone, wait) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut before = Some(before);
            if first == First::Lane {
                drop(before.take());
            }
            HOLDER.with_borrow_mut(|holder| holder.push(kept));
            drop(before);
            let _ = wait.recv();
        });
        drop(owner);
        drop(gone);
        thread.join().unwrap();
        assert_eq!((home.calls(), Arc::strong_count(&home.0)), (2, 1), "the destructor is gone, after both");
        assert_whole(&zone);
    }
}

#[test]
fn after_the_owner_was_dropped() {
    let zone = zone(64);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let mut pages: Vec<Page> = (0..20).map(|_| bound(&zone, &mut owner)).collect();
    drop(pages.split_off(15)); // some are on their way
    drop(owner);
    assert_eq!(zone.stats().free, 49);
    let theirs = pages.split_off(8);
    thread::spawn(move || drop(theirs)).join().unwrap();
    assert_eq!(zone.stats().free, 56, "what is dropped later goes to the zone at once");
    drop(pages);
    assert_eq!((home.calls(), Arc::strong_count(&home.0)), (20, 1));
    assert_whole(&zone);
}

#[test]
fn more_at_once_than_a_lane_holds() {
    let zone = zone(5000);
    for sealed in [false, true] {
        let mut owner = owner();
        let mut frozen = Vec::new();
        assert_eq!(zone.alloc_bulk(0, 5000, &mut frozen), 5000);
        let pages: Vec<Page> = frozen.into_iter().map(|page| owner.bind(page)).collect();
        thread::spawn(move || drop(pages)).join().unwrap();
        assert_eq!((owner.outstanding(), owner.overflowed()), (0, 5000 - 4096));
        if !sealed {
            let mut home = Vec::new();
            assert_eq!(owner.collect(&mut home, usize::MAX), 5000);
            let mut numbers: Vec<u32> = home.iter().map(FrozenPage::number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), 5000, "each once");
        }
        drop(owner);
        assert_whole(&zone);
    }
}

#[test]
fn nobody_waits_behind_a_busy_lane() {
    let zone = zone(5000);
    let mut owner = owner();
    drop(bound(&zone, &mut owner)); // this thread's lane is the first
    let late = bound(&zone, &mut owner);
    let number = late.number();
    let more: Vec<Page> = (0..4096).map(|_| bound(&zone, &mut owner)).collect();
    let beside = bound(&zone, &mut owner);
    let other_number = beside.number();
    thread::spawn(move || drop(late)).join().unwrap();
    thread::spawn(move || drop((more, beside))).join().unwrap(); // the last one finds the lane full
    assert_eq!(owner.overflowed(), 1);
    let mut home = Vec::new();
    for round in 1..=4 {
        drop(bound(&zone, &mut owner));
        owner.collect(&mut home, 1);
        assert_eq!(home.iter().any(|page| page.number() == number), round >= 2, "round {round}");
        assert_eq!(home.iter().any(|page| page.number() == other_number), round >= 4, "round {round}");
    }
    drop((owner, home));
    assert_whole(&zone);
}

#[test]
fn a_round_asks_every_lane_also_when_one_of_them_goes() {
    let zone = zone(64);
    let mut owner = owner();
    for _ in 0..2 {
        let pages = [bound(&zone, &mut owner), bound(&zone, &mut owner)];
        thread::spawn(move || drop(pages)).join().unwrap();
    }
    drop(bound(&zone, &mut owner)); // the third lane, which stays
    let mut home = Vec::new();
    assert_eq!((owner.collect(&mut home, 1), owner.collect(&mut home, 1)), (1, 1));
    assert_eq!(owner.collect(&mut home, usize::MAX), 3, "from the third, the first, which goes, and the second");
    drop((owner, home));
    assert_whole(&zone);
}

#[test]
fn from_eight_threads_at_once() {
    let zone = zone(2048);
    let mut owner = owner();
    let start = Barrier::new(8);
    for _ in 0..5 {
        thread::scope(|scope| {
            for _ in 0..8 {
                let pages: Vec<Page> = (0..200).map(|_| bound(&zone, &mut owner)).collect();
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    drop(pages);
                });
            }
            let mut home = 0;
            until(|| {
                home += collect_all(&mut owner); // meanwhile
                home == 1600
            });
        });
        assert_eq!((owner.outstanding(), collect_all(&mut owner)), (0, 0));
    }
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn while_the_owner_moves_from_thread_to_thread() {
    let zone = zone(512);
    let (send, receive) = channel::<PageRef>();
    let returner = thread::spawn(move || receive.iter().for_each(drop));
    let (mut owner, mut at_home, mut seen) = (owner(), Vec::new(), 0u64);
    for hop in 0..30 {
        let (zone, send) = (zone.clone(), send.clone());
        (owner, at_home) = thread::spawn(move || {
            for _ in 0..100 {
                owner.collect(&mut at_home, 64);
                match at_home.pop().or_else(|| zone.alloc(0)) {
                    Some(frozen) => {
                        let shared = owner.bind(frozen).share();
                        send.send(shared.clone()).unwrap();
                        drop(shared); // by this thread, or by the other
                    }
                    None => thread::yield_now(),
                }
            }
            (owner, at_home)
        })
        .join()
        .unwrap();
        assert!(owner.counts().0 > seen || hop > 0);
        seen = owner.counts().0;
    }
    drop(send);
    returner.join().unwrap();
    assert_eq!(owner.outstanding(), 0);
    drop((owner, at_home));
    assert_whole(&zone);
}

#[test]
fn while_the_owner_is_being_dropped() {
    let zone = zone(512);
    let start = Barrier::new(3);
    for round in 0..400u64 {
        let home = SendHome::default();
        let mut owner = Owner::register(home.clone()).unwrap();
        thread::scope(|scope| {
            let mut rng = Rng(round);
            for _ in 0..2 {
                let pages: Vec<Page> = (0..1 + rng.below(4)).map(|_| bound(&zone, &mut owner)).collect();
                let (start, spin) = (&start, rng.below(300));
                scope.spawn(move || {
                    start.wait();
                    (0..spin).for_each(|_| std::hint::spin_loop());
                    drop(pages);
                });
            }
            start.wait();
            (0..rng.below(300)).for_each(|_| std::hint::spin_loop());
            drop(owner);
        });
        assert_eq!(Arc::strong_count(&home.0), 1, "retired by whoever was last, round {round}");
        assert_whole(&zone);
    }
}

#[test]
fn nothing_is_lost_between_long_lived_threads_and_passing_owners() {
    // Three threads that live all the time, so that their lanes meet many owners of the same slots.
    let zone = zone(512);
    let queue: Arc<Mutex<Vec<PageRef>>> = Arc::default();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    thread::scope(|scope| {
        for seed in 0..3 {
            let (queue, stop) = (queue.clone(), stop.clone());
            scope.spawn(move || {
                let mut rng = Rng(seed);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let page = {
                        let mut queue = queue.lock().unwrap();
                        let len = queue.len();
                        (len > 0).then(|| queue.swap_remove(rng.below(len)))
                    };
                    match page {
                        Some(page) => drop(page),
                        None => thread::yield_now(),
                    }
                }
            });
        }
        let mut rng = Rng(99);
        for _ in 0..300 {
            let mut owner = owner();
            let mut at_home = Vec::new();
            for _ in 0..rng.below(40) {
                owner.collect(&mut at_home, 8);
                if let Some(frozen) = at_home.pop().or_else(|| zone.alloc(0)) {
                    let shared = owner.bind(frozen).share();
                    queue.lock().unwrap().extend([shared.clone(), shared]);
                }
            }
        } // and each owner goes while pages of it are out
        until(|| queue.lock().unwrap().is_empty());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_whole(&zone);
}

#[test]
fn collecting_twice_finds_every_page_of_a_thread_that_filled_its_lane_and_ended() {
    let zone = zone(600);
    let mut owner = owner();
    let pages: Vec<Page> = (0..600).map(|_| bound(&zone, &mut owner)).collect();
    thread::spawn(move || drop(pages)).join().unwrap();
    let mut home = Vec::new();
    while owner.collect(&mut home, 7) > 0 {
        assert_eq!(owner.outstanding(), 0, "a closed lane keeps its count until it is empty, and then too");
    }
    assert_eq!(home.len(), 600);
    drop((owner, home));
    assert_whole(&zone);
}

/// Sends every page home and does nothing else, as pools do.
struct OnlyHome;

impl Destructor for OnlyHome {
    fn last_put(&self, page: FrozenPage, home: Home<'_>) {
        home.send(page);
    }

    fn only_sends_home(&self) -> bool {
        true
    }
}

#[test]
fn pages_released_together_go_home_to_their_owners() {
    let zone = zone(5000);
    let counting = SendHome::default();
    let mut owners = [
        Owner::register(OnlyHome).unwrap(),
        Owner::register(OnlyHome).unwrap(),
        Owner::register(counting.clone()).unwrap(),
    ];
    for round in 1..=3 {
        // Runs of all lengths, of all owners and of none.
        let mut pages: Vec<Page> = Vec::new();
        for i in 0..400 {
            let page = zone.alloc(0).unwrap();
            pages.push(match owners.get_mut((i / 7 + i / 100) % 4) {
                Some(owner) => owner.bind(page),
                None => page.into_page(),
            });
        }
        let mut out = [0; 3];
        for page in &pages {
            if let Some(i) = owners.iter().position(|owner| owner.id() == page.owner_id()) {
                out[i] += 1;
            }
        }
        assert!(out.iter().all(|&pages| pages > 50), "{out:?}");
        let calls = counting.calls();
        let mut release = move || {
            release_pages(&mut pages);
            assert!(pages.is_empty());
        };
        if round == 1 {
            thread::spawn(release).join().unwrap()
        } else {
            release()
        }
        assert_eq!(counting.calls() - calls, out[2], "a destructor that does more is called for each page");
        for (owner, out) in owners.iter_mut().zip(out) {
            assert_eq!((owner.outstanding(), collect_all(owner)), (0, out), "round {round}");
        }
    }
    drop(owners);
    assert_whole(&zone);
}

#[test]
fn more_released_together_than_a_lane_holds() {
    let zone = zone(5000);
    for sealed in [false, true] {
        let mut owner = Owner::register(OnlyHome).unwrap();
        drop(bound(&zone, &mut owner)); // opens this thread's lane
        let mut pages: Vec<Page> = (0..4500).map(|_| bound(&zone, &mut owner)).collect();
        let mut owner = if sealed {
            drop(owner);
            None
        } else {
            Some(owner)
        };
        release_pages(&mut pages);
        if let Some(owner) = &mut owner {
            assert_eq!((owner.outstanding(), owner.overflowed()), (0, 4501 - 4096));
            assert_eq!(collect_all(owner), 4501);
        }
        drop(owner);
        assert_whole(&zone);
    }
}
