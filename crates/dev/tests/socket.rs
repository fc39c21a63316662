//! Sockets as devices over loopback: every payload, every end, and every page after it.
#![cfg(feature = "uring")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::Bench;
use common::locked::{in_a_process_with_a_limit, lock_nothing_more};
use common::sockets::*;
use waterwheel_dev::ErrorClass;
use waterwheel_dev::socket::{SocketParams, Tcp, Udp};
use waterwheel_dev::uring::{Send, Without};
use waterwheel_xdp::{Device, DropReason, Health, Homes, Traffic, Wait};

/// What was sent has come, each once: in its order, unless some were refused without a copy, and others have overtaken those.
fn assert_same(mut came: Vec<Vec<u8>>, mut sent: Vec<Vec<u8>>, refused: bool, params: &SocketParams) {
    if refused {
        came.sort_unstable();
        sent.sort_unstable();
    }
    let lengths = |all: &[Vec<u8>]| all.iter().map(Vec::len).collect::<Vec<_>>();
    assert!(came == sent, "{params:?}: {:?}, and not {:?}", lengths(&came), lengths(&sent));
}

#[test]
fn datagrams_go_both_ways_whole_and_in_order() {
    for params in ways() {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &params);
        rounds(&mut bench, &mut device, |_, _| true);
        for burst in 0..20 {
            let numbers = burst * 10..burst * 10 + 10;
            numbers.clone().for_each(|number| assert_eq!(peer.send(&payload(number)).unwrap(), payload(number).len()));
            let came = rounds(&mut bench, &mut device, |_, came| came.len() == 10);
            assert_eq!(came, numbers.clone().map(payload).collect::<Vec<_>>(), "{params:?}");
            let frames = frames(&mut bench, numbers.clone());
            let refused = counter(&device, "zc_refused");
            assert_eq!(bench.send(&mut device, frames).packets, 10);
            let sent = numbers.map(payload).collect();
            let came = (0..10).map(|_| take(&mut bench, &mut device, &peer)).collect();
            assert_same(came, sent, counter(&device, "zc_refused") > refused, &params);
        }
        assert_eq!(counter(&device, "bad_completions"), 0);
        let sent_without_a_copy = params.send == Send::Zc && !params.without.send_zc;
        // Refused where so much memory may not be locked.
        let tried = |device: &dyn Device| counter(device, "zc_refused") > 0 || counter(device, "zc_sent") == 200;
        rounds(&mut bench, &mut device, |device, _| !sent_without_a_copy || tried(device));
        bench.finish(device);
    }
}

#[test]
fn a_packet_of_several_parts_is_one_datagram() {
    for send in [Send::Plain, Send::Zc] {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &SocketParams { send, ..SocketParams::default() });
        let bytes = (0..30_000_u32).map(|n| (n / 7) as u8).collect::<Vec<_>>();
        let frame = bench.frame(&bytes);
        assert!(frame.has_frags());
        bench.send(&mut device, vec![frame]);
        let came = take(&mut bench, &mut device, &peer);
        assert!(came == bytes, "{}", came.len());
        bench.finish(device);
    }
}

#[test]
fn what_is_longer_than_a_datagram_is_dropped_with_a_word() {
    for send in [Send::Plain, Send::Zc] {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &SocketParams { send, ..SocketParams::default() });
        // As long as there are, and a byte more.
        let frames = [65507, 65508].into_iter().map(|len| bench.frame(&vec![7; len])).collect();
        let traffic = bench.send(&mut device, frames);
        assert_eq!((traffic, bench.drops(DropReason::FrameTooLong)), (Traffic { packets: 1, bytes: 65507 }, 1));
        let mut came = vec![0; 1 << 17];
        // More pages than a packet may have without a copy: it is sent plainly then.
        rounds(&mut bench, &mut device, |device, _| device.tx_room() == 256);
        assert_eq!((peer.recv(&mut came).unwrap(), counter(&device, "tx_errors")), (65507, 0));
        bench.finish(device);
    }
}

#[test]
fn what_is_too_long_or_empty_is_counted() {
    let mut bench = Bench::new();
    let (mut device, peer) = udp(&bench, &SocketParams::default());
    rounds(&mut bench, &mut device, |_, _| true);
    for bytes in [&[1; 3839][..], &[], &[2; 3840], &[3; 9000], b"after"] {
        peer.send(bytes).unwrap();
    }
    let came = rounds(&mut bench, &mut device, |_, came| came.len() == 2);
    assert_eq!(came, [vec![1; 3839], b"after".to_vec()]);
    assert_eq!((lost(&device, "too_long"), lost(&device, "empty"), lost_in_all(&device)), (2, 1, 3));
    bench.finish(device);
}

#[test]
fn longer_datagrams_come_into_blocks_of_pages() {
    let orders = [1, 3839, 3840, 9000, 65279].map(Udp::order_for);
    assert_eq!(orders, [Some(0), Some(0), Some(1), Some(2), Some(4)]);
    assert_eq!([0, 65280, usize::MAX - 256, usize::MAX].map(Udp::order_for), [None; 4]);
    for params in ways() {
        let mut bench = Bench::with_blocks(4096, 2);
        let (mut device, peer) = udp(&bench, &params);
        rounds(&mut bench, &mut device, |_, _| true);
        let lengths = [3840, 9000, 16128, 1, 16127];
        let mut sent = lengths.map(|len| (0..len).map(|n| n as u8).collect::<Vec<u8>>()).to_vec();
        sent.iter().for_each(|bytes| assert_eq!(peer.send(bytes).unwrap(), bytes.len()));
        sent.remove(2); // it fills its block: it may have been cut
        let came = rounds(&mut bench, &mut device, |_, came| came.len() == sent.len());
        assert!(came == sent && lost(&device, "too_long") == 1, "{params:?}");
        let frames = sent.iter().map(|bytes| bench.frame(bytes)).collect();
        bench.send(&mut device, frames);
        let came = sent.iter().map(|_| take(&mut bench, &mut device, &peer)).collect();
        assert_same(came, sent, counter(&device, "zc_refused") > 0, &params);
        bench.finish(device);
    }
}

#[test]
fn what_finds_no_room_stays_and_goes_later() {
    let mut bench = Bench::new();
    let (mut device, peer) = udp(&bench, &SocketParams { ring: 8, ..SocketParams::default() });
    assert_eq!(device.tx_room(), 8);
    let mut all = frames(&mut bench, 0..20);
    for sent in [8, 16, 20] {
        bench.offer(&mut device, &mut all);
        assert_eq!(all.len(), 20 - sent, "there is room for eight");
        device.flush();
        bench.complete(&mut device);
    }
    for number in 0..20 {
        let mut bytes = vec![0; 4096];
        let len = peer.recv(&mut bytes).unwrap();
        assert_eq!(bytes[..len], payload(number));
    }
    bench.finish(device);
}

#[test]
fn a_pool_without_pages_stops_receiving_and_goes_on() {
    for params in ways() {
        let mut bench = Bench::with_pages(512);
        let (mut device, peer) = udp(&bench, &SocketParams { ring: 512, ..params });
        let mut held = Vec::new();
        for number in 0.. {
            peer.send(&payload(number)).unwrap();
            held.extend(round(&mut bench, &mut device));
            if held.len() >= 400 {
                break;
            }
        }
        // The pool is all but empty; more comes than it has pages.
        let deadline = Instant::now() + PATIENCE;
        while counter(&device, "rx_starved") == 0 && device.in_flight() > 0 {
            peer.send(b"more").unwrap();
            held.extend(round(&mut bench, &mut device));
            assert!(Instant::now() < deadline, "{}", counters(&device));
        }
        bench.recycle(held);
        rounds(&mut bench, &mut device, |_, came| {
            came.len() > 8 || {
                peer.send(b"again").unwrap();
                false
            }
        });
        bench.finish(device);
    }
}

#[test]
fn a_peer_that_is_gone_is_counted_and_may_come_back() {
    let mut bench = Bench::new();
    let (mut device, peer) = udp(&bench, &SocketParams::default());
    let address = peer.local_addr().unwrap();
    drop(peer);
    let deadline = Instant::now() + PATIENCE;
    while counter(&device, "refused") == 0 {
        let frame = bench.frame(b"is anybody there");
        bench.send(&mut device, vec![frame]);
        let came = round(&mut bench, &mut device);
        bench.recycle(came);
        assert!(Instant::now() < deadline, "{}", counters(&device));
    }
    assert_eq!(device.health(), Health::Up);
    let peer = UdpSocket::bind(address).unwrap();
    peer.connect(device.local_address()).unwrap();
    rounds(&mut bench, &mut device, |_, came| !came.is_empty() || peer.send(b"here").is_err());
    bench.finish(device);
}

#[test]
fn without_a_peer_it_only_receives() {
    let mut bench = Bench::new();
    let mut device = Udp::open(bench.zone(), local(), None, &SocketParams::default()).unwrap();
    assert!(!device.capabilities().tx);
    for number in 0..3 {
        let somebody = UdpSocket::bind(local()).unwrap();
        somebody.send_to(&payload(number), device.local_address()).unwrap();
    }
    let came = rounds(&mut bench, &mut device, |_, came| came.len() == 3);
    assert_eq!(came, [payload(0), payload(1), payload(2)]);
    let frame = bench.frame(b"to nobody");
    assert_eq!(bench.send(&mut device, vec![frame]).packets, 0);
    assert_eq!(bench.drops(DropReason::NotSupported), 1);
    bench.finish(device);
}

#[test]
fn it_stops_while_busy_with_every_page() {
    for params in ways() {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &params);
        rounds(&mut bench, &mut device, |_, _| true);
        (0..50).for_each(|number| assert!(peer.send(&payload(number)).is_ok()));
        let frames = frames(&mut bench, 0..50);
        bench.send(&mut device, frames);
        let held = round(&mut bench, &mut device);
        bench.recycle(held);
        bench.finish(device);
    }
}

#[test]
fn addresses_that_are_taken_or_not_ours_are_named() {
    let bench = Bench::new();
    let (taken, listener) = (UdpSocket::bind(local()).unwrap(), TcpListener::bind(local()).unwrap());
    let params = SocketParams::default();
    let foreign = "192.0.2.1:1".parse().unwrap(); // RFC 5737
    let udp = |address| Udp::open(bench.zone(), address, None, &params).map(drop).unwrap_err();
    let listen = |address| Tcp::listen(bench.zone(), address, &params).map(drop).unwrap_err();
    for (error, expected) in [
        (udp(taken.local_addr().unwrap()), "choose another port"),
        (udp(foreign), "no interface of this machine"),
        (listen(listener.local_addr().unwrap()), "choose another port"),
        (listen(foreign), "no interface of this machine"),
        (
            Tcp::connect(bench.zone(), taken.local_addr().unwrap(), &params).map(drop).unwrap_err(),
            "start the other side first",
        ),
    ] {
        assert!(error.message().contains(expected) && error.class() == ErrorClass::Device, "{error}");
    }
    let error = Udp::open(bench.zone(), local(), None, &SocketParams { ring: 3, ..params }).map(drop).unwrap_err();
    assert_eq!((error.class(), error.message()), (ErrorClass::Config, "ring=3: want a power of two from 2 to 4096"));
}

#[test]
fn a_stream_goes_both_ways_byte_by_byte() {
    for params in ways() {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &params);
        for burst in 0..10 {
            let numbers = burst * 50..burst * 50 + 50;
            let bytes = stream(numbers.clone());
            peer.write_all(&bytes).unwrap();
            let came =
                rounds(&mut bench, &mut device, |_, came| came.iter().map(Vec::len).sum::<usize>() >= bytes.len());
            assert!(came.concat() == bytes, "{params:?}");
            let mut frames = frames(&mut bench, numbers);
            let (mut back, mut read) = (vec![0; bytes.len()], 0);
            peer.set_nonblocking(true).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while read < back.len() {
                bench.offer(&mut device, &mut frames);
                rounds(&mut bench, &mut device, |_, _| true);
                read += peer.read(&mut back[read..]).unwrap_or(0);
                assert!(Instant::now() < deadline, "{params:?}: {read} of {}; {}", back.len(), counters(&device));
            }
            peer.set_nonblocking(false).unwrap();
            assert!(back == bytes, "{params:?}");
        }
        bench.finish(device);
    }
}

#[test]
fn a_peer_that_does_not_read_holds_us_up_and_loses_nothing() {
    for send in [Send::Plain, Send::Zc] {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &SocketParams { ring: 16, send, ..SocketParams::default() });
        let (mut sent, mut idle, mut waiting) = (0, 0, Vec::new());
        while idle < 1000 {
            if waiting.is_empty() {
                waiting = frames(&mut bench, sent..sent + 1);
                sent += 1;
            }
            bench.offer(&mut device, &mut waiting);
            idle = if waiting.is_empty() { 0 } else { idle + 1 };
            rounds(&mut bench, &mut device, |_, _| true);
        }
        let bytes = stream(0..sent);
        let mut came = vec![0; bytes.len()];
        let reader = std::thread::spawn(move || {
            peer.read_exact(&mut came).unwrap();
            (peer, came)
        });
        let deadline = Instant::now() + PATIENCE;
        while !reader.is_finished() {
            bench.offer(&mut device, &mut waiting);
            rounds(&mut bench, &mut device, |_, _| true);
            assert!(Instant::now() < deadline, "{}", counters(&device));
        }
        let (_peer, came) = reader.join().unwrap();
        assert!(came == bytes);
        bench.finish(device);
    }
}

#[test]
fn it_stops_while_its_peer_does_not_read() {
    for params in ways() {
        let mut bench = Bench::new();
        let (mut device, _peer) = tcp(&bench, &SocketParams { ring: 64, ..params });
        let (mut waiting, mut idle) = (Vec::new(), 0);
        while idle < 1000 {
            if waiting.is_empty() {
                waiting = frames(&mut bench, 0..10);
            }
            let before = waiting.len();
            bench.offer(&mut device, &mut waiting);
            idle = if waiting.len() < before { 0 } else { idle + 1 };
            rounds(&mut bench, &mut device, |_, _| true);
        }
        drop(waiting);
        bench.finish(device);
    }
}

#[test]
fn a_connection_that_ends_is_a_failure_after_its_last_bytes() {
    for reset in [false, true] {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &SocketParams::default());
        peer.write_all(b"the last words").unwrap();
        let came = rounds(&mut bench, &mut device, |_, came| !came.is_empty());
        assert_eq!(came.concat(), b"the last words");
        let frames = frames(&mut bench, 0..100);
        bench.send(&mut device, frames);
        if reset {
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        rounds(
            &mut bench,
            &mut device,
            |device, _| matches!(device.health(), Health::Failed(why) if why.contains("is over")),
        );
        let frames = vec![bench.frame(b"too late")];
        assert_eq!(bench.send(&mut device, frames).packets, 0);
        bench.finish(device);
    }
}

#[test]
fn who_listens_takes_one_after_the_other() {
    for params in ways() {
        let mut bench = Bench::new();
        let mut device = Tcp::listen(bench.zone(), local(), &params).unwrap();
        let nobody = vec![bench.frame(b"to nobody")];
        assert_eq!((device.tx_room(), bench.send(&mut device, nobody).packets), (0, 0));
        assert_eq!(bench.drops(DropReason::DeviceDown), 1);
        for number in 0..5 {
            let mut peer = TcpStream::connect(device.address()).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(&payload(number)).unwrap();
            let came = rounds(&mut bench, &mut device, |_, came| came.concat().len() >= payload(number).len());
            assert_eq!(came.concat(), payload(number));
            let frames = frames(&mut bench, number..number + 1);
            bench.send(&mut device, frames);
            // What the kernel refuses to send without a copy is sent when the device hears of it.
            rounds(&mut bench, &mut device, |device, _| device.tx_room() == usize::from(params.ring));
            let mut back = vec![0; payload(number).len()];
            peer.read_exact(&mut back).unwrap();
            assert_eq!(back, payload(number));
            if number % 2 == 0 {
                rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            }
            drop(peer);
        }
        rounds(&mut bench, &mut device, |device, _| counter(device, "connected") == 0);
        assert_eq!((device.health(), counter(&device, "connections")), (Health::Up, 5));
        assert_eq!((counter(&device, "reset"), counter(&device, "closed")), (3, 2));
        bench.finish(device);
    }
}

#[test]
fn datagrams_that_find_the_buffer_full_are_told_as_lost() {
    const OFFERED: u64 = 20_000;
    for params in [SocketParams::default(), SocketParams { ring: 2, ..SocketParams::default() }] {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &params);
        assert_eq!(lost_in_all(&device), 0);
        (0..OFFERED).for_each(|_| assert!(peer.send(b"one of many").is_ok()));
        let mut came = 0;
        rounds(&mut bench, &mut device, |device, all| {
            came = all.len() as u64;
            came + lost_in_all(device) >= OFFERED
        });
        assert_eq!(came + lost(&device, "socket_full"), OFFERED);
        assert!(lost(&device, "socket_full") > 0, "the buffer holds {}", counter(&device, "receive_buffer"));
        // What has come and is not handed out is lost at the end; no count becomes smaller.
        (0..3).for_each(|_| assert!(peer.send(b"one more").is_ok()));
        while device.wait() != Wait::Now {
            bench.complete(&mut device);
            device.flush();
        }
        let before = lost(&device, "socket_full");
        device.shutdown(&mut Homes::new(&mut []));
        assert_eq!(lost(&device, "socket_full"), before);
        assert_eq!(lost(&device, "left_at_end") + lost(&device, "left_in_socket"), 3);
    }
}

#[test]
fn datagrams_that_nobody_has_read_at_the_end_are_told_as_lost() {
    for (receive, offered) in [(true, 500), (true, 0), (false, 500)] {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &SocketParams { ring: 8, receive, ..SocketParams::default() });
        let came = round(&mut bench, &mut device).len() as u64;
        (0..offered).for_each(|n| assert!(peer.send(&vec![7; n % 3]).is_ok())); // some of them empty
        device.shutdown(&mut Homes::new(&mut []));
        // Who does not receive has lost nothing.
        assert_eq!(came + lost_in_all(&device), if receive { offered as u64 } else { 0 });
        assert!(!receive || lost(&device, "left_in_socket") as usize >= offered.saturating_sub(8));
        // Nobody is there any more, and who sends is told.
        let refused = peer.send(b"too late").and_then(|_| peer.send(b"too late"));
        assert_eq!(refused.is_err(), receive);
        let before = lost_in_all(&device);
        device.shutdown(&mut Homes::new(&mut []));
        assert_eq!(lost_in_all(&device), before);
    }
}

#[test]
fn the_receive_buffer_is_as_large_as_it_may_be() {
    use rustix::net::sockopt;
    let bench = Bench::new();
    let (device, peer) = udp(&bench, &SocketParams::default());
    let usual = sockopt::socket_recv_buffer_size(&peer).unwrap();
    if sockopt::set_socket_recv_buffer_size_force(&peer, 4 << 20).is_err() {
        sockopt::set_socket_recv_buffer_size(&peer, 4 << 20).unwrap();
    }
    let allowed = sockopt::socket_recv_buffer_size(&peer).unwrap();
    assert_eq!(counter(&device, "receive_buffer"), usual.max(allowed) as u64);
}

#[test]
fn no_more_pages_are_out_than_the_ring_has_places() {
    for params in ways() {
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &SocketParams { ring: 8, ..params });
        let mut all = Vec::new();
        for number in 0..100 {
            peer.send(&payload(number)).unwrap();
            bench.complete(&mut device);
            // Now and then some are handed out, mostly none.
            all.extend(bench.receive(&mut device, if number % 10 == 9 { 3 } else { 0 }));
            device.flush();
            assert!(device.in_flight() <= 8, "{params:?}: {} pages", device.in_flight());
        }
        assert!(!all.is_empty());
        bench.recycle(all);
        bench.finish(device);
    }
}

/// Bytes of a packet.
const LEN: usize = 2654;

/// Sends packets of one length until neither the device nor its peer's buffer takes any more. Tells what the device took.
fn fill(bench: &mut Bench, device: &mut Tcp, peer: &TcpStream) -> Traffic {
    let (mut taken, deadline) = (Traffic::default(), Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < deadline, "{taken:?} and still more");
        let mut frames = vec![bench.frame(&[7; LEN])];
        taken.merge(bench.offer(device, &mut frames));
        rounds(bench, device, |_, _| true);
        let full = device.tx_room() == 0 && !readable(device, Duration::from_millis(200));
        if full && rustix::io::ioctl_fionread(peer).unwrap() < taken.bytes {
            return taken;
        }
    }
}

fn readable(device: &Tcp, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = Vec::new();
    device.fds(&mut |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    poll(&mut fds, Some(&timeout.try_into().unwrap())).unwrap() > 0
}

#[test]
fn without_room_it_sleeps_until_its_peer_reads() {
    for send in [Send::Plain, Send::Zc] {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &SocketParams { ring: 16, send, ..SocketParams::default() });
        let taken = fill(&mut bench, &mut device, &peer);
        assert_eq!((device.tx_room(), device.wait_tx()), (0, Wait::Readable));
        // Nothing happens, so nothing wakes.
        while readable(&device, Duration::from_millis(50)) {
            bench.complete(&mut device);
            device.flush();
        }
        let calls = counter(&device, "system_calls");
        let reader = std::thread::spawn(move || {
            peer.read_exact(&mut vec![0; taken.bytes as usize]).unwrap();
            peer
        });
        let mut wakes = 0;
        while device.tx_room() < 16 {
            assert!(readable(&device, PATIENCE), "there is room, and nothing has woken it");
            bench.complete(&mut device);
            device.flush();
            wakes += 1;
        }
        assert!(counter(&device, "system_calls") <= calls + 2 * wakes);
        drop(reader.join().unwrap());
        bench.finish(device);
    }
}

#[test]
fn what_did_not_arrive_is_not_sent() {
    for (send, resets) in [(Send::Plain, true), (Send::Plain, false), (Send::Zc, true), (Send::Zc, false)] {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &SocketParams { ring: 16, send, ..SocketParams::default() });
        // It reads nothing. Then it goes, or we do.
        let taken = fill(&mut bench, &mut device, &peer);
        assert_eq!(device.unsent(), Traffic::default());
        if resets {
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            let unread = rustix::io::ioctl_fionread(&peer).unwrap();
            drop(peer);
            rounds(&mut bench, &mut device, |device, _| device.health() != Health::Up);
            device.shutdown(&mut Homes::new(&mut []));
            // What has arrived may not be acknowledged yet; what is sent has arrived.
            assert!(device.unsent().bytes >= taken.bytes - unread, "{:?} of {taken:?}, {unread}", device.unsent());
        } else {
            device.shutdown(&mut Homes::new(&mut []));
            let mut arrived = Vec::new();
            let _ = peer.read_to_end(&mut arrived).unwrap_err(); // a reset
            assert!(device.unsent().bytes >= taken.bytes - arrived.len() as u64, "{:?} of {taken:?}", device.unsent());
            assert!(matches!(device.health(), Health::Failed(why) if why.contains("were not sent")));
        }
        // A packet is sent when its last byte is.
        let unsent = device.unsent();
        assert!(unsent.packets > 0 && unsent.packets == unsent.bytes.div_ceil(LEN as u64), "{unsent:?}");
        assert!(unsent.bytes < taken.bytes, "{unsent:?} of {taken:?}: some has arrived");
        assert_eq!(device.in_flight(), 0);
    }
}

#[test]
fn the_end_waits_for_the_peer_to_have_everything() {
    for send in [Send::Plain, Send::Zc] {
        let mut bench = Bench::new();
        let (mut device, mut peer) = tcp(&bench, &SocketParams { send, ..SocketParams::default() });
        // What it has not received is no reason to take back what it has sent.
        peer.write_all(b"never read").unwrap();
        let frames = frames(&mut bench, 0..100);
        bench.send(&mut device, frames);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; stream(0..100).len()];
            peer.read_exact(&mut bytes).unwrap();
            (peer, bytes)
        });
        device.shutdown(&mut Homes::new(&mut []));
        assert!(reader.join().unwrap().1 == stream(0..100));
        assert_eq!((device.unsent(), device.health()), (Traffic::default(), Health::Up));
    }
}

#[test]
fn a_refused_datagram_is_not_sent() {
    let mut bench = Bench::new();
    // Whoever receives is told first.
    let (mut device, peer) = udp(&bench, &SocketParams { receive: false, ..SocketParams::default() });
    drop(peer);
    let (mut taken, deadline) = (Traffic::default(), Instant::now() + PATIENCE);
    while device.unsent().packets < 3 {
        let frame = bench.frame(b"is anybody there");
        taken.merge(bench.send(&mut device, vec![frame]));
        let came = round(&mut bench, &mut device);
        bench.recycle(came);
        assert!(Instant::now() < deadline, "{}", counters(&device));
    }
    let unsent = device.unsent();
    assert!(unsent.bytes == 16 * unsent.packets && unsent.packets < taken.packets, "{unsent:?} of {taken:?}");
    assert!(unsent.packets <= counter(&device, "refused"));
    device.shutdown(&mut Homes::new(&mut []));
    assert_eq!((device.unsent(), device.health()), (unsent, Health::Up));
}

#[test]
fn what_is_refused_for_want_of_locked_memory_arrives() {
    in_a_process_with_a_limit("what_is_refused_for_want_of_locked_memory_arrives", || {
        let without = Without { fixed: true, ..Without::default() };
        let params = SocketParams { ring: 4, send: Send::Zc, without, ..SocketParams::default() };
        let mut bench = Bench::new();
        let (mut device, peer) = udp(&bench, &params);
        let (mut stream, mut other) = tcp(&bench, &params);
        lock_nothing_more();
        let bytes = |number: u8| (0..30_000_u32).map(|n| (n / 7) as u8 ^ number).collect::<Vec<_>>();
        for number in 0..20 {
            let frame = bench.frame(&bytes(number));
            assert_eq!(bench.send(&mut device, vec![frame]).packets, 1);
            rounds(&mut bench, &mut device, |device, _| device.tx_room() == 4);
            let mut came = vec![0; 65536];
            let len = peer.recv(&mut came).unwrap();
            assert!(came[..len] == bytes(number), "{number}: {len}");
        }
        // The first one only: there was nothing to be tried again.
        assert_eq!((counter(&device, "zc_refused"), counter(&device, "zc_sent")), (1, 0), "{}", counters(&device));
        assert_eq!((counter(&device, "tx_errors"), device.unsent()), (0, Traffic::default()));
        bench.finish(device);
        let reader = std::thread::spawn(move || {
            let mut came = vec![0; 20 * 30_000];
            other.read_exact(&mut came).unwrap();
            (other, came)
        });
        for number in 0..20 {
            let mut waiting = vec![bench.frame(&bytes(number))];
            let deadline = Instant::now() + PATIENCE;
            while !waiting.is_empty() {
                bench.offer(&mut stream, &mut waiting);
                rounds(&mut bench, &mut stream, |_, _| true);
                assert!(Instant::now() < deadline, "{}", counters(&stream));
            }
        }
        rounds(&mut bench, &mut stream, |_, _| reader.is_finished());
        let (_peer, came) = reader.join().unwrap();
        assert!(came.chunks(30_000).zip(0..).all(|(came, number)| came == bytes(number)));
        assert!(counter(&stream, "zc_refused") > 0, "{}", counters(&stream));
        assert_eq!((stream.health(), stream.unsent()), (Health::Up, Traffic::default()));
        bench.finish(stream);
    });
}
