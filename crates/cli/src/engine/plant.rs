//! What is wrong on purpose, so that tests see that it is told.

use waterwheel_xdp::{Account, Action, Context, Direction, PagePool, PoolParams, Program, XdpBuff, Zone};

use crate::args::Plant;

/// An account of all pages, after what the plant does to them.
#[expect(clippy::mem_forget, clippy::disallowed_methods, reason = "a leak is what is planted")]
pub(super) fn account(zone: &Zone, plant: Option<Plant>) -> Account {
    let Some(plant @ (Plant::Leak | Plant::Twice)) = plant else { return Account::open(zone) };
    let mut pool = PagePool::new(zone, PoolParams::default()).expect("a pool");
    let page = pool.alloc(Direction::Rx).expect("all pages are free");
    if plant == Plant::Leak {
        std::mem::forget(page);
        drop(pool);
        return Account::open(zone);
    }
    let mut account = Account::open(zone);
    account.queued(&page);
    account.queued(&page);
    account
}

/// A program that fails.
pub(super) struct Panic;

impl Program for Panic {
    fn run(&mut self, _: &Context, _: &mut [XdpBuff], _: &mut [Action]) {
        panic!("planted");
    }
}
