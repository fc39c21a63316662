//! What most programs begin with.

use crate::harness::Group;
use waterwheel_mm::{Zone, ZoneParams};
use waterwheel_page_pool::{PagePool, PoolParams};

/// A zone of `pages` pages; without one, says why `name` cannot be measured.
pub(crate) fn zone(group: &mut Group<'_, '_>, name: &str, pages: usize) -> Option<Zone> {
    Zone::new(&ZoneParams::pages(pages)).map_err(|error| group.absent(name, error.to_string())).ok()
}

/// A pool of at most `limit` single pages, with a zone of its own that is a little larger.
pub(crate) fn pool(group: &mut Group<'_, '_>, name: &str, limit: usize) -> Option<PagePool> {
    let zone = zone(group, name, limit + 1024)?;
    let params = PoolParams { limit, ..PoolParams::default() };
    PagePool::new(&zone, params).map_err(|error| group.absent(name, error.to_string())).ok()
}

/// `n` places for pages, as the originals' `store` array.
pub(crate) fn store<T>(n: usize) -> Box<[Option<T>]> {
    (0..n).map(|_| None).collect()
}
