//! Where a packet lies is said when it is made, and is looked at then: its page is not exchanged below it.
use waterwheel::{XdpBuff, Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let mut packet = XdpBuff::whole(zone.alloc(0).unwrap().into_page());
    packet.set_len(64);
    packet.page = zone.alloc(0).unwrap().into_page(); //~ E0616
}
