//! Datagrams between a device and a socket of the standard library. A stream keeps no boundaries, so there are no frames in it to look for: its tests are in `tests/socket.rs`.

use std::net::UdpSocket;

use waterwheel_dev::socket::{SocketParams, Udp};
use waterwheel_xdp::Zone;
use waterwheel_xdp::conformance::{Pair, Peer, Profile, Rig, conform};

/// What finds no room in a socket's buffer is lost: so many frames at a time fit, by the kernel's defaults.
const RING: u16 = 128;

struct Datagrams;

struct Socket(UdpSocket);

impl Peer for Socket {
    fn put(&mut self, frame: &[u8]) -> bool {
        self.0.send(frame).is_ok()
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 1 << 16];
        let len = self.0.recv(&mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }
}

impl Rig for Datagrams {
    fn profile(&self) -> Profile {
        Profile { fills: true, longest: 3839, knows_losses: true, ..Profile::default() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        let local = ([127, 0, 0, 1], 0).into();
        let peer = UdpSocket::bind(local).unwrap();
        peer.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 4 << 20).unwrap();
        let params = SocketParams { ring: RING, ..SocketParams::default() };
        let device = Udp::open(zone, local, Some(peer.local_addr().unwrap()), &params).unwrap();
        peer.connect(device.local_address()).unwrap();
        Pair { device: Box::new(device), peer: Box::new(Socket(peer)) }
    }
}

#[test]
fn udp_conforms() {
    let report = conform(&mut Datagrams);
    assert_eq!(report.not_asked, ["the_last_packet"]);
}
