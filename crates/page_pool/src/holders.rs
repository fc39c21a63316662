//! Who has a pool's pages.

use crate::pool::PagePool;
use std::fmt;
use waterwheel_mm::{Event, Held, Holder, Owner, Sampling};

/// Who has the pages of a pool that are out. [`PagePool::holders`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// The pool's [id](PagePool::id).
    pub id: u16,
    /// The pool's name.
    pub name: String,
    /// Pages that somebody has: all of them, exactly.
    pub outstanding: u64,
    /// How many of these were taken to be sent ([`Direction::Tx`](crate::Direction::Tx)), where floors ask to tell them apart.
    pub outstanding_tx: Option<u64>,
    /// Which pages are followed; `None`: none are, and `held` is empty.
    pub sampling: Option<Sampling>,
    /// Who has them, most pages first, of the pool's present zone. Taken a moment after `outstanding`, and scaled from the pages that are followed: the sum need not be the same.
    pub held: Vec<Held>,
}

impl PagePool {
    /// Names the pool: equal for no two pools that are there or have pages out.
    pub fn id(&self) -> u16 {
        self.rx.id()
    }

    /// Its name, as it was given ([`PoolParams::name`](crate::PoolParams::name)), else "pool ID".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who has its pages: by holder and age where pages of its zone are followed ([`Zone::trace`](waterwheel_mm::Zone::trace), before the pool is made), else how many are out.
    pub fn holders(&mut self) -> Holders {
        let (outstanding, outstanding_tx) = (self.outstanding(), self.tx.as_mut().map(Owner::outstanding));
        let owners: Vec<u16> = std::iter::once(self.rx.id()).chain(self.tx.as_ref().map(Owner::id)).collect();
        let sampling = self.trace.map(|trace| trace.sampling);
        let held = if sampling.is_some() { self.zone.holders(Some(&owners)) } else { Vec::new() };
        Holders { id: self.id(), name: self.name.clone(), outstanding, outstanding_tx, sampling, held }
    }

    /// Pages that are given out from now on are noted as `event`, with `holder`: for a driver that takes pages for its receive ring ([`Event::Posted`]). `None`: as given out by the pool.
    ///
    /// Does nothing where pages are not followed.
    pub fn taken_by(&mut self, taker: Option<(Event, Holder)>) {
        if let Some(trace) = &mut self.trace {
            match taker {
                Some(taker) => trace.taker = taker,
                None => trace.no_taker(),
            }
        }
    }

    /// Which of its pages are followed, if any.
    pub fn sampling(&self) -> Option<Sampling> {
        self.trace.map(|trace| trace.sampling)
    }
}

/// One line, and one for each holder.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outstanding, .. } = self;
        write!(f, "{name}: {outstanding} pages out")?;
        if let Some(tx) = self.outstanding_tx {
            write!(f, " ({} received, {tx} to be sent)", outstanding.saturating_sub(tx))?;
        }
        match self.sampling {
            Some(_) => write_held(f, "\n  ", &self.held, self.sampling),
            None if *outstanding > 0 => f.write_str(", with whom is unknown: no page is followed"),
            None => Ok(()),
        }
    }
}

/// The groups, each behind `before`, and how they were found.
pub(crate) fn write_held(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    held: &[Held],
    sampling: Option<Sampling>,
) -> fmt::Result {
    held.iter().try_for_each(|group| write!(f, "{before}{group}"))?;
    match sampling.map(Sampling::n) {
        Some(n) if n > 1 => write!(f, "{before}(of {} pages that were seen, 1 in {n})", seen(held)),
        _ => Ok(()),
    }
}

fn seen(held: &[Held]) -> u64 {
    held.iter().map(|group| group.seen).sum()
}
