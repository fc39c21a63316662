//! DPDK's `net_memif` as the other side, in either role: `dpdk-testpmd` (Debian: `dpdk-dev`), which sends back what it receives. It is killed and started again under load.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Bench, whole};
use crate::support::{Folder, counter, packet, until};
use waterwheel_dev::memif::{Memif, MemifParams, Role};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, DropReason, Zone};

/// It runs until it is dropped, which kills it.
pub(crate) struct Testpmd(Child);

impl Testpmd {
    pub(crate) fn start(folder: &Folder, role: &str, queues: u16) -> Self {
        Self::start_at(folder, role, queues, &format!("{},socket-abstract=no", folder.socket().display()))
    }

    fn start_at(folder: &Folder, role: &str, queues: u16, socket: &str) -> Self {
        let mut command = Command::new("dpdk-testpmd");
        command.env("RUNTIME_DIRECTORY", &folder.0).args([
            "-l",
            "0-1",
            "--no-huge",
            "-m",
            "256",
            "--no-pci",
            "--no-telemetry",
        ]);
        command.args(["--no-shconf", "--file-prefix", &format!("ww-memif-{}", std::process::id())]);
        command.arg(format!("--vdev=net_memif0,role={role},id=0,socket={socket}"));
        command.args([
            "--",
            "--no-mlockall",
            "--total-num-mbufs=8192",
            "--forward-mode=io",
            "--auto-start",
            "--no-flush-rx",
        ]);
        command.args([format!("--rxq={queues}"), format!("--txq={queues}"), "--interactive".into()]);
        let log = std::fs::File::create(folder.0.join("testpmd.log")).expect("a file");
        command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a copy")).stderr(log);
        Self(command.spawn().expect("dpdk-testpmd is installed (Debian: dpdk-dev)"))
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        let _ = self.0.wait();
    }
}

fn open(params: &MemifParams) -> Vec<Memif> {
    Memif::open(&Zone::new(&ZoneParams::pages(1)).expect("a zone"), params).expect("devices")
}

/// Sends and receives until a thousand packets have come back.
pub(crate) fn load_until_it_forwards(bench: &mut Bench, device: &mut Memif, number: &mut usize) {
    let mut back = 0;
    until("a thousand packets come back", || {
        back += load(bench, device, number, Duration::from_millis(50));
        back >= 1000
    });
}

/// Sends and receives for a while, from packet `number` on; each packet that comes back is one that was sent. Tells how many came back.
pub(crate) fn load(bench: &mut Bench, device: &mut Memif, number: &mut usize, time: Duration) -> usize {
    let end = Instant::now() + time;
    let mut back = 0;
    while Instant::now() < end {
        let room = device.tx_room().min(32);
        let frames = (*number..*number + room).map(|number| bench.frame(&marked(number))).collect();
        bench.send(device, frames);
        *number += room;
        bench.complete(device);
        let got = bench.receive(device, 64);
        for one in &got {
            let sent = u32::from_ne_bytes(one.data()[14..18].try_into().expect("four bytes")) as usize;
            assert!(sent < *number && one.data() == marked(sent), "packet {sent} of {number}");
        }
        back += got.len();
        bench.recycle(got);
        drop(device.health());
    }
    back
}

/// A packet that says its number.
fn marked(number: usize) -> Vec<u8> {
    let mut bytes = packet(number, 60 + number % 1400);
    bytes[14..18].copy_from_slice(&(number as u32).to_ne_bytes());
    bytes
}

fn survives_kills(role: Role) {
    let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
    let (params, theirs) = match role {
        Role::Server => (folder.server(), "client"),
        Role::Client => (folder.client(), "server"),
    };
    let mut devices = open(&params);
    let device = &mut devices[0];
    let mut number = 0;
    for life in 1..=4 {
        if role == Role::Client {
            let _ = std::fs::remove_file(folder.socket()); // DPDK does not replace the socket of a server that is gone
        }
        let testpmd = Testpmd::start(&folder, theirs, 1);
        until("it connects", || {
            drop(device.health());
            device.is_connected()
        });
        assert!(device.mode().contains("connected to DPDK"), "{}", device.mode());
        load_until_it_forwards(&mut bench, device, &mut number);
        drop(testpmd); // in the midst of it
        load(&mut bench, device, &mut number, Duration::from_millis(50));
        until("its end is noticed", || {
            drop(device.health());
            !device.is_connected()
        });
        assert_eq!((counter(device, "connects"), counter(device, "disconnects")), (life, life));
    }
    for liar in ["bad_messages", "bad_indices", "bad_descriptors", "rx_too_long", "rx_short", "rejected_peers"] {
        assert_eq!(counter(device, liar), 0, "{liar}");
    }
    assert_eq!(bench.drops(DropReason::Malformed), 0);
    devices.into_iter().for_each(|device| bench.finish(device));
}

#[test]
fn a_client_that_is_killed_and_comes_back() {
    survives_kills(Role::Server);
}

#[test]
fn a_server_that_is_killed_and_comes_back() {
    survives_kills(Role::Client);
}

/// As DPDK does it unless it is told otherwise: a socket without a file. Two queues.
#[test]
fn sockets_without_a_file_are_its_default() {
    for role in [Role::Server, Role::Client] {
        let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
        let socket = folder.socket().display().to_string();
        let params = MemifParams { role, queues: 2, ..MemifParams::new(format!("@{socket}")) };
        let mut devices = open(&params);
        let _testpmd = Testpmd::start_at(&folder, if role == Role::Server { "client" } else { "server" }, 2, &socket);
        until("it connects", || {
            devices.iter_mut().for_each(|device| drop(device.health()));
            devices.iter().all(Memif::is_connected)
        });
        for device in &mut devices {
            load_until_it_forwards(&mut bench, device, &mut 0);
        }
        assert!(!folder.socket().exists());
        devices.into_iter().for_each(|device| bench.finish(device));
    }
}

/// Its server says that it takes 256 rings, whichever interface is wanted, and refuses what that does not have.
#[test]
fn a_server_with_fewer_queues_than_it_says() {
    let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
    let _testpmd = Testpmd::start(&folder, "server", 2);
    let mut devices = open(&MemifParams { queues: 4, ..folder.client() });
    let events = devices[0].events();
    until("two queues connect", || {
        devices.iter_mut().for_each(|device| drop(device.health()));
        devices[..2].iter().all(Memif::is_connected)
    });
    let told = events.take();
    let [.., fewer, connected] = told.as_slice() else { panic!("{told:?}") };
    assert!(fewer.contains("it has fewer queues: trying 2"), "{told:?}");
    assert!(connected.contains("connected to DPDK") && connected.contains("with 2 of 4 queues"), "{told:?}");
    for device in &mut devices[..2] {
        load_until_it_forwards(&mut bench, device, &mut 0);
    }
    assert!(devices[2..].iter().all(|device| device.mode().contains("has no ring for this queue")));
    devices.into_iter().for_each(|device| bench.finish(device));
}

/// Packets of several descriptors both ways, several queues, and none is missing.
#[test]
fn nothing_is_missing_however_long() {
    for role in [Role::Server, Role::Client] {
        let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
        let params = MemifParams { role, queues: 2, ..folder.client() };
        let mut devices = open(&params);
        let _testpmd = Testpmd::start(&folder, if role == Role::Server { "client" } else { "server" }, 2);
        until("it connects", || {
            devices.iter_mut().for_each(|device| drop(device.health()));
            devices.iter_mut().all(|device| device.tx_room() >= 32) // it has begun
        });
        for (number, len) in [60, 1514, 2048, 2049, 4096, 4097, 9014, 20_000].into_iter().enumerate() {
            for device in &mut devices {
                let frame = bench.frame(&packet(number, len));
                assert_eq!(bench.send(device, vec![frame]).packets, 1);
                bench.complete(device);
            }
            let mut back = 0;
            until(&format!("{len} bytes come back, {role:?}"), || {
                for device in &mut devices {
                    let got = bench.receive(device, 64);
                    got.iter().for_each(|one| assert!(whole(one) == packet(number, len), "{len} bytes, {role:?}"));
                    back += got.len();
                    bench.recycle(got);
                }
                back == devices.len()
            });
        }
        devices.into_iter().for_each(|device| bench.finish(device));
    }
}
