//! The file is a second way to every page: what is written to it changes bytes that somebody has borrowed.
use waterwheel::{Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let _address = zone.region().base();
    let _file = zone.region().memfd(); //~ E0133
}
