//! Devices around devices.

mod common;

use common::{Peer, assert_whole, number, sum, zone};
use std::sync::{Arc, Mutex};
use waterwheel_xdp::wrap::{Count, Fault, FaultParams, Heading, Sink, Trace};
use waterwheel_xdp::{Action, Context, DropReason, Fabric, Snapshot, XdpBuff};

/// Reflects 3000 packets over a bad line. What came through, as bytes, and the counts.
fn reflect(params: FaultParams) -> (Vec<Vec<u8>>, usize, Snapshot) {
    let zone = zone(4096);
    let mut fabric = Fabric::new(1);
    let (mut peer, _) = Peer::attach_as(&mut fabric, 0, &zone, 256, |near| Box::new(Fault::new(near, params)));
    let mut worker = fabric.build().unwrap().remove(0);
    let (mut seen, mut back) = (Vec::new(), 0);
    for _ in 0..30 {
        assert_eq!(peer.send(100), 100);
        let mut program = |_: &Context, packet: &mut XdpBuff| {
            seen.push(packet.data().to_vec());
            Action::Tx
        };
        for _ in 0..3 {
            worker.poll(&mut program); // a round in which everything was lost is an idle one
        }
        back += peer.receive_count();
    }
    let end = sum(vec![worker.close()]);
    assert_eq!(peer.pool.outstanding(), 0);
    drop(peer);
    assert_whole(&zone);
    (seen, back, end)
}

fn counter(end: &Snapshot, name: &str) -> usize {
    let counters = &end.workers[0].ports[0].counters;
    counters.iter().find(|(key, _)| *key == name).expect("the counter has this name").1 as usize
}

#[test]
fn a_perfect_line_changes_nothing() {
    let (seen, back, end) = reflect(FaultParams::default());
    assert_eq!((seen.len(), back, end.drops().total()), (3000, 3000, 0));
    assert!(seen.iter().map(|data| number(data)).eq(0..3000));
}

#[test]
fn a_bad_line_is_bad_in_the_same_way_every_time() {
    let params = FaultParams { rx_loss: 100_000, tx_loss: 50_000, corrupt: 20_000, duplicate: 30_000, seed: 42 };
    let (seen, back, end) = reflect(params);
    let (again, back_again, _) = reflect(params);
    assert!(seen == again && back == back_again);
    assert!(seen != reflect(FaultParams { seed: 43, ..params }).0, "another seed, another line");
    let (lost, doubled) = (counter(&end, "fault_lost"), counter(&end, "fault_duplicated"));
    let tx_lost = end.drops().get(DropReason::Fault) as usize;
    assert_eq!(seen.len(), 3000 - (lost - tx_lost) + doubled);
    assert_eq!(back, seen.len() - tx_lost);
    assert!((200..400).contains(&(lost - tx_lost)) && (80..220).contains(&tx_lost), "{lost} {tx_lost}");
    assert!((40..150).contains(&doubled), "{doubled}");
}

#[test]
fn corruption_flips_one_bit() {
    let (seen, _, end) = reflect(FaultParams { corrupt: 1_000_000, ..FaultParams::default() });
    assert_eq!((seen.len(), counter(&end, "fault_corrupted")), (3000, 3000));
    for (n, data) in seen.iter().enumerate() {
        let mut clean = vec![0x11; 14];
        clean.extend((n as u64).to_be_bytes());
        clean.resize(60 + n % 1000, n as u8);
        let bits: u32 = data.iter().zip(&clean).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((data.len(), bits), (clean.len(), 1), "packet {n}");
    }
}

#[test]
fn everything_lost_and_everything_doubled() {
    let all = 1_000_000;
    let (seen, back, _) = reflect(FaultParams { rx_loss: all, ..FaultParams::default() });
    assert_eq!((seen.len(), back), (0, 0));
    let (seen, back, end) = reflect(FaultParams { tx_loss: all, ..FaultParams::default() });
    assert_eq!((seen.len(), back, end.drops().get(DropReason::Fault)), (3000, 0, 3000));
    let (seen, back, end) = reflect(FaultParams { duplicate: all, ..FaultParams::default() });
    let doubled = counter(&end, "fault_duplicated");
    assert_eq!((seen.len(), back), (3000 + doubled, 3000 + doubled));
    assert!(doubled > 500, "as far as the budget allows: {doubled}");
    assert!(seen.iter().map(|data| number(data)).is_sorted());
}

/// Writes down what passes.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(Heading, u64)>>>, Arc<Mutex<usize>>);

impl Sink for Notes {
    fn packet(&mut self, heading: Heading, data: &[u8]) {
        self.0.lock().unwrap().push((heading, number(data)));
    }
    fn finish(&mut self) {
        *self.1.lock().unwrap() += 1;
    }
}

#[test]
fn trace_shows_each_packet_each_way_and_ends_once() {
    let zone = zone(2048);
    let notes = Notes::default();
    let mut fabric = Fabric::new(1);
    let wrap = |near| -> Box<dyn waterwheel_xdp::Device> { Box::new(Trace::new(near, notes.clone())) };
    let (mut peer, _) = Peer::attach_as(&mut fabric, 0, &zone, 256, wrap);
    let mut worker = fabric.build().unwrap().remove(0);
    peer.send(100);
    let mut program = |_: &Context, packet: &mut XdpBuff| {
        if number(packet.data()).is_multiple_of(4) { Action::Tx } else { Action::Aborted }
    };
    while worker.poll(&mut program) > 0 {}
    assert_eq!((peer.receive().len(), *notes.1.lock().unwrap()), (25, 0));
    drop(worker.close());
    assert_eq!(*notes.1.lock().unwrap(), 1);
    let notes = notes.0.lock().unwrap();
    let way = |way| notes.iter().filter(move |(heading, _)| *heading == way).map(|(_, number)| *number);
    assert!(way(Heading::Rx).eq(0..100) && way(Heading::Tx).eq((0..100).step_by(4)));
    drop(peer);
    assert_whole(&zone);
}

#[test]
fn count_counts_packets_and_bytes_both_ways() {
    let zone = zone(2048);
    let mut fabric = Fabric::new(1);
    let mut counts = None;
    let (mut peer, _) = Peer::attach_as(&mut fabric, 0, &zone, 64, |near| {
        let (device, seen) = Count::new(near);
        counts = Some(seen);
        Box::new(device)
    });
    let counts = counts.unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    let (mut sent, mut back) = (0, 0);
    for _ in 0..5 {
        sent += peer.send(64) as u64;
        while worker.poll(&mut |_: &Context, _: &mut XdpBuff| Action::Tx) > 0 {}
        back += peer.receive_count() as u64;
    }
    let end = sum(vec![worker.close()]);
    assert_eq!((counts.rx(), counts.tx()), (end.rx(), end.tx()));
    assert_eq!((counts.rx().packets, counts.tx().packets), (sent, back));
    assert_eq!(counts.rx().bytes, (0..sent).map(|n| 60 + n % 1000).sum::<u64>());
    drop(peer);
    assert_whole(&zone);
}
