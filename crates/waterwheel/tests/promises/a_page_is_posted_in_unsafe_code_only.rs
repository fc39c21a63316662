//! Giving a page to something that writes to it is a promise that the compiler cannot check.
use waterwheel::mm::Posted;
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = zone.alloc(0).unwrap().into_page();
    let _posted = Posted::new(page); //~ E0133
}
