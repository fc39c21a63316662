//! The page account: where every page of a zone is, found by looking, never by subtraction.
//!
//! It is taken at a quiet moment: the buddy lists are read from the metadata, then everyone who holds pages marks each of them. A page that two mark is corruption;
//! a page that nobody marks is out with a user, or, when there are no users any more or all of them have marked theirs, lost.

use crate::meta::{FREE, QUARANTINED, RESTING};
use crate::page::{FrozenPage, Page, Posted};
use crate::sync::Ordering::Relaxed;
use crate::zone::Zone;

/// The page account while it is taken: it finds out where every page of a zone is, by looking.
///
/// After [`open`](Self::open), everybody who holds pages marks them; [`close`](Self::close) adds up.
#[derive(Debug)]
pub struct Account {
    zone: Zone,
    /// One entry per page of the zone.
    found: Vec<Where>,
    conflicts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Unknown,
    Free,
    Frozen,
    Device,
    /// It has references, and nobody has said yet that one is his.
    Shared,
    /// Found with a user who is its only one.
    Owned,
    /// Found with one of the users who share it.
    Sharers,
    Quarantined,
}

/// Whether anybody can still hold pages in the moment of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Somebody may: a page that was not found is with a user.
    Alive,
    /// Nobody can, or everybody who does has said so: a page that was not found is lost.
    Gone,
}

/// Where the pages are, in 4 KiB pages. `total` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageAccount {
    /// All pages.
    pub total: usize,
    /// In the buddy lists.
    pub free: usize,
    /// In caches, lists and rings.
    pub frozen: usize,
    /// Posted to hardware, or in a device's queues.
    pub held_by_devices: usize,
    /// Shared, or out with a sole owner.
    pub held_by_users: usize,
    /// Lost to a device that went away and may still write to them.
    pub quarantined: usize,
    /// With nobody, though not free.
    pub leaked: usize,
    /// Marked twice: two believe that they hold it. Anything but 0 is corruption.
    pub conflicts: usize,
}

impl PageAccount {
    /// All pages are free.
    pub fn is_whole(&self) -> bool {
        self.free == self.total && self.conflicts == 0
    }
}

impl Account {
    /// Reads the buddy lists and the pages' own states.
    pub fn open(zone: &Zone) -> Self {
        let region = zone.inner().region();
        let mut found = vec![Where::Unknown; region.pages()];
        zone.inner().with_buddy(|_lists_stand_still| {
            let mut number = 0;
            while number < found.len() {
                let meta = region.meta(number as u32);
                let order = meta.order.load(Relaxed);
                let (place, pages) = match meta.state.load(Relaxed) {
                    FREE | RESTING => (Where::Free, 1 << order),
                    QUARANTINED => (Where::Quarantined, 1 << order),
                    _ if meta.refcount.look() > 0 => (Where::Shared, 1),
                    _ => (Where::Unknown, 1),
                };
                found[number..number + pages].fill(place);
                number += pages;
            }
        });
        Self { zone: zone.clone(), found, conflicts: 0 }
    }

    /// A cache, list or ring holds `page`. Pages of other zones are not counted.
    pub fn frozen(&mut self, page: &FrozenPage) {
        if page.region_id() == self.zone.id() {
            self.mark(page.number(), page.order(), Where::Frozen);
        }
    }

    /// A device was given `page`, that one alone. Pages of other zones are not counted.
    pub fn posted(&mut self, page: &Posted) {
        if page.region_id() == self.zone.id() {
            self.mark(page.number(), page.order(), Where::Device);
        }
    }

    /// A device has `page` in a queue, with what is chained behind it. Pages of other zones are not counted.
    pub fn queued(&mut self, page: &Page) {
        let first = (page.region_id(), page.number(), page.order());
        let rest = page.chain().map(|part| (part.region_id(), part.number(), part.order()));
        for (region, number, order) in std::iter::once(first).chain(rest) {
            if region == self.zone.id() {
                self.mark(number, order, Where::Device);
            }
        }
    }

    /// A user holds the block of `1 << order` pages at `number` of this zone. Of a shared page each holder may say so; a page that has one owner can be marked once. A block that does not lie in the zone
    /// is a conflict.
    pub fn held_by_user(&mut self, number: u32, order: u8) {
        match self.found.get(number as usize) {
            Some(Where::Sharers) => {}
            Some(Where::Shared) => self.mark(number, order, Where::Sharers),
            _ => self.mark(number, order, Where::Owned),
        }
    }

    /// The zone whose pages are counted.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Adds up.
    pub fn close(self, users: Users) -> PageAccount {
        let mut account = PageAccount { total: self.found.len(), conflicts: self.conflicts, ..PageAccount::default() };
        for place in self.found {
            *match (place, users) {
                (Where::Free, _) => &mut account.free,
                (Where::Frozen, _) => &mut account.frozen,
                (Where::Device, _) => &mut account.held_by_devices,
                (Where::Quarantined, _) => &mut account.quarantined,
                (Where::Owned | Where::Sharers, _) => &mut account.held_by_users,
                (Where::Shared | Where::Unknown, Users::Alive) => &mut account.held_by_users,
                (Where::Shared | Where::Unknown, Users::Gone) => &mut account.leaked,
            } += 1;
        }
        account
    }

    fn mark(&mut self, number: u32, order: u8, place: Where) {
        // What is marked beyond the zone is not there: one conflict, however much it is.
        let first = number as usize;
        let end = 1usize.checked_shl(order.into()).and_then(|pages| first.checked_add(pages)).unwrap_or(usize::MAX);
        for page in first..end.min(self.found.len()) {
            match &mut self.found[page] {
                found @ (Where::Unknown | Where::Shared) => *found = place,
                _ => self.conflicts += 1,
            }
        }
        self.conflicts += usize::from(end > self.found.len());
    }
}
