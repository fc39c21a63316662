//! Owners, lanes and the end of both.

use super::{Cell, OUT, page, write, write_held};
use crate::lane::{Lane, LaneEnds};
use crate::owner::{self, Destructor, Home, Owner};
use crate::page::{FrozenPage, Page};
use crate::release::release_pages;
use crate::remote::RemoteList;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What became of a destructor. (Of std: loom need not explore who counts first.)
#[derive(Default)]
struct Fate {
    calls: AtomicUsize,
    dropped: AtomicUsize,
}

impl Fate {
    fn is(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

/// Sends pages home, and is busy before and after.
struct Busy {
    fate: Arc<Fate>,
    /// Read by every call at its begin and its end; written by the drop, and by who believes that no call is under way.
    at_work: Arc<Cell>,
    only_sends_home: bool,
}

impl Destructor for Busy {
    fn last_put(&self, page: FrozenPage, home: Home<'_>) {
        self.at_work.read();
        self.fate.calls.fetch_add(1, Ordering::Relaxed);
        home.send(write(page));
        self.at_work.read();
    }

    fn only_sends_home(&self) -> bool {
        self.only_sends_home
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.at_work.write();
        self.fate.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn register(only_sends_home: bool) -> (Owner, Arc<Fate>, Arc<Cell>) {
    let (fate, at_work) = (Arc::new(Fate::default()), Arc::new(Cell::new()));
    let destructor = Busy { fate: fate.clone(), at_work: at_work.clone(), only_sends_home };
    (Owner::register(destructor).unwrap(), fate, at_work)
}

fn bound<const N: usize>(owner: &mut Owner) -> [Page; N] {
    std::array::from_fn(|_| owner.bind(page()))
}

/// Drops pages, as their holder.
fn drop_all(pages: impl IntoIterator<Item = Page>) {
    pages.into_iter().for_each(|page| drop(write_held(page)));
}

/// Explores `f`, with at most `preemptions` in each execution if it says a number, and looks that every page was freed.
fn explore(preemptions: impl Into<Option<usize>>, f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions.into();
    model.check(move || {
        OUT.set(0);
        f();
        assert_eq!(OUT.get(), 0, "pages were lost");
    });
}

/// The end of all owners: no page lies in a lane, and all ids can be had, each once.
fn assert_ids_are_back() {
    assert_eq!(OUT.get(), 0, "pages wait for the next owner of their slot");
    let owners: Vec<u16> = {
        let owners: Vec<Owner> = std::iter::from_fn(|| Owner::register(Nobody).ok()).collect();
        owners.iter().map(Owner::id).collect()
    };
    let mut ids = owners.clone();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=crate::MAX_OWNERS as u16), "{owners:?}");
}

struct Nobody;

impl Destructor for Nobody {
    fn last_put(&self, _: FrozenPage, _: Home<'_>) {}
}

/// While a thread returns two pages, the owner looks at the count: what counts as released has arrived, and no call of the destructor is under way for it.
fn look_while_pages_come(only_sends_home: bool) {
    explore(3, move || {
        let (mut owner, fate, at_work) = register(only_sends_home);
        let pages = bound::<2>(&mut owner);
        let returner = thread::spawn(move || drop_all(pages));
        let mut home = Vec::new();
        for _ in 0..2 {
            let out = owner.outstanding();
            assert!(out <= 3, "a release may count late, and one page may count twice as out: {out}");
            owner.collect(&mut home, usize::MAX);
            assert!(home.len() as u64 + out >= 2, "{out} are out, {} have come", home.len());
            if out == 0 {
                at_work.write();
            }
        }
        returner.join().unwrap();
        owner.collect(&mut home, usize::MAX);
        assert_eq!((owner.outstanding(), home.len()), (0, 2));
        home.into_iter().for_each(|page| drop(write(page)));
        drop(owner);
        // Of two pages the first opens the lane, by the slow way.
        assert_eq!(fate.is(), (if only_sends_home { 1 } else { 2 }, 1));
    });
}

#[test]
fn what_counts_as_released_has_arrived() {
    look_while_pages_come(true);
}

#[test]
fn what_counts_as_released_has_left_the_destructor() {
    look_while_pages_come(false);
}

/// The owner goes while a thread returns its last pages: one of them retires the slot.
fn go_while_pages_come<const N: usize>(only_sends_home: bool, calls: usize) {
    explore(None, move || {
        let (mut owner, fate, _) = register(only_sends_home);
        let pages = bound::<N>(&mut owner);
        let returner = thread::spawn(move || drop_all(pages));
        drop(owner);
        returner.join().unwrap();
        assert_eq!(fate.is(), (calls, 1));
        assert_ids_are_back();
    });
}

#[test]
fn the_end_against_the_last_put() {
    go_while_pages_come::<1>(false, 1);
}

#[test]
fn the_end_against_the_last_put_by_the_lane_alone() {
    go_while_pages_come::<2>(true, 1);
}

#[test]
fn the_end_against_pages_that_are_released_together() {
    explore(3, || {
        let (mut owner, fate, _) = register(true);
        let [first, second, third] = bound::<3>(&mut owner);
        let returner = thread::spawn(move || {
            drop_all([first]); // opens the lane
            let mut pages = vec![write_held(second), write_held(third)]; // one more than it has room for, if nobody collects
            release_pages(&mut pages);
            assert!(pages.is_empty());
        });
        let mut home = Vec::new();
        owner.collect(&mut home, 1);
        drop(owner);
        returner.join().unwrap();
        drop(home);
        assert!(fate.is().1 == 1 && fate.is().0 <= 2, "{:?}", fate.is());
        assert_ids_are_back();
    });
}

#[test]
fn the_end_against_two_threads() {
    explore(2, || {
        let (mut owner, fate, _) = register(false);
        let returners = [(); 2].map(|()| {
            let pages = bound::<1>(&mut owner);
            thread::spawn(move || drop_all(pages))
        });
        drop(owner);
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        assert_eq!(fate.is(), (2, 1));
        assert_ids_are_back();
    });
}

/// A thread that is late finds another owner in the slot, whose destructor is of the other kind.
fn reuse(first_only_sends_home: bool) {
    explore(4, move || {
        let (mut first, fate, _) = register(first_only_sends_home);
        let pages = bound::<2>(&mut first);
        let returner = thread::spawn(move || drop_all(pages));
        drop(first);
        let (mut second, next_fate, _) = register(!first_only_sends_home);
        let [page] = bound::<1>(&mut second);
        drop_all([page]);
        let mut home = Vec::new();
        assert_eq!(second.outstanding(), 0);
        assert_eq!(second.collect(&mut home, usize::MAX), 1, "it was settled with the first one's");
        drop((second, home));
        returner.join().unwrap();
        assert_eq!(fate.is(), (if first_only_sends_home { 1 } else { 2 }, 1));
        assert_eq!(next_fate.is(), (1, 1));
        assert_ids_are_back();
    });
}

#[test]
fn a_late_thread_meets_an_owner_with_more_to_do() {
    reuse(true);
}

#[test]
fn a_late_thread_meets_an_owner_with_less_to_do() {
    reuse(false);
}

/// A thread that had a lane to the first owner returns a page of the second.
#[test]
fn a_lane_serves_the_next_owner_of_its_slot() {
    explore(3, || {
        let (mut first, fate, _) = register(true);
        let pages = bound::<1>(&mut first);
        let (send, receive) = loom::sync::mpsc::channel();
        let returner = thread::spawn(move || {
            drop_all(pages);
            drop_all(receive.recv());
        });
        drop(first);
        let (mut second, next_fate, _) = register(false);
        let [page] = bound::<1>(&mut second);
        send.send(page).unwrap();
        let out = second.outstanding();
        assert!(out <= 2, "{out}");
        drop(second);
        returner.join().unwrap();
        assert_eq!((fate.is(), next_fate.is()), ((1, 1), (1, 1)));
        assert_ids_are_back();
    });
}

/// A thread fills its lane (which holds two pages here), takes the shared list, and ends, while the owner collects.
#[test]
fn a_full_lane_and_its_end() {
    explore(2, || {
        let (mut owner, _, _) = register(true);
        let pages = bound::<4>(&mut owner);
        let returner = thread::spawn(move || drop_all(pages));
        let mut home = Vec::new();
        for _ in 0..2 {
            owner.collect(&mut home, usize::MAX);
            let out = owner.outstanding();
            assert!(out <= 5, "{out}");
        }
        returner.join().unwrap();
        owner.collect(&mut home, usize::MAX);
        assert_eq!((owner.outstanding(), home.len()), (0, 4));
        owner.collect(&mut home, usize::MAX);
        assert_eq!(owner.outstanding(), 0, "the closed lane's count was kept");
        home.into_iter().for_each(|page| drop(write(page)));
    });
}

/// Whoever sees that a thread has ended sees all that it sent.
#[test]
fn a_closed_lane_has_shown_everything() {
    explore(None, || {
        let (owner, _, _) = register(true);
        let (lane, end) = Lane::new(owner::slot(owner.id()).unwrap());
        let (mut ends, beside) = (LaneEnds::default(), RemoteList::new());
        ends.push(end);
        let returner = thread::spawn(move || {
            assert!(lane.send(write(page())).is_ok());
            lane.add_released(1);
        });
        let mut home = Vec::new();
        ends.collect(&beside, &mut home, usize::MAX);
        if ends.len() == 0 {
            assert_eq!((home.len(), ends.released()), (1, 2), "the lane was let go with something in it");
        }
        returner.join().unwrap();
        for _ in 0..2 {
            ends.collect(&beside, &mut home, usize::MAX);
        }
        assert_eq!((home.len(), ends.released(), ends.len()), (1, 2, 0));
        home.into_iter().for_each(|page| drop(write(page)));
    });
}

/// The same, when it is let go without being asked for its pages.
#[test]
fn a_lane_that_is_folded_loses_nothing() {
    explore(None, || {
        let (owner, _, _) = register(true);
        let (lane, end) = Lane::new(owner::slot(owner.id()).unwrap());
        let (mut ends, beside) = (LaneEnds::default(), RemoteList::new());
        ends.push(end);
        let returner = thread::spawn(move || {
            assert!(lane.send(write(page())).is_ok());
            lane.add_released(1);
        });
        ends.fold(&beside);
        let mut home = Vec::new();
        if ends.len() == 0 {
            assert_eq!((beside.take_all(&mut home), ends.released()), (1, 2));
        }
        returner.join().unwrap();
        ends.fold(&beside);
        beside.take_all(&mut home);
        assert_eq!((home.len(), ends.released(), ends.len()), (1, 2, 0));
        home.into_iter().for_each(|page| drop(write(page)));
    });
}

/// Two threads come and go while the owner looks: the second may find the first one's lane closed, or the owner may.
#[test]
fn lanes_of_ended_threads_go_and_their_pages_do_not() {
    explore(2, || {
        let (mut owner, _, _) = register(true);
        let returners = [(); 2].map(|()| {
            let pages = bound::<1>(&mut owner);
            thread::spawn(move || drop_all(pages))
        });
        let out = owner.outstanding();
        assert!(out <= 4, "a release of each may be counted as one below zero: {out}");
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        let mut home = Vec::new();
        owner.collect(&mut home, usize::MAX);
        assert_eq!((owner.outstanding(), home.len()), (0, 2));
        home.into_iter().for_each(|page| drop(write(page)));
    });
}

/// A thread whose lanes are gone returns a page: what counts as released has left the destructor, here as well.
#[test]
fn what_is_released_astray_has_left_the_destructor() {
    explore(None, || {
        let (mut owner, fate, at_work) = register(false);
        let [page] = bound::<1>(&mut owner);
        let slot = owner::slot(owner.id()).unwrap();
        let returner = thread::spawn(move || {
            slot.last_put_astray(write_held(page).unbind());
            slot.released();
        });
        let mut home = Vec::new();
        if owner.outstanding() == 0 {
            at_work.write();
            assert_eq!(owner.collect(&mut home, usize::MAX), 1, "it has arrived, too");
        }
        drop(owner);
        returner.join().unwrap();
        assert_eq!(fate.is(), (1, 1));
        drop(home);
        assert_ids_are_back();
    });
}

#[test]
fn the_list_beside_the_lanes() {
    explore(None, || {
        let list = loom::sync::Arc::new(RemoteList::new());
        let pushers = [(); 2].map(|()| {
            let list = list.clone();
            let page = page();
            thread::spawn(move || list.push(write(page)))
        });
        let mut home = Vec::new();
        list.take_all(&mut home);
        home = home.into_iter().map(write).collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        list.take_all(&mut home);
        assert_eq!(home.len(), 2);
    });
}
