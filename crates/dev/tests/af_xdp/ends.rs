//! How devices begin and end, and who has their pages then.

use std::time::{Duration, Instant};

use waterwheel_dev::ErrorClass;
use waterwheel_dev::af_xdp::link::Link;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams, Steering, XdpMode};
use waterwheel_xdp::mm::{Account, Users, ZoneParams};
use waterwheel_xdp::{Device, Health, Homes, PagePool, Zone};

use crate::signals::Signals;
use crate::support::{PAGES, account, counter, cross, params, poll_until, pool, reflect, second_pair, worker, zone};
use crate::testing::{Net, Stranger, frame, root, run};

#[test]
fn an_interface_that_goes_is_reported_and_the_rest_goes_on() {
    if !root("an_interface_that_goes_is_reported_and_the_rest_goes_on") {
        return;
    }
    for (command, words) in [("ip link del near2", "near2 is gone"), ("ip link set near2 down", "near2 was set down")] {
        let _net = Net::new();
        second_pair();
        let far = Stranger::on(Link::by_name("far").unwrap().index);
        let zone = zone();
        let mut worker = worker(&zone, &[params("near"), params("near2")]);
        worker.poll(&mut cross);
        far.send(&frame(60, 1));
        poll_until(&mut worker, cross, |stats| stats.ports[1].tx.packets == 1);
        run(command);
        let control = worker.control();
        let thread = std::thread::spawn(move || {
            worker.run(&mut reflect);
            worker
        });
        let failed = Health::Failed(words.to_owned());
        let deadline = Instant::now() + Duration::from_secs(60);
        while control.snapshot().workers[0].ports.get(1).is_none_or(|port| port.health != failed) {
            assert!(Instant::now() < deadline, "{words}");
        }
        // The first one still works: what it gets it sends back.
        far.send(&frame(70, 2));
        assert_eq!(far.recv().unwrap(), frame(70, 2));
        // It is closed elsewhere, which takes its time.
        while control.snapshot().workers[0].ports[1].in_flight > 0 {
            assert!(Instant::now() < deadline, "its pages do not come back");
        }
        control.stop();
        let mut worker = thread.join().unwrap();
        let stats = worker.stats();
        assert_eq!((&stats.ports[0].health, &stats.ports[1].health), (&Health::Up, &failed));
        assert_eq!(stats.ports[1].in_flight, 0, "its pages are back");
        assert_eq!(counter(&stats, 1, "quarantined_pages"), 0);
        let mut open = Account::open(&zone);
        worker.account(&mut open);
        let open = open.close(Users::Gone);
        assert_eq!((open.leaked, open.conflicts), (0, 0), "{open:?}");
        worker.close();
        assert!(account(&zone).is_whole(), "{:?}", account(&zone));
    }
}

#[test]
fn a_device_that_is_only_dropped_gives_its_pages_back_too() {
    if !root("a_device_that_is_only_dropped_gives_its_pages_back_too") {
        return;
    }
    let _net = Net::new();
    let zone = zone();
    let mut pool = pool(&zone);
    let mut device = AfXdp::open(&zone, &params("near")).unwrap();
    device.rx(&mut pool, &mut Vec::with_capacity(64), 64);
    assert_eq!(device.in_flight(), 256, "the fill ring is full");
    drop(pool);
    drop(device);
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

#[test]
fn pages_are_quarantined_while_somebody_has_a_copy_of_the_socket() {
    if !root("pages_are_quarantined_while_somebody_has_a_copy_of_the_socket") {
        return;
    }
    let _net = Net::new();
    let zone = zone();
    let mut pools = [pool(&zone)];
    let copied = |pools: &mut [PagePool; 1]| {
        let mut device = AfXdp::open(&zone, &params("near")).unwrap();
        device.rx(&mut pools[0], &mut Vec::with_capacity(64), 64);
        let copy = device.socket().unwrap().try_clone_to_owned().unwrap();
        device.shutdown(&mut Homes::new(pools));
        copy
    };
    // The next socket on the queue proves that the former one is gone. A test beside this one, which opens a queue at the same moment, may be the one to find that out: then once more.
    let found = (0..20).any(|_| {
        let copy = copied(&mut pools);
        assert_eq!(
            (zone.stats().quarantined, pools[0].outstanding()),
            (256, 256),
            "they count against the pool's limit"
        );
        let error = AfXdp::open(&zone, &params("near")).expect_err("the queue is taken").to_string();
        assert!(error.contains("queue 0 is taken"), "{error}");
        drop(copy);
        let device = AfXdp::open(&zone, &params("near")).unwrap();
        assert_eq!((zone.stats().quarantined, pools[0].outstanding()), (0, 0), "all are home");
        let mut released = 0;
        device.counters(&mut |name, n| released += if name == "released_pages" { n } else { 0 });
        assert!(released == 0 || released == 256, "{released}");
        released == 256
    });
    assert!(found, "released_pages are counted");

    // So does an interface that is gone, when any other queue is opened; the pool went first.
    let copy = copied(&mut pools);
    drop(pools);
    let found = account(&zone);
    assert_eq!((found.quarantined, found.free, found.leaked), (256, PAGES - 256, 0));
    run("ip link del near");
    drop(AfXdp::open(&zone, &params("lo")));
    drop(copy);
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

#[test]
fn a_program_of_ones_own_is_left_alone() {
    if !root("a_program_of_ones_own_is_left_alone") {
        return;
    }
    let _net = Net::new();
    let zone = zone();
    let device = AfXdp::open(&zone, &AfXdpParams { steering: Steering::None, ..params("near") }).unwrap();
    assert_eq!((device.xdp_mode(), Link::by_name("near").unwrap().xdp), (None, None));
    assert_eq!((device.name(), device.mode().as_str()), ("afxdp:near:0", "program of one's own, copy"));
    assert!(device.socket().is_some());
}

#[test]
fn all_queues_of_an_interface_share_one_program() {
    if !root("all_queues_of_an_interface_share_one_program") {
        return;
    }
    let _net = Net::new();
    run("ip link add wide numrxqueues 2 numtxqueues 2 type veth peer name edge numrxqueues 2 numtxqueues 2");
    run("ip link set wide up");
    run("ethtool -L wide rx 2 tx 2");
    let zone = zone();
    let open = |queue| AfXdp::open(&zone, &AfXdpParams { queue, ..params("wide") }).unwrap();
    let (first, second) = (open(0), open(1));
    let program = Link::by_name("wide").unwrap().xdp.unwrap();
    assert_eq!(program.mode, XdpMode::Native);
    drop(first);
    assert_eq!(Link::by_name("wide").unwrap().xdp, Some(program), "the other queue has it still");
    drop(second);
    assert_eq!(Link::by_name("wide").unwrap().xdp, None);
    assert!(account(&zone).is_whole());
}

#[test]
fn memory_that_is_too_small_for_the_rings_is_refused() {
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    let error = AfXdp::open(&zone, &params("near")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Config);
    assert!(error.to_string().contains("64 pages of memory are too few"), "{error}");
}

/// The verifier gives up on a signal, and whoever waits is interrupted by one.
#[test]
fn a_stream_of_signals_keeps_no_socket_from_being_opened() {
    if !root("a_stream_of_signals_keeps_no_socket_from_being_opened") {
        return;
    }
    let _net = Net::new();
    let zone = zone();
    let _signals = Signals::to_this_thread();
    let steering: Steering =
        "dst=10.0.0.0/8,dst=2001:db8::/32,proto=udp,proto=tcp,port=53,port=4000-4010".parse().unwrap();
    for _ in 0..50 {
        let params = AfXdpParams { steering: steering.clone(), ..params("near") };
        AfXdp::open(&zone, &params).unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}
