//! The kernel sends what it is told of: bytes that lie in the page, as the constructor has looked at.
use waterwheel::dev::uring::Part;
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = || zone.alloc(0).unwrap().into_page();
    let _part = Part::new(page(), 0, 64);
    let _other = Part { page: page(), offset: 57_600, len: 64 }; //~ E0451
}
