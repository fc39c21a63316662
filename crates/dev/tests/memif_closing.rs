//! A server with too much to close. The limit is the process's: so this has one of its own.
#![cfg(feature = "memif")]
#![allow(dead_code, reason = "the script and the bench are shared with the other tests of memif")]

#[path = "common/mod.rs"]
mod common;
#[path = "memif/linger.rs"]
mod linger;
#[path = "memif/script.rs"]
mod script;
#[path = "memif/support.rs"]
mod support;

use common::Bench;
use linger::Lingering;
use script::{Peer, hello, init};
use support::{Folder, connect, counter, packet, receive, until};
use waterwheel_dev::memif::message::Message;
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, Wait, Zone};

/// So many things are being closed while clients are let in.
const MOST: u64 = 64;

fn open(params: &MemifParams) -> Memif {
    Memif::open(&Zone::new(&ZoneParams::pages(1)).expect("a zone"), params).expect("a device").remove(0)
}

#[test]
fn who_has_too_much_to_close_lets_nobody_in_until_it_is_done() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let params = |id| MemifParams { id, ..folder.client() };
    let [mut wanted, mut server] = [0, 1].map(|id| open(&params(id).server()));
    let (mut servers, mut clients) = ([server], [open(&params(1))]);
    connect(&mut servers, &mut clients);
    let [mut client] = clients;
    [server] = servers;

    let mut files = Vec::new();
    let mut send = |peer: &Peer, message: &Message| {
        files.push(Lingering::new());
        let file = files.last_mut().expect("just pushed");
        peer.say_with(message, &[file.file()]);
        file.leave();
    };
    while counter(&wanted, "closing") < MOST {
        let peer = Peer::dial(&folder.socket());
        send(&peer, &init());
        until("being turned away", || {
            drop(wanted.health());
            std::iter::from_fn(|| peer.hear().transpose()).any(|heard| heard.is_err())
        });
        // Its socket is closed, or about to be.
    }
    // Nobody is let in, and nobody spins over it.
    let next = Peer::dial(&folder.socket());
    next.say(&init());
    drop(wanted.health());
    assert_eq!(next.hear().map(|heard| heard.is_none()), Ok(true), "not even a word");
    assert!(matches!(wanted.wait(), Wait::Until(_)), "it looks again by itself");
    // Nor does a client go to a server.
    let path = folder.0.join("other.sock");
    let mut dials = open(&MemifParams { socket: path.clone(), ..folder.client() });
    let listener = Peer::listen(&path);
    for _ in 0..100 {
        drop(dials.health());
        std::thread::sleep(std::time::Duration::from_millis(1)); // longer than its first pause in all
    }
    assert!(Peer::accept(&listener).is_none());
    // Who is there goes on.
    let frame = bench.frame(&packet(1, 60));
    bench.send(&mut client, vec![frame]);
    let got = receive(&mut bench, &mut server, 1);
    bench.recycle(got);
    bench.complete(&mut client);

    for file in files {
        file.release();
    }
    until("being let in", || {
        drop(wanted.health());
        loop {
            match next.hear().expect("it stays") {
                Some((Message::Ack, _)) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    });
    until("dialling again", || {
        drop(dials.health());
        Peer::accept(&listener).is_some_and(|peer| {
            peer.say(&Message::Hello(hello()));
            true
        })
    });
    for device in [wanted, server, client, dials] {
        bench.finish(device);
    }
}
