//! The region: how large, how it is refused, and when it goes.
#![expect(unsafe_code, reason = "tests: looks at the file behind the pages")]

mod common;

use common::{assert_whole, zone};
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use waterwheel_mm::{Backing, HugePages, MAX_PAGES, PAGE_SIZE, RegionError, Zone, ZoneParams};

/// The pages of a zone, as the process's map of memory names them. The inode tells them from another region at the same address later.
struct Mapping {
    start: String,
    inode: String,
}

impl Mapping {
    fn of(zone: &Zone) -> Self {
        let start = format!("{:x}-", zone.region().base().addr());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&start)).expect("the region is mapped");
        let inode = line.split_whitespace().nth(4).expect("range, access, offset, device, inode");
        Self { inode: format!(" {inode} "), start }
    }

    fn exists(&self) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| {
            line.starts_with(&self.start) && line.contains(&self.inode) && line.contains("memfd:waterwheel-pages")
        })
    }
}

#[test]
fn goes_with_the_handle_when_no_page_is_out() {
    let zone = zone(16);
    let mapping = Mapping::of(&zone);
    let other = zone.clone();
    drop(zone.alloc(2));
    drop(zone);
    assert!(mapping.exists());
    assert_whole(&other);
    drop(other);
    assert!(!mapping.exists());
}

#[test]
fn stays_for_a_page_that_is_out_and_goes_with_it() {
    let zone = zone(700);
    let mapping = Mapping::of(&zone);
    let (mut first, second) = (zone.alloc(3).unwrap().into_page(), zone.alloc(0).unwrap().into_page());
    assert_whole_but(&zone, 9);
    drop(zone);
    first.as_mut_slice().fill(7);
    drop(second);
    assert!(mapping.exists() && first.iter().all(|byte| *byte == 7));
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert!(!mapping.exists(), "the last page unmaps the region, on whatever thread");
}

/// The account while `out` pages are held.
fn assert_whole_but(zone: &Zone, out: usize) {
    let account = waterwheel_mm::Account::open(zone).close(waterwheel_mm::Users::Alive);
    assert_eq!((account.free, account.held_by_users, account.conflicts), (account.total - out, out, 0));
}

#[test]
fn a_page_may_leave_and_return_many_times_and_the_zone_stays() {
    let zone = zone(4);
    let mapping = Mapping::of(&zone);
    for _ in 0..1000 {
        drop(zone.alloc(2).unwrap()); // all pages: from whole to empty and back
    }
    assert!(mapping.exists());
    assert_whole(&zone);
}

fn file_of(zone: &Zone) -> File {
    // SAFETY: the tests write to it only what the kernel must refuse.
    File::from(unsafe { zone.region().memfd() }.try_clone_to_owned().unwrap())
}

#[test]
fn page_n_lies_at_offset_n_of_the_file() {
    let zone = zone(8);
    assert_eq!(zone.region().len(), 8 * PAGE_SIZE);
    let file = file_of(&zone);
    assert_eq!(file.metadata().unwrap().len(), 8 * PAGE_SIZE as u64);
    let mut page = zone.alloc(0).unwrap().into_page();
    assert_eq!(page.as_ptr(), zone.region().base().wrapping_add(page.number() as usize * PAGE_SIZE));
    page.as_mut_slice().fill(0x5a);
    let mut read = [0; PAGE_SIZE];
    file.read_exact_at(&mut read, u64::from(page.number()) * PAGE_SIZE as u64).unwrap();
    assert_eq!(read[..], page[..]);
    drop(page);
    assert_whole(&zone);
}

#[test]
fn whoever_has_the_file_cannot_take_the_memory_away() {
    let zone = zone(8);
    let file = file_of(&zone);
    assert!(file.set_len(0).is_err(), "a shrunk file would be a SIGBUS in every holder of a page");
    assert!(file.set_len(1 << 20).is_err());
    assert_eq!(zone.alloc(3).unwrap().into_page()[8 * PAGE_SIZE - 1], 0);
    assert_whole(&zone);
}

#[test]
fn no_region_has_the_name_of_a_former_one() {
    let mut names = HashSet::new();
    let mut places = HashSet::new();
    for _ in 0..50 {
        let zone = zone(4);
        let page = zone.alloc(0).unwrap();
        assert_eq!(page.region_id(), zone.id());
        assert!(names.insert(zone.id()), "the name of a region that is gone");
        places.insert(page.into_page().as_ptr().addr());
    }
    assert!(places.len() < 50, "none of them came to lie where another had been, which was to be tried");
}

#[test]
fn sizes_that_cannot_be_are_refused_by_name() {
    for pages in [0, MAX_PAGES + 1, usize::MAX] {
        let error = Zone::new(&ZoneParams::pages(pages)).unwrap_err();
        assert!(matches!(error, RegionError::Size(n) if n == pages));
        assert_eq!(error.to_string(), format!("a region has between 1 and {MAX_PAGES} pages of 4 KiB, not {pages}"));
    }
}

#[test]
fn huge_pages_that_are_not_there_are_an_error_that_says_what_to_do() {
    // 30 GiB: no machine that runs tests has them reserved.
    let params = ZoneParams { pages: MAX_PAGES, huge_pages: HugePages::Require, ..ZoneParams::default() };
    let error = Zone::new(&params).unwrap_err().to_string();
    assert!(error.starts_with("15360 free huge pages of 2 MiB are needed and "), "{error}");
    assert!(error.contains("are free; reserve more with `sysctl vm.nr_hugepages=N`, or do without them"), "{error}");
}

#[test]
fn small_pages_are_small_and_a_node_is_a_label() {
    let params = ZoneParams { pages: 3, huge_pages: HugePages::Never, node: Some(5), ..ZoneParams::default() };
    let zone = Zone::new(&params).unwrap();
    assert_eq!((zone.region().backing(), zone.node()), (Backing::Small, 5));
    assert_eq!(zone.region().backing().to_string(), "4 KiB pages");
    assert_whole(&zone);
}

#[test]
fn a_node_that_does_not_exist_is_named() {
    for node in [63, 64, u32::MAX] {
        let error = Zone::new(&ZoneParams { pages: 4, bind_node: Some(node), ..ZoneParams::default() }).unwrap_err();
        assert!(matches!(error, RegionError::Node { node: n, .. } if n == node), "{error}");
        assert!(error.to_string().starts_with(&format!("memory of NUMA node {node} could not be had: ")), "{error}");
    }
}

#[test]
fn pages_name_their_region() {
    let (a, b) = (zone(4), zone(4));
    let (pa, pb) = (a.alloc(0).unwrap(), b.alloc(0).unwrap());
    assert_eq!((pa.region_id(), pb.region_id()), (a.id(), b.id()));
    assert_ne!(a.id(), b.id());
    drop((pa, pb));
    assert_whole(&a);
    assert_whole(&b);
}
