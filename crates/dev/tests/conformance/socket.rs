//! Datagrams between two sockets of this machine. A stream keeps no boundaries, so that there are no frames in it to look for: its tests are in `socket.rs`.

use std::net::{SocketAddr, UdpSocket};

use waterwheel_dev::socket::{SocketParams, Udp};
use waterwheel_xdp::Zone;
use waterwheel_xdp::conformance::{DevicePeer, Pair, Profile, Rig, conform};

/// A socket, and one that is its peer.
struct Datagrams;

impl Rig for Datagrams {
    fn profile(&self) -> Profile {
        // Whatever finds no room in the other socket's buffer is lost.
        Profile { fills: true, longest: 3839, ..Profile::default() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        let open = |local: SocketAddr, peer| Udp::open(zone, local, Some(peer), &SocketParams::default());
        // A port that is free; another may take it before it is bound again.
        let (near, far) = loop {
            let free = || UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
            let [near, far] = [free(), free()];
            if near != far
                && let (Ok(near), Ok(far)) = (open(near, far), open(far, near))
            {
                break (near, far);
            }
        };
        Pair { device: Box::new(near), peer: Box::new(DevicePeer::new(Box::new(far), zone)) }
    }
}

#[test]
fn udp_conforms() {
    let report = conform(&mut Datagrams);
    assert_eq!(report.not_asked, ["ring_full", "the_last_packet"]);
}
