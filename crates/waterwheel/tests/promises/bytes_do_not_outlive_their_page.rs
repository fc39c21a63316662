//! A slice of a page ends before the page goes home.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = zone.alloc(0).unwrap().into_page();
    let bytes = &page[..];
    assert_eq!(bytes.len(), 4096);
    drop(page); //~ E0505
    assert_eq!(bytes[0], 0);
}
