//! A client and a server in one process.

use crate::common::{Bench, whole};
use crate::script::{Peer, hello};
use crate::support::{Folder, connect, counter, packet, receive, until};
use waterwheel_dev::memif::message::{Message, Text};
use waterwheel_dev::memif::{Memif, MemifParams, Wakeup};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, DropReason, Health, Wait, Zone};

fn zone() -> Zone {
    Zone::new(&ZoneParams::pages(1)).expect("a zone")
}

/// The longest packet: a first page with its head room, and 17 behind it.
const LONGEST: usize = 18 * 4096 - 256;

/// One queue.
fn open(params: &MemifParams) -> Memif {
    Memif::open(&zone(), params).expect("a device").remove(0)
}

fn pair(server: &MemifParams, client: &MemifParams) -> (Memif, Memif) {
    let (mut server, mut client) = ([open(server)], [open(client)]);
    connect(&mut server, &mut client);
    let ([server], [client]) = (server, client);
    (server, client)
}

/// Sends packets of these lengths and looks at what arrives.
fn exchange(bench: &mut Bench, from: &mut Memif, to: &mut Memif, lens: &[usize]) {
    for (number, len) in lens.iter().enumerate() {
        let sent = packet(number, *len);
        let frame = bench.frame(&sent);
        assert_eq!(bench.send(from, vec![frame]).packets, 1, "{len} bytes");
        assert_eq!(bench.complete(from), 1);
        let got = receive(bench, to, 1);
        assert_eq!(whole(&got[0]), sent, "{len} bytes");
        bench.recycle(got);
    }
}

#[test]
fn packets_of_every_length_arrive_both_ways() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (mut server, mut client) = pair(&folder.server(), &folder.client());
    assert_eq!((server.health(), client.health()), (Health::Up, Health::Up));
    assert!(server.mode().starts_with("server, copy, connected to waterwheel"), "{}", server.mode());
    assert!(client.mode().starts_with("client, copy, connected to waterwheel"), "{}", client.mode());
    let lens = (14..200)
        .chain([1499, 1514, 1518, 2047, 2048, 2049, 3000, 3839, 3840, 3841, 9014, 40_000, 65_535, LONGEST])
        .collect::<Vec<_>>();
    exchange(&mut bench, &mut client, &mut server, &lens);
    exchange(&mut bench, &mut server, &mut client, &lens);
    bench.finish(client);
    bench.finish(server);
}

#[test]
fn rings_wrap_and_fill_and_keep_the_order() {
    for slots in [2, 8, 1024] {
        let (folder, mut bench) = (Folder::new(), Bench::with_pages(4096));
        let client = MemifParams { ring: slots, ..folder.client() };
        let (mut server, mut client) = pair(&folder.server(), &client);
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut number = 0;
            let mut expected = 0;
            // Beyond 2^16, where the indices wrap.
            while number < if slots == 1024 { 70_000 } else { 3000 } {
                let room = from.tx_room();
                assert_eq!(room, slots as usize, "all was taken out");
                let frames = (0..room).map(|i| bench.frame(&packet(number + i, 14 + (number + i) % 1500))).collect();
                assert_eq!(bench.send(from, frames).packets, u64::from(slots));
                assert_eq!(from.tx_room(), 0);
                number += room;
                bench.complete(from);
                while expected < number {
                    let got = receive(&mut bench, to, 7.min(number - expected));
                    for one in &got {
                        assert_eq!(one.data(), packet(expected, 14 + expected % 1500));
                        expected += 1;
                    }
                    bench.recycle(got);
                }
            }
        }
        bench.finish(client);
        bench.finish(server);
    }
}

#[test]
fn what_cannot_be_sent_is_dropped_with_a_reason() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let client = MemifParams { ring: 2, ..folder.client() };
    let mut client = open(&client);
    let frame = bench.frame(&packet(0, 60));
    assert_eq!((client.tx_room(), bench.send(&mut client, vec![frame]).packets), (0, 0), "nobody is there");
    assert_eq!(bench.drops(DropReason::DeviceDown), 1);
    assert_eq!(bench.complete(&mut client), 1, "the page comes home all the same");
    let mut server = [open(&folder.server())];
    let mut clients = [client];
    connect(&mut server, &mut clients);
    let ([mut server], [mut client]) = (server, clients);
    let frame = bench.frame(&packet(0, 4097)); // two buffers are all there is
    assert_eq!(bench.send(&mut client, vec![frame]).packets, 0);
    assert_eq!(bench.drops(DropReason::FrameTooLong), 1);
    let frames = [13, 14].map(|len| bench.frame(&packet(0, len)));
    assert_eq!(bench.send(&mut client, frames.into()).packets, 1);
    assert_eq!(bench.drops(DropReason::Malformed), 1);
    let got = receive(&mut bench, &mut server, 1);
    bench.recycle(got);
    bench.complete(&mut client);
    bench.finish(client);
    bench.finish(server);
}

#[test]
fn a_peer_that_goes_comes_back_and_no_page_is_lost() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (mut server, mut client) = pair(&folder.server(), &folder.client());
    for round in 1..4 {
        let frames = (0..100).map(|number| bench.frame(&packet(number, 100))).collect();
        bench.send(&mut client, frames);
        exchange_some(&mut bench, &mut server);
        bench.finish(client); // with packets in the ring
        until("the end is noticed", || server.health() == Health::Up && counter(&server, "connected") == 0);
        let frame = bench.frame(&packet(0, 60));
        bench.send(&mut server, vec![frame]);
        assert_eq!(bench.drops(DropReason::DeviceDown), round);
        bench.complete(&mut server);
        let (mut servers, mut clients) = ([server], [open(&folder.client())]);
        connect(&mut servers, &mut clients);
        [server] = servers;
        [client] = clients;
        assert_eq!((counter(&server, "connects"), counter(&server, "disconnects")), (round + 1, round));
        exchange(&mut bench, &mut server, &mut client, &[60]);
        exchange(&mut bench, &mut client, &mut server, &[60]);
    }
    // The other way round: the server goes, and the client looks for the next one.
    for _ in 0..3 {
        bench.finish(server);
        until("the end is noticed", || client.health() == Health::Up && !client.is_connected());
        let (mut servers, mut clients) = ([open(&folder.server())], [client]);
        connect(&mut servers, &mut clients);
        [server] = servers;
        [client] = clients;
        exchange(&mut bench, &mut server, &mut client, &[60]);
    }
    assert_eq!(counter(&client, "disconnects"), 3);
    bench.finish(client);
    bench.finish(server);
    assert!(!folder.socket().exists(), "the server takes its socket away");
}

fn exchange_some(bench: &mut Bench, to: &mut Memif) {
    let got = receive(bench, to, 10);
    bench.recycle(got);
}

#[test]
fn several_queues_are_several_devices() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let open = |params: &MemifParams| Memif::open(&zone(), params).expect("devices");
    let mut servers = open(&MemifParams { queues: 3, ..folder.server() });
    let mut clients = open(&MemifParams { queues: 2, ..folder.client() });
    let [first, second, third] = servers.as_mut_slice() else { panic!("three") };
    until("connecting", || {
        clients.iter_mut().for_each(|client| drop(client.health()));
        [&mut *first, &mut *second, &mut *third].into_iter().for_each(|server| drop(server.health()));
        clients.iter().all(Memif::is_connected) && first.is_connected() && second.is_connected()
    });
    assert!(!third.is_connected(), "the client has two");
    for (number, (client, server)) in clients.iter_mut().zip([first, second]).enumerate() {
        assert!(client.name().ends_with(&format!(":{number}")));
        exchange(&mut bench, client, server, &[60 + number]);
        exchange(&mut bench, server, client, &[80 + number]);
    }
    let frame = bench.frame(&packet(0, 60));
    bench.send(third, vec![frame]);
    assert_eq!((bench.drops(DropReason::DeviceDown), bench.complete(third)), (1, 1));
    clients.into_iter().chain(servers).for_each(|device| bench.finish(device));
}

#[test]
fn who_wants_more_queues_than_the_other_side_has_takes_fewer() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let open = |params: &MemifParams| Memif::open(&zone(), params).expect("devices");
    // The socket says that it has two queues, as one of its interfaces has. Who wants the other one finds out.
    let mut servers = open(&MemifParams { queues: 2, ..folder.server() });
    servers.extend(open(&MemifParams { id: 1, ..folder.server() }));
    for (id, adapted) in [(0, 2), (1, 1)] {
        let mut clients = open(&MemifParams { id, queues: 3, ..folder.client() });
        let events = clients[0].events();
        until("connecting", || {
            servers.iter_mut().chain(&mut clients).for_each(|device| drop(device.health()));
            clients[..adapted].iter().all(Memif::is_connected)
        });
        let told = events.take();
        let last = told.last().expect("a word");
        assert!(last.contains(&format!("with {adapted} of 3 queues")), "{told:?}");
        // Who was told in time asks for no more; else it is one refusal.
        assert_eq!(told.len(), if adapted == 2 { 1 } else { 2 }, "{told:?}");
        assert!(adapted == 2 || told[0].contains("invalid ring index; it has fewer queues: trying 1"), "{told:?}");
        for (number, client) in clients.iter_mut().enumerate() {
            let Some(server) =
                servers.iter_mut().filter(|server| server.name().contains("id=1") == (id == 1)).nth(number)
            else {
                assert!(client.mode().contains("has no ring for this queue"), "{}", client.mode());
                assert_eq!(client.tx_room(), 0);
                continue;
            };
            exchange(&mut bench, client, server, &[60 + number]);
            exchange(&mut bench, server, client, &[80 + number]);
        }
        clients.into_iter().for_each(|device| bench.finish(device));
    }
    servers.into_iter().for_each(|device| bench.finish(device));
}

/// A ring that was refused on the way to fewer is no failure of those that stay without one.
#[test]
fn who_has_settled_for_fewer_queues_has_not_failed() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let open = |params: &MemifParams| Memif::open(&zone(), params).expect("devices");
    let mut servers = open(&MemifParams { queues: 2, ..folder.server() });
    servers.extend(open(&MemifParams { id: 1, ..folder.server() }));
    let mut clients = open(&MemifParams { id: 1, queues: 2, ..folder.client() });
    let events = clients[0].events();
    until("connecting", || {
        servers.iter_mut().chain(&mut clients).for_each(|device| drop(device.health()));
        clients[0].is_connected()
    });
    assert!(events.take()[0].contains("it has fewer queues: trying 1"));
    for client in clients {
        bench.finish_with(client, |client| assert_eq!(client.health(), Health::Up));
    }
    servers.into_iter().for_each(|device| bench.finish(device));
}

/// Who goes while a ring is offered to it has not said that it wants fewer.
#[test]
fn a_server_that_ends_in_the_midst_is_offered_all_queues_again() {
    let said = |why: &str| Some(Message::Disconnect { code: 0, reason: Text::new(why) });
    for (last, asked) in [(None, 2), (said("interface closed"), 2), (said("no such ring"), 1)] {
        let (folder, mut bench) = (Folder::new(), Bench::new());
        let listener = Peer::listen(&folder.socket());
        let mut clients = Memif::open(&zone(), &MemifParams { queues: 2, ..folder.client() }).expect("devices");
        // Acknowledges until the second ring is offered, or all that there is was.
        let mut offered = || {
            let (mut peer, mut rings) = (None, 0);
            until("all rings", || {
                drop(clients[0].health());
                let Some(peer) = &peer else {
                    peer = Peer::accept(&listener).inspect(|peer| peer.say(&Message::Hello(hello())));
                    return false;
                };
                match peer.hear().expect("it stays") {
                    None => return false,
                    Some((Message::AddRing(ring), _)) => rings = ring.index + 1,
                    Some((Message::Connect(_), _)) => return true,
                    Some(_) => {}
                }
                if rings < 2 {
                    peer.say(&Message::Ack);
                }
                rings == 2
            });
            (peer.expect("a client"), rings)
        };
        let (peer, rings) = offered();
        assert_eq!(rings, 2);
        last.iter().for_each(|last| peer.say(last));
        drop(peer);
        assert_eq!(offered().1, asked, "{last:?}");
        clients.into_iter().for_each(|device| bench.finish(device));
    }
}

/// Strangers who come again and again, in turn, are told of once each, and by the interface that they want.
#[test]
fn a_refusal_is_told_once_and_by_whom_it_concerns() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let secret = |word: &str, params: MemifParams| open(&MemifParams { secret: word.into(), ..params });
    let (mut server, mut other) = (secret("sesame", folder.server()), open(&MemifParams { id: 1, ..folder.server() }));
    let (heard, beside) = (server.events(), other.events());
    let mut come = |server: &mut Memif, strangers: &mut [Memif], why: &[&str]| {
        let before = counter(server, "rejected_peers");
        let mut refused = vec![false; why.len()];
        until("being turned away", || {
            for ((stranger, why), refused) in strangers.iter_mut().zip(why).zip(&mut refused) {
                drop(stranger.health());
                *refused |= stranger.mode().contains(why);
            }
            drop((server.health(), other.health()));
            counter(server, "rejected_peers") >= before + 8 && !refused.contains(&false)
        });
        assert!(other.mode().contains("waiting for a client"), "{}", other.mode());
    };
    let mut strangers = ["", "sesam"].map(|word| secret(word, folder.client()));
    come(&mut server, &mut strangers, &["secret required", "incorrect secret"]);
    let told = heard.take();
    assert_eq!(told.len(), 2, "{told:?}");
    strangers.into_iter().for_each(|device| bench.finish(device));
    // The next ones want what another has.
    let (mut servers, mut clients) = ([server], [secret("sesame", folder.client())]);
    connect(&mut servers, &mut clients);
    drop(heard.take());
    let mut strangers = ["", "sesam"].map(|word| secret(word, folder.client()));
    come(&mut servers[0], &mut strangers, &["already connected"; 2]);
    let told = heard.take();
    assert!(told.len() == 1 && told[0].contains("another client"), "{told:?}");
    assert!(beside.take().is_empty(), "it is no concern of the other interface");
    for device in strangers.into_iter().chain(clients).chain(servers) {
        bench.finish(device);
    }
    bench.finish(other);
}

/// What a user hears of either side.
#[test]
fn peers_that_come_and_go_and_are_turned_away_are_told() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let mut server = open(&MemifParams { id: 3, ..folder.server() });
    let heard = server.events();
    let mut stranger = open(&folder.client());
    let strange = stranger.events();
    until("it is turned away", || {
        drop((stranger.health(), server.health()));
        stranger.mode().contains("id not found: 0 is wanted, here is 3")
    });
    assert!(server.mode().contains("not connected: a client was turned away: id not found"), "{}", server.mode());
    assert!(server.events().take()[0].ends_with("a client was turned away: id not found: 0 is wanted, here is 3"));
    assert!(strange.take()[0].contains("m.sock: the peer disconnected: id not found"), "the client hears it, too");
    bench.finish(stranger);
    let (mut servers, mut clients) = ([server], [open(&MemifParams { id: 3, ..folder.client() })]);
    connect(&mut servers, &mut clients);
    let peer = concat!("connected to waterwheel ", env!("CARGO_PKG_VERSION"), " (memif:m.sock,id=3)");
    let [mut server] = servers;
    let [client] = clients;
    for device in [&server, &client] {
        let told = device.events().take();
        assert!(told.len() == 1 && told[0].ends_with(peer) && told[0].starts_with("memif:/"), "{told:?}");
        assert!(device.mode().ends_with(peer), "{}", device.mode());
    }
    let second = open(&MemifParams { id: 3, ..folder.client() });
    let [mut second] = [second];
    until("it is turned away", || {
        drop((second.health(), server.health()));
        second.mode().contains("already connected")
    });
    assert!(heard.take()[0].contains("another client (waterwheel"));
    bench.finish(second);
    bench.finish(client);
    until("the end is noticed", || server.health() == Health::Up && !server.is_connected());
    assert!(heard.take()[0].contains("disconnected: "));
    bench.finish(server);
}

#[test]
fn one_socket_serves_several_interfaces() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for id in 0..3 {
        servers.push(open(&MemifParams { id, ..folder.server() }));
        clients.push(open(&MemifParams { id, ..folder.client() }));
        let which = ["", ",id=1", ",id=2"][id as usize];
        let name = format!("memif:{}{which}", folder.socket().display());
        assert_eq!((servers[id as usize].name(), clients[id as usize].name()), (&*name, &*name));
    }
    let error = Memif::open(&zone(), &MemifParams { id: 1, ..folder.server() }).expect_err("taken");
    assert!(error.message().contains("interface 1 of that socket is open already"), "{error}");
    connect(&mut servers, &mut clients);
    for (server, client) in servers.iter_mut().zip(&mut clients) {
        exchange(&mut bench, client, server, &[60]);
    }
    clients.into_iter().for_each(|device| bench.finish(device));
    let mut stranger = open(&MemifParams { id: 9, ..folder.client() });
    until("it is turned away", || {
        drop(stranger.health());
        drop(servers[0].health());
        stranger.mode().contains("id not found")
    });
    assert_eq!(counter(&servers[0], "rejected_peers"), 1);
    bench.finish(stranger);
    servers.into_iter().for_each(|device| bench.finish(device));
}

#[test]
fn a_secret_keeps_others_out() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let with = |secret: &str, params: MemifParams| MemifParams { secret: secret.into(), ..params };
    let mut server = open(&with("sesame", folder.server()));
    for (secret, why) in [("", "secret required"), ("sesam", "incorrect secret")] {
        let mut client = open(&with(secret, folder.client()));
        until(why, || {
            drop((client.health(), server.health()));
            client.mode().contains(why)
        });
        bench.finish(client);
    }
    let (mut servers, mut clients) = ([server], [open(&with("sesame", folder.client()))]);
    connect(&mut servers, &mut clients);
    servers.into_iter().chain(clients).for_each(|device| bench.finish(device));
}

/// A loop that sleeps is woken by one interrupt for a burst; one that is awake by none.
#[test]
fn who_sleeps_is_woken() {
    let (folder, mut bench) = (Folder::new(), Bench::new());
    let (mut server, mut client) = pair(&folder.server(), &folder.client());
    for turn in 0..2 {
        let (from, to) = if turn == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let frames = (0..5).map(|number| bench.frame(&packet(number, 60))).collect();
        bench.send(from, frames);
        bench.complete(from);
        assert_eq!(counter(from, "wakeups_sent"), 0, "nobody sleeps");
        assert_eq!(to.wait(), Wait::Now, "there is something");
        let got = receive(&mut bench, to, 5);
        bench.recycle(got);
        assert_eq!(to.wait(), Wait::Readable);
        assert!(!is_readable(to));
        let frames = (0..5).map(|number| bench.frame(&packet(number, 60))).collect();
        bench.send(from, frames);
        bench.complete(from);
        assert_eq!(counter(from, "wakeups_sent"), 1, "one for a burst");
        assert!(is_readable(to));
        let got = receive(&mut bench, to, 5);
        bench.recycle(got);
        assert_eq!(counter(to, "wakeups_received"), 1);
        assert_eq!(to.wait(), Wait::Readable);
        assert!(!is_readable(to), "it was heard");
    }
    bench.finish(client);
    bench.finish(server);
    let poll = MemifParams { wakeup: Wakeup::Poll, ..folder.client() };
    let (server, client) = pair(&folder.server(), &poll);
    assert_eq!((client.wait(), server.wait()), (Wait::Now, Wait::Readable));
    bench.finish(client);
    bench.finish(server);
}

fn is_readable(device: &Memif) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = Vec::new();
    device.fds(&mut |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") > 0
}
