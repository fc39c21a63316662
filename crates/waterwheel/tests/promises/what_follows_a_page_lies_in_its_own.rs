//! What is said of a page in a chain is a range that is looked at, not a number that is believed.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = || zone.alloc(0).unwrap().into_page();
    let mut first = page();
    first.append(page(), 0..64);
    first.append(page(), 12_544 | 100 << 16); //~ E0308
}
