//! The conductor: lets the threads run, stops them every now and then, and looks for every page.

use super::crew::Crew;
use super::fabric::{self, Books};
use super::hand::Hand;
use super::report::Report;
use super::stage::{Actor, lock};
use super::violation::Broken;
use super::{Error, Options};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{Account, PageAccount, Users};

/// Between two stops.
const BAR: Duration = Duration::from_millis(20);

/// Keeps threads out of their seats for as long as it is closed: a lock alone is given back to the thread that just had it.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let _open = self.opened.wait_while(lock(&self.closed), |closed| *closed);
    }

    fn close(&self, closed: bool) {
        *lock(&self.closed) = closed;
        self.opened.notify_all();
    }
}

/// Threads of one kind. Each takes its seat for a turn; whoever has all seats has everything that the threads have, and they stand still.
pub(super) struct Section<T> {
    seats: Vec<Mutex<T>>,
    gate: Gate,
}

impl<T> Section<T> {
    pub(super) fn new(seats: impl Iterator<Item = T>) -> Self {
        Self { seats: seats.map(Mutex::new).collect(), gate: Gate::default() }
    }

    /// Takes all seats; a thread that panicked in its own is reported.
    fn stop(&self, actor: &Actor) -> Vec<MutexGuard<'_, T>> {
        self.gate.close(true);
        if self.seats.iter().any(Mutex::is_poisoned) {
            actor.report(Broken::Panic);
        }
        self.seats.iter().map(lock).collect()
    }

    /// A thread's life.
    fn play(&self, seat: usize, actor: &Actor, turn: impl Fn(&mut T)) {
        while !actor.stage.is_over() {
            self.gate.pass();
            let Ok(mut player) = self.seats[seat].lock() else { return };
            turn(&mut player);
        }
    }

    pub(super) fn into_players(self) -> impl Iterator<Item = T> {
        self.seats.into_iter().filter_map(|seat| seat.into_inner().ok())
    }
}

pub(super) struct Conductor<'a> {
    pub(super) actor: Arc<Actor>,
    pub(super) dice: SplitMix64,
    pub(super) crews: &'a Section<Crew>,
    pub(super) hands: &'a Section<Hand>,
    /// Of workers that are closed.
    pub(super) books: Books,
    pub(super) report: Report,
    pub(super) started: Instant,
}

impl Conductor<'_> {
    /// Runs until the time is over, `stop` is set, or something does not hold.
    pub(super) fn conduct(
        &mut self,
        options: &Options,
        stop: &AtomicBool,
        output: &mut dyn FnMut(&Report),
    ) -> Result<(), Error> {
        let actor = self.actor.clone();
        fabric::open(&actor, &mut self.dice, &mut self.crews.stop(&actor))?;
        let (crews, hands) = (self.crews, self.hands);
        thread::scope(|scope| {
            for seat in 0..crews.seats.len() {
                let actor = &actor;
                scope.spawn(move || crews.play(seat, actor, Crew::turn));
                scope.spawn(move || hands.play(seat, actor, Hand::turn));
            }
            // Whatever happens here, the threads must come to their end.
            let _end = Ending { actor: &actor, gates: [&crews.gate, &hands.gate] };
            crews.gate.close(false);
            self.play(options, stop, output)
        })
    }

    fn play(&mut self, options: &Options, stop: &AtomicBool, output: &mut dyn FnMut(&Report)) -> Result<(), Error> {
        let mut next = options.interval;
        while !self.actor.stage.is_over() && !stop.load(Ordering::Relaxed) {
            let elapsed = self.started.elapsed();
            if options.duration.is_some_and(|duration| elapsed >= duration) {
                break;
            }
            thread::sleep(BAR);
            self.actor.next_step();
            let crews = self.crews.stop(&self.actor);
            match self.dice.below(4) {
                0 => self.change_fabric(crews)?,
                _ => self.check(crews),
            }
            self.crews.gate.close(false);
            if self.started.elapsed() >= next {
                next = self.started.elapsed() + options.interval;
                output(&self.report);
            }
        }
        Ok(())
    }

    /// New devices, pools and workers, while hands let go of pages of the old ones.
    fn change_fabric(&mut self, mut crews: Vec<MutexGuard<'_, Crew>>) -> Result<(), Error> {
        fabric::close(&self.actor, &mut crews, &mut self.books);
        self.books.audit(&self.actor);
        fabric::open(&self.actor, &mut self.dice, &mut crews)
    }

    /// A quiet point: everybody stands still, what is under way arrives, and every page must be found.
    fn check(&mut self, mut crews: Vec<MutexGuard<'_, Crew>>) {
        let mut hands = self.hands.stop(&self.actor);
        self.actor.stage.hush(true);
        while crews.iter_mut().map(|crew| crew.drain()).sum::<usize>() > 0 {}
        hands.iter_mut().for_each(|hand| hand.settle());
        self.actor.stage.hush(false);

        let mut both = PageAccount::default();
        for zone in &self.actor.stage.zones {
            let mut account = Account::open(zone);
            crews.iter_mut().for_each(|crew| crew.account(&mut account));
            hands.iter_mut().for_each(|hand| hand.account(&mut account));
            let found = account.close(Users::Gone); // whoever has pages has said so
            if found.leaked > 0 || found.conflicts > 0 || found.quarantined > 0 {
                self.actor.report(Broken::Pages { zone: zone.node(), account: found });
            }
            add(&mut both, &found);
        }
        let mut books = self.books;
        crews.iter().filter_map(|crew| crew.stats()).for_each(|stats| books.add(&stats));
        books.audit(&self.actor);

        self.report.pages_out_max = self.report.pages_out_max.max(both.held_by_users + both.held_by_devices);
        self.report.pages = both;
        self.report.checks += 1;
        self.report.count(&books, self.actor.stage.tally.read());
        self.report.seconds = seconds(self.started);
        self.hands.gate.close(false);
    }

    /// After the threads have ended: closes the workers.
    pub(super) fn close(&mut self) {
        fabric::close(&self.actor, &mut self.crews.stop(&self.actor), &mut self.books);
        self.books.audit(&self.actor);
    }
}

/// When everything is over: all pages must be free.
pub(super) fn finish(actor: &Actor, books: &Books, mut report: Report, started: Instant) -> Report {
    let mut both = PageAccount::default();
    for zone in &actor.stage.zones {
        let found = Account::open(zone).close(Users::Gone);
        if !found.is_whole() {
            actor.report(Broken::Pages { zone: zone.node(), account: found });
        }
        if let Some(held) = zone.holders(None).first() {
            actor.report(Broken::History(held.to_string()));
        }
        add(&mut both, &found);
    }
    (report.event, report.pages) = ("total", both);
    report.count(books, actor.stage.tally.read());
    report.seconds = seconds(started);
    report
}

fn add(sum: &mut PageAccount, one: &PageAccount) {
    sum.total += one.total;
    sum.free += one.free;
    sum.frozen += one.frozen;
    sum.held_by_devices += one.held_by_devices;
    sum.held_by_users += one.held_by_users;
    sum.quarantined += one.quarantined;
    sum.leaked += one.leaked;
    sum.conflicts += one.conflicts;
}

/// Since `started`, to the millisecond.
fn seconds(started: Instant) -> f64 {
    started.elapsed().as_millis() as f64 / 1000.0
}

/// Ends the threads when it is dropped.
struct Ending<'a> {
    actor: &'a Actor,
    gates: [&'a Gate; 2],
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.actor.stage.end();
        self.gates.iter().for_each(|gate| gate.close(false));
    }
}
