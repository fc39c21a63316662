//! Peers that lie about everything that they can lie about: they are counted and disconnected, nothing panics, and no page is lost.

use std::os::fd::OwnedFd;

use crate::common::{Bench, whole};
use crate::script::{BUFFERS, Desc, Peer, SIZE, SLOTS, TO_CLIENT, TO_SERVER, Traced};
use crate::script::{event, hello, init, memory, region, ring};
use crate::support::{Folder, connect, counter, packet, receive, until};
use waterwheel_dev::memif::message::{AddRing, Hello, Message, Text};
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, Health, Wait, Zone};

const NEXT: u16 = 1;

fn open(params: &MemifParams) -> Memif {
    Memif::open(&Zone::new(&ZoneParams::pages(1)).expect("a zone"), params).expect("a device").remove(0)
}

/// What the device says, until it says that it goes; why it goes.
fn last_words(device: &mut Memif, peer: &Peer) -> String {
    let mut reason = None;
    until("being turned away", || {
        assert_eq!(device.health(), Health::Up);
        loop {
            match peer.hear() {
                Ok(Some((Message::Disconnect { reason: why, .. }, _))) => reason = Some(why.to_string()),
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(()) => return true,
            }
        }
    });
    reason.expect("it says why")
}

/// Waits for an answer.
fn answer(device: &mut Memif, peer: &Peer) -> (Message, Option<OwnedFd>) {
    let mut answer = None;
    until("an answer", || {
        assert_eq!(device.health(), Health::Up);
        answer = peer.hear().expect("it stays");
        answer.is_some()
    });
    answer.expect("an answer")
}

/// A client that has done everything right so far.
pub(crate) fn good_client(folder: &Folder, server: &mut Memif) -> Peer {
    let mut peer = Peer::dial(&folder.socket());
    assert!(matches!(answer(server, &peer).0, Message::Hello(_)));
    let memory = region();
    peer.say(&init());
    assert_eq!(answer(server, &peer).0, Message::Ack);
    peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[&memory]);
    assert_eq!(answer(server, &peer).0, Message::Ack);
    for to_server in [true, false] {
        peer.say_with(&Message::AddRing(ring(to_server)), &[&event()]);
        assert_eq!(answer(server, &peer).0, Message::Ack);
    }
    peer.say(&Message::Connect(Text::new("script")));
    assert!(matches!(answer(server, &peer).0, Message::Connected(_)));
    peer.region = Some(memory);
    assert!(server.is_connected());
    peer
}

/// A server that has done everything right so far, and where the client's rings lie.
pub(crate) fn good_server(listener: &OwnedFd, client: &mut Memif) -> (Peer, AddRing, AddRing) {
    let mut peer = None;
    until("a client", || {
        drop(client.health());
        peer = Peer::accept(listener);
        peer.is_some()
    });
    let mut peer = peer.expect("a client");
    peer.say(&Message::Hello(hello()));
    let mut rings = Vec::new();
    loop {
        match answer(client, &peer) {
            (Message::Connect(_), _) => break,
            (Message::AddRegion { index: 0, .. }, file) => peer.region = file,
            (Message::AddRing(ring), _) => rings.push(ring),
            _ => {}
        }
        peer.say(&Message::Ack);
    }
    peer.say(&Message::Connected(Text::new("script")));
    until("the connection", || client.health() == Health::Up && client.is_connected());
    let [to_server, to_client] = rings.as_slice() else { panic!("two rings") };
    assert!(to_server.to_server && !to_client.to_server);
    (peer, *to_server, *to_client)
}

/// The honest one who comes after the liar finds everything as it was.
fn is_as_before(bench: &mut Bench, folder: &Folder, server: Memif) -> Memif {
    let (mut servers, mut clients) = ([server], [open(&folder.client())]);
    connect(&mut servers, &mut clients);
    let ([mut server], [mut client]) = (servers, clients);
    let frame = bench.frame(&packet(1, 60));
    bench.send(&mut client, vec![frame]);
    let got = receive(bench, &mut server, 1);
    assert_eq!(got[0].data(), packet(1, 60));
    bench.recycle(got);
    bench.complete(&mut client);
    bench.finish(client);
    until("the end is noticed", || server.health() == Health::Up && !server.is_connected());
    server
}

pub(crate) fn good_desc(slot: u16) -> Desc {
    Desc { flags: 0, region: 0, length: 60, offset: BUFFERS as u32 + u32::from(slot) * 2048 }
}

/// What a liar does with its ring, and which counter says so.
type Lie = (&'static str, fn(&Peer), &'static str);

#[test]
fn lies_of_a_client_in_its_rings() {
    let lies: [Lie; 11] = [
        ("a head too far", |peer| peer.set_head(TO_SERVER, SLOTS + 1), "bad_indices"),
        ("a head behind", |peer| peer.set_head(TO_SERVER, u16::MAX), "bad_indices"),
        ("all ones", |peer| say(peer, Desc { flags: !0, region: !0, length: !0, offset: !0 }), "bad_descriptors"),
        ("2^32 - 1 bytes", |peer| say(peer, Desc { length: !0, ..good_desc(0) }), "bad_descriptors"),
        (
            "at the end of everything",
            |peer| say(peer, Desc { offset: !0, length: !0, ..good_desc(0) }),
            "bad_descriptors",
        ),
        ("a byte too many", |peer| say(peer, Desc { offset: SIZE as u32 - 59, ..good_desc(0) }), "bad_descriptors"),
        ("no such region", |peer| say(peer, Desc { region: 1, ..good_desc(0) }), "bad_descriptors"),
        ("no such flag", |peer| say(peer, Desc { flags: 2, ..good_desc(0) }), "bad_descriptors"),
        ("a chain without end", |peer| chain(peer, SLOTS), "bad_descriptors"),
        (
            "the second part leads out",
            |peer| {
                peer.describe(TO_SERVER, 0, Desc { flags: NEXT, ..good_desc(0) });
                peer.describe(TO_SERVER, 1, Desc { offset: !0, ..good_desc(1) });
                peer.set_head(TO_SERVER, 2);
            },
            "bad_descriptors",
        ),
        ("not now", |peer| peer.say(&Message::Ack), "bad_messages"),
    ];
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    for (what, lie, which) in lies {
        let peer = good_client(&folder, &mut server);
        let before = counter(&server, which);
        lie(&peer);
        until(what, || {
            assert!(bench.receive(&mut server, 64).is_empty(), "{what}");
            drop(server.health());
            !server.is_connected()
        });
        assert_eq!(counter(&server, which), before + 1, "{what}");
        let _ = last_words(&mut server, &peer);
        server = is_as_before(&mut bench, &folder, server);
    }
    bench.finish(server);
}

fn say(peer: &Peer, desc: Desc) {
    peer.describe(TO_SERVER, 0, desc);
    peer.set_head(TO_SERVER, 1);
}

fn chain(peer: &Peer, parts: u16) {
    (0..parts).for_each(|slot| peer.describe(TO_SERVER, slot, Desc { flags: NEXT, ..good_desc(slot) }));
    peer.set_head(TO_SERVER, parts);
}

#[test]
fn oddities_of_a_client_that_are_no_lies() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    let peer = good_client(&folder, &mut server);
    peer.describe(TO_SERVER, 0, Desc { length: 0, ..good_desc(0) });
    peer.describe(TO_SERVER, 1, Desc { length: 13, ..good_desc(1) });
    peer.describe(TO_SERVER, 2, Desc { length: 4096, offset: 0, ..good_desc(2) }); // the rings as a packet: its own secret
    peer.describe(TO_SERVER, 3, Desc { flags: NEXT, length: 0, ..good_desc(3) });
    peer.describe(TO_SERVER, 4, good_desc(4));
    peer.write(good_desc(4).offset.into(), &packet(4, 60));
    peer.set_head(TO_SERVER, 5);
    let got = receive(&mut bench, &mut server, 2);
    assert_eq!((got[0].total_len(), whole(&got[1])), (4096, packet(4, 60)));
    bench.recycle(got);
    assert_eq!((counter(&server, "rx_short"), counter(&server, "rx_too_long")), (2, 0));
    // A packet whose end comes later: nobody spins for it, and nothing is lost.
    peer.describe(TO_SERVER, 5, Desc { flags: NEXT, ..good_desc(5) });
    peer.set_head(TO_SERVER, 6);
    assert!(bench.receive(&mut server, 64).is_empty());
    assert_eq!(server.wait(), Wait::Readable, "it waits for the rest");
    assert_eq!(peer.index(TO_SERVER + 64), 5, "and has not given back the first part");
    peer.describe(TO_SERVER, 6, good_desc(6));
    peer.set_head(TO_SERVER, 7);
    let got = receive(&mut bench, &mut server, 1);
    assert_eq!(got[0].total_len(), 120);
    bench.recycle(got);
    // As long as a region, over and over: longer than any packet.
    let all = Desc { flags: NEXT, length: SIZE as u32, offset: 0, region: 0 };
    for slot in 0..5 {
        peer.describe(TO_SERVER, (7 + slot) % SLOTS, Desc { flags: if slot < 4 { NEXT } else { 0 }, ..all });
    }
    peer.set_head(TO_SERVER, 12);
    until("it is dropped", || {
        assert!(bench.receive(&mut server, 64).is_empty());
        counter(&server, "rx_too_long") == 1
    });
    assert!(server.is_connected());
    bench.finish(server);
}

#[test]
fn lies_of_a_client_about_the_buffers_it_offers() {
    let good = Desc { length: 2048, ..good_desc(0) };
    let lies: [(&str, u16, Desc, &str); 6] = [
        ("a head too far", SLOTS + 1, good, "bad_indices"),
        ("no bytes", 1, Desc { length: 0, ..good }, "bad_descriptors"),
        ("too many bytes", 1, Desc { length: !0, ..good }, "bad_descriptors"),
        ("beyond the end", 1, Desc { offset: !0, ..good }, "bad_descriptors"),
        ("no such region", 1, Desc { region: 15, ..good }, "bad_descriptors"),
        ("no room at its end", 1, Desc { offset: SIZE as u32 - 2047, ..good }, "bad_descriptors"),
    ];
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    for (what, head, desc, which) in lies {
        let peer = good_client(&folder, &mut server);
        let before = counter(&server, which);
        peer.describe(TO_CLIENT, 0, desc);
        peer.set_head(TO_CLIENT, head);
        let frame = bench.frame(&packet(0, 60));
        assert_eq!(bench.send(&mut server, vec![frame]).packets, 0, "{what}");
        assert_eq!(bench.complete(&mut server), 1, "its page comes home");
        assert_eq!((counter(&server, which), server.is_connected()), (before + 1, false), "{what}");
        server = is_as_before(&mut bench, &folder, server);
    }
    bench.finish(server);
}

#[test]
fn lies_of_a_server() {
    type Write = fn(&Peer, u64, u64);
    let lies: [(&str, Write, &str); 8] = [
        ("it filled more than there is", |peer, _, rx| peer.set_tail(rx, 9), "bad_indices"),
        ("it unfilled some", |peer, _, rx| peer.set_tail(rx, u16::MAX), "bad_indices"),
        ("it took what was not sent", |peer, tx, _| peer.set_tail(tx, 1), "bad_indices"),
        ("longer than the buffer", |peer, _, rx| fill(peer, rx, 2049, 0), "bad_descriptors"),
        ("2^32 - 1 bytes", |peer, _, rx| fill(peer, rx, !0, 0), "bad_descriptors"),
        ("no such flag", |peer, _, rx| fill(peer, rx, 60, 0x8000), "bad_descriptors"),
        (
            "a chain without end",
            |peer, _, rx| {
                for slot in 0..SLOTS {
                    peer.write(rx + 128 + u64::from(slot) * 16, &NEXT.to_ne_bytes());
                }
                peer.set_tail(rx, SLOTS);
            },
            "bad_descriptors",
        ),
        ("not now", |peer, _, _| peer.say(&Message::Hello(hello())), "bad_messages"),
    ];
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let listener = Peer::listen(&folder.socket());
    let mut client = open(&MemifParams { ring: SLOTS.into(), ..folder.client() });
    for (what, lie, which) in lies {
        let (peer, tx, rx) = good_server(&listener, &mut client);
        let before = counter(&client, which);
        lie(&peer, tx.offset.into(), rx.offset.into());
        until(what, || {
            assert!(bench.receive(&mut client, 64).is_empty(), "{what}");
            drop((client.tx_room(), client.health()));
            !client.is_connected()
        });
        assert_eq!(counter(&client, which), before + 1, "{what}");
        let _ = last_words(&mut client, &peer);
    }
    // What it writes where it has nothing to write is not looked at: offsets and regions are the client's own.
    let (peer, _, rx) = good_server(&listener, &mut client);
    peer.describe(rx.offset.into(), 0, Desc { flags: 0, region: 99, length: 60, offset: !0 });
    peer.set_tail(rx.offset.into(), 1);
    let got = receive(&mut bench, &mut client, 1);
    assert_eq!(got[0].data(), [0; 60]);
    bench.recycle(got);
    bench.finish(client);
}

fn fill(peer: &Peer, ring: u64, length: u32, flags: u16) {
    peer.write(ring + 128, &flags.to_ne_bytes());
    peer.write(ring + 128 + 4, &length.to_ne_bytes());
    peer.set_tail(ring, 1);
}

/// One message after the hello, and what the server has against it.
#[test]
fn lies_of_a_client_before_it_is_connected() {
    let add_region = |size| Message::AddRegion { index: 0, size };
    let no_cookie = memory(SIZE, true);
    type Said = Vec<(Vec<u8>, Vec<OwnedFd>)>;
    let line = |message: Message, files: Vec<OwnedFd>| (message.encode().to_vec(), files);
    let welcome = || vec![line(init(), vec![])];
    let with_region = || [welcome(), vec![line(add_region(SIZE), vec![region()])]].concat_all();
    let ring_of = |ring: AddRing| [with_region(), vec![line(Message::AddRing(ring), vec![event()])]].concat_all();
    let cases: Vec<(&str, Said)> = vec![
        ("invalid message size", vec![(vec![1, 2, 3], vec![])]),
        ("invalid message size", vec![(vec![0; 129], vec![])]),
        ("unknown message type 0", vec![(vec![0; 128], vec![])]),
        ("unknown message type 65535", vec![(vec![255; 128], vec![])]),
        ("unexpected message", vec![line(add_region(SIZE), vec![])]),
        ("a file that was not asked for", vec![line(init(), vec![event()])]),
        ("a file that was not asked for", vec![line(add_region(SIZE), vec![region()])]),
        (
            "a file that was not asked for",
            [with_region(), vec![line(Message::Connect(Text::new("x")), vec![event()])]].concat_all(),
        ),
        ("unexpected message", [welcome(), welcome()].concat_all()),
        (
            "more than one file",
            [welcome(), vec![line(add_region(SIZE), vec![region(), region(), region()])]].concat_all(),
        ),
        ("more than one file", [welcome(), vec![line(add_region(SIZE), vec![region(), region()])]].concat_all()),
        ("missing region file", [welcome(), vec![line(add_region(SIZE), vec![])]].concat_all()),
        ("no rings", [with_region(), vec![line(Message::Connect(Text::new("x")), vec![])]].concat_all()),
        (
            "region file of",
            [
                welcome(),
                vec![
                    line(add_region(SIZE + 1), vec![region()]),
                    line(Message::AddRing(ring(true)), vec![event()]),
                    line(Message::Connect(Text::new("x")), vec![]),
                ],
            ]
            .concat_all(),
        ),
        (
            "region is not sealed",
            [
                welcome(),
                vec![
                    line(add_region(SIZE), vec![memory(SIZE, false)]),
                    line(Message::AddRing(ring(true)), vec![event()]),
                    line(Message::Connect(Text::new("x")), vec![]),
                ],
            ]
            .concat_all(),
        ),
        (
            "wrong ring cookie",
            [
                welcome(),
                vec![
                    line(add_region(SIZE), vec![no_cookie]),
                    line(Message::AddRing(ring(true)), vec![event()]),
                    line(Message::Connect(Text::new("x")), vec![]),
                ],
            ]
            .concat_all(),
        ),
        (
            "no eventfd",
            [
                with_region(),
                vec![
                    line(Message::AddRing(ring(true)), vec![memory(8, true)]),
                    line(Message::Connect(Text::new("x")), vec![]),
                ],
            ]
            .concat_all(),
        ),
        ("invalid ring offset", ring_of(AddRing { offset: SIZE as u32 - 128, ..ring(true) })),
        ("invalid ring index", ring_of(AddRing { index: 9, ..ring(true) })),
        ("missing interrupt file", [with_region(), vec![line(Message::AddRing(ring(true)), vec![])]].concat_all()),
    ];
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    let count = cases.len();
    for (why, script) in cases {
        let peer = Peer::dial(&folder.socket());
        for (bytes, files) in &script {
            peer.say_bytes(bytes, &files.iter().collect::<Vec<_>>());
        }
        let said = last_words(&mut server, &peer);
        assert!(said.contains(why), "{said}, not {why}");
    }
    let turned_away = counter(&server, "rejected_peers") + counter(&server, "bad_messages");
    assert_eq!(turned_away, count as u64);
    let server = is_as_before(&mut bench, &folder, server);
    bench.finish(server);
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T> ConcatAll<T> for [Vec<T>; 2] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

/// Files that nobody asked for are closed, whoever sent them, and with whatever.
#[test]
fn no_file_is_kept_of_a_liar() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    for extra in [0, 1, 5] {
        for message in
            [init(), Message::Ack, Message::AddRegion { index: 0, size: SIZE }, Message::Connect(Text::new(""))]
        {
            let mut traced = Traced::new();
            let peer = Peer::dial(&folder.socket());
            peer.say(&init());
            let others = (0..extra).map(|_| event()).collect::<Vec<_>>();
            let file = traced.file.as_ref().expect("a file");
            peer.say_with(&message, &others.iter().chain([file]).collect::<Vec<_>>());
            for _ in 0..5 {
                drop(server.health());
            }
            drop(peer);
            until("the file is closed", || {
                drop(server.health());
                traced.is_closed()
            });
        }
    }
    let server = is_as_before(&mut bench, &folder, server);
    bench.finish(server);
}

/// A client that dies between any two steps, and one that dies with packets in its ring.
#[test]
fn a_client_may_die_at_any_moment() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    for steps in 0..7 {
        let peer = Peer::dial(&folder.socket());
        let memory = region();
        let script: [(Message, Option<OwnedFd>); 5] = [
            (init(), None),
            (Message::AddRegion { index: 0, size: SIZE }, Some(memory.try_clone().expect("a copy"))),
            (Message::AddRing(ring(true)), Some(event())),
            (Message::AddRing(ring(false)), Some(event())),
            (Message::Connect(Text::new("x")), None),
        ];
        for (message, file) in script.iter().take(steps) {
            peer.say_with(message, &file.iter().collect::<Vec<_>>());
        }
        let peer = Peer { region: Some(memory), ..peer };
        if steps > 5 {
            until("the connection", || server.health() == Health::Up && server.is_connected());
            peer.describe(TO_SERVER, 0, good_desc(0));
            peer.set_head(TO_SERVER, 1);
        }
        if steps % 2 == 0 {
            drop(server.health()); // or it hears everything at once
        }
        drop(peer);
        server = is_as_before(&mut bench, &folder, server);
    }
    bench.finish(server);
}

#[test]
fn lies_of_a_server_before_it_is_connected() {
    let none = || Message::Ack;
    let cases: [(&str, Message); 6] = [
        ("unexpected message", none()),
        ("unexpected message", Message::Connected(Text::new("x"))),
        ("unexpected message", init()),
        ("incompatible memif version", Message::Hello(Hello { min_version: 0x300, ..hello() })),
        ("incompatible memif version", Message::Hello(Hello { max_version: 0x100, ..hello() })),
        ("rings of one slot", Message::Hello(Hello { max_log2_slots: 0, ..hello() })),
    ];
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let listener = Peer::listen(&folder.socket());
    let mut client = open(&folder.client());
    for (why, message) in cases {
        let mut peer = None;
        until("a client", || {
            drop(client.health());
            peer = Peer::accept(&listener);
            peer.is_some()
        });
        let peer = peer.expect("a client");
        peer.say(&message);
        let said = last_words(&mut client, &peer);
        assert!(said.contains(why), "{said}, not {why}");
    }
    assert_eq!(counter(&client, "bad_messages"), 6);
    drop(good_server(&listener, &mut client));
    until("it is gone", || client.health() == Health::Up && !client.is_connected());
    bench.finish(client);
    let _ = &mut bench;
}

/// Who never says a word does not keep others out.
#[test]
fn silent_clients_do_not_keep_others_out() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&folder.server());
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Peer::dial(&folder.socket()));
        drop(server.health());
    }
    let server = is_as_before(&mut bench, &folder, server);
    assert!(counter(&server, "rejected_peers") >= 16);
    bench.finish(server);
}
