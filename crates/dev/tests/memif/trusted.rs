//! Clients whose peer is trusted: their packets stay in the pool's pages, which are with the peer meanwhile.
#![expect(unsafe_code, reason = "promises that the peer is ours")]

use std::time::{Duration, Instant};

use crate::common::{Bench, whole};
use crate::script::Peer;
use crate::support::{Folder, connect, counter, packet, receive, until};
use crate::testpmd::{Testpmd, load, load_until_it_forwards};
use waterwheel_dev::memif::message::Message;
use waterwheel_dev::memif::{Memif, MemifParams, Trust};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, DropReason, PoolParams, Zone};

fn trusting(params: MemifParams) -> MemifParams {
    // SAFETY: the peers of these tests are servers of this library, testpmd, and a script that never touches the memory.
    MemifParams { trust: Some(unsafe { Trust::peer() }), ..params }
}

fn open(zone: &Zone, params: &MemifParams) -> Memif {
    Memif::open(zone, params).expect("a device").remove(0)
}

fn other_zone() -> Zone {
    Zone::new(&ZoneParams::pages(64)).expect("a zone")
}

fn pair(folder: &Folder, bench: &Bench) -> (Memif, Memif) {
    let mut servers = [open(&other_zone(), &folder.server())];
    let mut clients = [open(bench.zone(), &trusting(MemifParams { ring: 64, ..folder.client() }))];
    connect(&mut servers, &mut clients);
    let ([server], [client]) = (servers, clients);
    (server, client)
}

/// Lets the client post empty pages, and take back those that were sent.
fn turn(bench: &mut Bench, client: &mut Memif) {
    assert!(bench.receive(client, 64).is_empty());
    bench.complete(client);
}

#[test]
fn packets_stay_in_their_pages() {
    let (folder, mut bench) = (Folder::new(), Bench::of_small_pages());
    let (mut server, mut client) = pair(&folder, &bench);
    assert!(client.mode().starts_with("client, zero copy, connected"), "{}", client.mode());
    turn(&mut bench, &mut client);
    assert_eq!(client.in_flight(), 64, "an empty page for each slot");
    for (number, len) in [14, 60, 1514, 3840, 3841, 9014, 40_000].into_iter().enumerate() {
        let sent = packet(number, len);
        let frame = bench.frame(&sent);
        let (parts, posted) = (1 + frame.frag_count(), client.in_flight());
        assert_eq!(bench.send(&mut client, vec![frame]).packets, 1);
        assert_eq!(bench.complete(&mut client), 0, "the peer has it");
        assert_eq!(client.in_flight(), posted + parts);
        let got = receive(&mut bench, &mut server, 1);
        assert_eq!(whole(&got[0]), sent);
        bench.recycle(got);
        assert_eq!(bench.complete(&mut client), parts, "it is back");

        let frame = bench.frame(&sent);
        assert_eq!(bench.send(&mut server, vec![frame]).packets, 1);
        bench.complete(&mut server);
        let got = receive(&mut bench, &mut client, 1);
        assert!(got[0].is_of(bench.zone().id()) && whole(&got[0]) == sent, "in a page that we posted");
        bench.recycle(got);
        turn(&mut bench, &mut client);
    }
    assert_eq!(counter(&client, "copied_frames"), 0);
    drop(server); // it goes first: who has only this thread cannot wait for it
    bench.finish(client);
}

#[test]
fn whoever_trusts_takes_the_pages_of_any_memory() {
    // Of huge pages, where the machine has some.
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut servers = [open(&other_zone(), &trusting(folder.server()))];
    let mut clients = [open(bench.zone(), &trusting(folder.client()))];
    connect(&mut servers, &mut clients);
    let ([mut server], [mut client]) = (servers, clients);
    let sent = packet(1, 1514);
    let frame = bench.frame(&sent);
    assert_eq!(bench.send(&mut client, vec![frame]).packets, 1);
    let got = receive(&mut bench, &mut server, 1);
    assert_eq!(whole(&got[0]), sent);
    bench.recycle(got);
    drop(server);
    bench.finish(client);
}

#[test]
fn pages_of_another_region_are_copied_and_counted() {
    let (folder, mut bench, mut strangers) = (Folder::new(), Bench::of_small_pages(), Bench::new());
    let (mut server, mut client) = pair(&folder, &bench);
    for len in [60, 9014] {
        let frame = strangers.frame(&packet(1, len));
        assert_eq!(bench.send(&mut client, vec![frame]).packets, 1);
        let got = receive(&mut bench, &mut server, 1);
        assert_eq!(whole(&got[0]), packet(1, len));
        bench.recycle(got);
        bench.complete(&mut client);
    }
    assert_eq!((counter(&client, "copied_frames"), bench.drops(DropReason::ForeignPage)), (2, 0));
    drop(server);
    bench.finish(client);
}

#[test]
fn pages_come_home_from_a_peer_that_goes() {
    let (folder, mut bench) = (Folder::new(), Bench::of_small_pages());
    let (mut server, mut client) = pair(&folder, &bench);
    for _ in 0..3 {
        turn(&mut bench, &mut client);
        let frames = (0..20).map(|number| bench.frame(&packet(number, 60))).collect();
        assert_eq!(bench.send(&mut client, frames).packets, 20);
        drop(server);
        until("the pages are home", || {
            drop(client.health());
            bench.complete(&mut client);
            client.in_flight() == 0
        });
        let (mut servers, mut clients) = ([open(&other_zone(), &folder.server())], [client]);
        connect(&mut servers, &mut clients);
        [server] = servers;
        [client] = clients;
    }
    assert_eq!(counter(&client, "quarantined_pages"), 0);
    // A device that goes first, and is only dropped.
    turn(&mut bench, &mut client);
    let ending = std::thread::spawn(move || drop(client));
    until("the end", || {
        drop(server.health());
        let _ = server.tx_room();
        ending.is_finished()
    });
    bench.finish(server);
}

/// A peer that keeps its socket could still be writing: its pages are out of use, and the account says so.
#[test]
fn a_peer_that_will_not_go_keeps_the_pages() {
    let folder = Folder::new();
    let zone = Zone::new(&ZoneParams::pages(64)).expect("a zone");
    let params = PoolParams { limit: 64, ..PoolParams::default() };
    let mut pool = waterwheel_xdp::PagePool::new(&zone, params).expect("a pool");
    let listener = Peer::listen(&folder.socket());
    let mut client = open(&zone, &trusting(MemifParams { ring: 8, ..folder.client() }));
    let (peer, _, _) = crate::liars::good_server(&listener, &mut client);
    assert_eq!(client.rx(&mut pool, &mut Vec::new(), 64), 0);
    assert_eq!(client.in_flight(), 8);
    let begin = Instant::now();
    client.shutdown(&mut waterwheel_xdp::Homes::new(std::slice::from_mut(&mut pool)));
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!((counter(&client, "quarantined_pages"), client.in_flight()), (8, 0));
    while let Ok(Some((message, _))) = peer.hear() {
        assert!(matches!(message, Message::Disconnect { .. }));
    }
    drop((client, pool));
    let account = waterwheel_xdp::Account::open(&zone).close(waterwheel_xdp::mm::Users::Gone);
    assert_eq!((account.quarantined, account.free, account.leaked), (8, 56, 0), "{account:?}");
}

/// A client whose peer has lied, and is there still with nine of its pages.
fn at_odds(folder: &Folder, bench: &mut Bench) -> (Peer, Memif) {
    let listener = Peer::listen(&folder.socket());
    let mut client = open(bench.zone(), &trusting(MemifParams { ring: 8, ..folder.client() }));
    let (peer, _, rx) = crate::liars::good_server(&listener, &mut client);
    turn(bench, &mut client);
    let frame = bench.frame(&packet(0, 60));
    bench.send(&mut client, vec![frame]);
    assert_eq!(client.in_flight(), 9);
    peer.set_tail(rx.offset.into(), 9); // a lie, which ends the connection
    until("the end", || {
        assert!(bench.receive(&mut client, 64).is_empty());
        !client.is_connected()
    });
    (peer, client)
}

/// Until the peer has closed its socket, and a little longer, it may be in the midst of a copy: whatever it says, its pages stay with it.
#[test]
fn pages_are_not_taken_back_before_the_peer_is_gone() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (peer, mut client) = at_odds(&folder, &mut bench);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(100) {
        peer.say_bytes(&[], &[]); // no end, though it reads like one
        bench.complete(&mut client);
        assert_eq!(client.in_flight(), 9, "the peer has not closed its socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(peer);
    let begin = Instant::now();
    until("the pages are home", || {
        bench.complete(&mut client);
        client.in_flight() == 0
    });
    assert!(begin.elapsed() >= Duration::from_millis(10), "not at once");
    assert_eq!((counter(&client, "bad_indices"), counter(&client, "quarantined_pages")), (1, 0));
    bench.finish(client);
}

/// A device that is only dropped waits for them, too: the account of the end knows of none in quarantine.
#[test]
fn pages_of_a_connection_that_has_ended_come_home_to_who_is_dropped() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (peer, client) = at_odds(&folder, &mut bench);
    drop(peer);
    drop(client);
}

#[test]
fn a_quarter_of_a_small_pool_is_left_to_packets_under_way() {
    let (folder, mut bench) = (Folder::new(), Bench::with_pages(64));
    let listener = Peer::listen(&folder.socket());
    let mut client = open(bench.zone(), &trusting(MemifParams { ring: 64, ..folder.client() }));
    let (peer, ..) = crate::liars::good_server(&listener, &mut client);
    turn(&mut bench, &mut client);
    assert_eq!(client.in_flight(), 48);
    drop(peer);
    bench.finish(client);
}

#[test]
fn testpmd_is_killed_with_our_pages() {
    let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
    let mut client = open(bench.zone(), &trusting(folder.client()));
    let mut number = 0;
    for _ in 0..3 {
        let _ = std::fs::remove_file(folder.socket());
        let testpmd = Testpmd::start(&folder, "server", 1);
        until("it connects", || {
            drop(client.health());
            client.is_connected()
        });
        load_until_it_forwards(&mut bench, &mut client, &mut number);
        drop(testpmd);
        load(&mut bench, &mut client, &mut number, Duration::from_millis(50));
        until("the pages are home", || {
            drop(client.health());
            bench.complete(&mut client);
            !client.is_connected() && client.in_flight() == 0
        });
    }
    assert_eq!((counter(&client, "copied_frames"), counter(&client, "quarantined_pages")), (0, 0));
    assert_eq!((counter(&client, "bad_indices"), counter(&client, "bad_descriptors")), (0, 0));
    bench.finish(client);
}
