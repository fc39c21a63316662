//! Interfaces that go and come back while a worker runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use waterwheel_dev::af_xdp::AfXdp;
use waterwheel_dev::af_xdp::link::Link;
use waterwheel_xdp::mm::{Account, Users};
use waterwheel_xdp::{Control, Device, Fabric, Health, PortStats, WorkerStats, Zone};

use crate::support::{account, counter, cross, params, pool, second_pair, zone};
use crate::testing::{Net, Stranger, frame, root, run};

/// The second port, as it is now.
fn second(control: &Control) -> PortStats {
    control.snapshot().workers[0].ports[1].clone()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "in a minute it did not happen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Crosses `near` and `near2`, which is taken away by `take` and given back by `give`, again and again, while packets come all the time.
fn away_and_back(take: &str, give: impl Fn(), words: &str) {
    let _net = Net::new();
    second_pair();
    let far = Stranger::on(Link::by_name("far").unwrap().index);
    let zone = zone();
    let mut fabric = Fabric::new(1);
    for name in ["near", "near2"] {
        let port = fabric.add(0, Box::new(AfXdp::open(&zone, &params(name)).unwrap()), pool(&zone)).unwrap();
        let zone = zone.clone();
        let open = move || match AfXdp::open(&zone, &params(name)) {
            Ok(device) => Ok(Box::new(device) as Box<dyn Device>),
            Err(error) => Err(error.to_string()),
        };
        fabric.revive(port, Box::new(open));
    }
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let thread = std::thread::spawn(move || {
        worker.run(&mut cross);
        worker
    });

    until("empty pages are posted", || {
        let ports = control.snapshot().workers.remove(0).ports;
        ports.len() == 2 && ports.iter().all(|port| port.in_flight > 0)
    });
    let sent = Arc::new(Mutex::new(0u64));
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let traffic = || {
            while !stop.load(Ordering::Relaxed) {
                if far.send_now(&frame(200, 7)) {
                    *sent.lock().unwrap() += 1;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        };
        scope.spawn(traffic);
        let _ended = OnDrop(&stop);
        for time in 1..=3 {
            let far2 = Stranger::on(Link::by_name("far2").unwrap().index);
            until("packets cross", || far2.recv_now().is_some_and(|packet| packet == frame(200, 7)));
            run(take);
            until(
                "the loss is noticed",
                || matches!(second(&control).health, Health::Failed(why) if why.starts_with(words)),
            );
            assert!(second(&control).reviving);
            give();
            until("it is taken up again", || second(&control).revivals == time);
            assert_eq!(second(&control).health, Health::Up);
        }
        let far2 = Stranger::on(Link::by_name("far2").unwrap().index);
        until("packets cross", || far2.recv_now().is_some_and(|packet| packet == frame(200, 7)));
        assert_eq!(control.snapshot().workers[0].ports[0].revivals, 0, "the other port had no part in it");
    });

    // All that came in is accounted for, and all pages are home.
    let arrived = || {
        let stats = control.snapshot().workers.remove(0);
        let lost = ["rx_ring_full", "rx_fill_ring_empty_descs", "rx_dropped"].map(|name| counter(&stats, 0, name));
        stats.ports[0].rx.packets + lost.iter().sum::<u64>()
    };
    until("every packet is received, or counted by the kernel", || arrived() == *sent.lock().unwrap());
    control.stop();
    let mut worker = thread.join().unwrap();
    let mut open = Account::open(&zone);
    worker.account(&mut open);
    let open = open.close(Users::Gone);
    assert_eq!((open.leaked, open.conflicts, open.quarantined), (0, 0, 0), "{open:?}");
    assert_everything_counted(&worker.close());
    assert_whole(&zone);
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn assert_everything_counted(end: &WorkerStats) {
    let (rx, tx) =
        (end.ports[0].rx.packets + end.ports[1].rx.packets, end.ports[0].tx.packets + end.ports[1].tx.packets);
    assert_eq!(rx, tx + end.drops.total(), "{end:?}");
}

fn assert_whole(zone: &Zone) {
    assert!(account(zone).is_whole(), "{:?}", account(zone));
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_taken_up_again() {
    if root("an_interface_that_is_deleted_and_made_again_is_taken_up_again") {
        away_and_back("ip link del near2", second_pair, "near2 is gone");
    }
}

#[test]
fn an_interface_that_is_set_down_and_up_is_taken_up_again() {
    if root("an_interface_that_is_set_down_and_up_is_taken_up_again") {
        away_and_back("ip link set near2 down", || run("ip link set near2 up"), "near2 was set down");
    }
}
