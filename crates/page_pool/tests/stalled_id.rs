//! An id that is used again is not taken for the pool that had it. (Alone in its process, so that it is used again by the next pool.)

mod common;

use common::{RX, assert_whole, zone};
use waterwheel_page_pool::{PagePool, PoolParams, stalled};

#[test]
fn a_pool_that_is_over_is_not_taken_for_its_successor() {
    let zone = zone(64);
    let named = |name: &str| PagePool::new(&zone, PoolParams { name: name.to_owned(), ..PoolParams::default() });
    let names = || stalled().into_iter().map(|pool| pool.name).collect::<Vec<_>>();
    let mut first = named("first").expect("a pool");
    let (id, page) = (first.id(), first.alloc(RX).expect("a page"));
    drop(first);
    assert_eq!(names(), ["first"]);
    drop(page); // it is over; nobody has asked yet
    let mut second = named("second").expect("a pool");
    assert_eq!(second.id(), id, "ids are used again, the last one first");
    let page = second.alloc(RX).expect("a page");
    drop(second);
    assert_eq!(names(), ["second"]);
    drop(page);
    assert_eq!(names(), [""; 0]);
    assert_whole(&zone);
}
