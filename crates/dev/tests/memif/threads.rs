//! The queues of one interface in several threads, each of which sleeps when it has nothing to do.

use std::time::{Duration, Instant};

use crate::common::Bench;
use crate::support::{Folder, PATIENCE, packet, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, Wait, Zone};

const QUEUES: u16 = 3;
const PACKETS: usize = 20_000;
/// So many are under way at once: both rings have room for them.
const WINDOW: usize = 24;

fn open(params: &MemifParams) -> Vec<Memif> {
    let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
    Memif::open(&zone, &MemifParams { queues: QUEUES, ring: 32, ..params.clone() }).expect("devices")
}

/// Sleeps as long as the device says. Who sleeps until there is something is woken, or it never ends.
fn sleep(device: &mut Memif) {
    drop(device.health());
    match device.wait() {
        Wait::Now => {}
        Wait::Until(then) => std::thread::sleep(then.saturating_duration_since(Instant::now())),
        Wait::Readable | Wait::Never => {
            let mut fds = Vec::new();
            device.fds(&mut |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let longest = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            assert!(poll(&mut fds, Some(&longest)).expect("poll") > 0, "nobody woke {}", device.name());
        }
    }
}

fn connect(device: &mut Memif) {
    until("connecting", || {
        drop(device.health());
        device.is_connected()
    });
}

/// Sends numbered packets, and looks whether each comes back, in order.
fn ask(device: &mut Memif, queue: usize) {
    connect(device);
    let mut bench = Bench::with_pages(128);
    let (mut sent, mut back) = (0, 0);
    let bytes = |number: usize| packet(number * 7 + queue, 60 + number % 1000);
    while back < PACKETS {
        let burst = (PACKETS - sent).min(WINDOW - (sent - back)).min(1 + sent % 5);
        let frames = (sent..sent + burst).map(|number| bench.frame(&bytes(number))).collect();
        assert_eq!(bench.send(device, frames).packets, burst as u64);
        sent += burst;
        bench.complete(device);
        let got = bench.receive(device, 64);
        for one in &got {
            assert!(one.data() == bytes(back), "packet {back} of queue {queue}");
            back += 1;
        }
        if got.is_empty() && (burst == 0 || sent % 3 == 0) {
            sleep(device);
        }
        bench.recycle(got);
    }
}

/// Sends back what comes.
fn answer(device: &mut Memif) {
    connect(device);
    let mut bench = Bench::with_pages(128);
    let mut done = 0;
    while done < PACKETS {
        let got = bench.receive(device, 64);
        if got.is_empty() {
            sleep(device);
            continue;
        }
        done += got.len();
        let count = got.len() as u64;
        let frames = got.into_iter().map(Into::into).collect();
        assert_eq!(bench.send(device, frames).packets, count);
        bench.complete(device);
    }
}

#[test]
fn each_queue_has_a_thread_and_nobody_sleeps_for_ever() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut servers = open(&folder.server());
    for _ in 0..3 {
        let mut clients = open(&folder.client());
        std::thread::scope(|scope| {
            for (queue, (client, server)) in clients.iter_mut().zip(&mut servers).enumerate() {
                scope.spawn(move || ask(client, queue));
                scope.spawn(move || answer(server));
            }
        });
        // They go each at its own time, in threads, while the others may still look.
        std::thread::scope(|scope| {
            for client in clients {
                scope.spawn(move || Bench::new().finish(client));
            }
        });
        until("the end is noticed", || {
            servers.iter_mut().for_each(|server| drop(server.health()));
            std::thread::sleep(Duration::from_millis(1));
            servers.iter().all(|server| !server.is_connected())
        });
    }
    servers.into_iter().for_each(|device| bench.finish(device));
}
