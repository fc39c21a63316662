//! A packet that was given to a device belongs to the device.
use waterwheel::xdp::XdpFrame;
use waterwheel::{XdpBuff, Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let packet = XdpBuff::whole(zone.alloc(0).unwrap().into_page());
    let redirected = XdpFrame::from(packet);
    assert_eq!(redirected.len(), 0);
    assert_eq!(packet.len(), 0); //~ E0382
}
