//! Devices on interfaces of the kernel, in a network namespace of the test.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use waterwheel_dev::af_xdp::link::Link;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams};
use waterwheel_dev::tap::Tap;
use waterwheel_xdp::Zone;
use waterwheel_xdp::conformance::{Cut, DevicePeer, Pair, Peer, Profile, Rig, conform};

use crate::testing::{Net, Stranger, root, run};

/// The veth pair of the namespace, with a device on each end.
struct Veths {
    _net: Net,
    /// The pair was deleted.
    gone: bool,
    mtu: usize,
}

fn device(iface: &str, zone: &Zone) -> Box<AfXdp> {
    let rings =
        AfXdpParams { rx_ring: 512, tx_ring: 256, fill_ring: 512, completion_ring: 256, ..AfXdpParams::new(iface, 0) };
    Box::new(AfXdp::open(zone, &rings).unwrap_or_else(|error| panic!("{error}")))
}

impl Rig for Veths {
    fn profile(&self) -> Profile {
        Profile { fills: true, longest: self.mtu + 14, ..Profile::default() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        if std::mem::take(&mut self.gone) {
            Net::pair();
        }
        for name in ["near", "far"] {
            run(&format!("ip link set dev {name} mtu {}", self.mtu));
        }
        let peer = DevicePeer::new(device("far", zone), zone);
        Pair { device: device("near", zone), peer: Box::new(peer) }
    }

    fn cut(&mut self) -> Cut {
        run("ip link del near");
        self.gone = true;
        Cut::Failed
    }
}

#[test]
fn af_xdp_conforms() {
    if !root("af_xdp_conforms") {
        return;
    }
    let report = conform(&mut Veths { _net: Net::new(), gone: false, mtu: 1500 });
    assert_eq!(report.not_asked, ["the_last_packet"]);
}

#[test]
fn af_xdp_with_jumbo_frames_conforms() {
    if !root("af_xdp_with_jumbo_frames_conforms") {
        return;
    }
    let report = conform(&mut Veths { _net: Net::new(), gone: false, mtu: JUMBO });
    assert_eq!(report.not_asked, ["the_last_packet"]);
}

/// Jumbo frames: three pages each.
const JUMBO: usize = 9000;

/// A tap, and a packet socket on the host's side of it.
struct Taps {
    _net: Net,
}

/// The host's side.
struct Host {
    socket: Stranger,
    seen: VecDeque<Vec<u8>>,
}

impl Peer for Host {
    fn put(&mut self, frame: &[u8]) -> bool {
        self.socket.send_now(frame)
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.seen.extend(std::iter::from_fn(|| self.socket.recv_now()));
        self.seen.pop_front()
    }
}

impl Rig for Taps {
    fn profile(&self) -> Profile {
        Profile { longest: JUMBO + 14, knows_losses: true, ..Profile::default() }
    }

    fn open(&mut self, _: &Zone, _: &[Vec<u8>]) -> Pair {
        // Another test's child may have the former one's file for a moment longer, between fork and exec.
        let deadline = Instant::now() + Duration::from_secs(60);
        let tap = loop {
            match Tap::open("wwconf") {
                Ok(tap) => break tap,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        run(&format!("ip link set dev wwconf mtu {JUMBO}"));
        let socket = Stranger::on(Link::by_name("wwconf").unwrap().index);
        set_socket_recv_buffer_size_force(&socket, 8 << 20).unwrap();
        Pair { device: Box::new(tap), peer: Box::new(Host { socket, seen: VecDeque::new() }) }
    }

    fn cut(&mut self) -> Cut {
        run("ip link del wwconf");
        Cut::Failed
    }
}

#[test]
fn a_tap_conforms() {
    if !root("a_tap_conforms") {
        return;
    }
    let report = conform(&mut Taps { _net: Net::new() });
    assert_eq!(report.not_asked, ["ring_full", "the_last_packet"]);
}
