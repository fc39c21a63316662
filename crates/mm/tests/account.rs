//! The page account finds what is where, and what is lost.
#![expect(unsafe_code, reason = "posts pages to a device that does not exist")]

mod common;

use common::{assert_whole, bound, owner, zone};
use waterwheel_mm::{Account, Event, FragPage, Holder, Posted, Sampling, Users, Zone};

fn account(zone: &Zone, users: Users) -> waterwheel_mm::PageAccount {
    Account::open(zone).close(users)
}

#[test]
fn a_posted_page_comes_back_or_is_quarantined() {
    let zone = zone(16);
    let mut owner = owner();
    // SAFETY: no device is told of it.
    let posted = unsafe { Posted::new(bound(&zone, &mut owner)) };
    let number = posted.number();
    // SAFETY: no device had it.
    let page = unsafe { posted.reclaim() };
    assert_eq!((page.number(), page.owner_id()), (number, owner.id()));
    drop(page);
    drop(owner);
    assert_whole(&zone);

    let block = zone.alloc(2).unwrap().into_page();
    // SAFETY: as above.
    drop(unsafe { Posted::new(block) });
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.quarantined, found.leaked, found.total), (12, 4, 0, 16));
    assert!(!found.is_whole());
    assert_eq!((zone.stats().free, zone.stats().quarantined), (12, 4));
    // Its neighbours do not merge with it, and nobody gets it any more.
    let rest: Vec<_> = std::iter::from_fn(|| zone.alloc(0)).collect();
    assert_eq!(rest.len(), 12);
    drop(rest);
    assert_eq!(zone.stats().blocks[4], 0);
    assert_eq!(account(&zone, Users::Gone), found);
}

#[test]
fn a_posted_page_is_with_whom_its_device_names() {
    let zone = zone(16);
    zone.trace(Sampling::ALL).unwrap();
    // SAFETY: no device is told of it.
    let posted = unsafe { Posted::new(zone.alloc(0).unwrap().into_page()) };
    assert!(zone.holders(None).is_empty());
    posted.note_holder(Holder::named("a connection"));
    let held = zone.holders(None);
    assert_eq!((held.len(), held[0].event, held[0].pages), (1, Event::Held, 1));
    assert_eq!(held[0].holder.to_string(), "a connection");
    // SAFETY: no device had it.
    drop(unsafe { posted.reclaim() });
    assert!(zone.holders(None).is_empty());
    assert_whole(&zone);
}

#[test]
fn a_page_comes_out_of_quarantine_and_goes_home_as_any_other() {
    let zone = zone(16);
    // SAFETY: no device is told of them.
    let post = |order| unsafe { Posted::new(zone.alloc(order).unwrap().into_page()) };
    let kept = [post(0).quarantine(), post(2).quarantine()];
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.quarantined, found.leaked), (11, 5, 0));
    let [small, large] = kept;
    let posted = large.release();
    assert_eq!((zone.stats().quarantined, account(&zone, Users::Alive).held_by_users), (1, 4));
    // SAFETY: as above.
    drop(unsafe { posted.reclaim() });
    let _stays = small;
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.quarantined, found.leaked), (15, 1, 0));
}

#[test]
fn quarantine_keeps_the_memory_for_ever() {
    let zone = zone(4);
    let start = format!("{:x}-", zone.region().base().addr());
    // SAFETY: no device is told of it.
    drop(unsafe { Posted::new(zone.alloc(0).unwrap().into_page()) });
    drop(zone);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.lines().any(|line| line.starts_with(&start)), "the device may write there still");
}

#[test]
fn a_page_that_is_lost_is_seen() {
    let zone = zone(16);
    let _lost: &mut waterwheel_mm::Page = Box::leak(Box::new(zone.alloc(0).unwrap().into_page()));
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.leaked, found.held_by_users), (15, 1, 0));
    let found = account(&zone, Users::Alive);
    assert_eq!((found.free, found.leaked, found.held_by_users), (15, 0, 1));
}

#[test]
fn a_shared_page_that_is_lost_is_seen_too() {
    let zone = zone(16);
    let _lost = Box::leak(Box::new(zone.alloc(1).unwrap().into_page().share()));
    let _cut = Box::leak(Box::new(FragPage::new(zone.alloc(0).unwrap().into_page())));
    let found = account(&zone, Users::Alive);
    assert_eq!((found.free, found.leaked, found.held_by_users), (13, 0, 3));
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.leaked, found.held_by_users), (13, 3, 0), "nobody can hold it any more");
}

#[test]
fn what_two_claim_is_a_conflict() {
    let zone = zone(16);
    let block = zone.alloc(1).unwrap();
    let mut open = Account::open(&zone);
    open.frozen(&block);
    open.held_by_user(block.number() + 1, 0);
    let found = open.close(Users::Gone);
    assert_eq!((found.frozen, found.conflicts, found.free), (2, 1, 14));
    drop(block);
    let mut open = Account::open(&zone);
    open.held_by_user(3, 0); // it is free
    open.held_by_user(16, 0); // there is no such page
    open.held_by_user(u32::MAX, 2);
    [31, 32, 63, 64, 255].into_iter().for_each(|order| open.held_by_user(16, order)); // nor are there such blocks
    let found = open.close(Users::Gone);
    assert_eq!((found.conflicts, found.is_whole()), (1 + 1 + 1 + 5, false));
    assert_whole(&zone);
}

#[test]
fn a_posted_page_that_is_lost_takes_nobody_with_it() {
    let zone = zone(16);
    let mut page = zone.alloc(0).unwrap().into_page();
    page.append(zone.alloc(0).unwrap().into_page(), 0..0);
    page.append(zone.alloc(0).unwrap().into_page(), 0..0);
    // SAFETY: no device is told of it.
    drop(unsafe { Posted::new(page) });
    let found = account(&zone, Users::Gone);
    assert_eq!((found.free, found.quarantined, found.leaked), (15, 1, 0), "those behind it were not posted");
}

#[test]
fn pages_of_other_zones_are_not_counted() {
    let (a, b) = (zone(4), zone(4));
    let frozen = b.alloc(0).unwrap();
    // SAFETY: no device is told of it.
    let posted = unsafe { Posted::new(b.alloc(0).unwrap().into_page()) };
    let mut page = b.alloc(0).unwrap().into_page();
    page.append(a.alloc(0).unwrap().into_page(), 0..0);
    let mut open = Account::open(&a);
    open.frozen(&frozen);
    open.posted(&posted);
    open.queued(&page);
    let found = open.close(Users::Gone);
    assert_eq!((found.held_by_devices, found.free, found.conflicts), (1, 3, 0), "of a chain each page for itself");
    // SAFETY: as above.
    drop((frozen, page, unsafe { posted.reclaim() }));
    assert_whole(&a);
    assert_whole(&b);
}

#[test]
fn the_parts_add_up_to_the_whole() {
    let zone = zone(64);
    let (frozen, device) = (zone.alloc(2).unwrap(), zone.alloc(1).unwrap().into_page());
    let user = zone.alloc(0).unwrap().into_page();
    let shared = zone.alloc(3).unwrap().into_page().share();
    let mut open = Account::open(&zone);
    open.frozen(&frozen);
    open.queued(&device);
    let found = open.close(Users::Alive);
    assert_eq!((found.frozen, found.held_by_devices, found.held_by_users, found.free), (4, 2, 9, 49));
    assert_eq!((found.total, found.conflicts), (64, 0));
    drop((frozen, device, user, shared));
    assert_whole(&zone);
}

#[test]
fn a_user_marks_its_own_page_once_and_a_shared_one_as_often_as_it_is_shared() {
    let zone = zone(64);
    let own = zone.alloc(1).unwrap().into_page();
    let shared = zone.alloc(0).unwrap().into_page().share();
    let other = shared.clone();
    let lost = zone.alloc(0).unwrap().into_page();
    let account = |times: usize| {
        let mut open = Account::open(&zone);
        (0..times).for_each(|_| open.held_by_user(own.number(), own.order()));
        [&shared, &other].iter().for_each(|page| open.held_by_user(page.number(), page.order()));
        open.close(Users::Gone)
    };
    let once = account(1);
    assert_eq!((once.held_by_users, once.leaked, once.conflicts), (3, 1, 0), "{once:?}");
    assert_eq!(account(2).conflicts, 2, "both of its pages");
    let mut open = Account::open(&zone);
    open.held_by_user(63, 0); // it is free
    assert_eq!(open.close(Users::Alive).conflicts, 1);
    drop((own, shared, other, lost));
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
}

/// A device is told of one page. What followed it is not with the device, and the page does not lead it any more when it comes back.
#[test]
fn a_page_that_was_in_quarantine_leads_nothing() {
    let zone = zone(8);
    let mut page = zone.alloc(0).unwrap().into_page();
    page.append(zone.alloc(0).unwrap().into_page(), 0..0);
    // SAFETY: there is no device.
    let quarantined = unsafe { Posted::new(page) }.quarantine();
    let others: Vec<_> = std::iter::from_fn(|| zone.alloc(0)).collect();
    assert_eq!(others.len(), 7, "what followed went home");
    // SAFETY: as above.
    let page = unsafe { quarantined.release().reclaim() };
    assert!(!page.leads_chain() && page.chain().next().is_none());
    drop((page, others));
    assert_whole(&zone);
}
