//! A tap in a network namespace of its own. Needs root, and `ip` of iproute2.
#![cfg(feature = "tap")]

mod common;

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, whole};
use etherparse::PacketBuilder;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities};
use waterwheel_dev::ErrorClass;
use waterwheel_dev::tap::Tap;
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{
    Account, Action, Context, Device, DropReason, Fabric, Health, PagePool, PoolParams, Wait, XdpBuff, Zone,
};

/// A network namespace with this thread in it; deleted in the end.
struct Namespace(String);

impl Namespace {
    /// `None` when the test may be left out, which is said aloud.
    fn enter(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("WATERWHEEL_SKIP_ROOT").is_some_and(|value| value == "1"),
                "{test} needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
            );
            eprintln!("left out, needs root: {test}");
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("ww-tap-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        run(&["netns", "add", &name]);
        let namespace = Self(name);
        let file = std::fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip of iproute2 is installed");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A tap of the host 10.9.0.1, which believes that 10.9.0.2 is behind it, and a socket of that host.
fn tap_and_socket() -> (Tap, UdpSocket) {
    let tap = Tap::open("wwtest%d").unwrap();
    assert_eq!((tap.interface(), tap.name()), ("wwtest0", "tap:wwtest0"));
    run(&["link", "set", "wwtest0", "address", "02:00:00:00:00:01"]);
    run(&["addr", "add", "10.9.0.1/24", "dev", "wwtest0"]);
    run(&["neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "wwtest0"]);
    let socket = UdpSocket::bind("10.9.0.1:7000").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (tap, socket)
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(PEER, HOST).ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64).udp(9, 7000);
    let mut bytes = Vec::new();
    builder.write_to_vec(&mut bytes, payload).unwrap();
    bytes
}

/// Nothing but what the test sends: the kernel's own neighbour discovery would be more.
fn silence(namespace: &Namespace) {
    let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    run(&["netns", "exec", &namespace.0, "sh", "-c", &format!("echo 1 > {path}")]);
}

fn lost(tap: &Tap, name: &str) -> u64 {
    let mut found = None;
    tap.lost(&mut |known, n| found = found.or((known == name).then_some(n)));
    found.unwrap()
}

/// Receives until `want` says so of a packet; the host sends this and that of its own.
fn receive(bench: &mut Bench, tap: &mut Tap, want: impl Fn(&[u8]) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let packets = bench.receive(tap, 64);
        let found = packets.iter().any(|packet| want(packet.data()));
        bench.recycle(packets);
        if found {
            return;
        }
    }
    panic!("no such packet in a minute");
}

/// Takes what is there.
fn receive_all(bench: &mut Bench, tap: &mut Tap) -> u64 {
    let mut received = 0;
    loop {
        let packets = bench.receive(tap, 64);
        if packets.is_empty() {
            return received;
        }
        received += packets.len() as u64;
        bench.recycle(packets);
    }
}

/// Sockets of the host 10.9.0.1 behind `interface`.
fn many_flows(interface: &str) -> Vec<UdpSocket> {
    run(&["addr", "add", "10.9.0.1/24", "dev", interface]);
    run(&["neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", interface]);
    (0..64).map(|_| UdpSocket::bind("10.9.0.1:0").unwrap()).collect()
}

#[test]
fn packets_go_both_ways() {
    let Some(_namespace) = Namespace::enter("packets_go_both_ways") else { return };
    let mut bench = Bench::new();
    let (mut tap, socket) = tap_and_socket();
    let mut fds = 0;
    tap.fds(&mut |_| fds += 1);
    assert_eq!((tap.wait(), fds), (Wait::Readable, 1));
    for len in [0, 1, 100, 1472] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        socket.send_to(&payload, "10.9.0.2:9").unwrap();
        receive(&mut bench, &mut tap, |packet| {
            packet[..6] == PEER && packet.ends_with(&payload) && packet.len() == 42 + payload.len()
        });

        let frame = bench.frame(&datagram(&payload));
        let sent = bench.send(&mut tap, vec![frame]);
        assert_eq!((sent.packets, sent.bytes), (1, 42 + payload.len() as u64));
        let mut buffer = [0; 2000];
        let (got, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..got], from), (&payload[..], "10.9.0.2:9".parse().unwrap()));
    }
    bench.finish(tap);
}

#[test]
fn packets_larger_than_a_page_go_both_ways() {
    let Some(_namespace) = Namespace::enter("packets_larger_than_a_page_go_both_ways") else { return };
    let mut bench = Bench::new();
    let (mut tap, socket) = tap_and_socket();
    run(&["link", "set", "wwtest0", "mtu", "60000"]);
    let mut buffer = vec![0; 65535];
    for len in [3840 - 42, 3841 - 42, 8972, 3840 + 2 * 4096 - 42, 40_000, 40_000, 59_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let frame = bench.frame(&datagram(&payload));
        let sent = bench.send(&mut tap, vec![frame]);
        assert_eq!((sent.packets, sent.bytes), (1, 42 + len as u64));
        assert_eq!(socket.recv_from(&mut buffer).unwrap().0, len);
        assert_eq!(buffer[..len], payload);

        // What fills the room that there is may have been cut: it is left out, and the next one has more.
        let end = Instant::now() + Duration::from_secs(60);
        let mut found = false;
        while !found {
            assert!(Instant::now() < end, "{len} bytes did not arrive");
            socket.send_to(&payload, "10.9.0.2:9").unwrap();
            let packets = bench.receive(&mut tap, 64);
            found = packets.iter().any(|packet| packet.total_len() == 42 + len && whole(packet).ends_with(&payload));
            bench.recycle(packets);
        }
    }
    bench.finish(tap);
}

#[test]
fn what_the_interface_refuses_is_counted() {
    let Some(_namespace) = Namespace::enter("what_the_interface_refuses_is_counted") else { return };
    let mut bench = Bench::new();
    let (mut tap, _socket) = tap_and_socket();
    let frame = bench.frame(&[0; 13]);
    assert_eq!(bench.send(&mut tap, vec![frame]).packets, 0);
    assert_eq!(bench.drops(DropReason::Malformed), 1);
    run(&["link", "set", "wwtest0", "down"]);
    let frame = bench.frame(&datagram(b"lost"));
    assert_eq!(bench.send(&mut tap, vec![frame]).packets, 0);
    assert_eq!((bench.drops(DropReason::DeviceDown), tap.health()), (1, Health::Up));
    let mut down = 0;
    tap.counters(&mut |key, value| down += if key == "interface_down" { value } else { 0 });
    assert_eq!(down, 1);
    run(&["link", "set", "wwtest0", "up"]);
    let frame = bench.frame(&datagram(b"fine"));
    assert_eq!(bench.send(&mut tap, vec![frame]).packets, 1, "an interface that comes back is used again");
    bench.finish(tap);
}

#[test]
fn a_deleted_interface_is_reported() {
    let Some(_namespace) = Namespace::enter("a_deleted_interface_is_reported") else { return };
    let mut bench = Bench::new();
    let (mut tap, _socket) = tap_and_socket();
    let packets = bench.receive(&mut tap, 4);
    bench.recycle(packets);
    run(&["link", "del", "wwtest0"]);
    let packets = bench.receive(&mut tap, 4);
    bench.recycle(packets);
    assert!(matches!(tap.health(), Health::Failed(reason) if reason.contains("wwtest0")));
    let frame = bench.frame(&datagram(b"lost"));
    assert_eq!(bench.send(&mut tap, vec![frame]).packets, 0);
    bench.finish(tap);
}

#[test]
fn a_tap_that_is_deleted_is_made_again_three_times() {
    let Some(_namespace) = Namespace::enter("a_tap_that_is_deleted_is_made_again_three_times") else { return };
    let zone = Zone::new(&ZoneParams::pages(512)).unwrap();
    let mut fabric = Fabric::new(1);
    let open = || Tap::open("wwagain").map(|tap| Box::new(tap) as Box<dyn Device>).map_err(|error| error.to_string());
    let port = fabric.add(0, open().unwrap(), PagePool::new(&zone, PoolParams::default()).unwrap()).unwrap();
    fabric.revive(port, Box::new(open));
    let mut worker = fabric.build().unwrap().remove(0);
    for time in 1..=3 {
        run(&["link", "set", "wwagain", "addrgenmode", "none"]);
        run(&["addr", "add", "10.9.0.1/24", "dev", "wwagain"]);
        run(&["neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "wwagain"]);
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        let came = AtomicBool::new(false);
        let mut look = |_: &Context, packet: &mut XdpBuff| {
            came.fetch_or(packet.data().ends_with(&[time; 100]), Ordering::Relaxed);
            Action::Drop(DropReason::Program)
        };
        let end = Instant::now() + Duration::from_secs(60);
        socket.send_to(&[time; 100], "10.9.0.2:9").unwrap();
        while !came.load(Ordering::Relaxed) {
            worker.poll(&mut look);
            assert!(Instant::now() < end, "no packet in a minute");
        }
        run(&["link", "del", "wwagain"]);
        while worker.stats().ports[0].revivals < u64::from(time) {
            worker.poll(&mut |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program));
            assert!(worker.is_alive(), "what will be back is a reason to go on");
            assert!(Instant::now() < end, "{:?}", worker.stats());
        }
    }
    let mut open = Account::open(&zone);
    worker.account(&mut open);
    assert_eq!(open.close(Users::Gone).leaked, 0);
    drop(worker.close());
    let account = Account::open(&zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

#[test]
fn a_starved_tap_leaves_packets_where_they_are() {
    let Some(namespace) = Namespace::enter("a_starved_tap_leaves_packets_where_they_are") else { return };
    silence(&namespace);
    let mut bench = Bench::with_pages(1);
    let (mut tap, socket) = tap_and_socket();
    let held = bench.frame(&[0; 60]);
    for payload in [b"one", b"two"] {
        socket.send_to(payload, "10.9.0.2:9").unwrap();
    }
    for _ in 0..10 {
        assert!(bench.receive(&mut tap, 64).is_empty(), "there is no page");
    }
    let mut sum = 0;
    tap.counters(&mut |_, n| sum += n);
    tap.lost(&mut |_, n| sum += n);
    assert_eq!(sum, 0, "nothing was too long, nothing was lost");
    bench.recycle(vec![held.into()]);
    for payload in [b"one", b"two"] {
        let packets = bench.receive(&mut tap, 64);
        assert!(packets.len() == 1 && packets[0].data().ends_with(payload));
        bench.recycle(packets);
    }
    // One page is room for so much; what is longer is lost for want of more of them, and is not too long.
    run(&["link", "set", "wwtest0", "mtu", "9000"]);
    socket.send_to(&[7; 5000], "10.9.0.2:9").unwrap();
    assert!(bench.receive(&mut tap, 64).is_empty());
    assert_eq!((lost(&tap, "no_pages"), lost(&tap, "too_long")), (1, 0));
    bench.finish(tap);
}

#[test]
fn what_a_slow_reader_misses_is_known() {
    let Some(namespace) = Namespace::enter("what_a_slow_reader_misses_is_known") else { return };
    silence(&namespace);
    let mut bench = Bench::new();
    let (mut tap, socket) = tap_and_socket();
    let mut before = 0;
    for round in 1..=2 {
        for _ in 0..5000 {
            socket.send_to(b"flood", "10.9.0.2:9").unwrap();
        }
        let received = receive_all(&mut bench, &mut tap);
        let now = lost(&tap, "tap_queue_full");
        assert!(now > before, "the queue of a tap is shorter than that");
        assert_eq!(received + now - before, 5000, "round {round}");
        before = now;
    }
    let mut after = 0;
    bench.finish_with(tap, |tap| {
        run(&["link", "del", "wwtest0"]);
        after = lost(tap, "tap_queue_full");
    });
    assert_eq!(after, before, "it is known also when the interface is gone");
}

#[test]
fn what_a_tap_lost_before_it_was_opened_is_not_counted() {
    let Some(namespace) = Namespace::enter("what_a_tap_lost_before_it_was_opened_is_not_counted") else { return };
    silence(&namespace);
    let mut bench = Bench::new();
    run(&["tuntap", "add", "wwstays", "mode", "tap"]);
    for _ in 0..2 {
        // Another test's child may have the former one's file for a moment longer, between fork and exec.
        let deadline = Instant::now() + Duration::from_secs(60);
        let tap = loop {
            match Tap::open("wwstays") {
                Ok(tap) => break tap,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(lost(&tap, "tap_queue_full"), 0);
        run(&["addr", "replace", "10.9.0.1/24", "dev", "wwstays"]);
        run(&["neigh", "replace", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "wwstays"]);
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for _ in 0..5000 {
            socket.send_to(b"flood", "10.9.0.2:9").unwrap();
        }
        assert!(lost(&tap, "tap_queue_full") > 0);
        bench.finish(tap);
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    for (name, word) in [("a-name-too-long-for-this", "15"), ("a/b", "name"), ("..", "name"), ("a b", "name")] {
        let error = Tap::open(name).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.message().contains(word), "{error}");
    }
    let Some(_namespace) = Namespace::enter("names_that_cannot_be_are_refused") else { return };
    let first = Tap::open("wwtaken").unwrap();
    let error = Tap::open("wwtaken").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Device);
    assert!(error.message().contains("wwtaken") && error.message().contains("another"), "{error}");
    let error = Tap::open("lo").unwrap_err();
    assert!(error.message().contains("no tap"), "{error}");
    drop(first);
    // Another test's child may have the file for a moment longer, between fork and exec.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = Tap::open("wwtaken") {
        assert!(Instant::now() < deadline, "the interface did not go with its device: {error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_missing_right_is_named() {
    let Some(_namespace) = Namespace::enter("a_missing_right_is_named") else { return };
    let all = capabilities(None).unwrap();
    let mut few = all;
    few.effective.remove(CapabilitySet::NET_ADMIN);
    set_capabilities(None, few).unwrap(); // of this thread alone
    let result = Tap::open("wwdenied");
    set_capabilities(None, all).unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Permission);
    assert!(error.message().contains("CAP_NET_ADMIN") && !error.message().contains('\n'), "{error}");
}

/// As `ip tuntap add mode tap multi_queue` leaves it for a user: it takes several queues, and one is enough. Nobody shares it unasked.
#[test]
fn a_tap_for_several_queues_is_opened_as_one() {
    let Some(namespace) = Namespace::enter("a_tap_for_several_queues_is_opened_as_one") else { return };
    silence(&namespace);
    run(&["tuntap", "add", "dev", "wwmany", "mode", "tap", "multi_queue"]);
    let mut bench = Bench::new();
    let mut tap = Tap::open("wwmany").unwrap();
    let refused = |opened: Result<Tap, waterwheel_dev::DevError>| opened.unwrap_err().to_string();
    let holder = format!("this very process ({})", std::process::id());
    let message = refused(Tap::open("wwmany"));
    assert!(message.contains(&format!("queues of it are open in {holder}")), "{message}");
    run(&["addr", "add", "10.9.0.1/24", "dev", "wwmany"]);
    run(&["neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "wwmany"]);
    let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
    for number in 0..20u8 {
        socket.send_to(&[number; 30], "10.9.0.2:9").unwrap();
        receive(&mut bench, &mut tap, |packet| packet.ends_with(&[number; 30]));
    }
    bench.finish(tap);
    // One for one queue, held: by whom is said. It has no others.
    let single = Tap::open("wwone").unwrap();
    let message = refused(Tap::open("wwone"));
    assert!(message.contains(&format!("{holder} holds that tap")), "{message}");
    let message = Tap::open_queues("wwone", 2).unwrap_err().to_string();
    assert!(message.contains(&format!("open in {holder}")), "{message}");
    drop(single);
    run(&["tuntap", "add", "dev", "wwsingle", "mode", "tap"]);
    let message = Tap::open_queues("wwsingle", 2).unwrap_err().to_string();
    assert!(message.contains("takes one queue"), "{message}");
}

#[test]
fn the_queues_of_a_tap_are_devices() {
    let Some(namespace) = Namespace::enter("the_queues_of_a_tap_are_devices") else { return };
    silence(&namespace);
    let mut benches = [(); 3].map(|()| Bench::new());
    let mut taps = Tap::open_queues("wwq%d", 3).unwrap();
    assert_eq!(taps.iter().map(Device::name).collect::<Vec<_>>(), ["tap:wwq0:0", "tap:wwq0:1", "tap:wwq0:2"]);
    assert!(Tap::open_queues("wwq%d", 0).is_err() && Tap::open_queues("wwq%d", 257).is_err());
    let sockets = many_flows("wwq0");
    for socket in &sockets {
        socket.send_to(b"one of many flows", "10.9.0.2:9").unwrap();
    }
    let mut received = [0; 3];
    let end = Instant::now() + Duration::from_secs(60);
    while received.iter().sum::<usize>() < sockets.len() {
        for ((tap, bench), received) in taps.iter_mut().zip(&mut benches).zip(&mut received) {
            let packets = bench.receive(tap, 64);
            *received += packets.iter().filter(|packet| packet.data().ends_with(b"one of many flows")).count();
            bench.recycle(packets);
        }
        assert!(Instant::now() < end, "{received:?}");
    }
    assert!(received.iter().all(|packets| *packets > 0), "64 flows in three queues: {received:?}");
    let bench = &mut benches[2];
    let frame = bench.frame(&datagram(b"from the last queue"));
    assert_eq!(bench.send(&mut taps[2], vec![frame]).packets, 1);
    bench.complete(&mut taps[2]);
    taps.into_iter().zip(&mut benches).for_each(|(tap, bench)| bench.finish(tap));
}

#[test]
fn what_is_in_a_queue_at_the_end_is_counted() {
    let Some(namespace) = Namespace::enter("what_is_in_a_queue_at_the_end_is_counted") else { return };
    silence(&namespace);
    let mut bench = Bench::new();
    let (mut tap, socket) = tap_and_socket();
    for number in 0..100u8 {
        socket.send_to(&[number; 30], "10.9.0.2:9").unwrap();
    }
    let packets = bench.receive(&mut tap, 20);
    assert_eq!(packets.len(), 20);
    bench.recycle(packets);
    assert_eq!(lost(&tap, "rx_left_at_close"), 0);
    bench.finish_with(tap, |tap| assert_eq!(lost(tap, "rx_left_at_close"), 80));
}

#[test]
fn what_is_in_several_queues_at_the_end_is_counted() {
    let Some(namespace) = Namespace::enter("what_is_in_several_queues_at_the_end_is_counted") else { return };
    silence(&namespace);
    let (mut one, mut two) = (Bench::new(), Bench::new());
    let mut taps = Tap::open_queues("wwleft", 2).unwrap();
    let sockets = many_flows("wwleft");
    let send = || sockets.iter().for_each(|socket| assert!(socket.send_to(b"one of many", "10.9.0.2:9").is_ok()));
    send();
    let (first, mut second) = (taps.remove(0), taps.remove(0));
    one.finish_with(first, |first| {
        let left = lost(first, "rx_left_at_close");
        assert!(0 < left && left < 64, "{left} of 64 flows were in the first queue");
        // The device is there still, and takes none of them any more: all flows go to the other queue.
        send();
        assert_eq!(receive_all(&mut two, &mut second) + left, 128);
    });
    send();
    two.finish_with(second, |second| assert_eq!(lost(second, "rx_left_at_close"), 64));
}

/// Whoever is refused has not had a packet of those who hold the tap: it is looked who they are before a queue is attached.
#[test]
fn who_may_not_open_a_tap_takes_nothing_of_it() {
    let Some(namespace) = Namespace::enter("who_may_not_open_a_tap_takes_nothing_of_it") else { return };
    silence(&namespace);
    let mut bench = Bench::new();
    let mut tap = Tap::open_queues("wwtheirs", 1).unwrap().remove(0);
    let sockets = many_flows("wwtheirs");
    let file = std::fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
    let (mut sent, mut received) = (0, 0);
    std::thread::scope(|scope| {
        let strangers = scope.spawn(|| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
            for _ in 0..5 {
                let refused = [Tap::open("wwtheirs").map(|_| ()), Tap::open_queues("wwtheirs", 2).map(|_| ())];
                for refused in refused {
                    let message = refused.unwrap_err().to_string();
                    assert!(message.contains("queues of it are open in"), "{message}");
                }
            }
        });
        let mut last = false;
        while !last {
            last = strangers.is_finished();
            for socket in &sockets {
                socket.send_to(b"of many", "10.9.0.2:9").unwrap();
                sent += 1;
            }
            received += receive_all(&mut bench, &mut tap);
        }
    });
    assert_eq!(received + lost(&tap, "tap_queue_full"), sent);
    bench.finish(tap);
}
