//! Every number that can be given, at its ends: it is refused, or it works.

mod common;

use common::{assert_whole, owner, zone};
use std::panic::{AssertUnwindSafe, catch_unwind};
use waterwheel_mm::{
    Account, FragPage, HugePages, MAX_ORDER, Pcp, PcpParams, Sampling, Users, Zone, ZoneParams, ptr_ring,
};

const ENDS: [usize; 4] = [0, 1, usize::MAX / 4096 + 1, usize::MAX];
const ORDERS: [u8; 5] = [MAX_ORDER + 1, 32, 63, 64, u8::MAX];

/// What its documentation says that it panics with.
fn refused<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

#[test]
fn a_zone_has_as_many_pages_as_there_can_be() {
    for pages in [0, 1 << 32, usize::MAX / 4096 + 1, usize::MAX - 511, usize::MAX] {
        for huge_pages in [HugePages::Never, HugePages::Try, HugePages::Require] {
            Zone::new(&ZoneParams { pages, huge_pages, ..ZoneParams::default() }).unwrap_err();
        }
    }
    Zone::new(&ZoneParams { bind_node: Some(u32::MAX), ..ZoneParams::pages(64) }).unwrap_err();
    let zone = Zone::new(&ZoneParams { node: Some(u32::MAX), ..ZoneParams::pages(64) }).unwrap();
    assert_eq!(zone.node(), u32::MAX);
}

#[test]
fn numbers_at_their_ends_are_refused_or_work() {
    let zone = zone(64);
    let mut out = Vec::new();
    for order in ORDERS {
        assert!(zone.alloc(order).is_none());
        assert_eq!(zone.alloc_bulk(order, usize::MAX, &mut out), 0);
    }
    for order in 0..=MAX_ORDER {
        assert_eq!(zone.alloc_bulk(order, 0, &mut out), 0);
        assert_eq!(zone.alloc_bulk(order, usize::MAX, &mut out), 64 >> order);
        zone.free_bulk(out.drain(..));
    }
    for (high, batch) in ENDS.into_iter().flat_map(|high| ENDS.map(|batch| (high, batch))) {
        let mut lists = Pcp::new(&zone, PcpParams { high, batch });
        for order in ORDERS.into_iter().chain(0..=MAX_ORDER) {
            lists.alloc(order).into_iter().for_each(|page| lists.free(page));
        }
        lists.drain(); // what lies in the lists of other orders is not to be had
        assert_eq!(lists.alloc_bulk(usize::MAX, &mut out), 64);
        lists.free_bulk(&mut out);
    }
    let mut owner = owner();
    let (mut frozen, mut pages) = (vec![zone.alloc(0).unwrap()], Vec::new());
    owner.bind_bulk(&mut frozen, usize::MAX, &mut pages);
    let mut page = pages.pop().unwrap();
    for bytes in [4097..4098, 0..4097, usize::MAX - 1..usize::MAX, 2..usize::MAX] {
        let part = owner.bind(zone.alloc(0).unwrap());
        assert!(refused(|| page.append(part, bytes)));
    }
    let mut cut = FragPage::new(page);
    for len in [4097, usize::MAX - 63, usize::MAX] {
        for align in [1, 4096, 1 << 63] {
            assert!(cut.cut(len, align).is_none());
        }
    }
    assert!(cut.cut(1, 1 << 63).is_none() && refused(|| cut.cut(0, 1)) && refused(|| cut.cut(1, 0)));
    drop(cut);
    assert!(owner.collect(&mut frozen, usize::MAX) >= 1);
    drop((frozen, owner));
    assert!(refused(|| zone.alloc(0).unwrap().split(u8::MAX).count()));
    for (number, order) in [(u32::MAX, 0), (u32::MAX, u8::MAX), (0, u8::MAX), (63, MAX_ORDER)] {
        let mut account = Account::open(&zone);
        account.held_by_user(number, order);
        assert!(account.close(Users::Alive).conflicts > 0);
    }
    assert!(zone.history(u32::MAX).is_empty());
    assert!(zone.holders(Some(&[0, u16::MAX])).is_empty());
    assert!([0, 3, u32::MAX].into_iter().all(|n| Sampling::one_in(n).is_err()));
    assert_whole(&zone);
}

#[test]
fn a_ring_has_as_many_places_as_there_can_be() {
    assert!([1 << 62, 1 << 63, usize::MAX].into_iter().all(|places| refused(|| ptr_ring::<u64>(places))));
    let (to, from) = ptr_ring(0);
    let mut out = Vec::new();
    assert_eq!(to.produce(1), Ok(()));
    assert_eq!((from.consume_batch(&mut out, 0), from.consume_batch(&mut out, usize::MAX)), (0, 1));
}
