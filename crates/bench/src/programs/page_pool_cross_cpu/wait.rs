//! How long a page that was given back waits for its owner.

use super::schemes::{Numbered, Way, plain};
use crate::harness::Clock;
use crate::harness::carry::{Sink, Source, whole};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;
use waterwheel_mm::{Page, Zone};

const BATCH: usize = 64;

/// When each page was given back, in ticks; 0: not yet.
type Stamps = Arc<[AtomicU64]>;

/// Notes when it gives a page back.
struct Stamping<K> {
    clock: Clock,
    stamps: Stamps,
    inner: K,
}

impl<K: Sink<Page>> Sink<Page> for Stamping<K> {
    fn one(&mut self, page: Page) {
        self.stamps[Numbered::number(&page)].store(self.clock.now(), Ordering::Relaxed);
        self.inner.one(page);
    }
}

/// Sees how long it took until it has a page again.
struct Seeing<S> {
    clock: Clock,
    stamps: Stamps,
    inner: S,
    longest: u64,
}

impl<S: Source<Page>> Source<Page> for Seeing<S> {
    fn one(&mut self) -> Option<Page> {
        let page = self.inner.one()?;
        let stamp = self.stamps[Numbered::number(&page)].load(Ordering::Relaxed);
        if stamp > 0 {
            self.longest = self.longest.max(self.clock.now().saturating_sub(stamp));
        }
        Some(page)
    }
}

/// The longest time from giving a page back to its being handed out again, nanoseconds, while `pages` pages go round at full speed.
pub(super) fn longest_ns<S, K>(
    clock: Clock,
    way: Way<S, K>,
    cpus: &[usize],
    pages: u64,
    zone: &Zone,
) -> Result<f64, String>
where
    S: Source<Page> + Send,
    K: Sink<Page> + Send,
{
    let stamps: Stamps = (0..zone.region().pages()).map(|_| AtomicU64::new(0)).collect();
    let owner = Seeing { clock, stamps: stamps.clone(), inner: way.owner, longest: 0 };
    let stamping = |inner| Stamping { clock, stamps: stamps.clone(), inner };
    let returners = way.returners.into_iter().map(stamping).collect();
    let (mut from, mut to) = super::ends(owner, returners, cpus, BATCH);
    whole(clock, &mut from, &mut to, pages, BATCH)?;
    Ok(clock.ns(from[0].work.longest))
}

/// How often the owner has to ask, beyond the first time, until it gets a page that a thread has dropped which then does nothing more: the most of some trials. `None`: never.
pub(super) fn asks_in_vain() -> Option<u64> {
    const TRIALS: usize = 200;
    let zone = plain::zone(64).ok()?;
    let mut pool = plain::pool(&zone, 1, 1).ok()?.owner;
    let (page_there, pages) = sync_channel::<Page>(0);
    let (dropped, was_dropped) = sync_channel(0);
    let returner = thread::spawn(move || {
        for page in pages {
            drop(page);
            if dropped.send(()).is_err() {
                return;
            }
        }
    });
    let mut trial = || {
        page_there.send(pool.one()?).ok()?;
        was_dropped.recv_timeout(Duration::from_secs(5)).ok()?;
        let asks = (0..1000).find_map(|asks| pool.one().map(|page| (asks, page)));
        asks.map(|(asks, _page)| asks)
    };
    let most = (0..TRIALS).try_fold(0, |most, _| Some(trial()?.max(most)));
    drop(page_there);
    let _ = returner.join();
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_page_can_be_had_at_once() {
        assert_eq!(asks_in_vain(), Some(0));
    }
}
