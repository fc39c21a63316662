//! A device driven from one's own epoll loop, beside whatever else the program waits for.
//!
//! `cargo run --example epoll` generates a thousand packets a second; with the name of a tap (`-- tap0`, as root) it counts what arrives there.

use rustix::event::epoll;
use std::time::Instant;
use waterwheel::dev::generator::{Gen, GenParams};
use waterwheel::dev::{null::Null, tap::Tap};
use waterwheel::prog::Forward;
use waterwheel::xdp::Wait;
use waterwheel::{Device, Fabric, PagePool, PoolParams, Zone, ZoneParams};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let zone = Zone::new(&ZoneParams::pages(1024))?;
    let source: Box<dyn Device> = match std::env::args().nth(1) {
        Some(name) => Box::new(Tap::open(&name)?),
        None => {
            let mut params = GenParams::default();
            params.set("rate", "1000")?;
            params.set("count", "3000")?;
            Box::new(Gen::new(&params)?)
        }
    };
    let mut fabric = Fabric::new(1);
    let a = fabric.add(0, source, PagePool::new(&zone, PoolParams::default())?)?;
    let b = fabric.add(0, Box::new(Null::new()), PagePool::new(&zone, PoolParams::default())?)?;
    let mut worker = fabric.build()?.remove(0);
    let mut program = Forward::new();
    program.wire(a, b);

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut fds = 0;
    worker.fds(&mut |fd| {
        fds += 1;
        // Your own descriptors go into the same epoll, with other data.
        let _ = epoll::add(&epoll, fd, epoll::EventData::new_u64(fds), epoll::EventFlags::IN);
    });
    let mut events = Vec::with_capacity(16);
    let start = Instant::now();
    while start.elapsed().as_secs() < 5 && worker.is_alive() {
        if worker.poll(&mut program) > 0 {
            continue; // there may be more
        }
        let timeout = match worker.wait() {
            Wait::Now => continue,
            Wait::Until(time) => time.saturating_duration_since(Instant::now()).as_millis().min(100) as i64,
            Wait::Readable | Wait::Never => 100,
        };
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: (timeout.max(1)) * 1_000_000 };
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
    }
    let stats = worker.close();
    println!("{} packets in {} rounds", stats.ports[0].rx.packets, stats.rounds);
    Ok(())
}
