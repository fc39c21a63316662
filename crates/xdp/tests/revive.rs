//! Devices that fail and are made anew under the same pool, while everything else goes on.

mod common;

use common::{Peer, Sink, SinkState, Source, Stop, assert_counted, assert_whole, pool, sum, until, zone};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use waterwheel_xdp::{Action, Context, Control, Device, DropReason, Fabric, Health, PortStats, XdpBuff};

/// Makes sinks, and remembers them; refuses as long as it is told to.
#[derive(Clone, Default)]
struct Forge {
    made: Arc<Mutex<Vec<Arc<SinkState>>>>,
    refuse: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Forge {
    fn sink(&self) -> Box<dyn Device> {
        let (sink, state) = Sink::new(64);
        self.made.lock().unwrap().push(state);
        sink
    }

    fn reviver(&self) -> Box<dyn waterwheel_xdp::Revive> {
        let forge = self.clone();
        Box::new(move || {
            forge.asked.fetch_add(1, Ordering::Relaxed);
            if forge.refuse.load(Ordering::Relaxed) { Err("no such interface".to_owned()) } else { Ok(forge.sink()) }
        })
    }

    fn last(&self) -> Arc<SinkState> {
        self.made.lock().unwrap().last().unwrap().clone()
    }
}

fn port(control: &Control, port: usize) -> PortStats {
    let mut found = None;
    until(|| {
        found = control.snapshot().workers[0].ports.get(port).cloned();
        found.is_some() // none before it has answered for the first time
    });
    found.unwrap()
}

#[test]
fn a_device_that_fails_is_made_anew_and_packets_flow_again() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let forge = Forge::default();
    let out = fabric.add(0, forge.sink(), pool(&zone)).unwrap();
    fabric.revive(out, forge.reviver());
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let end = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Redirect(out));
            worker.close()
        });
        let stop = Stop(control.clone());
        for time in 0..5 {
            let sink = forge.last();
            until(|| {
                peer.send(10);
                sink.packets.load(Ordering::Relaxed) > 100
            });
            sink.fail.store(true, Ordering::Relaxed);
            until(|| forge.made.lock().unwrap().len() == time + 2);
            assert_eq!(sink.shutdowns.load(Ordering::Relaxed), 1);
            assert_eq!(sink.late.load(Ordering::Relaxed), 0, "nobody calls a device that was shut down");
        }
        let sink = forge.last();
        until(|| {
            peer.send(10);
            sink.packets.load(Ordering::Relaxed) > 0
        });
        let stats = port(&control, 1);
        assert_eq!((stats.health, stats.reviving, stats.revivals), (Health::Up, false, 5));
        drop(stop);
        sum(vec![thread.join().unwrap()])
    });
    let sent: u64 = forge.made.lock().unwrap().iter().map(|sink| sink.packets.load(Ordering::Relaxed)).sum();
    assert_eq!(end.tx().packets, sent, "the port counts for all of its devices");
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn attempts_that_fail_are_told_and_the_rest_goes_on() {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach(&mut fabric, 0, &zone, 256);
    let (other, other_state) = Sink::new(256);
    let other = fabric.add(0, other, pool(&zone)).unwrap();
    let forge = Forge::default();
    forge.refuse.store(true, Ordering::Relaxed);
    let out = fabric.add(0, forge.sink(), pool(&zone)).unwrap();
    fabric.revive(out, forge.reviver());
    forge.last().fail.store(true, Ordering::Relaxed);
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let end = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut odd = false;
            worker.run(&mut |_: &Context, _: &mut XdpBuff| {
                odd = !odd;
                Action::Redirect(if odd { out } else { other })
            });
            worker.close()
        });
        let stop = Stop(control.clone());
        until(|| {
            peer.send(10);
            forge.asked.load(Ordering::Relaxed) >= 4
        });
        let stats = port(&control, 2);
        assert_eq!(stats.health, Health::Failed("unplugged; not back yet: no such interface".to_owned()));
        assert!(stats.reviving && stats.revivals == 0);
        let before = other_state.packets.load(Ordering::Relaxed);
        until(|| {
            peer.send(10);
            other_state.packets.load(Ordering::Relaxed) > before + 1000
        });
        forge.refuse.store(false, Ordering::Relaxed);
        until(|| port(&control, 2).revivals == 1);
        drop(stop);
        sum(vec![thread.join().unwrap()])
    });
    assert!(end.drops().get(DropReason::DeviceDown) > 0);
    assert_counted(&end);
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn a_source_that_can_wait_loses_nothing_while_its_target_is_away() {
    const PACKETS: u64 = 50_000;
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let source = fabric.add(0, Source::new(PACKETS), pool(&zone)).unwrap();
    let forge = Forge::default();
    let out = fabric.add(0, forge.sink(), pool(&zone)).unwrap();
    fabric.revive(out, forge.reviver());
    fabric.pace(source, out);
    let mut worker = fabric.build().unwrap().remove(0);
    let mut program = |_: &Context, _: &mut XdpBuff| Action::Redirect(out);
    // A loop of one's own, so that the failures lie between rounds.
    let mut failures = 0;
    while worker.stats().ports[0].rx.packets < PACKETS {
        let up = !worker.stats().ports[1].reviving;
        let got = worker.poll(&mut program);
        assert!(up || got == 0, "nothing is received that has nowhere to go");
        if up && failures < 3 && worker.stats().rounds.is_multiple_of(100) {
            forge.last().fail.store(true, Ordering::Relaxed);
            failures += 1;
            assert!(worker.is_alive(), "a port that will be back is a reason to go on");
        }
        assert!(worker.is_alive() || worker.stats().ports[0].rx.packets == PACKETS);
    }
    let end = sum(vec![worker.close()]);
    assert_eq!((end.tx().packets, end.drops().total(), failures), (PACKETS, 0, 3));
    assert_whole(&zone);
}

#[test]
fn a_run_that_ends_waits_for_the_attempt_that_is_under_way() {
    let zone = zone(512);
    let mut fabric = Fabric::new(1);
    let (sink, state) = Sink::new(8);
    let out = fabric.add(0, sink, pool(&zone)).unwrap();
    let (began, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (began.clone(), ended.clone());
    let reviver = move || -> Result<Box<dyn Device>, String> {
        flags.0.store(true, Ordering::Relaxed);
        thread::sleep(std::time::Duration::from_millis(50));
        flags.1.store(true, Ordering::Relaxed);
        Ok(Sink::new(8).0)
    };
    fabric.revive(out, Box::new(reviver));
    state.fail.store(true, Ordering::Relaxed);
    let mut worker = fabric.build().unwrap().remove(0);
    until(|| {
        worker.is_alive();
        began.load(Ordering::Relaxed)
    });
    drop(worker.close());
    assert!(ended.load(Ordering::Relaxed), "nothing of it is left running");
    assert_whole(&zone);
}

#[test]
fn a_reviver_that_panics_is_asked_again() {
    let zone = zone(512);
    let mut fabric = Fabric::new(1);
    let forge = Forge::default();
    let out = fabric.add(0, forge.sink(), pool(&zone)).unwrap();
    forge.last().fail.store(true, Ordering::Relaxed);
    let (mut times, makes) = (0, forge.clone());
    let reviver = move || {
        times += 1;
        assert!(times > 2, "the first two attempts go wrong");
        Ok(makes.sink())
    };
    fabric.revive(out, Box::new(reviver));
    let mut worker = fabric.build().unwrap().remove(0);
    let mut panicked = false;
    until(|| {
        worker.is_alive();
        let stats = worker.stats().ports.remove(0);
        panicked |= stats.health == Health::Failed("unplugged; not back yet: opening it panicked".to_owned());
        stats.revivals == 1
    });
    assert!(panicked);
    drop(worker.close());
    assert_whole(&zone);
}
