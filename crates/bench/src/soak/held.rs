//! A packet that somebody holds.

use super::packet::Ident;
use super::stage::Actor;
use waterwheel_mm::{Account, Page, PageFrag, PageRef, RegionId};

/// The way in which it is held.
#[derive(Debug)]
pub(super) enum Hold {
    /// Alone.
    Own(Page),
    /// With others.
    Shared(PageRef),
    /// A part of a page.
    Part(PageFrag),
}

/// A packet that somebody holds, and what it was when he got it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    /// Where in the page or part it begins.
    offset: usize,
    id: Ident,
}

impl Held {
    /// Writes the packet `id` at `offset` of `page`.
    pub(super) fn write(seed: u64, mut page: Page, offset: usize, id: Ident) -> Self {
        id.write(seed, &mut page.as_mut_slice()[offset..offset + id.len as usize]);
        Self { hold: Hold::Own(page), offset, id }
    }

    /// Writes the packet `id` into the whole of `part`.
    pub(super) fn write_part(seed: u64, mut part: PageFrag, id: Ident) -> Self {
        id.write(seed, &mut part);
        Self { hold: Hold::Part(part), offset: 0, id }
    }

    /// The packet that lies at `offset` of `page` and was just verified.
    pub(super) fn found(page: Page, offset: usize, id: Ident) -> Self {
        Self { hold: Hold::Own(page), offset, id }
    }

    /// Shares the page, if it is one; tells whether it was held alone.
    pub(super) fn share(self) -> (Self, bool) {
        match self.hold {
            Hold::Own(page) => (Self { hold: Hold::Shared(page.share()), ..self }, true),
            hold => (Self { hold, ..self }, false),
        }
    }

    /// One more holder of a shared page.
    pub(super) fn another(&self) -> Option<Self> {
        match &self.hold {
            Hold::Shared(page) => Some(Self { hold: Hold::Shared(page.clone()), offset: self.offset, id: self.id }),
            Hold::Own(_) | Hold::Part(_) => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        let whole: &[u8] = match &self.hold {
            Hold::Own(page) => page,
            Hold::Shared(page) => page,
            Hold::Part(part) => part,
        };
        &whole[self.offset..self.offset + self.id.len as usize]
    }

    /// Region, number and order of the page.
    fn page(&self) -> (RegionId, u32, u8) {
        match &self.hold {
            Hold::Own(page) => (page.region_id(), page.number(), page.order()),
            Hold::Shared(page) => (page.region_id(), page.number(), page.order()),
            Hold::Part(part) => (part.region_id(), part.number(), part.order()),
        }
    }

    /// Whether it is still the packet that it was; else `actor` reports it.
    pub(super) fn verify(&self, actor: &Actor, place: &'static str) {
        actor.stage.tally.verified.add(1);
        if let Err(damage) = self.id.verify(actor.stage.seed, self.bytes()) {
            let (region, number, _) = self.page();
            let start = match &self.hold {
                Hold::Part(part) => part.offset(),
                Hold::Own(_) | Hold::Shared(_) => self.offset,
            };
            actor.report_damage(place, (region, number), start, damage, Some(self.id));
        }
    }

    /// Says in the account of its page's zone that the page is held.
    pub(super) fn account(&self, account: &mut Account) {
        let (region, number, order) = self.page();
        if region == account.zone().id() {
            account.held_by_user(number, order);
        }
    }
}
