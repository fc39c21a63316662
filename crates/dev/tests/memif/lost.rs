//! What is lost between two sides is said, once, by the one that knows: packets that were never taken, by us or by the peer; and why nobody ever came.

use crate::common::Bench;
use crate::liars::{good_client, good_desc};
use crate::script::{Desc, SLOTS, TO_CLIENT};
use crate::support::{Folder, connect, counter, packet, receive, until};
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, DropReason, Health, Traffic, Wait, Zone};

fn open(params: &MemifParams) -> Memif {
    Memif::open(&Zone::new(&ZoneParams::pages(1)).expect("a zone"), params).expect("a device").remove(0)
}

fn pair(folder: &Folder) -> (Memif, Memif) {
    let mut servers = [open(&folder.server())];
    let mut clients = [open(&MemifParams { ring: 64, ..folder.client() })];
    connect(&mut servers, &mut clients);
    let ([server], [client]) = (servers, clients);
    (server, client)
}

fn lost(device: &Memif, name: &str) -> u64 {
    let mut found = None;
    device.lost(&mut |said, n| found = if said == name { Some(n) } else { found });
    found.unwrap_or_else(|| panic!("nothing is said of {name}"))
}

/// Packets of which some have several parts, and their bytes.
fn some() -> (Vec<Vec<u8>>, u64) {
    let all =
        [60, 1514, 5000, 60, 9014].iter().enumerate().map(|(number, len)| packet(number, *len)).collect::<Vec<_>>();
    let bytes = all.iter().map(Vec::len).sum::<usize>() as u64;
    (all, bytes)
}

fn send(bench: &mut Bench, device: &mut Memif) {
    let frames = some().0.iter().map(|bytes| bench.frame(bytes)).collect();
    assert_eq!(bench.send(device, frames), Traffic { packets: 5, bytes: some().1 });
    bench.complete(device);
}

#[test]
fn what_a_peer_does_not_take_was_not_sent() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (mut server, mut client) = pair(&folder);
    // In either direction, twice: the counts add up.
    for times in 1..=2 {
        send(&mut bench, &mut client);
        send(&mut bench, &mut server);
        assert_eq!(client.unsent(), Traffic::default(), "it may take them yet");
        drop(client);
        until("the end is noticed", || server.health() == Health::Up && !server.is_connected());
        assert_eq!(server.unsent(), Traffic { packets: 5 * times, bytes: some().1 * times });
        assert_eq!((lost(&server, "rx_left_at_close"), counter(&server, "tx_left_at_close")), (5 * times, 5 * times));
        let (mut servers, mut clients) = ([server], [open(&MemifParams { ring: 64, ..folder.client() })]);
        connect(&mut servers, &mut clients);
        ([server], [client]) = (servers, clients);
    }
    // What was taken was sent, and what is taken before the end.
    send(&mut bench, &mut client);
    let got = receive(&mut bench, &mut server, 5);
    bench.recycle(got);
    send(&mut bench, &mut client);
    bench.finish_with(client, |client| {
        assert_eq!(client.unsent(), Traffic { packets: 5, bytes: some().1 });
        assert_eq!(client.health(), Health::Up, "it was connected");
    });
    until("the end is noticed", || server.health() == Health::Up && !server.is_connected());
    assert_eq!((lost(&server, "rx_left_at_close"), server.unsent().packets), (15, 10));
    bench.finish_with(server, |server| assert_eq!(lost(server, "rx_left_at_close"), 15));
}

/// What was dropped for another reason before the lie is not dropped once more.
#[test]
fn packets_to_a_liar_are_counted_once() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    let peer = good_client(&folder, &mut server);
    for slot in 0..SLOTS {
        let offset = if slot == 2 { u32::MAX } else { good_desc(slot).offset };
        peer.describe(TO_CLIENT, slot, Desc { length: 2048, offset, ..good_desc(slot) });
    }
    peer.set_head(TO_CLIENT, SLOTS);
    until("room", || server.tx_room() >= 6);
    let frames = [60, 1, 60, 2, 60, 60].iter().map(|len| bench.frame(&packet(0, *len))).collect();
    assert_eq!(bench.send(&mut server, frames), Traffic { packets: 2, bytes: 120 }, "up to the lie");
    assert_eq!((bench.drops(DropReason::Malformed), bench.drops(DropReason::DeviceDown)), (2, 2));
    assert_eq!((counter(&server, "bad_descriptors"), server.is_connected()), (1, false));
    assert_eq!(server.unsent().packets, 2, "nor has it taken those");
    bench.finish(server);
}

#[test]
fn what_came_and_was_no_packet_is_lost() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    let peer = good_client(&folder, &mut server);
    peer.describe(crate::script::TO_SERVER, 0, Desc { length: 13, ..good_desc(0) });
    peer.set_head(crate::script::TO_SERVER, 1);
    until("it is looked at", || bench.receive(&mut server, 64).is_empty() && lost(&server, "rx_short") > 0);
    assert_eq!((lost(&server, "rx_short"), lost(&server, "rx_too_long")), (1, 0));
    bench.finish(server);
}

/// What it says of itself after its end.
fn last_words(bench: &mut Bench, device: Memif) -> Option<String> {
    let mut words = None;
    bench.finish_with(device, |device| {
        if let Health::Failed(why) = device.health() {
            words = Some(why);
        }
    });
    words
}

#[test]
fn who_was_refused_says_why() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&MemifParams { secret: "sesame".into(), ..folder.server() });
    let mut client = open(&MemifParams { secret: "open".into(), ..folder.client() });
    assert!(client.mode().contains("not connected: waiting for a server"), "{}", client.mode());
    // Through all the attempts that follow.
    let mut said = 0;
    until("being refused", || {
        drop((server.health(), client.health()));
        let refused = client.mode().contains("not connected: the peer disconnected: incorrect secret");
        assert!(refused || said == 0, "{}", client.mode());
        said += u64::from(refused);
        counter(&server, "rejected_peers") >= 3
    });
    assert!(said > 0 && server.mode().contains("a client was turned away: incorrect secret"), "{}", server.mode());
    assert_eq!(client.health(), Health::Up, "another server may come");
    let why = last_words(&mut bench, client).expect("it has failed");
    assert!(why.contains("never connected: the peer disconnected: incorrect secret"), "{why}");
    assert_eq!(last_words(&mut bench, server), None, "who only waits has not failed, whatever strangers want");
}

#[test]
fn who_wants_to_send_to_nobody_has_failed_in_the_end() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    assert_eq!(last_words(&mut bench, open(&folder.client())), None, "it only waited");
    let mut paced = open(&folder.client());
    assert_eq!(paced.tx_room(), 0);
    assert!(matches!(paced.wait_tx(), Wait::Until(_)), "it looks again, and not at once");
    let why = last_words(&mut bench, paced).expect("it has failed");
    assert!(why.contains("never connected: waiting for a server"), "{why}");
    let mut other = open(&folder.server());
    let frame = bench.frame(&packet(0, 60));
    assert_eq!(bench.send(&mut other, vec![frame]), Traffic::default());
    bench.complete(&mut other);
    let why = last_words(&mut bench, other).expect("it has failed");
    assert!(why.contains("never connected: waiting for a client"), "{why}");
}
