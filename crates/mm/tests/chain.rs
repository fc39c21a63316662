//! Pages that lead others.

mod common;

use common::{assert_whole, owner, zone};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use waterwheel_mm::{Account, FragPage, Owner, Page, PageRef, Users, Zone, dissolve, release_pages};

/// A page whose first byte is `byte`, of nobody.
fn page(zone: &Zone, byte: u8) -> Page {
    let mut page = zone.alloc(0).unwrap().into_page();
    page.as_mut_slice()[0] = byte;
    page
}

/// A page with the bytes 0, 1, 2 ... in it and in those behind it, of which ten times so many are meant.
fn chain(zone: &Zone, pages: u8) -> Page {
    let mut first = page(zone, 0);
    for i in 1..pages {
        first.append(page(zone, i), 0..usize::from(i) * 10);
    }
    first
}

/// A page of one owner in front of one of another.
fn of(zone: &Zone, first: &mut Owner, second: &mut Owner) -> Page {
    let mut page = first.bind(zone.alloc(0).unwrap());
    page.append(second.bind(zone.alloc(0).unwrap()), 0..0);
    page
}

/// Of each page behind this one the first byte, and which are meant.
fn bytes(page: &Page) -> Vec<(u8, Range<usize>)> {
    page.chain().map(|part| (part.as_slice()[0], part.range())).collect()
}

#[test]
fn pages_follow_in_order_and_come_off_at_both_ends() {
    let zone = zone(8);
    let mut first = chain(&zone, 5);
    assert!(first.leads_chain());
    assert_eq!(bytes(&first), [(1, 0..10), (2, 0..20), (3, 0..30), (4, 0..40)]);
    let (last, meant) = first.take_last().unwrap();
    assert_eq!((last[0], meant, last.leads_chain()), (4, 0..40, false));
    let (second, meant) = first.unchain().unwrap();
    assert_eq!((first.leads_chain(), second[0], meant), (false, 1, 0..10));
    assert_eq!(bytes(&second), [(2, 0..20), (3, 0..30)]);
    assert!(first.unchain().is_none() && first.take_last().is_none());
    first.append(second, 0..7);
    first.append(last, 4088..4096);
    assert_eq!(
        bytes(&first),
        [(1, 0..7), (2, 0..20), (3, 0..30), (4, 4088..4096)],
        "a chain can be put behind another page whole"
    );
    assert!(first.chain().map(|part| part.bytes().len()).eq([7, 20, 30, 8]));
    first.chain_mut().for_each(|meant| meant[0] += 100);
    assert!(first.chain().map(|part| (part.as_slice()[0], part.bytes()[0])).eq([
        (101, 101),
        (102, 102),
        (103, 103),
        (4, 100)
    ]));
    while first.take_last().is_some() {}
    assert!(!first.leads_chain());
    drop(first);
    assert_whole(&zone);
}

#[test]
fn what_is_said_of_a_page_is_true_of_it() {
    let zone = zone(16);
    let mut first = chain(&zone, 2);
    let backwards = Range { start: 2, end: 1 };
    for untrue in [0..4097, 4097..4097, 57_600..57_664, 0..usize::MAX, 1..(1 << 32) + 1, backwards] {
        let refused = catch_unwind(AssertUnwindSafe(|| first.append(page(&zone, 9), untrue.clone())));
        assert!(refused.is_err(), "{untrue:?}");
        assert_eq!(bytes(&first), [(1, 0..10)], "nothing has changed");
    }
    let block = zone.alloc(3).unwrap().into_page();
    first.append(block, 0..8 * 4096);
    first.append(page(&zone, 3), 4096..4096);
    assert!(first.chain().map(|part| part.bytes().len()).eq([10, 8 * 4096, 0]));
    drop(first);
    assert_whole(&zone);
}

#[test]
fn a_page_is_alone_when_it_is_said_so() {
    let zone = zone(16);
    let (mut here, mut there) = (owner(), owner());
    let page = of(&zone, &mut here, &mut there).alone();
    assert!(!page.leads_chain() && page.chain().next().is_none());
    assert_eq!((here.outstanding(), there.outstanding()), (1, 0), "what followed went home");
    let page = here.unbind(page).expect("it is as any other").into_page().alone();
    drop((page, here, there));
    assert_whole(&zone);
}

#[test]
fn who_lets_the_first_go_lets_all_go_each_to_its_own_home() {
    let zone = zone(16);
    let (mut here, mut there) = (owner(), owner());
    let by_drop = of(&zone, &mut here, &mut there);
    let mut in_bulk = vec![of(&zone, &mut there, &mut here), of(&zone, &mut here, &mut there)];
    let shared = of(&zone, &mut there, &mut here).share();
    assert_eq!(shared.chain().count(), 1);
    thread::spawn(move || drop(by_drop)).join().unwrap();
    release_pages(&mut in_bulk);
    let (one, other) = (shared.clone(), shared);
    drop(other);
    assert_eq!((here.outstanding(), there.outstanding()), (1, 1), "somebody holds the first page still");
    drop(one);
    let mut home = Vec::new();
    assert_eq!((here.collect(&mut home, 99), there.collect(&mut home, 99)), (4, 4));
    assert_eq!((here.outstanding(), there.outstanding(), home.len()), (0, 0, 8));
    drop(home);
    assert_whole(&zone);
}

#[test]
fn an_owner_does_not_take_a_page_back_that_leads_others() {
    let zone = zone(8);
    let mut owner = owner();
    let mut first = owner.bind(zone.alloc(0).unwrap());
    first.append(owner.bind(zone.alloc(0).unwrap()), 0..1);
    let first = owner.unbind(first).expect_err("two pages are not one");
    let (mut pages, mut free) = (vec![first, owner.bind(zone.alloc(0).unwrap())], Vec::new());
    owner.unbind_bulk(&mut pages, &mut free);
    assert_eq!((pages.len(), free.len()), (1, 1));
    dissolve(&mut pages);
    owner.unbind_bulk(&mut pages, &mut free);
    assert_eq!((pages.len(), free.len(), owner.outstanding()), (0, 3, 0));
    drop(free);
    assert_whole(&zone);
}

#[test]
fn a_reference_that_is_unique_again_leads_what_it_led() {
    let zone = zone(8);
    let shared = chain(&zone, 3).share();
    let shared = {
        let second = shared.clone();
        drop(second);
        shared
    };
    let page: Page = PageRef::try_unique(shared).unwrap();
    assert_eq!(bytes(&page), [(1, 0..10), (2, 0..20)]);
    drop(page);
    assert_whole(&zone);
}

#[test]
fn what_follows_a_page_that_is_cut_is_counted_with_it() {
    let zone = zone(8);
    let mut cut = FragPage::new(chain(&zone, 3));
    let piece = cut.cut(100, 1).unwrap();
    let mut account = Account::open(&zone);
    cut.account(&mut account);
    let account = account.close(Users::Gone);
    assert_eq!((account.held_by_users, account.leaked, account.conflicts), (3, 0, 0), "{account:?}");
    drop(cut);
    assert_eq!(Account::open(&zone).close(Users::Gone).leaked, 3, "a piece is out still");
    drop(piece);
    assert_whole(&zone);
}

#[test]
fn a_long_chain_needs_no_stack() {
    let zone = zone(20_000);
    let mut pages = Vec::new();
    zone.alloc_bulk(0, 19_000, &mut pages);
    let mut rest: Option<Page> = None;
    for page in pages {
        let mut page = page.into_page();
        if let Some(rest) = rest.take() {
            page.append(rest, 0..4096);
        }
        rest = Some(page);
    }
    thread::Builder::new().stack_size(64 << 10).spawn(move || drop(rest)).unwrap().join().unwrap();
    assert_whole(&zone);
}
