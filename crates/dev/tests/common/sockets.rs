//! A socket as a device, and a socket of the standard library as its peer.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use waterwheel_dev::socket::{SocketParams, Tcp, Udp};
use waterwheel_dev::uring::{Send, Without};
use waterwheel_xdp::{Device, XdpBuff, XdpFrame};

use super::{Bench, whole};

/// Nothing takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// All features, and each plain path.
pub(crate) fn ways() -> Vec<SocketParams> {
    let without = [
        Without::default(),
        Without { multishot: true, ..Without::default() },
        Without { bundle: true, ..Without::default() },
        Without { buffer_ring: true, ..Without::default() },
        Without { send_zc: true, ..Without::default() },
        Without { fixed: true, ..Without::default() },
    ];
    let sends = [Send::Auto, Send::Plain, Send::Zc];
    let with = |without| sends.map(|send| SocketParams { without, send, ..SocketParams::default() });
    without.into_iter().flat_map(with).collect()
}

/// A device, and a socket of the standard library that is its peer.
pub(crate) fn udp(bench: &Bench, params: &SocketParams) -> (Udp, UdpSocket) {
    let peer = UdpSocket::bind(local()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let device = Udp::open(bench.zone(), local(), Some(peer.local_addr().unwrap()), params).unwrap();
    peer.connect(device.local_address()).unwrap();
    (device, peer)
}

/// A round of a worker.
pub(crate) fn round(bench: &mut Bench, device: &mut impl Device) -> Vec<XdpBuff> {
    bench.complete(device);
    let packets = bench.receive(device, 64);
    device.flush();
    packets
}

/// Rounds until `done` is, by the payloads that have come.
pub(crate) fn rounds(
    bench: &mut Bench,
    device: &mut impl Device,
    mut done: impl FnMut(&mut dyn Device, &[Vec<u8>]) -> bool,
) -> Vec<Vec<u8>> {
    let (mut came, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        let packets = round(bench, device);
        came.extend(packets.iter().map(whole));
        bench.recycle(packets);
        if done(device, &came) {
            return came;
        }
        assert!(Instant::now() < deadline, "{} packets have come; {}", came.len(), counters(device));
    }
}

pub(crate) fn counters(device: &dyn Device) -> String {
    let mut text = String::new();
    device.counters(&mut |name, n| text.push_str(&format!("{name} {n}, ")));
    text
}

pub(crate) fn counter(device: &dyn Device, wanted: &str) -> u64 {
    let mut found = None;
    device.counters(&mut |name, n| found = found.or((name == wanted).then_some(n)));
    found.unwrap()
}

pub(crate) fn lost(device: &dyn Device, wanted: &str) -> u64 {
    let mut found = None;
    device.lost(&mut |name, n| found = found.or((name == wanted).then_some(n)));
    found.unwrap()
}

pub(crate) fn lost_in_all(device: &dyn Device) -> u64 {
    let mut sum = 0;
    device.lost(&mut |_, n| sum += n);
    sum
}

/// The next datagram that the peer has. What the kernel refused to send without a copy is sent meanwhile.
pub(crate) fn take(bench: &mut Bench, device: &mut Udp, peer: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    peer.set_nonblocking(true).unwrap();
    let mut len = None;
    rounds(bench, device, |_, _| {
        len = peer.recv(&mut bytes).ok();
        len.is_some()
    });
    peer.set_nonblocking(false).unwrap();
    bytes.truncate(len.unwrap());
    bytes
}

/// A payload that says which one it is.
pub(crate) fn payload(number: usize) -> Vec<u8> {
    let len = 1 + number * 379 % 3000;
    (0..len).map(|place| (number * 31 + place * 7) as u8).collect()
}

pub(crate) fn frames(bench: &mut Bench, numbers: std::ops::Range<usize>) -> Vec<XdpFrame> {
    numbers.map(|number| bench.frame(&payload(number))).collect()
}

/// A device that is connected, and its peer.
pub(crate) fn tcp(bench: &Bench, params: &SocketParams) -> (Tcp, TcpStream) {
    let listener = TcpListener::bind(local()).unwrap();
    let device = Tcp::connect(bench.zone(), listener.local_addr().unwrap(), params).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (device, peer)
}

/// The payloads of these numbers, behind each other.
pub(crate) fn stream(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(payload).collect()
}
