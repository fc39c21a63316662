//! What most programs begin with.

use crate::harness::Group;
use crate::harness::store::{Store, opaque};
use std::hint::black_box;
use waterwheel_mm::{Zone, ZoneParams};
use waterwheel_page_pool::{PagePool, PoolParams};

/// A zone of `pages` pages; without one, says why `name` cannot be measured.
pub(crate) fn zone(group: &mut Group<'_, '_>, name: &str, pages: usize) -> Option<Zone> {
    Zone::new(&ZoneParams::pages(pages)).map_err(|error| group.absent(name, error.to_string())).ok()
}

/// A pool of at most `limit` single pages, with a zone of its own that is a little larger.
pub(crate) fn pool(group: &mut Group<'_, '_>, name: &str, limit: usize) -> Option<PagePool> {
    pool_with(group, name, PoolParams { limit, ..PoolParams::default() })
}

/// The same, with other parameters.
pub(crate) fn pool_with(group: &mut Group<'_, '_>, name: &str, params: PoolParams) -> Option<PagePool> {
    let zone = zone(group, name, params.limit + 1024)?;
    PagePool::new(&zone, params).map_err(|error| group.absent(name, error.to_string())).ok()
}

/// The loop of most programs: in each iteration `n` things are taken from `source`, then all given back in the same order. `source` has more than `n`.
///
/// The compiler has to take `source` for changed at the beginning of every iteration, and the things when they are given back. `take` is told the number of the iteration.
///
/// # Panics
/// The loop does, if `source` has not as many.
pub(crate) fn outstanding<S: 'static, T: 'static>(
    mut source: S,
    n: usize,
    take: impl FnMut(&mut S, u64) -> Option<T> + 'static,
    give: impl FnMut(&mut S, T) + 'static,
) -> impl FnMut(u64) + 'static {
    let mut body = outstanding_of(n, take, give);
    move |loops| body(&mut source, loops)
}

/// The same, of a source that others have in turn. A single thing is kept in a variable, as the original's loops for one page keep it.
pub(crate) fn outstanding_of<S, T: 'static>(
    n: usize,
    mut take: impl FnMut(&mut S, u64) -> Option<T> + 'static,
    mut give: impl FnMut(&mut S, T) + 'static,
) -> impl FnMut(&mut S, u64) + 'static {
    let mut store = Store::new(n);
    move |source, loops| {
        if n == 1 {
            for i in 0..loops {
                let source = opaque(source);
                let thing = take(source, i).unwrap_or_else(|| exhausted(n));
                give(source, black_box(thing)); // by a store and a load, as one place of an array
            }
            return;
        }
        for i in 0..loops {
            let source = opaque(source);
            store.round(source, |source| take(source, i).unwrap_or_else(|| exhausted(n)), &mut give);
        }
    }
}

#[cold]
fn exhausted<T>(n: usize) -> T {
    panic!("a source that should have more than {n} has fewer")
}
