//! Files of strangers whose close waits, sent in every way there is: packets of others flow meanwhile, and the files are closed in the end, by somebody else.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};

use crate::common::{Bench, whole};
use crate::linger::Lingering;
use crate::script::{BUFFERS, Peer, SIZE, event, hello, init, memory, region, ring};
use crate::signals::Signals;
use crate::support::{Folder, PATIENCE, connect, counter, packet, receive, until};
use waterwheel_dev::memif::message::{Message, Text};
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, Zone};

fn open(params: &MemifParams) -> Memif {
    Memif::open(&Zone::new(&ZoneParams::pages(1)).expect("a zone"), params).expect("a device").remove(0)
}

/// Does `work` in a thread, as it could wait for ever if our side is wrong.
fn in_time(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, waits): (_, Receiver<()>) = channel();
    let thread = std::thread::spawn(move || {
        work();
        drop(done);
    });
    // Disconnected: it has ended, well or not.
    assert!(waits.recv_timeout(PATIENCE) != Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it waits: {what}");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Messages of a client up to the one that has the file, and what goes with that.
type Sends = fn(&Peer, &[&OwnedFd]);

/// What is said to a server, one after the other, before anything is read of it. The rest is for the server to reject.
const WAYS: [(&str, Sends); 9] = [
    ("with the first message", |peer, files| peer.say_with(&init(), files)),
    ("without a message", |peer, files| peer.say_bytes(&[], files)),
    ("with one that is none", |peer, files| peer.say_bytes(&[9; 128], files)),
    ("behind one that ends it", |peer, files| {
        peer.say(&Message::Ack);
        peer.say_with(&init(), files);
    }),
    ("as a region", |peer, files| {
        peer.say(&init());
        peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, files);
        peer.say(&Message::Connect(Text::new("script")));
    }),
    ("as an eventfd", |peer, files| {
        peer.say(&init());
        peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[&region()]);
        peer.say_with(&Message::AddRing(ring(true)), files);
        peer.say(&Message::Connect(Text::new("script")));
    }),
    ("as a region, and too many", |peer, files| {
        peer.say(&init());
        let memory = memory(SIZE, true);
        peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[&memory, files[0], files[1]]);
    }),
    ("with the last message", |peer, files| {
        peer.say(&init());
        peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[&region()]);
        peer.say_with(&Message::AddRing(ring(true)), &[&event()]);
        peer.say_with(&Message::Connect(Text::new("script")), files);
    }),
    ("as soon as it is connected", |peer, files| {
        peer.say(&init());
        peer.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[&region()]);
        peer.say_with(&Message::AddRing(ring(true)), &[&event()]);
        peer.say(&Message::Connect(Text::new("script")));
        peer.say_with(&Message::AddRegion { index: 1, size: BUFFERS }, files);
    }),
];

#[test]
fn a_file_whose_close_waits_stops_nobody() {
    for (way, sends) in WAYS {
        let folder = Folder::new();
        let mut files = [Lingering::new(), Lingering::new()];
        // Two interfaces behind the socket: the stranger wants the one, an honest client has the other.
        let others = |params: MemifParams| MemifParams { id: 1, ..params };
        let (mut wanted, mut server) = (open(&folder.server()), [open(&others(folder.server()))]);
        let mut client = [open(&others(folder.client()))];
        connect(&mut server, &mut client);
        let peer = Peer::dial(&folder.socket());
        sends(&peer, &[files[0].file(), files[1].file()]);
        files.iter_mut().for_each(Lingering::leave);
        in_time(way, move || {
            let mut bench = Bench::new();
            let ([mut server], [mut client]) = (server, client);
            until("being turned away", || {
                drop((wanted.health(), server.health()));
                let turn = packet(7, 60);
                let frame = bench.frame(&turn);
                bench.send(&mut client, vec![frame]);
                let got = receive(&mut bench, &mut server, 1);
                assert_eq!(got[0].data(), turn);
                bench.recycle(got);
                bench.complete(&mut client);
                loop {
                    match peer.hear() {
                        Ok(Some(_)) => {}
                        Ok(None) => return false,
                        Err(()) => return true,
                    }
                }
            });
            assert!(counter(&wanted, "closing") > 0, "they wait still");
            for device in [wanted, server, client] {
                bench.finish(device);
            }
        });
        files.into_iter().for_each(Lingering::release);
    }
}

/// Who has not been looked at has its files in a queue of ours. Who closes the one waits, and somebody else closes the other.
#[test]
fn devices_end_while_such_files_wait_for_them() {
    for turned in [false, true] {
        end_with_files(turned);
    }
}

fn end_with_files(turned: bool) {
    let folder = Folder::new();
    let mut files = [Lingering::new(), Lingering::new()];
    let mut server = open(&folder.server());
    let heard = Peer::dial(&folder.socket());
    heard.say(&init());
    until("it is heard", || {
        drop(server.health());
        matches!(heard.hear(), Ok(Some((Message::Ack, _))))
    });
    heard.say_with(&Message::AddRegion { index: 0, size: SIZE }, &[files[0].file()]);
    let late = Peer::dial(&folder.socket());
    late.say_with(&init(), &[files[1].file()]);
    files.iter_mut().for_each(Lingering::leave);
    in_time("the end of a server", move || Bench::new().finish(server));
    if turned {
        files.reverse();
    }
    files.into_iter().for_each(Lingering::release);
}

#[test]
fn a_server_that_sends_such_files_does_not_stop_its_client() {
    let folder = Folder::new();
    for (number, message) in [Message::Hello(hello()), Message::Ack].iter().enumerate() {
        let socket = folder.0.join(number.to_string());
        let listener = Peer::listen(&socket);
        let mut client = open(&MemifParams { socket, ..folder.client() });
        let mut peer = None;
        until("a client", || {
            drop(client.health());
            peer = Peer::accept(&listener);
            peer.is_some()
        });
        let mut file = Lingering::new();
        let peer = peer.expect("a client");
        peer.say_with(message, &[file.file()]);
        file.leave();
        in_time("a client", move || {
            until("it goes", || {
                drop(client.health());
                loop {
                    match peer.hear() {
                        Ok(Some(_)) => {}
                        Ok(None) => return false,
                        Err(()) => return true,
                    }
                }
            });
            Bench::new().finish(client);
        });
        file.release();
    }
}

#[test]
fn signals_break_nothing() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let _signals = Signals::to_this_thread();
    let mut server = [open(&folder.server())];
    for round in 0..50 {
        let mut client = [open(&folder.client())];
        connect(&mut server, &mut client);
        for (number, len) in [60, 9014].into_iter().enumerate() {
            let frame = bench.frame(&packet(round + number, len));
            bench.send(&mut client[0], vec![frame]);
            let got = receive(&mut bench, &mut server[0], 1);
            assert_eq!(whole(&got[0]), packet(round + number, len));
            bench.recycle(got);
            bench.complete(&mut client[0]);
        }
        let [client] = client;
        bench.finish(client);
        until("the end is noticed", || {
            drop(server[0].health());
            !server[0].is_connected()
        });
    }
    let all = ["bad_messages", "bad_indices", "rejected_peers"].map(|name| counter(&server[0], name));
    assert_eq!((all, counter(&server[0], "connects")), ([0; 3], 50));
    let [server] = server;
    bench.finish(server);
}
