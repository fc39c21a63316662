//! Packets through open queues.

use std::time::{Duration, Instant};

use waterwheel_dev::af_xdp::link::Link;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams, AttachMode, BusyPoll};
use waterwheel_xdp::{
    Action, Context, Device, Direction, DropReason, Drops, Fabric, Homes, Idle, Traffic, WorkerStats, XdpBuff, XdpFrame,
};

use crate::support::{account, counter, cross, params, poll_until, pool, reflect, second_pair, worker, zone};
use crate::testing::{Net, Stranger, frame, root, run};

fn stranger(name: &str) -> Stranger {
    Stranger::on(Link::by_name(name).unwrap().index)
}

#[test]
fn packets_cross_two_interfaces_unchanged_and_the_queues_open_again_at_once() {
    if !root("packets_cross_two_interfaces_unchanged_and_the_queues_open_again_at_once") {
        return;
    }
    let _net = Net::new();
    second_pair();
    let (far, far2) = (stranger("far"), stranger("far2"));
    let zone = zone();
    for round in 0..20 {
        let mut worker = worker(&zone, &[params("near"), params("near2")]);
        worker.poll(&mut cross);
        for (n, len) in [60, 61, 64, 333, 1514].into_iter().enumerate() {
            for (from, to, port) in [(&far, &far2, 0), (&far2, &far, 1)] {
                let sent = frame(len, (round * 16 + n + port) as u8);
                from.send(&sent);
                let before = worker.stats().ports[port].rx.packets;
                poll_until(&mut worker, cross, |stats| stats.ports[port].rx.packets > before);
                assert_eq!(to.recv().unwrap(), sent);
            }
        }
        let stats = worker.close();
        assert_eq!((stats.actions.redirect, stats.drops.total()), (10, 0));
        for port in 0..2 {
            for name in ["copied_frames", "bad_rx_descs", "bad_completions", "ring_index_errors", "quarantined_pages"] {
                assert_eq!(counter(&stats, port, name), 0, "{name}");
            }
        }
        assert!(account(&zone).is_whole(), "{:?}", account(&zone));
        assert_eq!(Link::by_name("near").unwrap().xdp, None);
    }
}

#[test]
fn jumbo_frames_cross_two_interfaces_in_fragments() {
    if !root("jumbo_frames_cross_two_interfaces_in_fragments") {
        return;
    }
    let _net = Net::new();
    second_pair();
    for name in ["near", "far", "near2", "far2"] {
        run(&format!("ip link set dev {name} mtu 9000"));
    }
    let (far, far2) = (stranger("far"), stranger("far2"));
    let zone = zone();
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let mut worker = worker(&zone, &["near", "near2"].map(|name| AfXdpParams { mode, ..params(name) }));
        worker.poll(&mut cross);
        let lens = [60, 1514, 3700, 3840, 3841, 4096, 7937, 9014];
        for (n, len) in lens.into_iter().enumerate() {
            for (from, to, port) in [(&far, &far2, 0), (&far2, &far, 1)] {
                let sent = frame(len, (n * 2 + port) as u8);
                from.send(&sent);
                let before = worker.stats().ports[port].rx.packets;
                poll_until(&mut worker, cross, |stats| stats.ports[port].rx.packets > before);
                assert!(to.recv().unwrap() == sent, "{mode:?}: {len} bytes came out otherwise");
            }
        }
        let stats = worker.close();
        assert_eq!((stats.actions.redirect, stats.drops.total()), (16, 0), "{stats:?}");
        assert_eq!(stats.ports[0].rx.bytes, lens.iter().sum::<usize>() as u64);
        for port in 0..2 {
            for name in ["copied_frames", "bad_rx_descs", "bad_completions", "rx_dropped", "quarantined_pages"] {
                assert_eq!(counter(&stats, port, name), 0, "{mode:?}: {name}");
            }
        }
        assert!(account(&zone).is_whole(), "{:?}", account(&zone));
    }
}

#[test]
fn a_burst_beyond_the_rings_is_all_there_or_counted() {
    if !root("a_burst_beyond_the_rings_is_all_there_or_counted") {
        return;
    }
    const COUNT: u64 = 5000;
    let lost = |stats: &WorkerStats| -> u64 {
        ["rx_ring_full", "rx_fill_ring_empty_descs", "rx_dropped"].map(|name| counter(stats, 0, name)).iter().sum()
    };
    let _net = Net::new();
    let far = stranger("far");
    let zone = zone();
    for (mode, busy_poll, need_wakeup) in [
        (AttachMode::Native, None, true),
        (AttachMode::Native, Some(BusyPoll::default()), true),
        (AttachMode::Generic, None, false),
    ] {
        let mut worker = worker(&zone, &[AfXdpParams { mode, busy_poll, need_wakeup, ..params("near") }]);
        worker.poll(&mut reflect);
        let mut seen = 0;
        let mut check = |_: &Context, packet: &mut XdpBuff| {
            let seed = packet.data()[14];
            assert_eq!(packet.data(), frame(packet.len(), seed));
            seen += 1;
            if seen % 2 == 0 { Action::Tx } else { Action::Drop(DropReason::Program) }
        };
        for n in 0..COUNT {
            far.send(&frame(60 + (n % 1400) as usize, n as u8));
            // Slower than they come, so that rings overflow.
            if n % 200 == 199 {
                worker.poll(&mut check);
            }
        }
        poll_until(&mut worker, check, |stats| stats.ports[0].rx.packets + lost(stats) >= COUNT);
        let stats = worker.close();
        assert_eq!(stats.ports[0].rx.packets + lost(&stats), COUNT, "{stats:?}");
        assert!(stats.ports[0].rx.packets > 500 && lost(&stats) > 0, "{stats:?}");
        assert_eq!(stats.actions.total(), stats.ports[0].rx.packets);
        assert_eq!(stats.ports[0].mode, if mode == AttachMode::Native { "native, copy" } else { "generic, copy" });
        assert!(account(&zone).is_whole(), "{:?}", account(&zone));
    }
}

#[test]
fn a_sleeping_worker_wakes_up_for_every_packet() {
    if !root("a_sleeping_worker_wakes_up_for_every_packet") {
        return;
    }
    let _net = Net::new();
    second_pair();
    let (far, far2) = (stranger("far"), stranger("far2"));
    let zone = zone();
    let mut fabric = Fabric::new(1);
    for name in ["near", "near2"] {
        fabric.add(0, Box::new(AfXdp::open(&zone, &params(name)).unwrap()), pool(&zone)).unwrap();
    }
    fabric.idle(Idle::Sleep);
    fabric.nap(None);
    let mut worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let thread = std::thread::spawn(move || {
        worker.run(&mut cross);
        worker.close()
    });
    let arrives = || {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(packet) = far2.recv_now() {
                return Some(packet);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        None
    };
    for seed in 0..50 {
        // Mostly it sleeps by now, and would do so for ever.
        std::thread::sleep(Duration::from_millis(2));
        // The kernel drops a packet now and then, where the floods of others fill its backlog: then once more. A worker that slept over the first one would have both then, and the next round
        // would meet the second.
        let got = (0..6).find_map(|_| {
            far.send(&frame(100, seed));
            arrives()
        });
        assert_eq!(got, Some(frame(100, seed)));
    }
    control.stop();
    let stats = thread.join().unwrap();
    assert!(stats.sleeps > 0, "{stats:?}");
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

#[test]
fn what_has_no_ethernet_header_never_reaches_the_kernel() {
    if !root("what_has_no_ethernet_header_never_reaches_the_kernel") {
        return;
    }
    let _net = Net::new();
    let far = stranger("far");
    let zone = zone();
    let mut pools = [pool(&zone)];
    let mut device = AfXdp::open(&zone, &params("near")).unwrap();
    let mut packet = |offset: usize, bytes: &[u8]| {
        let mut packet = XdpBuff::new(pools[0].alloc(Direction::Tx).unwrap(), offset, bytes.len());
        packet.data_mut().copy_from_slice(bytes);
        XdpFrame::from(packet)
    };
    // The kernel takes an empty one out of the ring and never gives its page back. One at the end of its page would have the address of the next page.
    let mut frames =
        vec![packet(256, &[]), packet(4096, &[]), packet(256, &frame(13 + 1, 1)[..13]), packet(256, &frame(60, 1))];
    let mut drops = Drops::default();
    let sent = device.tx(&mut pools[0], &mut frames, &mut drops);
    device.flush();
    assert_eq!((sent.packets, sent.bytes, frames.len()), (1, 60, 0));
    assert_eq!((drops.get(DropReason::Malformed), drops.total()), (3, 3));
    assert_eq!(far.recv().unwrap(), frame(60, 1));
    let deadline = Instant::now() + Duration::from_secs(60);
    while device.in_flight() > 0 && Instant::now() < deadline {
        device.complete(&mut Homes::new(&mut pools));
        device.flush();
    }
    assert_eq!((device.in_flight(), pools[0].outstanding()), (0, 0), "every page came home");
    device.counters(&mut |name, value| assert!(!name.starts_with("tx_invalid") || value == 0, "{name}={value}"));
    drop((device, pools));
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

/// Of more parts than the device takes, and longer than the interface takes: the second is what its sender has to know.
#[test]
fn what_is_longer_than_the_mtu_is_called_so() {
    if !root("what_is_longer_than_the_mtu_is_called_so") {
        return;
    }
    let _net = Net::new();
    second_pair();
    run("ip link set dev near mtu 9000");
    run("ip link set dev far mtu 9000");
    let zone = zone();
    let mut worker = worker(&zone, &[params("near"), params("near2")]);
    worker.poll(&mut cross);
    let far = stranger("far");
    far.send(&frame(9014, 7));
    poll_until(&mut worker, cross, |stats| stats.ports[0].rx.packets == 1);
    poll_until(&mut worker, cross, |stats| stats.drops.total() == 1);
    assert_eq!(worker.stats().drops.get(DropReason::FrameTooLong), 1, "{:?}", worker.stats().drops);
    drop(worker.close());
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

/// The cable is pulled at the other end: the driver takes packets, and drops them.
#[test]
fn what_the_driver_refuses_is_not_sent_nor_are_its_bytes() {
    if !root("what_the_driver_refuses_is_not_sent_nor_are_its_bytes") {
        return;
    }
    let _net = Net::new();
    second_pair();
    let zone = zone();
    let mut worker = worker(&zone, &[params("near"), params("near2")]);
    worker.poll(&mut cross);
    let far = stranger("far");
    run("ip link set dev far2 down");
    for number in 0..20 {
        far.send(&frame(60, number));
    }
    poll_until(&mut worker, cross, |stats| stats.drops.get(DropReason::Unsent) == 20);
    assert_eq!(worker.stats().ports[1].tx, Traffic::default());
    drop(worker.close());
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
}

#[test]
fn frames_of_another_region_are_copied_and_counted() {
    if !root("frames_of_another_region_are_copied_and_counted") {
        return;
    }
    let _net = Net::new();
    let far = stranger("far");
    let (zone, other) = (zone(), zone());
    let mut pools = [pool(&zone)];
    let mut device = AfXdp::open(&zone, &params("near")).unwrap();
    let (mut frames, mut drops) = (Vec::new(), Drops::default());
    let packet = |len: usize| {
        let mut packet = XdpBuff::whole(other.alloc(1).unwrap().into_page());
        packet.set_len(len);
        packet.data_mut().copy_from_slice(&frame(len, len as u8));
        XdpFrame::from(packet)
    };
    frames.extend([packet(60), packet(1518), packet(1519), packet(61)]);
    let sent = device.tx(&mut pools[0], &mut frames, &mut drops);
    device.flush();
    assert_eq!((sent.packets, sent.bytes, frames.len()), (3, 60 + 1518 + 61, 0));
    assert_eq!((drops.get(DropReason::FrameTooLong), drops.total()), (1, 1), "longer than the interface's MTU");
    for len in [60, 1518, 61] {
        assert_eq!(far.recv().unwrap(), frame(len, len as u8));
    }
    let mut copied = 0;
    device.counters(&mut |name, value| copied += if name == "copied_frames" { value } else { 0 });
    assert_eq!(copied, 3);
    assert!(account(&other).is_whole(), "the originals went home at once");

    // Nothing left to copy into: refused, and counted.
    let mut held = Vec::new();
    while let Some(page) = pools[0].alloc(Direction::Tx) {
        held.push(page);
    }
    frames.push(packet(60));
    device.tx(&mut pools[0], &mut frames, &mut drops);
    assert_eq!((drops.get(DropReason::ForeignPage), frames.len()), (1, 0));
    drop(held);
    device.shutdown(&mut Homes::new(&mut pools));
    drop(pools);
    assert!(account(&zone).is_whole(), "{:?}", account(&zone));
    assert!(account(&other).is_whole());
}

#[test]
fn what_finds_no_room_stays_with_the_caller() {
    if !root("what_finds_no_room_stays_with_the_caller") {
        return;
    }
    let _net = Net::new();
    let zone = zone();
    let mut pools = [pool(&zone)];
    let mut device = AfXdp::open(&zone, &params("near")).unwrap();
    let (mut frames, mut drops) = (Vec::new(), Drops::default());
    for _ in 0..200 {
        let mut packet = XdpBuff::whole(pools[0].alloc(Direction::Tx).unwrap());
        packet.set_len(60);
        packet.data_mut().copy_from_slice(&frame(60, 0));
        frames.push(packet.into());
    }
    assert!(device.tx_room() >= 64);
    let sent = device.tx(&mut pools[0], &mut frames, &mut drops);
    assert_eq!((sent.packets, frames.len(), device.in_flight(), drops.total()), (128, 72, 128, 0));
    assert_eq!(device.tx_room(), 0);
    device.flush();
    frames.clear();
    device.shutdown(&mut Homes::new(&mut pools));
    assert_eq!(device.in_flight(), 0);
    device.flush();
    assert_eq!(device.rx(&mut pools[0], &mut Vec::new(), 64), 0, "after the end there is nothing");
    drop(pools);
    assert!(account(&zone).is_whole());
}

#[test]
fn steering_leaves_the_rest_to_the_host() {
    if !root("steering_leaves_the_rest_to_the_host") {
        return;
    }
    let _net = Net::new();
    let (near, far) = (stranger("near"), stranger("far"));
    let zone = zone();
    let steering = "dst=10.0.0.0/8,proto=udp,port=53".parse().unwrap();
    let mut worker = worker(&zone, &[AfXdpParams { steering, ..params("near") }]);
    worker.poll(&mut reflect);
    let udp = |port: u16| {
        let mut packet = frame(60, 0);
        packet[12..14].copy_from_slice(&[8, 0]);
        packet[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        packet[26..34].copy_from_slice(&[198, 51, 100, 1, 10, 0, 0, 1]);
        packet[36..38].copy_from_slice(&port.to_be_bytes());
        packet
    };
    let (ours, theirs) = (udp(53), udp(22));
    far.send(&theirs);
    assert_eq!(near.recv().unwrap(), theirs, "the host has it");
    far.send(&ours);
    poll_until(&mut worker, reflect, |stats| stats.ports[0].rx.packets > 0);
    assert_eq!(far.recv().unwrap(), ours);
    let stats = worker.close();
    assert_eq!(stats.ports[0].rx.packets, 1);
    while near.recv_now().is_some() {}
    far.send(&ours);
    assert_eq!(near.recv().unwrap(), ours, "after the end the host has everything");
}
