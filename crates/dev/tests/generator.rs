//! The generator and the sink, as devices.
#![cfg(all(feature = "gen", feature = "null"))]

mod common;

use std::time::{Duration, Instant};

use common::Bench;
use etherparse::SlicedPacket;
use waterwheel_dev::generator::{Gen, GenParams};
use waterwheel_dev::null::Null;
use waterwheel_xdp::{Device, Health, Wait, XdpFrame};

fn generator(text: &str) -> Gen {
    let mut params = GenParams::default();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap();
        params.set(key, value).unwrap();
    }
    Gen::new(&params).unwrap()
}

#[test]
fn it_ends_after_its_count_and_the_sink_gives_every_page_back() {
    let mut bench = Bench::new();
    let mut device = generator("count=1000,size=imix,sport=1-65535");
    let mut sink = Null::new();
    assert_eq!(sink.wait(), Wait::Never);
    let (mut received, mut sent) = (0, 0);
    while device.health() == Health::Up {
        let packets = bench.receive(&mut device, 64);
        assert!(packets.len() == 64 || received + packets.len() == 1000);
        received += packets.len();
        for packet in &packets {
            SlicedPacket::from_ethernet(packet.data()).unwrap();
        }
        let traffic = bench.send(&mut sink, packets.into_iter().map(XdpFrame::from).collect());
        sent += traffic.packets;
        assert!(sink.in_flight() > 0, "pages come home when the frames complete, not before");
        bench.complete(&mut sink);
        assert_eq!(sink.in_flight(), 0);
    }
    assert_eq!((received, sent, device.health()), (1000, 1000, Health::Finished));
    assert!(bench.receive(&mut device, 64).is_empty());
    bench.finish(device);
    bench.finish(sink);
}

#[test]
fn what_is_sent_to_it_completes() {
    let mut bench = Bench::new();
    let mut device = generator("count=0");
    assert_eq!(device.health(), Health::Finished);
    let frames = (0..10).map(|_| bench.frame(&[0; 60])).collect();
    let traffic = bench.send(&mut device, frames);
    assert_eq!((traffic.packets, traffic.bytes), (10, 600));
    assert_eq!(bench.complete(&mut device), 10);
    bench.finish(device);
}

#[test]
fn an_empty_pool_gives_fewer_packets_and_none_is_counted_that_was_not_made() {
    let mut bench = Bench::with_pages(100);
    let mut device = generator("count=300");
    let mut held = Vec::new();
    loop {
        let packets = bench.receive(&mut device, 64);
        if packets.is_empty() {
            break;
        }
        held.push(packets);
    }
    let got: usize = held.iter().map(Vec::len).sum();
    assert!((1..300).contains(&got), "{got}");
    held.into_iter().for_each(|packets| bench.recycle(packets));
    let mut rest = 0;
    while device.health() == Health::Up {
        let packets = bench.receive(&mut device, 32);
        rest += packets.len();
        bench.recycle(packets);
    }
    assert_eq!(got + rest, 300);
    bench.finish(device);
}

#[test]
fn a_rate_is_kept_and_waiting_tells_until_when() {
    let mut bench = Bench::new();
    let mut device = generator("rate=20k");
    let start = Instant::now();
    let mut received = 0;
    while start.elapsed() < Duration::from_millis(300) {
        let packets = bench.receive(&mut device, 64);
        received += packets.len();
        bench.recycle(packets);
        if let Wait::Until(next) = device.wait() {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    let most = start.elapsed().as_micros() / 50 + 1;
    assert!(received > 100 && received as u128 <= most, "{received} packets, at most {most} were due");
    bench.finish(device);
}

#[test]
fn packets_longer_than_a_page_are_a_failure_with_a_reason() {
    let mut bench = Bench::new();
    let mut device = generator("size=9000");
    assert!(bench.receive(&mut device, 64).is_empty());
    assert!(matches!(device.health(), Health::Failed(reason) if reason.contains("9000")));
    bench.finish(device);
}
