//! Shared pages: clones, the question at refcount 1, the last put.

mod common;

use common::{Rng, SendHome, assert_whole, bound, collect_all, owner, zone};
use std::sync::Barrier;
use waterwheel_mm::{Owner, Page, PageRef};

#[test]
fn handles_are_one_word() {
    assert_eq!((size_of::<Page>(), size_of::<Option<Page>>(), size_of::<Option<PageRef>>()), (8, 8, 8));
}

#[test]
fn unique_only_when_nobody_else_holds_it() {
    let zone = zone(4);
    let mut page = zone.alloc(0).unwrap().into_page();
    page.as_mut_slice()[..3].copy_from_slice(b"abc");
    let first = page.share();
    let second = first.clone();
    let third = second.clone();
    let first = first.try_unique().expect_err("three hold it");
    drop(third);
    let first = first.try_unique().expect_err("two hold it");
    drop(second);
    let mut page = first.try_unique().expect("one holds it");
    assert_eq!(&page[..3], b"abc");
    page.as_mut_slice()[0] = b'x';
    let again = PageRef::from(page);
    assert_eq!(&again.as_ref()[..3], b"xbc");
    drop(Page::try_from(again).expect("it is alone again"));
    assert_whole(&zone);
}

#[test]
fn the_last_clone_calls_the_destructor_once_whoever_it_is() {
    let zone = zone(64);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let mut rng = Rng(11);
    for round in 1..=50 {
        let mut clones = vec![bound(&zone, &mut owner).share()];
        for _ in 0..rng.below(20) {
            clones.push(clones[rng.below(clones.len())].clone());
        }
        while clones.len() > 1 {
            clones.swap_remove(rng.below(clones.len()));
            assert_eq!((home.calls(), owner.outstanding()), (round - 1, 1));
        }
        drop(clones);
        assert_eq!((home.calls(), owner.outstanding()), (round, 0));
        assert_eq!(collect_all(&mut owner), 1);
    }
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn many_threads_clone_and_drop_one_page() {
    let zone = zone(4);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let mut page = bound(&zone, &mut owner);
    page.as_mut_slice().fill(0xa5);
    let shared = page.share();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let mine = shared.clone();
            scope.spawn(move || {
                let (mut rng, mut held) = (Rng(seed), vec![mine]);
                for _ in 0..20_000 {
                    match rng.below(2) {
                        0 if held.len() < 50 => held.push(held[rng.below(held.len())].clone()),
                        _ if held.len() > 1 => drop(held.swap_remove(rng.below(held.len()))),
                        _ => {}
                    }
                }
                assert!(held.iter().all(|page| page.iter().all(|byte| *byte == 0xa5)));
            });
        }
    });
    assert_eq!(home.calls(), 0, "we hold it");
    drop(shared.try_unique().expect("all others are gone"));
    assert_eq!((home.calls(), owner.outstanding(), collect_all(&mut owner)), (1, 0, 1));
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn of_two_who_ask_at_once_at_most_one_gets_it() {
    const ROUNDS: usize = 2000;
    let zone = zone(4);
    let home = SendHome::default();
    let mut owner = Owner::register(home.clone()).unwrap();
    let start = Barrier::new(2);
    let (send, receive) = std::sync::mpsc::channel::<PageRef>();
    // Whoever is alone writes all over the page; who is not has only read it.
    let ask = |page: PageRef, mark: u8| {
        let before = page[0];
        assert!(page.iter().all(|byte| *byte == before), "somebody writes while we read");
        match page.try_unique() {
            Ok(mut page) => {
                page.as_mut_slice().fill(mark);
                true
            }
            Err(_) => false,
        }
    };
    let mut unique = 0;
    std::thread::scope(|scope| {
        let other = scope.spawn({
            let start = &start;
            move || receive.iter().map(|page| (start.wait(), ask(page, 1)).1).filter(|unique| *unique).count()
        });
        for _ in 0..ROUNDS {
            let page = bound(&zone, &mut owner).share();
            send.send(page.clone()).unwrap();
            start.wait();
            unique += usize::from(ask(page, 2));
            common::until(|| owner.outstanding() == 0);
            assert_eq!(collect_all(&mut owner), 1);
        }
        drop(send);
        unique += other.join().unwrap();
    });
    assert_eq!(home.calls(), ROUNDS, "exactly one last put for each page");
    assert!(unique <= ROUNDS);
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn a_page_that_is_shared_again_starts_with_one_holder() {
    let zone = zone(1);
    let mut owner = owner();
    for _ in 0..100 {
        let shared = bound(&zone, &mut owner).share();
        let clone = shared.clone();
        drop(shared);
        drop(clone.try_unique().expect("one is left").share());
        assert_eq!(collect_all(&mut owner), 1);
    }
    drop(owner);
    assert_whole(&zone);
}

#[test]
fn blocks_of_any_order_can_be_shared() {
    let zone = zone(1024);
    for order in [1, 4, 10] {
        let mut page = zone.alloc(order).unwrap().into_page();
        page.as_mut_slice().fill(order);
        let shared = page.share();
        let clone = shared.clone();
        let reader = std::thread::spawn(move || (clone.len(), clone.iter().all(|byte| *byte == order)));
        assert_eq!(reader.join().unwrap(), (4096 << order, true));
        assert!(shared.try_unique().is_ok());
        assert_whole(&zone);
    }
}
