//! A frozen page has no bytes to read.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = zone.alloc(0).unwrap();
    assert_eq!(page.size(), 4096);
    let _bytes = page.as_slice(); //~ E0599
}
