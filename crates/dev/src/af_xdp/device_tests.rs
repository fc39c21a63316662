//! The device on a veth pair: what is lost, what was not sent, when the kernel is called, and what is no reason to give up.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{
    Account, Device, Direction, Drops, Health, Homes, PagePool, PoolParams, Traffic, XdpBuff, XdpFrame, Zone,
};

use super::link::Link;
use super::testing::{Net, Stranger, frame, root, run};
use super::{AfXdp, AfXdpParams};
use crate::signals::Signals;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bed {
    device: AfXdp,
    pools: Vec<PagePool>,
    zone: Zone,
    far: Stranger,
    _net: Net,
}

impl Bed {
    /// A device with small rings, whose pool has so many pages.
    fn new(limit: usize) -> Self {
        let net = Net::new();
        let zone = Zone::new(&ZoneParams::pages(256)).unwrap();
        let pools = vec![PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() }).unwrap()];
        let far = Stranger::on(Link::by_name("far").unwrap().index);
        Self { device: open(&zone), pools, zone, far, _net: net }
    }

    fn receive(&mut self) -> Vec<XdpBuff> {
        let mut batch = Vec::with_capacity(64);
        self.device.rx(&mut self.pools[0], &mut batch, 64);
        batch
    }

    fn recycle(&mut self, packets: Vec<XdpBuff>) {
        packets.into_iter().for_each(|packet| self.pools[0].put(packet.into_page()));
    }

    fn send(&mut self, count: usize) {
        let frame = |pool: &mut PagePool| XdpBuff::copy_from(pool, Direction::Tx, &frame(60, 1)).unwrap().into();
        let mut frames: Vec<XdpFrame> = (0..count).map(|_| frame(&mut self.pools[0])).collect();
        let sent = self.device.tx(&mut self.pools[0], &mut frames, &mut Drops::default());
        assert_eq!(sent, Traffic { packets: count as u64, bytes: 60 * count as u64 });
    }

    fn complete(&mut self) {
        self.device.complete(&mut Homes::new(&mut self.pools));
    }

    fn lost(&self, name: &str) -> u64 {
        let mut found = None;
        self.device.lost(&mut |said, n| found = if said == name { Some(n) } else { found });
        found.unwrap_or_else(|| panic!("nothing is said of {name}"))
    }

    fn all_lost(&self) -> u64 {
        let mut sum = 0;
        self.device.lost(&mut |_, n| sum += n);
        sum
    }

    fn counter(&self, name: &str) -> u64 {
        let mut found = 0;
        self.device.counters(&mut |said, n| found = if said == name { n } else { found });
        found
    }

    fn until_lost(&self, count: u64) {
        let begin = Instant::now();
        while self.all_lost() < count {
            assert!(begin.elapsed() < PATIENCE, "{} of {count} were lost", self.all_lost());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn shutdown(&mut self) {
        self.device.shutdown(&mut Homes::new(&mut self.pools));
        assert_eq!(self.device.in_flight(), 0);
    }

    /// Every page is home.
    fn finish(mut self) {
        self.shutdown();
        drop((self.device, self.pools));
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole(), "{account:?}");
    }
}

fn open(zone: &Zone) -> AfXdp {
    let rings = AfXdpParams { rx_ring: 16, tx_ring: 16, fill_ring: 32, completion_ring: 16, ..Default::default() };
    AfXdp::open(zone, &AfXdpParams { iface: "near".to_owned(), ..rings }).unwrap()
}

#[test]
fn what_no_ring_had_room_for_is_lost_once() {
    if !root("what_no_ring_had_room_for_is_lost_once") {
        return;
    }
    let mut bed = Bed::new(128);
    assert!(bed.receive().is_empty(), "it begins");
    assert_eq!(bed.all_lost(), 0);
    (0..40).for_each(|seed| bed.far.send(&frame(60, seed)));
    bed.until_lost(24);
    let got = bed.receive();
    assert_eq!((got.len(), bed.lost("rx_ring_full"), bed.all_lost()), (16, 24, 24));
    bed.recycle(got);
    (0..3).for_each(|seed| bed.far.send(&frame(60, seed)));
    let begin = Instant::now();
    while bed.device.queue.as_mut().unwrap().socket.rx().available() < 3 {
        assert!(begin.elapsed() < PATIENCE);
    }
    bed.shutdown();
    assert_eq!((bed.lost("rx_left_at_close"), bed.lost("rx_ring_full"), bed.all_lost()), (3, 24, 27));
    bed.finish();
}

/// The kernel counts such a packet twice: as dropped, and as one that found no page.
#[test]
fn what_found_no_page_is_lost_once() {
    if !root("what_found_no_page_is_lost_once") {
        return;
    }
    let mut bed = Bed::new(8);
    assert!(bed.receive().is_empty(), "it begins");
    let pages = bed.device.in_flight() as u64;
    assert!(pages < 8, "some are left for others");
    (0..10).for_each(|seed| bed.far.send(&frame(60, seed)));
    bed.until_lost(10 - pages);
    let got = bed.receive();
    assert_eq!((got.len() as u64, bed.all_lost()), (pages, 10 - pages));
    assert_eq!((bed.lost("rx_fill_ring_empty_descs"), bed.lost("rx_dropped")), (10 - pages, 0));
    bed.recycle(got);
    bed.finish();
}

#[test]
fn what_the_driver_refused_was_not_sent() {
    if !root("what_the_driver_refused_was_not_sent") {
        return;
    }
    let mut bed = Bed::new(128);
    run("ip link set far down"); // a driver without a carrier drops what it is given
    bed.send(5);
    assert_eq!(bed.device.unsent(), Traffic::default());
    bed.device.flush();
    assert_eq!((bed.device.unsent().packets, bed.counter("tx_refused_by_driver")), (5, 5));
    bed.complete();
    run("ip link set far up");
    let begin = Instant::now();
    while !Link::by_name("near").unwrap().carrier {
        assert!(begin.elapsed() < PATIENCE);
    }
    bed.far = Stranger::on(Link::by_name("far").unwrap().index); // the other one had an interface that went down
    bed.send(3);
    bed.device.flush();
    (0..3).for_each(|_| assert_eq!(bed.far.recv().unwrap(), frame(60, 1)));
    bed.shutdown();
    assert_eq!((bed.device.unsent().packets, bed.device.health()), (5, Health::Up));
    bed.finish();
}

#[test]
fn what_waits_for_a_carrier_is_not_stuck() {
    if !root("what_waits_for_a_carrier_is_not_stuck") {
        return;
    }
    let mut bed = Bed::new(128);
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    bed.send(1); // and nobody tells the kernel
    assert_eq!((bed.device.stuck(now), bed.device.stuck(now + 9 * second)), (None, None));
    let why = bed.device.stuck(now + 10 * second).expect("it does not come back");
    assert!(why.contains("near: 1 sent frames did not come back"), "{why}");
    run("ip link set far down");
    assert!(!Link::by_name("near").unwrap().carrier);
    assert_eq!(bed.device.stuck(now + 20 * second), None, "without a carrier it cannot");
    run("ip link set far up");
    let begin = Instant::now();
    while !Link::by_name("near").unwrap().carrier {
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_eq!(bed.device.stuck(now + 21 * second), None, "from now on anew");
    assert!(bed.device.stuck(now + 31 * second).is_some());
    bed.finish();
}

/// A veth never asks for it: the test plays the driver that does, in the words that are shared with it.
#[test]
fn the_kernel_is_called_when_it_asks_for_it() {
    if !root("the_kernel_is_called_when_it_asks_for_it") {
        return;
    }
    let mut bed = Bed::new(128);
    assert!(bed.receive().is_empty(), "pages are posted");
    let calls = |bed: &Bed| (bed.counter("rx_calls"), bed.counter("tx_calls"));
    let wish = |bed: &Bed, fill: u32, tx: u32| {
        let socket = &bed.device.queue.as_ref().unwrap().socket;
        socket.fill.memory().flags().unwrap().store(fill, Relaxed);
        socket.tx.memory().flags().unwrap().store(tx, Relaxed);
    };
    wish(&bed, 0, 0);
    bed.device.flush();
    assert_eq!(calls(&bed), (0, 0));
    wish(&bed, 1, 0);
    bed.device.flush();
    assert_eq!(calls(&bed), (1, 0));
    wish(&bed, 0, 0);
    bed.send(1);
    bed.device.flush();
    assert_eq!(calls(&bed), (1, 0), "it is awake");
    wish(&bed, 0, 1);
    bed.device.flush();
    assert_eq!(calls(&bed), (1, 1), "it fell asleep over a frame that it was given before");
    assert_eq!(bed.far.recv().unwrap(), frame(60, 1));
    bed.complete();
    bed.device.flush();
    assert_eq!(calls(&bed), (1, 1), "it has nothing more to do");
    bed.finish();
}

#[test]
fn signals_break_nothing() {
    if !root("signals_break_nothing") {
        return;
    }
    let mut bed = Bed::new(128);
    bed.shutdown();
    let _signals = Signals::to_this_thread();
    for seed in 0..20 {
        bed.device = open(&bed.zone);
        assert!(bed.receive().is_empty(), "it begins");
        bed.far.send(&frame(60, seed));
        let begin = Instant::now();
        let mut got = Vec::new();
        while got.is_empty() {
            assert!(begin.elapsed() < PATIENCE);
            got = bed.receive();
        }
        assert_eq!(got[0].data(), frame(60, seed));
        bed.recycle(got);
        bed.send(1);
        bed.device.flush();
        assert_eq!(bed.device.health(), Health::Up);
        bed.shutdown();
        assert_eq!((bed.device.health(), bed.all_lost(), bed.device.unsent()), (Health::Up, 0, Traffic::default()));
    }
    bed.finish();
}
