//! What all threads of a run share.

use super::held::Held;
use super::packet::{Damage, Ident};
use super::tally::Tally;
use super::violation::{Broken, Violation};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waterwheel_dev::generator::SplitMix64;
use waterwheel_mm::{RegionId, Zone};

/// A fault planted on purpose, to see that it is found. For tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    /// None.
    #[default]
    Nothing,
    /// A bit is flipped in so many of a million received packets.
    Corruption(u32),
    /// A host keeps the page of the first packet that it gets after so many, and tells nobody.
    Leak(u64),
}

/// The scene of a run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) seed: u64,
    pub(super) plant: Plant,
    /// Two nodes.
    pub(super) zones: [Zone; 2],
    pub(super) tally: Tally,
    /// Nobody makes packets: what is under way arrives.
    hush: AtomicBool,
    over: AtomicBool,
    violation: Mutex<Option<Violation>>,
    sources: AtomicU32,
    /// The ways to the hands.
    pub(super) inboxes: Vec<SyncSender<Held>>,
    /// Pages of [`Plant::Leak`].
    pub(super) kept: Mutex<Vec<Held>>,
}

impl Stage {
    pub(super) fn new(seed: u64, plant: Plant, zones: [Zone; 2], inboxes: Vec<SyncSender<Held>>) -> Self {
        Self {
            seed,
            plant,
            zones,
            tally: Tally::default(),
            hush: AtomicBool::new(false),
            over: AtomicBool::new(false),
            violation: Mutex::default(),
            sources: AtomicU32::new(0),
            inboxes,
            kept: Mutex::default(),
        }
    }

    pub(super) fn is_hushed(&self) -> bool {
        self.hush.load(Ordering::Relaxed)
    }

    pub(super) fn hush(&self, quiet: bool) {
        self.hush.store(quiet, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The first violation counts; the others may follow from it.
    pub(super) fn violation(&self) -> Option<Violation> {
        lock(&self.violation).clone()
    }

    /// A number of its own for everybody who makes packets.
    pub(super) fn new_source(&self) -> u32 {
        self.sources.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives something to one of the hands; comes back if it has its hands full.
    pub(super) fn give(&self, hand: usize, held: Held) -> Result<(), Held> {
        match self.inboxes.get(hand) {
            Some(inbox) => inbox.try_send(held).map_err(|refused| match refused {
                TrySendError::Full(held) | TrySendError::Disconnected(held) => held,
            }),
            None => Err(held),
        }
    }

    fn node_of(&self, region: RegionId) -> u32 {
        self.zones.iter().find(|zone| zone.id() == region).map_or(u32::MAX, Zone::node)
    }
}

/// Somebody who acts: a thread with its step, by which a violation is found again.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) stage: Arc<Stage>,
    name: String,
    step: AtomicU64,
    /// Its worker is to die of whatever comes first: a batch, or a look at its devices.
    pub(super) dying: AtomicBool,
}

impl Actor {
    pub(super) fn new(stage: &Arc<Stage>, name: String) -> Arc<Self> {
        Arc::new(Self { stage: stage.clone(), name, step: AtomicU64::new(0), dying: AtomicBool::new(false) })
    }

    /// The dice of this actor, the same for the same seed; `part` tells apart what it throws them for.
    pub(super) fn dice(&self, part: u64) -> SplitMix64 {
        let name = self.name.bytes().fold(part, |hash, byte| SplitMix64::new(hash ^ u64::from(byte)).next());
        SplitMix64::new(self.stage.seed ^ name)
    }

    pub(super) fn next_step(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    /// Something does not hold: the run ends.
    pub(super) fn report(&self, broken: Broken) {
        let step = self.step.load(Ordering::Relaxed);
        let violation = Violation { seed: self.stage.seed, actor: self.name.clone(), step, broken };
        lock(&self.stage.violation).get_or_insert(violation);
        self.stage.end();
    }

    /// A packet is not what was written.
    #[cold]
    pub(super) fn report_damage(
        &self,
        place: &'static str,
        (region, page): (RegionId, u32),
        offset: usize,
        damage: Damage,
        packet: Option<Ident>,
    ) {
        let packet = match packet {
            Some(Ident { source, number, len }) => format!("packet {number} of source {source}, {len} bytes"),
            None => "which packet it was cannot be read".to_owned(),
        };
        let Damage { offset: at, expected, found } = damage;
        let zone = self.stage.node_of(region);
        self.report(Broken::Bytes { zone, page, offset: offset + at, expected, found, packet, place });
    }
}

/// Locks; what a thread left that panicked is looked at as it is.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
