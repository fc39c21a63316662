//! The generator and the sink, as devices.
#![cfg(all(feature = "gen", feature = "null"))]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, whole};
use etherparse::SlicedPacket;
use waterwheel_dev::generator::{Gen, GenParams};
use waterwheel_dev::null::{Null, NullParams};
use waterwheel_xdp::{Device, HEADROOM, Health, Wait, XdpFrame};

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
fn packets_longer_than_a_page_go_on_in_fragments() {
    let mut bench = Bench::with_pages(100);
    let (mut device, mut sink) = (generator("size=9000,count=40"), Null::new());
    let packets = bench.receive(&mut device, 64);
    assert_eq!(packets.len(), 33, "as many as 100 pages hold, three each");
    for packet in &packets {
        let whole = whole(packet);
        let sliced = SlicedPacket::from_ethernet(&whole).unwrap();
        assert!(sliced.transport.is_some() && whole.len() == 9000);
    }
    let traffic = bench.send(&mut sink, packets.into_iter().map(XdpFrame::from).collect());
    assert_eq!((traffic.packets, traffic.bytes), (33, 33 * 9000));
    bench.complete(&mut sink);
    let rest = bench.receive(&mut device, 64);
    assert_eq!((rest.len(), device.health()), (7, Health::Finished));
    bench.recycle(rest);
    bench.finish(device);
    bench.finish(sink);
}

#[test]
fn null_with_a_size_gives_as_many_as_it_is_asked_for() {
    let mut params = NullParams::default();
    params.set("size", "64").unwrap();
    let mut bench = Bench::with_pages(100);
    let mut device = Null::source(params.size.unwrap()).unwrap();
    assert_eq!((device.wait(), device.health()), (Wait::Now, Health::Up));
    assert_eq!(device.name(), "null:size=64");
    assert!(device.capabilities().rx && !Null::new().capabilities().rx);
    let packets = bench.receive(&mut device, 64);
    assert!(packets.len() == 64 && packets.iter().all(|packet| packet.len() == 64 && packet.headroom() >= HEADROOM));
    let rest = bench.receive(&mut device, 64);
    assert_eq!(rest.len(), 36, "no more than the pool has pages");
    assert_eq!(bench.send(&mut device, packets.into_iter().chain(rest).map(XdpFrame::from).collect()).bytes, 6400);
    assert_eq!(bench.complete(&mut device), 100);
    bench.finish(device);
}

#[test]
fn null_has_no_packets_that_are_no_frames() {
    for size in ["59", "9217", "-1", "", "imix"] {
        let message = NullParams::default().set("size", size).expect_err(size).to_string();
        assert!(message.starts_with(&format!("size={size}: want")), "{message}");
    }
    assert!(NullParams::default().set("sze", "64").is_err());
    for size in [60, 3840, 3841, 9216] {
        let mut bench = Bench::new();
        let mut device = Null::source(size).unwrap();
        let packets = bench.receive(&mut device, 1);
        assert_eq!(packets[0].total_len(), size);
        bench.recycle(packets);
        bench.finish(device);
    }
}

#[test]
fn an_empty_pool_leaves_no_gap_in_the_sequence() {
    for text in ["count=300,size=9000,sport=1-65535", "count=300,size=100,sport=1-65535"] {
        let (mut ample, mut scarce) = (Bench::with_pages(1024), Bench::with_pages(16));
        let (mut expected, mut device) = (generator(text), generator(text));
        let mut came = Vec::new();
        let all = ample.receive(&mut expected, 300);
        while device.health() == Health::Up {
            let packets = scarce.receive(&mut device, 64);
            let none = scarce.receive(&mut device, 64);
            assert!((1..64).contains(&packets.len()) && none.is_empty(), "the pool is empty");
            came.extend(packets.iter().map(whole));
            scarce.recycle(packets);
        }
        assert!(came.iter().eq(all.iter().map(whole).collect::<Vec<_>>().iter()), "{text}");
        ample.recycle(all);
        ample.finish(expected);
        scarce.finish(device);
    }
}
