//! What happened to a page last, and who has it: a side table of a zone, there when [`Zone::trace`] was called.
//!
//! Each page that is followed (one in N, by its number) has a cache line: which pool it is of, and its last seven events, a word each. (DPDK's `rte_mbuf_history` keeps 16
//! events in one word, without time, thread or holder.)
//!
//! ```text
//! head   63   owner   48 47  order  40 39                                 7    3 next 0
//! event  63   holder  48 47 kind 44 43   thread   32 31       milliseconds         0
//! ```
//!
//! **Why nothing here is more than Release and Acquire.** Nobody decides anything by a history: no page is kept or freed for what stands in it. Who writes has a handle of the page, and pages go from
//! thread to thread through rings, locks and reference counts, each a Release and an Acquire: so the writers of one page follow one another, but for those who share it; two of these who write in
//! the same moment may take the same place, and one event is lost. The last one to let go comes after them all, so that "returned" is never lost. Who reads may come at any time. Each word
//! is whole in itself, and an event is there before the head that counts it (Release, Acquire): a reader finds what was true a moment ago.

use crate::PAGE_SHIFT;
use crate::chain::Chain;
use crate::holders::{Held, Step};
#[cfg(all(test, loom))]
use crate::model as zone;
use crate::names::{Holder, THREAD_BITS, coarse_clock, thread, thread_name};
use crate::page::{FrozenPage, Page, PageRef, Posted};
use crate::word::{FOUND, PageWord};
#[cfg(not(all(test, loom)))]
use crate::zone;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Events that are kept of a page.
pub const EVENTS: usize = 7;

const HOLDER_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 44;
const THREAD_SHIFT: u32 = 32;
const OWNER_SHIFT: u32 = 48;
const ORDER_SHIFT: u32 = 40;
/// The part of the head that says how many events there were: up to 7 all of them, then 7 and the place of the newest.
const COUNT: u64 = 0xf;
const _: () = assert!(THREAD_SHIFT + THREAD_BITS == KIND_SHIFT);

/// Which pages are followed: one in N, those whose number is a multiple of N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling(u32);

/// One in so many pages cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 in {0} pages cannot be followed: want a power of two from 1 to {max}", max = Sampling::MAX)]
pub struct SamplingError(pub u32);

impl Sampling {
    /// Every page.
    pub const ALL: Sampling = Sampling(1);
    /// The fewest: 1 in 1024, the pages at the start of the largest blocks, so that a page's address says whether it is followed.
    pub const MAX: u32 = 1 << crate::MAX_ORDER;

    /// One in `n` pages: a power of two, at most [`MAX`](Self::MAX).
    pub fn one_in(n: u32) -> Result<Self, SamplingError> {
        if n.is_power_of_two() && n <= Self::MAX { Ok(Self(n)) } else { Err(SamplingError(n)) }
    }

    /// The N of "one in N".
    pub fn n(self) -> u32 {
        self.0
    }

    /// How many blocks of `order` one that is followed stands for.
    fn stands_for(self, order: u8) -> u64 {
        u64::from(self.0 >> order.min(31)).max(1)
    }
}

/// What can happen to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Event {
    /// Its pool gave it out.
    Allocated = 1,
    /// A device took it for its receive ring.
    Posted = 2,
    /// It came from a device, with a packet.
    Received = 3,
    /// A program sent it to another device.
    Redirected = 4,
    /// A device took it to send it.
    Queued = 5,
    /// Somebody has it: [`Page::note_holder`].
    Held = 6,
    /// The same, with others: [`PageRef::note_holder`].
    Shared = 7,
    /// Nobody has it any more: it is its pool's again.
    Returned = 8,
    /// Its zone has it.
    Freed = 9,
}

impl Event {
    const ALL: [Event; 9] = [
        Event::Allocated,
        Event::Posted,
        Event::Received,
        Event::Redirected,
        Event::Queued,
        Event::Held,
        Event::Shared,
        Event::Returned,
        Event::Freed,
    ];

    fn of(word: u64) -> Option<Self> {
        Self::ALL.get(((word >> KIND_SHIFT) as usize & 0xf).checked_sub(1)?).copied()
    }

    /// A stable key.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Allocated => "allocated",
            Event::Posted => "posted",
            Event::Received => "received",
            Event::Redirected => "redirected",
            Event::Queued => "queued",
            Event::Held => "held",
            Event::Shared => "shared",
            Event::Returned => "returned",
            Event::Freed => "freed",
        }
    }

    /// Whether somebody has the page after it.
    pub fn is_out(self) -> bool {
        !matches!(self, Event::Returned | Event::Freed)
    }
}

/// The side table.
#[derive(Debug)]
pub(crate) struct History {
    sampling: Sampling,
    entries: Box<[Entry]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    head: AtomicU64,
    events: [AtomicU64; EVENTS],
}

impl History {
    pub(crate) fn new(pages: usize, sampling: Sampling) -> Self {
        let entry = |_| Entry { head: AtomicU64::new(0), events: [const { AtomicU64::new(0) }; EVENTS] };
        Self { sampling, entries: (0..pages.div_ceil(sampling.0 as usize)).map(entry).collect() }
    }

    pub(crate) fn sampling(&self) -> Sampling {
        self.sampling
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        if number & (self.sampling.0 - 1) != 0 {
            return None;
        }
        self.entries.get(number as usize >> self.sampling.0.trailing_zeros())
    }

    /// Pages that were written about, with their numbers.
    fn written(&self) -> impl Iterator<Item = (u32, u64, &Entry)> {
        let heads = self.entries.iter().map(|entry| (entry.head.load(Ordering::Acquire), entry));
        (0..)
            .step_by(self.sampling.0 as usize)
            .zip(heads)
            .filter_map(|(number, (head, entry))| (head & COUNT != 0).then_some((number, head, entry)))
    }

    /// Groups what is out: the pages of those owners, or of all.
    pub(crate) fn holders(&self, owners: Option<&[u16]>) -> Vec<Held> {
        let now = coarse_clock();
        let mut groups: Vec<Held> = Vec::new();
        for (number, head, entry) in self.written() {
            let (owner, order) = ((head >> OWNER_SHIFT) as u16, (head >> ORDER_SHIFT) as u8);
            let last = entry.last(head & COUNT);
            let Some(event) = Event::of(last).filter(|event| event.is_out()) else { continue };
            if owners.is_some_and(|owners| !owners.contains(&owner)) {
                continue;
            }
            let (holder, age) = (Holder::of_number((last >> HOLDER_SHIFT) as u16), age(last, now));
            let found = groups.iter_mut().find(|group| (group.holder, group.event) == (holder, event));
            let group = match found {
                Some(group) => group,
                None => {
                    groups.push(Held { holder, event, pages: 0, seen: 0, oldest: age, oldest_page: number });
                    groups.last_mut().expect("just pushed")
                }
            };
            group.seen += 1;
            group.pages += self.sampling.stands_for(order);
            if age > group.oldest {
                (group.oldest, group.oldest_page) = (age, number);
            }
        }
        groups.sort_by_key(|group| (std::cmp::Reverse(group.pages), group.holder.name(), group.event));
        groups
    }

    /// What is known of one page, the newest first.
    pub(crate) fn of_page(&self, number: u32) -> Vec<Step> {
        let Some(entry) = self.entry(number) else { return Vec::new() };
        let (now, count) = (coarse_clock(), entry.head.load(Ordering::Acquire) & COUNT);
        let newest_first = (count.saturating_sub(EVENTS as u64)..count).rev();
        let words = newest_first.map(|i| entry.events[i as usize % EVENTS].load(Ordering::Relaxed));
        words.filter_map(|word| step(word, now)).collect()
    }
}

impl Entry {
    /// The newest of `count` events, of which there is one at least.
    fn last(&self, count: u64) -> u64 {
        self.events[(count - 1) as usize % EVENTS].load(Ordering::Relaxed)
    }

    fn is_out(&self, count: u64) -> bool {
        count != 0 && Event::of(self.last(count)).is_some_and(Event::is_out)
    }

    /// Adds an event, unless a pool's page is not known to be out: then its pool does not follow pages, and would not say when it is back.
    fn push(&self, who: Who, order: u8, event: u64) {
        let head = self.head.load(Ordering::Relaxed);
        let (count, known) = (head & COUNT, head >> OWNER_SHIFT);
        let owner = match who {
            Who::Giver(owner) | Who::Holder(owner @ 0) => u64::from(owner),
            Who::Holder(owner) if u64::from(owner) == known && self.is_out(count) => known,
            Who::Nobody if count != 0 => known,
            Who::Holder(_) | Who::Nobody => return,
        };
        self.events[(count % EVENTS as u64) as usize].store(event, Ordering::Relaxed);
        // Release: the event is there before it counts.
        let count = if count + 1 == 2 * EVENTS as u64 { EVENTS as u64 } else { count + 1 };
        self.head.store(owner << OWNER_SHIFT | u64::from(order) << ORDER_SHIFT | count, Ordering::Release);
    }
}

/// Who says that something happened to a page.
#[derive(Clone, Copy)]
enum Who {
    /// The pool with that owner's id, which gives it out.
    Giver(u16),
    /// Somebody who has it, as a page of the owner with that id; 0: of no pool.
    Holder(u16),
    /// Whoever it is with now that nobody has it.
    Nobody,
}

fn step(event: u64, now: u32) -> Option<Step> {
    Some(Step {
        event: Event::of(event)?,
        holder: Holder::of_number((event >> HOLDER_SHIFT) as u16),
        thread: thread_name((event >> THREAD_SHIFT) as usize % (1 << THREAD_BITS)),
        ago: age(event, now),
    })
}

fn age(event: u64, now: u32) -> Duration {
    let ms = now.wrapping_sub(event as u32);
    // Another thread wrote it after the clock was read.
    Duration::from_millis(if ms > u32::MAX / 2 { 0 } else { ms.into() })
}

/// Writes one event into the histories of many pages: the clock is read once, at the first page that is followed.
///
/// Looking whether pages are followed takes a few instructions for each and none of their memory; so this can stand wherever pages pass, once it is known that they are followed at all
/// ([`Zone::sampling`](crate::Zone::sampling)).
#[derive(Debug)]
pub struct Note {
    mask: usize,
    what: u64,
    /// With thread and time; 0 is not yet.
    stamped: u64,
}

impl Note {
    /// That `event` happened to pages, and `holder` has them now (or had, for an event after which nobody has them).
    ///
    /// `sampling` is that of the pages' zone, [`Sampling::ALL`] where they may be of several.
    #[inline]
    pub fn new(sampling: Sampling, event: Event, holder: Holder) -> Self {
        let what = u64::from(holder.number()) << HOLDER_SHIFT | (event as u64) << KIND_SHIFT;
        Self { mask: (sampling.0 as usize - 1) << PAGE_SHIFT, what, stamped: 0 }
    }

    /// To this page, and to those that it leads.
    #[inline]
    pub fn page(&mut self, page: &Page) {
        self.pages(std::slice::from_ref(page), |page| page);
    }

    /// To all pages of `items`, and to those that they lead: they are with `holder` from now on.
    #[inline]
    pub fn pages<T>(&mut self, items: &[T], page: impl Fn(&T) -> &Page) {
        self.some(items, |item| page(item).word(), |note, word| note.write(word, Who::Holder(word.owner())));
    }

    /// To pages that their pool gives out. Only those of whom this was said are with somebody; and the pool says, too, when they are [back](Self::frozen).
    #[inline]
    pub fn given_out(&mut self, pages: &[Page]) {
        self.some(pages, Page::word, |note, word| note.write(word, Who::Giver(word.owner())));
    }

    /// To pages that are with nobody.
    #[inline]
    pub fn frozen(&mut self, pages: &[FrozenPage]) {
        self.some(pages, FrozenPage::word, |note, word| note.write(word, Who::Nobody));
    }

    /// Finds those that are followed, and those that lead others. Mostly none of some neighbours is; so that is asked first, of all at once.
    #[inline]
    fn some<T>(&mut self, items: &[T], word: impl Fn(&T) -> PageWord, write: impl Fn(&mut Self, PageWord)) {
        let mask = self.mask;
        let look_at = |note: &mut Self, items: &[T]| {
            let found = items.iter().map(&word).filter(|word| word.found_by(mask) & FOUND != 0);
            found.for_each(|word| write(note, word));
        };
        let (some, rest) = items.as_chunks::<16>();
        for some in some {
            if some.iter().fold(0, |all, item| all | word(item).found_by(mask)) & FOUND != 0 {
                look_at(self, some);
            }
        }
        look_at(self, rest);
    }

    /// For a page, and those behind it, of which some may be followed.
    #[cold]
    #[inline(never)]
    fn write(&mut self, word: PageWord, who: Who) {
        self.write_one(word, who);
        Chain::behind(&word).for_each(|part| self.write_one(part.0, Who::Holder(part.0.owner())));
    }

    fn write_one(&mut self, word: PageWord, who: Who) {
        if let Some((history, number)) = zone::history_of(&word)
            && let Some(entry) = history.entry(number)
        {
            if self.stamped == 0 {
                self.stamped = self.what | (thread() as u64) << THREAD_SHIFT | u64::from(coarse_clock());
            }
            entry.push(who, word.order(), self.stamped);
        }
    }
}

/// A page of no pool goes to its zone.
pub(crate) fn freed(page: &FrozenPage) {
    Note::new(Sampling::ALL, Event::Freed, Holder::NOBODY).write(page.word(), Who::Nobody);
}

impl Page {
    /// Says who has the page from now on, if pages of its zone are followed: "4 pages held by `holder`, oldest 41 s".
    ///
    /// For whoever keeps pages longer than a moment: a queue, a connection. It is forgotten when the page comes home.
    pub fn note_holder(&self, holder: Holder) {
        Note::new(Sampling::ALL, Event::Held, holder).page(self);
    }
}

impl PageRef {
    /// As [`Page::note_holder`]. Of those who share a page, the last one to say so is named.
    pub fn note_holder(&self, holder: Holder) {
        Note::new(Sampling::ALL, Event::Shared, holder).write(self.word(), Who::Holder(self.word().owner()));
    }
}

impl Posted {
    /// As [`Page::note_holder`]: for whom the kernel or the hardware has it, such as the connection that it is sent on.
    pub fn note_holder(&self, holder: Holder) {
        Note::new(Sampling::ALL, Event::Held, holder).write(self.word(), Who::Holder(self.word().owner()));
    }
}
