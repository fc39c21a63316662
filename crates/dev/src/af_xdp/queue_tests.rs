//! A queue over plain memory, with real packets through a veth pair.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::link::Link;
use super::queue::Queue;
use super::rings::Desc;
use super::socket::{CHUNK, KERNEL_HEADROOM, Probe, Umem};
use super::testing::{Net, Stranger, frame, root, run};
use super::{AfXdpParams, AttachMode, BusyPoll, XdpMode, ZeroCopy};
use crate::ErrorClass;

const PAGES: usize = 64;

/// Page-aligned memory that is never freed: the kernel may write to it after the test.
#[repr(align(4096))]
struct Memory([[AtomicU64; CHUNK / 8]; PAGES]);

fn memory() -> (&'static Memory, Umem) {
    let memory: &'static Memory =
        Box::leak(Box::new(Memory([const { [const { AtomicU64::new(0) }; CHUNK / 8] }; PAGES])));
    (memory, Umem { base: std::ptr::from_ref(memory).cast(), len: size_of::<Memory>() })
}

impl Memory {
    fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let (page, offset) = (addr as usize / CHUNK, addr as usize % CHUNK);
        let bytes: Vec<u8> = self.0[page].iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        bytes[offset..offset + len].to_vec()
    }

    fn write(&self, page: usize, bytes: &[u8]) {
        for (word, bytes) in self.0[page].iter().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
    }
}

fn small(iface: &str) -> AfXdpParams {
    let rings = AfXdpParams { rx_ring: 16, tx_ring: 16, fill_ring: 32, completion_ring: 16, ..Default::default() };
    AfXdpParams { iface: iface.to_owned(), ..rings }
}

fn post(queue: &mut Queue, pages: std::ops::Range<u64>) {
    let mut slots = queue.socket.fill().reserve(pages.end as u32);
    for page in pages {
        slots.push(page * CHUNK as u64).unwrap();
    }
    slots.submit();
    queue.start_rx().unwrap();
}

/// Waits for one packet.
fn receive(queue: &mut Queue) -> Option<Desc> {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if let Some(desc) = queue.socket.rx().peek(1).next() {
            return Some(desc);
        }
        queue.socket.kick_rx().unwrap();
        std::thread::sleep(Duration::from_micros(100));
    }
    None
}

#[test]
fn packets_go_both_ways_in_every_mode() {
    if !root("packets_go_both_ways_in_every_mode") {
        return;
    }
    let _net = Net::new();
    let far = Stranger::on(Link::by_name("far").unwrap().index);
    let busy_poll = Some(BusyPoll::default());
    for (mode, obtained, need_wakeup, busy_poll) in [
        (AttachMode::Auto, XdpMode::Native, true, None),
        (AttachMode::Native, XdpMode::Native, false, None),
        (AttachMode::Native, XdpMode::Native, true, busy_poll),
        (AttachMode::Generic, XdpMode::Generic, true, None),
        (AttachMode::Generic, XdpMode::Generic, false, busy_poll),
    ] {
        let (memory, umem) = memory();
        let params = AfXdpParams { mode, need_wakeup, busy_poll, ..small("near") };
        let mut queue = Queue::open(umem, &params).unwrap();
        assert_eq!(queue.mode(), Some(obtained));
        assert!(!queue.socket.zero_copy(), "a veth copies");

        post(&mut queue, 0..16);
        for (seed, len) in [(1, 60), (2, 61), (3, 1514)] {
            let sent = frame(len, seed);
            far.send(&sent);
            let desc = receive(&mut queue).expect("a packet");
            assert_eq!(desc.addr % CHUNK as u64, KERNEL_HEADROOM as u64, "where the packet starts in its page");
            assert!(desc.addr / (CHUNK as u64) < 16);
            assert_eq!(memory.bytes(desc.addr, desc.len as usize), sent);
        }

        for (page, len) in [(20, 60), (21, 1514)] {
            let sent = frame(len, page as u8);
            memory.write(page, &sent);
            let mut slots = queue.socket.tx().reserve(1);
            slots.push(Desc { addr: (page * CHUNK) as u64, len: len as u32, options: 0 }).unwrap();
            slots.submit();
            assert!(!queue.socket.kick_tx().unwrap());
            assert_eq!(far.recv().unwrap(), sent);
            let deadline = Instant::now() + Duration::from_secs(2);
            let done = loop {
                if let Some(done) = queue.socket.completion().peek(1).next() {
                    break done;
                }
                assert!(Instant::now() < deadline, "no completion");
            };
            assert_eq!(done, (page * CHUNK) as u64, "the address that was sent");
        }
        let statistics = queue.socket.statistics().unwrap();
        assert_eq!((statistics.rx_dropped, statistics.rx_ring_full, statistics.tx_invalid_descs), (0, Some(0), 0));
    }
}

#[test]
fn what_the_kernel_drops_is_in_its_counters() {
    if !root("what_the_kernel_drops_is_in_its_counters") {
        return;
    }
    let _net = Net::new();
    let far = Stranger::on(Link::by_name("far").unwrap().index);
    let (_, umem) = memory();
    let mut queue = Queue::open(umem, &small("near")).unwrap();
    let wait = |queue: &Queue, what: fn(&rustix::net::xdp::XdpStatistics) -> u64, count| {
        let deadline = Instant::now() + Duration::from_secs(2);
        while what(&queue.socket.statistics().unwrap()) < count {
            assert!(Instant::now() < deadline, "{:?}", queue.socket.statistics());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    queue.start_rx().unwrap();
    far.send(&frame(60, 0));
    wait(&queue, |statistics| statistics.rx_fill_ring_empty_descs.unwrap(), 1);
    post(&mut queue, 0..32);
    for seed in 0..17 {
        far.send(&frame(60, seed));
    }
    wait(&queue, |statistics| statistics.rx_ring_full.unwrap(), 1);

    // A chunk beyond the memory, and a packet that leaves its chunk.
    for (addr, len) in [((PAGES * CHUNK) as u64, 60), (CHUNK as u64 - 59, 60)] {
        let mut slots = queue.socket.tx().reserve(1);
        slots.push(Desc { addr, len, options: 0 }).unwrap();
        slots.submit();
        let _ = queue.socket.kick_tx();
    }
    wait(&queue, |statistics| statistics.tx_invalid_descs, 2);
}

#[test]
fn two_interfaces_share_the_memory() {
    if !root("two_interfaces_share_the_memory") {
        return;
    }
    let _net = Net::new();
    run("ip link add near2 type veth peer name far2");
    run("ip link set near2 up");
    run("ip link set far2 up");
    let (memory, umem) = memory();
    let mut a = Queue::open(umem, &small("near")).unwrap();
    let mut b = Queue::open(umem, &small("near2")).unwrap();
    let (far, far2) =
        (Stranger::on(Link::by_name("far").unwrap().index), Stranger::on(Link::by_name("far2").unwrap().index));
    post(&mut a, 0..8);
    let sent = frame(200, 9);
    far.send(&sent);
    let desc = receive(&mut a).expect("a packet");
    let mut slots = b.socket.tx().reserve(1);
    slots.push(desc).unwrap();
    slots.submit();
    b.socket.kick_tx().unwrap();
    let received = loop {
        // The host's own packets (neighbour discovery) may come first.
        let packet = far2.recv().unwrap();
        if packet[12..14] == [0x88, 0xb5] {
            break packet;
        }
    };
    assert_eq!(received, sent, "from one interface to the other without a copy of ours");
    assert_eq!(memory.bytes(desc.addr, 200), sent);
}

#[test]
fn a_queue_opens_again_right_after_it_closed() {
    if !root("a_queue_opens_again_right_after_it_closed") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    for _ in 0..20 {
        drop(Queue::open(umem, &small("near")).unwrap());
        assert_eq!(Link::by_name("near").unwrap().xdp, None, "the program went with the socket");
    }
}

#[test]
fn a_probe_tells_when_nobody_has_the_queue() {
    if !root("a_probe_tells_when_nobody_has_the_queue") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    let queue = Queue::open(umem, &small("near")).unwrap();
    let probe = || Probe::new("near", queue.link.index, 0).unwrap();
    let (first, second, third) = (probe(), probe(), probe());
    assert_eq!(first.wait(Duration::from_millis(50)).unwrap_err(), Errno::BUSY);
    // Whoever copied the descriptor keeps the socket.
    let copy = queue.socket.as_fd().try_clone_to_owned().unwrap();
    drop(queue);
    assert_eq!(first.wait(Duration::from_millis(200)).unwrap_err(), Errno::BUSY);
    run("ip link set near down");
    assert!(second.wait(Duration::from_millis(50)).is_err(), "down is not gone");
    run("ip link set near up");
    drop(copy);
    assert!(first.wait(Duration::from_secs(2)).is_ok());
    drop(first);
    run("ip link set near down");
    eprintln!("with the interface down: {:?}", second.wait(Duration::from_secs(2)));
    run("ip link del near");
    assert!(third.ask().is_ok());
}

#[test]
fn a_taken_queue_says_so_and_leaves_nothing_behind() {
    if !root("a_taken_queue_says_so_and_leaves_nothing_behind") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    let queue = Queue::open(umem, &small("near")).unwrap();
    let error = Queue::open(umem, &small("near")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Device);
    assert!(error.to_string().starts_with("near: queue 0 is taken"), "{error}");
    drop(queue);
    assert_eq!(Link::by_name("near").unwrap().xdp, None);
}

#[test]
fn what_cannot_be_is_refused_before_anything_changed() {
    if !root("what_cannot_be_is_refused_before_anything_changed") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    let refused = |params: AfXdpParams, class, words: &str| {
        let error = Queue::open(umem, &params).unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(Link::by_name("near").unwrap().xdp, None);
    };
    let queues = Link::by_name("near").unwrap().rx_queues;
    refused(small("nera"), ErrorClass::Config, "no interface `nera`");
    refused(AfXdpParams { queue: queues, ..small("near") }, ErrorClass::Config, &format!("no queue {queues}"));
    refused(AfXdpParams { rx_ring: 1000, ..small("near") }, ErrorClass::Usage, "rx_ring is 1000");
    refused(AfXdpParams { fill_ring: 0, ..small("near") }, ErrorClass::Usage, "fill_ring is 0");
    refused(AfXdpParams { completion_ring: 8, ..small("near") }, ErrorClass::Usage, "smaller than tx_ring");
    refused(
        AfXdpParams { zero_copy: ZeroCopy::Require, ..small("near") },
        ErrorClass::Device,
        "cannot do zero copy (driver veth)",
    );
    refused(
        AfXdpParams { zero_copy: ZeroCopy::Require, mode: AttachMode::Generic, ..small("near") },
        ErrorClass::Device,
        "generic mode, which has no zero copy",
    );
    run("ip link set near down");
    refused(small("near"), ErrorClass::Device, "near is down: `ip link set near up`");
    run("ip link set near up");
    run("ip link set near mtu 9000");
    run("ip link set far mtu 9000");
    let queue = Queue::open(umem, &small("near")).unwrap();
    assert_eq!((queue.mode(), queue.socket.fragments()), (Some(XdpMode::Native), true), "what jumbo frames need");
    drop(queue);
    run("ip link set lo up");
    refused(AfXdpParams { mode: AttachMode::Native, ..small("lo") }, ErrorClass::Device, "mode auto or generic");
    let queue = Queue::open(umem, &small("lo")).unwrap();
    assert_eq!(queue.mode(), Some(XdpMode::Generic), "what the driver refuses, the stack does");
}

#[test]
fn an_interface_that_goes_is_noticed_and_named() {
    if !root("an_interface_that_goes_is_noticed_and_named") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    let queue = Queue::open(umem, &small("near")).unwrap();
    assert_eq!(queue.failure(), None);
    run("ip link set far down");
    assert_eq!(queue.failure(), None, "no carrier is not the end");
    run("ip link set near down");
    assert_eq!(queue.failure().as_deref(), Some("near was set down"));
    run("ip link set near up");
    assert_eq!(queue.failure(), None);
    run("ip link del near");
    assert_eq!(queue.failure().as_deref(), Some("near is gone"));
}

#[test]
fn promiscuous_mode_ends_with_the_queue() {
    if !root("promiscuous_mode_ends_with_the_queue") {
        return;
    }
    let _net = Net::new();
    let (_, umem) = memory();
    let queue = Queue::open(umem, &AfXdpParams { promiscuous: true, ..small("near") }).unwrap();
    let shown = || {
        String::from_utf8(
            std::process::Command::new("ip").args(["-d", "link", "show", "near"]).output().unwrap().stdout,
        )
        .unwrap()
    };
    assert!(shown().contains("promiscuity 1"), "{}", shown());
    drop(queue);
    assert!(shown().contains("promiscuity 0"), "{}", shown());
}

#[test]
fn interfaces_without_ethernet_headers_are_refused() {
    if !root("interfaces_without_ethernet_headers_are_refused") {
        return;
    }
    let _net = Net::new();
    run("ip tuntap add dev bare mode tun");
    run("ip link set bare up");
    let error = Queue::open(memory().1, &small("bare")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Device);
    assert!(error.to_string().contains("bare is not an Ethernet interface (driver tun)"), "{error}");
    drop(
        Queue::open(memory().1, &small("lo"))
            .map_err(|error| assert!(!error.to_string().contains("Ethernet"), "{error}")),
    );
}
