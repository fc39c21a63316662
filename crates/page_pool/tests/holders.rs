//! Who has a pool's pages: named, counted, with their age; and pools that are gone before their pages are back.

mod common;

use common::{RX, TX, assert_balance, assert_whole, take, zone};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use waterwheel_page_pool::mm::{AlreadyTraced, EVENTS, Event, Held, Holder, Page, Sampling, SamplingError, Zone};
use waterwheel_page_pool::{PagePool, PoolParams, StallWatch, Stalled, stalled};

const QUEUE: &str = "socket queue 'tcp:192.0.2.1:80'";

/// A zone of which one page in `n` is followed.
fn traced(pages: usize, n: u32) -> Zone {
    let zone = zone(pages);
    zone.trace(Sampling::one_in(n).expect("a power of two")).expect("not followed yet");
    zone
}

fn named(zone: &Zone, name: &str) -> PagePool {
    PagePool::new(zone, PoolParams { name: name.to_owned(), ..PoolParams::default() }).expect("a pool")
}

/// Who has how many pages after what.
fn who(held: &[Held]) -> Vec<(String, Event, u64)> {
    held.iter().map(|group| (group.holder.to_string(), group.event, group.pages)).collect()
}

/// What keeps packets until they are acknowledged.
struct SocketQueue {
    name: Holder,
    pages: VecDeque<Page>,
}

impl SocketQueue {
    fn push(&mut self, page: Page) {
        page.note_holder(self.name);
        self.pages.push_back(page);
    }
}

#[test]
fn a_queue_that_keeps_pages_is_named_with_their_number_and_age() {
    let zone = traced(256, 1);
    let mut pool = named(&zone, "eth0:0");
    let mut queue = SocketQueue { name: Holder::named(QUEUE), pages: VecDeque::new() };
    let pages = take(&mut pool, RX, 5);
    let oldest = pages[0].number();
    pages.into_iter().for_each(|page| queue.push(page));
    thread::sleep(Duration::from_millis(60));
    queue.push(pool.alloc(RX).expect("a page"));
    let fresh = pool.alloc(RX).expect("a page");

    let holders = pool.holders();
    assert_eq!((holders.outstanding, holders.sampling), (7, Some(Sampling::ALL)));
    assert_eq!(who(&holders.held), [(QUEUE.to_owned(), Event::Held, 6), ("eth0:0".to_owned(), Event::Allocated, 1)]);
    let held = &holders.held[0];
    assert!(held.oldest >= Duration::from_millis(40) && held.oldest < Duration::from_secs(60), "{held:?}");
    assert_eq!((held.seen, held.oldest_page), (6, oldest));
    let text = holders.to_string();
    assert!(
        text.starts_with("eth0:0: 7 pages out\n  6 pages held by socket queue 'tcp:192.0.2.1:80', oldest "),
        "{text}"
    );
    assert_balance(&zone, &mut pool, 7);

    drop(queue);
    pool.put(fresh);
    let holders = pool.holders();
    assert_eq!((holders.outstanding, holders.held), (0, Vec::new()), "nobody has a page");
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn one_page_in_eight_stands_for_all() {
    let zone = traced(512, 8);
    let mut pool = named(&zone, "sampled");
    let name = Holder::named("one in eight");
    let pages = take(&mut pool, RX, 512);
    pages.iter().for_each(|page| page.note_holder(name));
    let holders = pool.holders();
    assert_eq!((holders.held[0].pages, holders.held[0].seen), (512, 64));
    let text = holders.to_string();
    assert!(
        text.contains("about 512 pages held by one in eight") && text.contains("64 pages that were seen, 1 in 8"),
        "{text}"
    );
    assert!(pages.iter().all(|page| zone.history(page.number()).is_empty() != page.number().is_multiple_of(8)));
    let mut pages = pages;
    pool.put_bulk(&mut pages);
    assert!(pool.holders().held.is_empty());
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn who_is_given_more_pages_is_asked_for_those_alone() {
    let zone = traced(256, 1);
    let mut pool = named(&zone, "the giver");
    let name = Holder::named("has had his for long");
    let mut pages = take(&mut pool, RX, 3);
    pages.iter().for_each(|page| page.note_holder(name));
    assert_eq!(pool.alloc_bulk(RX, 2, &mut pages), 2);
    let held = pool.holders().held;
    assert_eq!(who(&held), [(name.to_string(), Event::Held, 3), ("the giver".to_owned(), Event::Allocated, 2)]);
    drop((pages, pool));
    assert_whole(&zone);
}

#[test]
fn a_pool_that_moves_follows_the_pages_that_its_new_zone_follows() {
    let (here, there) = (traced(256, 16), traced(256, 1));
    let mut pool = named(&here, "moved");
    drop(take(&mut pool, RX, 64));
    pool.set_zone(&there).expect("nothing is mapped");
    let pages = take(&mut pool, RX, 40);
    let held = pool.holders().held;
    assert_eq!(who(&held), [("moved".to_owned(), Event::Allocated, 40)]);
    drop((pages, pool));
    assert_whole(&here);
    assert_whole(&there);
}

#[test]
fn without_tracing_it_is_said_how_many_are_out_and_that_nobody_knows_more() {
    let zone = zone(256);
    let params = PoolParams { limit: 100, floor_rx: 10, floor_tx: 10, ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).expect("a pool");
    let (rx, tx) = (take(&mut pool, RX, 7), take(&mut pool, TX, 3));
    rx[0].note_holder(Holder::named("nobody listens"));
    let holders = pool.holders();
    assert_eq!((holders.outstanding, holders.outstanding_tx, holders.sampling), (10, Some(3), None));
    assert!(holders.held.is_empty() && zone.holders(None).is_empty() && zone.history(rx[0].number()).is_empty());
    let text = holders.to_string();
    assert!(
        text.ends_with(": 10 pages out (7 received, 3 to be sent), with whom is unknown: no page is followed"),
        "{text}"
    );
    drop((rx, tx));
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn a_thread_that_sleeps_on_pages_is_in_their_history() {
    let zone = traced(64, 1);
    let mut pool = named(&zone, "eth1:0");
    let page = pool.alloc(TX).expect("a page").share();
    let number = page.number();
    let (wake, sleep) = channel::<()>();
    let (told, tell) = channel();
    let sleeper = thread::Builder::new().name("sleeper".to_owned()).spawn({
        let page = page.clone();
        move || {
            page.note_holder(Holder::named("a forgotten task"));
            told.send(()).expect("somebody waits");
            let _ = sleep.recv();
        }
    });
    tell.recv().expect("the thread says so");
    drop(page); // the sleeper's is the last one
    assert_eq!(who(&pool.holders().held), [("a forgotten task".to_owned(), Event::Shared, 1)]);
    let steps = zone.history(number);
    assert_eq!(steps.iter().map(|step| step.event).collect::<Vec<_>>(), [Event::Shared, Event::Allocated]);
    assert!(steps[0].thread.contains("\"sleeper\""), "{}", steps[0]);
    assert!(!steps[1].thread.contains("\"sleeper\""), "{}", steps[1]);
    drop(wake);
    sleeper.expect("a thread").join().expect("it ends");
    let steps = zone.history(number);
    assert_eq!((steps[0].event, steps[0].holder.name().as_ref()), (Event::Returned, "eth1:0"));
    assert!(steps[0].thread.contains("\"sleeper\""), "who let go last: {}", steps[0]);
    assert!(pool.holders().held.is_empty());
    drop(pool);
    assert_eq!(zone.history(number)[0].event, Event::Freed);
    assert_whole(&zone);
}

#[test]
fn a_history_keeps_the_last_events() {
    let zone = traced(1, 1);
    let mut pool = named(&zone, "one page");
    for round in 0..20 {
        let page = pool.alloc(RX).expect("the page");
        let names: Vec<Holder> = (0..4).map(|i| Holder::named(&format!("round {round}, {i}"))).collect();
        names.iter().for_each(|name| page.note_holder(*name));
        let steps = zone.history(0);
        assert_eq!(steps.len(), EVENTS.min(6 * round + 5));
        assert!(steps.iter().zip(names.iter().rev()).all(|(step, name)| step.holder == *name), "{steps:?}");
        assert_eq!(steps[4].event, Event::Allocated);
        assert!(steps.windows(2).all(|pair| pair[0].ago <= pair[1].ago), "the newest first: {steps:?}");
        match round % 3 {
            0 => pool.put(page),
            1 => drop(page),
            _ => drop(pool.take_back([page])),
        }
        assert_eq!(zone.history(0)[0].event, Event::Returned);
        assert!(pool.holders().held.is_empty());
    }
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn blocks_of_a_higher_order_are_counted_as_blocks() {
    let zone = traced(512, 16);
    let params = PoolParams { order: 2, limit: 64, name: "blocks".to_owned(), ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).expect("a pool");
    let blocks = take(&mut pool, RX, 64);
    let held = pool.holders().held;
    assert_eq!((held[0].pages, held[0].seen), (64, 16), "every fourth block begins at a multiple of 16");
    drop(blocks);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn pools_of_one_zone_know_their_own() {
    let zone = traced(256, 1);
    let (mut left, mut right) = (named(&zone, "left"), named(&zone, "right"));
    let (mine, theirs) = (take(&mut left, RX, 2), take(&mut right, RX, 3));
    assert_eq!(who(&left.holders().held), [("left".to_owned(), Event::Allocated, 2)]);
    assert_eq!(who(&right.holders().held), [("right".to_owned(), Event::Allocated, 3)]);
    assert_eq!(who(&zone.holders(None)).len(), 2);
    drop((mine, theirs, left, right));
    assert_whole(&zone);
}

#[test]
fn the_report_may_be_asked_for_while_everything_moves() {
    let zone = traced(1024, 1);
    let mut pool = named(&zone, "busy");
    let done = Arc::new(AtomicBool::new(false));
    let (to_threads, ends): (Vec<_>, Vec<_>) = (0..3)
        .map(|i| {
            let (send, receive) = channel::<Page>();
            let name = Holder::named(&format!("busy thread {i}"));
            let thread = thread::spawn(move || {
                let mut queue = SocketQueue { name, pages: VecDeque::new() };
                for page in receive {
                    queue.push(page);
                    if queue.pages.len() > 16 {
                        let shared = queue.pages.pop_front().map(Page::share);
                        let other = shared.clone();
                        shared.inspect(|page| page.note_holder(name));
                        drop(other);
                    }
                }
            });
            (send, thread)
        })
        .unzip();
    let reporter = thread::spawn({
        let (zone, done) = (zone.clone(), done.clone());
        move || {
            let mut reports = 0u32;
            while !done.load(Ordering::Relaxed) || reports == 0 {
                let held = zone.holders(None);
                assert!(held.iter().map(|group| group.seen).sum::<u64>() <= 1024, "a page is with one: {held:?}");
                for group in &held {
                    let name = group.holder.name();
                    assert!(name.starts_with("busy"), "no name is made up: {group:?}");
                    assert!(group.event.is_out() && group.oldest < Duration::from_secs(3600), "{group:?}");
                    zone.history(group.oldest_page);
                }
                reports += 1;
            }
        }
    });
    let mut moved = 0;
    while moved < 20_000 {
        for page in pool.hand_out(RX, 64) {
            to_threads[moved % 3].send(page).expect("the thread is there");
            moved += 1;
        }
        if moved % 1000 < 64 {
            assert!(pool.holders().held.iter().map(|group| group.pages).sum::<u64>() <= 1024);
        }
    }
    drop(to_threads);
    ends.into_iter().for_each(|thread| thread.join().expect("it ends"));
    done.store(true, Ordering::Relaxed);
    reporter.join().expect("every report was sane");
    assert_eq!((pool.outstanding(), pool.holders().held), (0, Vec::new()));
    drop(pool);
    assert_whole(&zone);
}

/// The stalled pool of that name. (Other tests have theirs.)
fn stalled_as(name: &str) -> Option<Stalled> {
    stalled().into_iter().find(|pool| pool.name == name)
}

#[test]
fn a_pool_that_goes_before_its_pages_says_who_has_them() {
    let zone = traced(256, 1);
    let params =
        PoolParams { limit: 100, floor_rx: 10, floor_tx: 10, name: "gone:0".to_owned(), ..PoolParams::default() };
    let mut pool = PagePool::new(&zone, params).expect("a pool");
    let id = pool.id();
    let mut queue = SocketQueue { name: Holder::named(QUEUE), pages: VecDeque::new() };
    take(&mut pool, RX, 2).into_iter().chain(take(&mut pool, TX, 1)).for_each(|page| queue.push(page));
    assert_eq!(stalled_as("gone:0"), None, "a pool that is there does not stall");
    drop(pool);
    thread::sleep(Duration::from_millis(20));

    let pool = stalled_as("gone:0").expect("three pages are out");
    assert_eq!((pool.id, pool.inflight), (id, 3));
    assert!(pool.since >= Duration::from_millis(20));
    assert_eq!(who(&pool.held), [(QUEUE.to_owned(), Event::Held, 3)]);
    let text = pool.to_string();
    let begin = format!("stalled pool shutdown: id {id}, gone:0, 3 inflight ");
    let end = format!(" sec: 3 pages held by {QUEUE}, oldest ");
    assert!(text.starts_with(&begin) && text.contains(&end), "{text}");

    queue.pages.pop_back();
    assert_eq!(stalled_as("gone:0").map(|pool| pool.inflight), Some(2));
    drop(queue);
    assert_eq!(stalled_as("gone:0"), None, "all are back");
    assert_whole(&zone);
}

#[test]
fn of_pools_that_are_gone_the_oldest_comes_first() {
    let zone = zone(512);
    let names = ["gone first", "gone second", "gone third"];
    let pages = names.map(|name| named(&zone, name).alloc(RX).expect("a page"));
    let told: Vec<String> =
        stalled().into_iter().map(|pool| pool.name).filter(|n| names.contains(&n.as_str())).collect();
    assert_eq!(told, names);
    let [first, second, third] = pages;
    drop(second);
    let told: Vec<String> =
        stalled().into_iter().map(|pool| pool.name).filter(|n| names.contains(&n.as_str())).collect();
    assert_eq!(told, [names[0], names[2]], "the others stay where they were");
    drop((first, third));
    assert_whole(&zone);
}

#[test]
fn a_stalled_pool_keeps_no_memory() {
    let zone = zone(64);
    // The inode tells it from the memory of another test at the same address.
    let maps = || std::fs::read_to_string("/proc/self/maps").expect("maps");
    let start = format!("{:x}-", zone.region().base().addr());
    let inode = maps()
        .lines()
        .find(|line| line.starts_with(&start))
        .and_then(|line| line.split_whitespace().nth(4).map(str::to_owned));
    let inode = format!(" {} ", inode.expect("the zone is mapped"));
    let mapped = || maps().lines().any(|line| line.contains(&inode));
    let mut pool = named(&zone, "untraced");
    assert_eq!(pool.name(), "untraced");
    assert_eq!(pool.holders().to_string(), "untraced: 0 pages out", "there is nobody to be unknown");
    let page = pool.alloc(RX).expect("a page");
    drop((pool, zone));
    let text = stalled_as("untraced").expect("a page is out").to_string();
    assert!(text.contains(", untraced, 1 inflight ") && text.contains("with whom is unknown"), "{text}");
    assert!(mapped());
    drop(page);
    assert!(!mapped(), "nothing but the page kept the memory");
    assert_eq!(stalled_as("untraced"), None);
}

#[test]
fn a_watcher_tells_of_stalled_pools_until_it_is_dropped() {
    let zone = traced(64, 1);
    let mut pool = named(&zone, "watched");
    let page = pool.alloc(RX).expect("a page");
    page.note_holder(Holder::named("a slow reader"));
    drop(pool);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let watch = StallWatch::start(Duration::from_millis(5), move |pool| {
        if pool.name == "watched" {
            let _ = tell.lock().expect("one thread").send(pool.to_string());
        }
    });
    for _ in 0..2 {
        let line = told.recv_timeout(Duration::from_secs(60)).expect("it is told again and again");
        assert!(line.contains("1 page held by a slow reader"), "{line}");
    }
    drop(watch.expect("a thread"));
    while told.try_recv().is_ok() {}
    assert!(told.recv().is_err(), "it has ended");
    drop(page);
    assert_whole(&zone);
}

#[test]
fn pages_of_no_pool_are_with_whom_they_are_given_to_and_pools_from_before_are_left_alone() {
    let zone = zone(64);
    let mut before = named(&zone, "made before");
    zone.trace(Sampling::ALL).expect("not followed yet");
    let name = Holder::named("a task");
    let page = before.alloc(RX).expect("a page");
    page.note_holder(name);
    assert!(zone.holders(None).is_empty(), "nobody would say when it is back");
    before.put(page);
    drop(before);

    let page = zone.alloc(0).expect("a page").into_page();
    assert!(zone.holders(None).is_empty());
    page.note_holder(name);
    assert_eq!(who(&zone.holders(None)), [("a task".to_owned(), Event::Held, 1)]);
    drop(page);
    assert!(zone.holders(None).is_empty());

    // A page of the pool from before that is a new one's now is the new one's.
    let mut after = named(&zone, "made after");
    let pages = take(&mut after, RX, 64);
    assert_eq!(who(&zone.holders(None)), [("made after".to_owned(), Event::Allocated, 64)]);
    drop(pages);
    drop(after);
    assert_whole(&zone);
}

#[test]
fn what_cannot_be_followed_is_said() {
    for n in [0, 3, 100, 2048, u32::MAX] {
        let error = Sampling::one_in(n).expect_err("no such share");
        assert_eq!(error, SamplingError(n));
        assert_eq!(error.to_string(), format!("1 in {n} pages cannot be followed: want a power of two from 1 to 1024"));
    }
    let zone = traced(8, 4);
    let error = zone.trace(Sampling::ALL).expect_err("it is followed already");
    assert_eq!(error, AlreadyTraced(Sampling::one_in(4).expect("a power of two")));
    assert_eq!(error.to_string(), "1 in 4 pages of the zone are followed already");
    assert_eq!(Holder::named("x"), Holder::named("x"));
    assert_ne!(Holder::named("x"), Holder::named("y"));
    assert_eq!(Holder::NOBODY.to_string(), "nobody");
    assert_whole(&zone);
}
