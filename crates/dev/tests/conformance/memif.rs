//! memif, both roles: two interfaces of one process at one socket.

use std::time::{Duration, Instant};

use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::conformance::{DevicePeer, Pair, Profile, Rig, conform};
use waterwheel_xdp::{Device, Zone};

use crate::Scratch;

struct Interfaces {
    socket: Scratch,
    /// Whether the device under test is the server.
    server: bool,
}

impl Rig for Interfaces {
    fn profile(&self) -> Profile {
        Profile { fills: true, longest: 9000, ..Profile::default() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        let params = MemifParams { ring: 256, ..MemifParams::new(&self.socket.0) };
        let open = |params: &MemifParams| Memif::open(zone, params).unwrap_or_else(|error| panic!("{error}")).remove(0);
        let (mut server, mut client) = (open(&params.clone().server()), open(&params));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !(server.is_connected() && client.is_connected()) {
            assert!(Instant::now() < deadline, "they do not connect");
            server.health();
            client.health();
        }
        let (device, peer) = if self.server { (server, client) } else { (client, server) };
        Pair { device: Box::new(device), peer: Box::new(DevicePeer::new(Box::new(peer), zone)) }
    }
}

#[test]
fn memif_conforms_in_both_roles() {
    for server in [true, false] {
        let report = conform(&mut Interfaces { socket: Scratch::new(), server });
        assert_eq!(report.not_asked, ["the_last_packet"]);
    }
}
