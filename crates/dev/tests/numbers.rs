//! Every number that can be given, at its ends: it is refused, or it works.
#![cfg(all(
    feature = "uring",
    feature = "gen",
    feature = "null",
    feature = "memif",
    feature = "af_xdp",
    feature = "pcap"
))]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use common::{Bench, sockets};
use waterwheel_dev::Rate;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams};
use waterwheel_dev::generator::{Gen, GenParams, Size, SplitMix64};
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_dev::null::Null;
use waterwheel_dev::pcap::{PcapParams, PcapReader, PcapSink, PcapWriteParams, Timing};
use waterwheel_dev::relay::{Relay, RelayParams};
use waterwheel_dev::socket::{MAX_RING, SocketParams, Tcp, Udp};
use waterwheel_dev::uring::{Event, Receive, Ring, RingParams};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, PagePool, PoolParams, Zone};

const ENDS: [usize; 5] = [0, 1, 1 << 20, usize::MAX / 2 + 1, usize::MAX];

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

#[test]
fn a_relay_says_what_it_needs_and_whether_it_can_be() {
    let usual = RelayParams::new(local(), local());
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    for order in [0, 6, 7, 63, 64, u8::MAX] {
        for (workers, max_connections) in ENDS.into_iter().flat_map(|workers| ENDS.map(|all| (workers, all))) {
            let params = RelayParams { order, workers, max_connections, ..usual.clone() };
            let (needed, wanted) = (params.pages_needed(), params.pages_wanted());
            assert!(needed <= wanted, "{params:?}");
            for pages in ENDS {
                // So many connections are no more than these pages are for.
                let max_connections = params.connections_for(pages);
                assert!(
                    max_connections == 0 || RelayParams { max_connections, ..params.clone() }.pages_needed() <= pages
                );
            }
            assert_eq!(params.check().is_ok(), order <= 6 && workers == 1 && max_connections == 1, "{params:?}");
            // Where it can be it needs more pages than there are.
            assert!(Relay::start(&zone, &params).is_err());
        }
    }
    // Times, and what a flow may hold.
    let server = TcpListener::bind(local()).unwrap();
    for (cap, high, drain, idle) in [
        (1, Some(0), Duration::ZERO, Some(Duration::ZERO)),
        (usize::MAX, Some(usize::MAX), Duration::MAX, Some(Duration::MAX)),
    ] {
        let (connect, idle_timeout) = (server.local_addr().unwrap(), idle);
        let params = RelayParams { connect, cap, high, drain, idle_timeout, max_connections: 1, ..usual.clone() };
        let zone = Zone::new(&ZoneParams::pages(params.pages_needed())).unwrap();
        let relay = Relay::start(&zone, &params).unwrap();
        let client = TcpStream::connect(relay.listen_address()).unwrap();
        let (served, _) = server.accept().unwrap();
        drop((client, served));
        assert_eq!(relay.finish().unwrap().1, 0);
        assert!(Account::open(&zone).close(Users::Gone).is_whole());
    }
    assert!(RelayParams { cap: 0, ..usual }.check().is_err());
}

#[test]
fn a_ring_is_asked_for_anything() {
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    let open = |params: RingParams| Ring::open(&zone, &params);
    for entries in [0, u32::MAX] {
        open(RingParams { entries, ..RingParams::default() }).unwrap_err();
    }
    for buffers in [0, 3, u16::MAX] {
        open(RingParams { buffers, ..RingParams::default() }).unwrap_err();
    }
    for headroom in [4095, 4096, u32::MAX] {
        let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
        let mut ring = open(RingParams { headroom, buffers: 8, ..RingParams::default() }).unwrap();
        ring.fill(&mut pool, usize::MAX);
        assert_eq!(ring.waiting_pages(), if headroom < 4096 { 8 } else { 0 });
        let (to, from) = (UdpSocket::bind(local()).unwrap(), UdpSocket::bind(local()).unwrap());
        ring.receive(to.as_fd(), u64::MAX, Receive::Once, &mut pool);
        ring.watch(to.as_fd(), u64::MAX, u32::MAX);
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        // It waits as long as it takes, which is not long.
        let mut events = Vec::new();
        ring.turn(&mut pool, Some(Duration::MAX), &mut events).unwrap();
        assert!(!events.is_empty());
        for event in events.drain(..) {
            match event {
                Event::Received { key, part } => {
                    assert_eq!((key, part.bytes()), (u64::MAX, &b"x"[..]));
                }
                Event::Ended { key, .. } | Event::Ready { key, .. } => assert_eq!(key, u64::MAX),
                event => panic!("{event:?}"),
            }
        }
        assert_eq!(ring.close(&mut pool, Duration::MAX), 0);
    }
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
}

#[test]
fn devices_refuse_what_they_cannot_be() {
    let bench = Bench::new();
    let (peer, listener) = (UdpSocket::bind(local()).unwrap(), TcpListener::bind(local()).unwrap());
    for ring in [0, 1, 3, MAX_RING + 1, MAX_RING * 2, u16::MAX] {
        let params = SocketParams { ring, ..SocketParams::default() };
        assert!(Udp::open(bench.zone(), local(), None, &params).is_err());
        assert!(Tcp::listen(bench.zone(), local(), &params).is_err());
        assert!(Tcp::connect(bench.zone(), listener.local_addr().unwrap(), &params).is_err());
    }
    for ring in [2, MAX_RING] {
        let mut bench = Bench::new();
        let params = SocketParams { ring, ..SocketParams::default() };
        let mut device = Udp::open(bench.zone(), local(), Some(peer.local_addr().unwrap()), &params).unwrap();
        assert!(sockets::round(&mut bench, &mut device).is_empty() && bench.receive(&mut device, 1 << 20).is_empty());
        bench.finish(device);
    }
    for ring in [0, 3, 1 << 17, u32::MAX] {
        let usual = AfXdpParams::new("lo", 0);
        for params in [
            AfXdpParams { rx_ring: ring, ..usual.clone() },
            AfXdpParams { tx_ring: ring, ..usual.clone() },
            AfXdpParams { fill_ring: ring, ..usual.clone() },
            AfXdpParams { completion_ring: ring, ..usual.clone() },
        ] {
            assert!(AfXdp::open(bench.zone(), &params).is_err());
        }
    }
    assert!(AfXdp::open(bench.zone(), &AfXdpParams::new("no-such-interface", u32::MAX)).is_err());
    let usual = MemifParams::new("/nowhere/at/all");
    for (queues, ring) in [(0, 1024), (u16::MAX, 1024), (1, 0), (1, 1), (1, 3), (1, 1 << 15), (1, u32::MAX)] {
        assert!(Memif::open(bench.zone(), &MemifParams { queues, ring, ..usual.clone() }).is_err());
    }
    assert!([0, 59, 9217, usize::MAX].into_iter().all(|size| Null::source(size).is_err()));
    assert!(
        [0, 59, 9217, usize::MAX]
            .into_iter()
            .all(|size| { Gen::new(&GenParams { size: Size::Fixed(size), ..GenParams::default() }).is_err() })
    );
}

#[test]
fn a_capture_is_written_with_any_number() {
    let folder = std::env::temp_dir().join(format!("waterwheel-numbers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap(); // another with this number may have been killed
    for end in ENDS {
        let (long, time) = (end as u64, Duration::from_secs((end as u64).saturating_mul(100))); // a second may be over before the packet comes
        let usual = PcapWriteParams { file_size: Some(1 << 20), ..PcapWriteParams::default() };
        for (n, params) in [
            PcapWriteParams { snap: Some(u32::try_from(end).unwrap_or(u32::MAX)), ..usual.clone() },
            PcapWriteParams { packets: Some(long), ..usual.clone() },
            PcapWriteParams { bytes: Some(long), ..usual.clone() },
            PcapWriteParams { file_size: Some(long), ..usual.clone() },
            PcapWriteParams { file_time: Some(time), ..usual.clone() },
            PcapWriteParams { files: Some(end), ..usual.clone() },
            PcapWriteParams { files: Some(end), file_size: Some(long), ..usual.clone() },
        ]
        .into_iter()
        .enumerate()
        {
            let name = |number: &str| folder.join(format!("{end}-{n}-{number}"));
            let Ok(mut writer) = params.create(name("%n")) else {
                assert!(end == 0 && !name("1").exists(), "{params:?}");
                continue;
            };
            assert!(end > 0, "{params:?}");
            let mut bench = Bench::new();
            let frame = bench.frame(&[1; 60]);
            assert_eq!(bench.send(&mut writer, vec![frame]).packets, 1);
            bench.finish(writer);
            let mut reader = PcapReader::open(name("1"), &PcapParams::default()).unwrap();
            let came = bench.receive(&mut reader, 2);
            assert_eq!(came.len(), 1, "{params:?}");
            bench.recycle(came);
            bench.finish(reader);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_capture_is_played_with_any_number() {
    let mut sink = PcapSink::new(Vec::new(), "eth0").unwrap();
    [0, u64::MAX].into_iter().for_each(|time| sink.packet(0, time, &[1; 60]).unwrap());
    let path = std::env::temp_dir().join(format!("waterwheel-numbers-{}.pcap", std::process::id()));
    std::fs::write(&path, sink.into_inner()).unwrap();
    for end in [0, 1, u64::MAX] {
        for timing in [
            Timing::Asap,
            Timing::Original,
            Timing::Speed(end),
            Timing::Rate(Rate::Packets(end)),
            Timing::Rate(Rate::Bits(end)),
        ] {
            for (burst, loops) in [(Duration::ZERO, end), (Duration::MAX, end)] {
                let params = PcapParams { timing, burst, loops };
                let nothing = end == 0 && matches!(timing, Timing::Speed(_) | Timing::Rate(_));
                let Ok(mut reader) = PcapReader::open(&path, &params) else {
                    assert!(nothing, "{params:?}");
                    continue;
                };
                assert!(!nothing, "{params:?}");
                let mut bench = Bench::new();
                let came = bench.receive(&mut reader, 3);
                assert!(!came.is_empty(), "{params:?}: the first comes at once");
                bench.recycle(came);
                bench.finish(reader);
            }
        }
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_generator_makes_as_many_as_it_is_told() {
    let numbers = [(0, 0), (1, 1), (u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 1)];
    let numbers =
        numbers.into_iter().flat_map(|(rate, count)| [Rate::Packets(rate), Rate::Bits(rate)].map(|rate| (rate, count)));
    for (rate, count) in numbers {
        let mut bench = Bench::new();
        let params = GenParams { rate: Some(rate), count: Some(count), seed: u64::MAX, ..GenParams::default() };
        let mut device = Gen::new(&params).unwrap();
        let came = bench.receive(&mut device, 1 << 20);
        assert!(came.len() as u64 <= count && came.is_empty() == (count == 0));
        bench.recycle(came);
        bench.finish(device);
    }
    let mut dice = SplitMix64::new(u64::MAX);
    assert_eq!((dice.below(0), dice.below(1)), (0, 0));
    let _ = dice.below(usize::MAX);
}
