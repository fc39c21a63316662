//! Threads that end, and threads that sleep, with pages in hand.

use super::held::Held;
use super::stage::{Actor, lock};
use super::violation::Broken;
use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use waterwheel_mm::{Account, Page};

thread_local! {
    /// What a thread has in hand when its locals are destroyed.
    static LAST: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// A thread that lets go of `pages`: before it ends (`how` 0), by its locals' destructors (1), or half so and half so (2):
/// then they find the thread's ways home destroyed already.
pub(super) fn end_with(actor: &Arc<Actor>, mut pages: Vec<Held>, how: usize) -> Option<JoinHandle<()>> {
    actor.stage.tally.threads_ended.add(1);
    let actor = actor.clone();
    let body = move || {
        pages.iter().for_each(|held| held.verify(&actor, "on a thread that ends"));
        let later = match how {
            0 => pages.len(),
            1 => 0,
            _ => pages.len() / 2,
        };
        // First of all, so that the thread's ways home, which its first drop opens, are destroyed before these pages are.
        LAST.with_borrow_mut(|last| last.extend(pages.split_off(later)));
        drop(pages);
    };
    thread::Builder::new().spawn(body).ok()
}

/// A thread that lets go of so many pages at once that no way home has room for all of them.
pub(super) fn flood_with(pages: Vec<Page>) -> Option<JoinHandle<()>> {
    thread::Builder::new().spawn(move || drop(pages)).ok()
}

/// A thread that sleeps.
#[derive(Debug)]
pub(super) struct Parked {
    thread: JoinHandle<()>,
    /// Dropping it wakes the thread.
    wake: Sender<()>,
    asleep: Option<Receiver<()>>,
    pocket: Arc<Mutex<Vec<Held>>>,
}

impl Parked {
    /// Lets go of every other page, then sleeps.
    pub(super) fn with(actor: &Arc<Actor>, pages: Vec<Held>) -> Option<Self> {
        actor.stage.tally.threads_parked.add(1);
        let pocket = Arc::new(Mutex::new(pages));
        let (wake, sleep) = channel::<()>();
        let (ready, asleep) = channel();
        let (actor, mine) = (actor.clone(), pocket.clone());
        let body = move || {
            let let_go = |keep: usize| {
                let drained: Vec<Held> = lock(&mine).drain(keep..).collect();
                drained.into_iter().for_each(|held| held.verify(&actor, "on a thread that sleeps"));
            };
            let half = lock(&mine).len() / 2;
            let_go(half);
            let _ = ready.send(());
            let _ = sleep.recv();
            let_go(0);
        };
        let thread = thread::Builder::new().spawn(body).ok()?;
        Some(Self { thread, wake, asleep: Some(asleep), pocket })
    }

    /// Waits until it sleeps.
    pub(super) fn settle(&mut self) {
        if let Some(asleep) = self.asleep.take() {
            let _ = asleep.recv(); // a thread that panicked is found when it is joined
        }
    }

    /// Marks the pages that it sleeps with.
    pub(super) fn account(&self, account: &mut Account) {
        lock(&self.pocket).iter().for_each(|held| held.account(account));
    }

    /// Wakes it and waits for its end.
    pub(super) fn wake(self, actor: &Actor) {
        drop(self.wake);
        if self.thread.join().is_err() {
            actor.report(Broken::Panic);
        }
    }
}
