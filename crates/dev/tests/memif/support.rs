//! A folder for sockets, and devices that are driven by hand.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::common::Bench;
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::{Device, XdpBuff};

/// Longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, which goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ww-memif-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("m.sock")
    }

    pub(crate) fn client(&self) -> MemifParams {
        MemifParams::new(self.socket())
    }

    pub(crate) fn server(&self) -> MemifParams {
        self.client().server()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.0.join("testpmd.log")).unwrap_or_default();
            eprintln!("{log}"); // what it said, if there was one
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn counter(device: &impl Device, name: &str) -> u64 {
    let mut found = None;
    device.counters(&mut |counter, n| {
        if counter == name {
            assert!(found.replace(n).is_none(), "{name} twice");
        }
    });
    found.unwrap_or_else(|| panic!("a counter {name}"))
}

/// Does `step` until `done`.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it takes too long: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Lets both sides talk until they are connected.
pub(crate) fn connect(left: &mut [Memif], right: &mut [Memif]) {
    until("connecting", || {
        left.iter_mut().chain(&mut *right).for_each(|device| drop(device.health()));
        left.iter().chain(&*right).all(Memif::is_connected)
    });
}

/// Receives until `count` packets are there.
pub(crate) fn receive(bench: &mut Bench, device: &mut Memif, count: usize) -> Vec<XdpBuff> {
    let mut packets = Vec::new();
    until("receiving", || {
        packets.extend(bench.receive(device, count - packets.len()));
        packets.len() == count
    });
    packets
}

/// A packet of `len` bytes that is like no other.
pub(crate) fn packet(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + number * 31 + i / 256) as u8).collect()
}
