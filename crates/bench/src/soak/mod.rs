//! A soak: everything at once, at random, for as long as you like, with every page and every byte checked.
//!
//! It does not measure; it asks whether what must hold holds. Polling threads (`crew`) drive real workers over devices in memory (`driver`), whose programs drop,
//! send, redirect and pass on at random; devices fail and are made anew, workers with their pools are closed while pages are out and made anew (`fabric`). Other
//! threads (`hand`) hold, share, rewrite and pass on what they are given, drop it anywhere (`threads`), and have pools of their own that come and go.
//!
//! Every packet carries a pattern (`packet`) that is verified wherever it is received, sent, held or let go. And every now and then all threads stand still
//! (`conductor`): each page must be free, in a cache, with a device or with a holder, and with one of them only.
//!
//! The random numbers of each thread follow from the seed; how the threads interleave does not.

mod conductor;
mod crew;
mod driver;
mod fabric;
mod hand;
mod held;
mod packet;
mod pools;
mod report;
mod stage;
mod tally;
mod threads;
mod violation;

#[cfg(test)]
mod tests;

pub use report::Report;
#[doc(hidden)]
pub use stage::Plant;
pub use tally::Events;
pub use violation::{Broken, Violation};

use conductor::{Conductor, Section};
use crew::Crew;
use fabric::Books;
use hand::Hand;
use stage::{Actor, Stage};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use waterwheel_mm::{PageAccount, RegionError, Sampling, Zone, ZoneParams};
use waterwheel_xdp::Drops;

/// Most polling threads.
pub const MAX_THREADS: usize = 64;
/// Pages of each zone: enough for a flood, and some per polling thread. Famines see to it that they are not always enough.
const PAGES: usize = 5120;
const PAGES_PER_THREAD: usize = 1024;
/// Packets on their way to a hand.
const INBOX: usize = 64;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// For how long; `None`: until it is stopped.
    pub duration: Option<Duration>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Polling threads, from 1 to [`MAX_THREADS`]; as many hold packets.
    pub threads: usize,
    /// Between two reports.
    pub interval: Duration,
    #[doc(hidden)]
    pub plant: Plant,
}

impl Default for Options {
    /// One thread, seed 0, until it is stopped; a report every ten seconds.
    fn default() -> Self {
        Self { duration: None, seed: 0, threads: 1, interval: Duration::from_secs(10), plant: Plant::Nothing }
    }
}

impl Options {
    /// Whether they can be; [`run`] looks, too.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub fn check(&self) -> Result<(), Error> {
        if (1..=MAX_THREADS).contains(&self.threads) { Ok(()) } else { Err(Error::Threads(self.threads)) }
    }
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something does not hold.
    #[error(transparent)]
    Violation(#[from] Box<Violation>),
    /// There are not so many threads.
    #[error("{0} polling threads: want 1 to {MAX_THREADS}")]
    Threads(usize),
    /// No memory.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Something else that a run needs is not to be had.
    #[error("{0}")]
    Setup(String),
}

/// Runs until the time is over or `stop` is set; gives the figures of every interval to `output`, and those of the whole run.
///
/// # Errors
/// The first thing that did not hold; or there was no memory, no thread, no pool to begin with.
pub fn run(options: &Options, stop: &AtomicBool, output: &mut dyn FnMut(&Report)) -> Result<Report, Error> {
    let &Options { seed, threads, plant, .. } = options;
    options.check()?;
    let zone = |node| {
        Zone::new(&ZoneParams { pages: PAGES + PAGES_PER_THREAD * threads, node: Some(node), ..ZoneParams::default() })
    };
    let zones = [zone(0)?, zone(1)?];
    zones[1].trace(Sampling::one_in(4).unwrap_or(Sampling::ALL)).map_err(|error| Error::Setup(error.to_string()))?;
    let (inboxes, ends): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(INBOX)).unzip();
    let stage = Arc::new(Stage::new(seed, plant, zones, inboxes));
    let crews = (0..threads).map(|i| Crew::new(Actor::new(&stage, format!("worker {i}"))));
    let hands = ends.into_iter().enumerate().map(|(i, end)| Hand::new(Actor::new(&stage, format!("hand {i}")), end));
    let (crews, hands) = (Section::new(crews), Section::new(hands));

    let actor = Actor::new(&stage, "conductor".to_owned());
    let started = Instant::now();
    let report = Report {
        event: "interval",
        seconds: 0.0,
        seed,
        threads,
        packets: 0,
        drops: Drops::default(),
        resets: 0,
        pools_made: 0,
        pools_destroyed: 0,
        pages_out_max: 0,
        checks: 0,
        events: Events::default(),
        pages: PageAccount::default(),
    };
    let (books, dice) = (Books::default(), actor.dice(0));
    let mut conductor = Conductor { actor: actor.clone(), dice, crews: &crews, hands: &hands, books, report, started };
    let played = conductor.conduct(options, stop, output);
    conductor.close();
    let Conductor { books, report, .. } = conductor;
    hands.into_players().for_each(Hand::finish);
    drop(crews);
    let violated = |stage: &Stage| stage.violation().map_or(Ok(()), |violation| Err(Box::new(violation)));
    violated(&stage)?; // what follows from it is not of interest
    played?;
    let total = conductor::finish(&actor, &books, report, started);
    violated(&stage)?;
    Ok(total)
}
