//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waterwheel_mm::{Account, Destructor, FrozenPage, Home, HugePages, Owner, Page, Users, Zone, ZoneParams};

/// A zone of small pages: the machine's huge pages are not for tests.
pub(crate) fn zone(pages: usize) -> Zone {
    let params = ZoneParams { pages, huge_pages: HugePages::Never, ..ZoneParams::default() };
    Zone::new(&params).expect("a test zone needs little memory")
}

/// The end of every test: all pages are free.
#[track_caller]
pub(crate) fn assert_whole(zone: &Zone) {
    let account = Account::open(zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

/// Numbers that look random and are the same every time (splitmix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Counts its calls and sends every page home.
#[derive(Clone, Default)]
pub(crate) struct SendHome(pub(crate) Arc<AtomicUsize>);

impl SendHome {
    pub(crate) fn calls(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Destructor for SendHome {
    fn last_put(&self, page: FrozenPage, home: Home<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        home.send(page);
    }
}

/// An owner whose pages come home.
pub(crate) fn owner() -> Owner {
    Owner::register(SendHome::default()).expect("few owners exist")
}

/// A page of `zone` that belongs to `owner`.
pub(crate) fn bound(zone: &Zone, owner: &mut Owner) -> Page {
    owner.bind(zone.alloc(0).expect("the zone has pages"))
}

/// Everything that has come home, by `collect`, freed. Tells how many there were.
pub(crate) fn collect_all(owner: &mut Owner) -> usize {
    let mut home = Vec::new();
    owner.collect(&mut home, usize::MAX)
}

/// Waits until `done`, for at most a minute.
#[track_caller]
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen within a minute");
        std::thread::yield_now();
    }
}
