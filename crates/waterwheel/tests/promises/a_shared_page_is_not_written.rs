//! What several hold nobody writes.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let mut page = zone.alloc(0).unwrap().into_page();
    page.as_mut_slice()[0] = 1;
    let mut shared = page.share();
    shared[0] = 2; //~ E0594
    let _ = &mut shared;
}
