//! Devices that go away while packets pass, and devices that do not keep the rules.

mod common;

use common::{Peer, Sink, Source, assert_counted, assert_whole, sum, until, zone};
use std::sync::atomic::Ordering;
use std::thread;
use waterwheel_xdp::mm::RegionId;
use waterwheel_xdp::{
    Action, Capabilities, Context, Device, DropReason, Drops, Fabric, Health, Homes, PagePool, PortId, Traffic, Wait,
    Worker, XdpBuff, XdpFrame,
};

#[test]
fn a_failed_device_gives_its_pages_back_and_the_rest_goes_on() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let (mut peer, from) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (bad, bad_state) = Sink::new(256);
    let (good, good_state) = Sink::new(256);
    let bad = fabric.add(0, bad, common::pool(&zone)).unwrap();
    let good = fabric.add(0, good, common::pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let end = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut odd = false;
            worker.run(&mut |_: &Context, _: &mut XdpBuff| {
                odd = !odd;
                Action::Redirect(if odd { bad } else { good })
            });
            worker.close()
        });
        until(|| peer.send(1) == 1 && bad_state.packets.load(Ordering::Relaxed) > 0);
        bad_state.fail.store(true, Ordering::Relaxed);
        until(|| bad_state.shutdowns.load(Ordering::Relaxed) == 1);
        let before = good_state.packets.load(Ordering::Relaxed);
        until(|| {
            peer.send(10);
            good_state.packets.load(Ordering::Relaxed) > before + 1000
        });
        until(|| {
            let now = control.snapshot();
            let port = now.workers[0].ports.get(usize::from(bad.0));
            port.is_some_and(|port| port.health == Health::Failed("unplugged".to_owned()))
        });
        control.stop();
        sum(vec![thread.join().unwrap()])
    });
    assert!(end.drops().get(DropReason::DeviceDown) > 0);
    assert_counted(&end);
    assert_eq!(bad_state.late.load(Ordering::Relaxed), 0, "nobody calls a device that was shut down");
    assert_eq!((bad_state.shutdowns.load(Ordering::Relaxed), good_state.shutdowns.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(end.workers[0].ports[usize::from(from.0)].health, Health::Up);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn a_source_paced_by_a_device_that_failed_is_not_held_up() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let source = fabric.add(0, Source::new(5000), common::pool(&zone)).unwrap();
    let (sink, state) = Sink::new(0); // never has room
    let out = fabric.add(0, sink, common::pool(&zone)).unwrap();
    fabric.pace(source, out);
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    state.fail.store(true, Ordering::Relaxed);
    let end = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Redirect(out));
            worker.close()
        });
        let begin = std::time::Instant::now();
        while !thread.is_finished() && begin.elapsed().as_secs() < 5 {
            thread::yield_now();
        }
        control.stop();
        sum(vec![thread.join().unwrap()])
    });
    assert_eq!((end.rx().packets, end.drops().get(DropReason::DeviceDown)), (5000, 5000));
    assert_counted(&end);
    assert_eq!(state.late.load(Ordering::Relaxed), 0);
    assert_whole(&zone);
}

#[test]
fn when_the_only_source_fails_the_run_ends() {
    let zone = zone(256);
    let mut fabric = Fabric::new(2);
    let (sink, state) = Sink::new(8);
    fabric.add(0, sink, common::pool(&zone)).unwrap();
    state.fail.store(true, Ordering::Relaxed);
    let workers = fabric.build().unwrap();
    let control = workers[0].control();
    thread::scope(|scope| {
        let run = |mut worker: Worker| {
            worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Aborted);
            worker.close()
        };
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || run(worker))).collect();
        until(|| control.is_stopped());
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
    assert_whole(&zone);
}

/// A sink that has registered memory.
struct Registered(Box<Sink>, RegionId);

impl Device for Registered {
    fn name(&self) -> &str {
        "registered"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { region: Some(self.1), ..self.0.capabilities() }
    }
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.0.complete(homes)
    }
    fn rx(&mut self, _: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        0
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.0.tx(pool, frames, drops)
    }
    fn wait(&self) -> Wait {
        self.0.wait()
    }
    fn health(&mut self) -> Health {
        self.0.health()
    }
    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.0.shutdown(homes);
    }
}

#[test]
fn a_device_with_a_pool_of_other_memory_is_refused() {
    let (zone, other) = (zone(256), zone(256));
    let mut fabric = Fabric::new(1);
    let registered = |region| Box::new(Registered(Sink::new(8).0, region));
    let refused = fabric.add(0, registered(zone.id()), common::pool(&other));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "registered has registered other memory than that of its pool: make both of one zone"
    );
    let port = fabric.add(0, registered(zone.id()), common::pool(&zone)).unwrap();
    assert_eq!(port, PortId(0), "what was refused has no number");
    drop(fabric);
    assert_whole(&zone);
    assert_whole(&other);
}

#[test]
fn a_device_of_other_memory_takes_nobodys_place() {
    let (zone, other) = (zone(256), zone(256));
    let mut fabric = Fabric::new(1);
    let (sink, state) = Sink::new(8);
    let port = fabric.add(0, Box::new(Registered(sink, zone.id())), common::pool(&zone)).unwrap();
    let (mine, others, mut made) = (zone.id(), other.id(), 0);
    let again = move || {
        made += 1;
        let region = if made < 3 { others } else { mine };
        Ok(Box::new(Registered(Sink::new(8).0, region)) as Box<dyn Device>)
    };
    fabric.revive(port, Box::new(again));
    let mut worker = fabric.build().unwrap().remove(0);
    state.fail.store(true, Ordering::Relaxed);
    let why = "unplugged; not back yet: it has registered other memory than that of its pool";
    until(|| {
        worker.is_alive();
        worker.stats().ports[0].health == Health::Failed(why.to_owned())
    });
    assert_eq!(worker.stats().ports[0].revivals, 0);
    until(|| {
        worker.is_alive();
        worker.stats().ports[0].revivals == 1
    });
    drop(worker.close());
    assert_whole(&zone);
    assert_whole(&other);
}
