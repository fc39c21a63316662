//! The lanes of the calling thread, by owner.
#![expect(unsafe_code, reason = "a lane that was used lately is found by its address")]

use crate::lane::Lane;
use crate::owner::Slot;
use crate::sync::local;
use std::cell::{Cell, OnceCell};

/// All of them, in two steps of 64 so that a thread pays for what it uses. They go when the thread ends.
struct Lanes([OnceCell<Box<[OnceCell<Lane>; 64]>>; 64]);

local! {
    static LANES: Lanes = Lanes([const { OnceCell::new() }; 64]);
}

/// Those used lately, by the low bits of the owner's id. As this has no destructor, nobody has to ask first whether it is still there; and a
/// page's way to the slot in its lane is two loads. (Two owners whose ids are the same modulo 64 send each other to the longer way, if their pages are dropped in turn.)
struct Recent([Cell<Entry>; 64]);

#[derive(Clone, Copy)]
struct Entry {
    owner: u16,
    /// In [`LANES`] of this thread.
    lane: *const Lane,
}

/// Of no owner: ids end far below.
const NONE: Entry = Entry { owner: u16::MAX, lane: std::ptr::null() };

local! {
    static RECENT: Recent = Recent([const { Cell::new(NONE) }; 64]);
}

impl Recent {
    #[inline]
    fn of(&self, owner: u16) -> &Cell<Entry> {
        &self.0[usize::from(owner) % self.0.len()]
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // Before the lanes go.
        let _ = RECENT.try_with(|recent| recent.0.iter().for_each(|entry| entry.set(NONE)));
    }
}

/// Runs `f` with the calling thread's lane to `owner`, if it has used it lately.
#[inline]
pub(crate) fn with_recent(owner: u16, f: impl FnOnce(&Lane)) {
    let _ = RECENT.try_with(|recent| {
        let entry = recent.of(owner).get();
        if entry.owner == owner {
            // SAFETY: the lane lies in a box of this thread's `LANES`, where it stays until these are dropped, which empties all entries first. That happens
            // when the thread ends, and so not while `f` runs.
            f(unsafe { &*entry.lane });
        }
    });
}

/// Runs `f` with the calling thread's lane to `slot`, opening it the first time; not at all where the thread's locals are gone already.
pub(crate) fn with(slot: &'static Slot, f: impl FnOnce(&Lane)) {
    let _ = LANES.try_with(|lanes| {
        let id = usize::from(slot.id());
        let chunk = lanes.0[id / 64].get_or_init(|| Box::new([const { OnceCell::new() }; 64]));
        let lane = chunk[id % 64].get_or_init(|| slot.open_lane());
        let _ = RECENT.try_with(|recent| recent.of(slot.id()).set(Entry { owner: slot.id(), lane }));
        f(lane);
    });
}
