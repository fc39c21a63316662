//! There is no second handle to a page that can be written to.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let page = zone.alloc(0).unwrap().into_page();
    let _second = page.clone(); //~ E0599
    drop(page);
}
