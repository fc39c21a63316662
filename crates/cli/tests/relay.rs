//! `waterwheel relay`, as a process: what it refuses, how it ends, and ten thousand connections.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Lines, Running, next, parsed, run, until, waterwheel};
use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

/// A relay that has begun to listen, where, and what it prints from then on.
fn start(command: &mut Command) -> (Running, SocketAddr, Lines) {
    let mut relay = Running::start(command);
    let mut lines = relay.lines();
    let start = next(&mut lines);
    assert_eq!(start["event"], "start", "{start}");
    let listen = start["listen"].as_str().expect("an address").parse().expect("an address");
    (relay, listen, lines)
}

/// Ends it, and gives its total.
fn total(relay: Running, lines: Lines) -> Value {
    relay.signal(Signal::TERM);
    ended(relay, lines)
}

/// The total of one that was told to end.
fn ended(mut relay: Running, lines: Lines) -> Value {
    let rest = lines.rest();
    assert_eq!(relay.wait().code(), Some(0));
    parsed(rest.as_bytes()).pop().expect("a total")
}

#[test]
fn it_says_where_it_listens_and_accounts_for_every_page() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let (relay, listen, lines) = start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json --interval 1h")));
    let mut client = TcpStream::connect(listen).expect("it listens");
    let (mut accepted, _) = server.accept().expect("it connects");
    client.write_all(b"hello").expect("sent");
    let mut hello = [0; 5];
    accepted.read_exact(&mut hello).expect("received");
    assert_eq!(&hello, b"hello");
    let total = total(relay, lines);
    assert_eq!((&total["accepted"], &total["bytes_up"], &total["stopped"]), (&1.into(), &5.into(), &1.into()));
    let text = run(&format!("relay 127.0.0.1:0 {to} --duration 50ms"));
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.contains("  pages      ") && text.contains(" free\n"), "{text}");
}

#[test]
fn what_it_has_taken_arrives_after_the_signal() {
    const BYTES: usize = 600_000;
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::sockopt::set_socket_recv_buffer_size(&server, 16 << 10).expect("set");
    let to = server.local_addr().expect("an address");
    let (relay, listen, mut lines) =
        start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json --interval 10ms --cap 64")));
    let mut client = TcpStream::connect(listen).expect("it listens");
    let (mut accepted, _) = server.accept().expect("it connects");
    client.write_all(&[7; BYTES]).expect("sent");
    // It has taken what it can when it does nothing any more.
    let mut turns = Vec::new();
    until(&mut lines, "it rests", |interval| {
        turns.push(interval["enters"].as_u64());
        interval["bytes_up"].as_u64() > Some(0) && turns.len() > 20 && turns[turns.len() - 20] == turns[turns.len() - 1]
    });
    relay.signal(Signal::INT);
    let mut got = 0;
    let mut bytes = [0; 8192];
    while let Ok(n @ 1..) = accepted.read(&mut bytes) {
        got += n as u64;
    }
    let total = ended(relay, lines);
    assert_eq!(total["bytes_up"], got, "{total}");
    // The rest it has told of, or it has never been asked to take it.
    assert!(total["bytes_dropped"].as_u64().expect("a count") + got <= BYTES as u64, "{total}");
}

#[test]
fn a_connection_that_ends_takes_none_with_it_that_begins_in_its_place() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::sockopt::set_socket_recv_buffer_size(&server, 4096).expect("set");
    rustix::net::listen(&server, 0).expect("a short queue");
    let to = server.local_addr().expect("an address");
    let (relay, listen, mut lines) =
        start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json --interval 10ms --send plain")));
    // The first has a send under way, as its server reads nothing.
    let mut first = TcpStream::connect(listen).expect("it listens");
    let (first_accepted, _) = server.accept().expect("it connects");
    first.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
    while first.write(&[1; 1 << 16]).is_ok() {}
    until(&mut lines, "it is stalled", |interval| interval["stalled"] == 1);
    // The server's queue is full: whoever connects has to wait.
    let full = [(); 2].map(|()| connect_without_waiting(to));
    // While the relay looks away the second begins, and the first ends on both sides.
    relay.signal(Signal::STOP);
    stopped(relay.0.id());
    let mut second = TcpStream::connect(listen).expect("the kernel accepts");
    for socket in [first, first_accepted] {
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("set");
    }
    relay.signal(Signal::CONT);
    until(&mut lines, "the first is gone", |interval| interval["reset"] == 1 && interval["open"] == 1);
    // Once there is room the second gets through.
    drop(full);
    second.write_all(b"hello").expect("sent");
    loop {
        let (accepted, _) = server.accept().expect("accepted");
        let mut hello = Vec::new();
        accepted.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        let _ = (&accepted).take(5).read_to_end(&mut hello);
        if hello == b"hello" {
            break;
        }
    }
    let total = total(relay, lines);
    assert_eq!((&total["accepted"], &total["reset"]), (&2.into(), &1.into()), "{total}");
}

fn connect_without_waiting(to: SocketAddr) -> rustix::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    let _ = connect(&socket, &to); // it is under way
    socket
}

/// Waits until a process that was told to has stopped.
fn stopped(pid: u32) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
        if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn it_raises_its_limit_of_open_files_to_what_the_connections_need() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let limited = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{line}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_waterwheel")]);
        shell
    };
    let line = format!("relay 127.0.0.1:0 {to} --json --interval 10ms --max-connections 100");
    let (relay, listen, mut lines) = start(limited("ulimit -Sn 64").args(line.split_whitespace()));
    let pairs = (0..100).map(|_| TcpStream::connect(listen).expect("it listens")).collect::<Vec<_>>();
    let interval = until(&mut lines, "all are accepted", |interval| interval["accepted"] == 100);
    assert_eq!(interval["accept_errors"], 0, "{interval}");
    drop(pairs);
    total(relay, lines);
    // Where it may not it says so. Root may, unless it gives that up.
    let give_up = if rustix::process::geteuid().is_root() { "setpriv --bounding-set -sys_resource" } else { "" };
    let mut refused = Command::new("sh");
    refused.args(["-c", &format!("ulimit -n 100; exec {give_up} \"$@\""), "sh", env!("CARGO_BIN_EXE_waterwheel")]);
    let output = refused.args(line.split_whitespace()).output().expect("sh runs");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        output.status.code() == Some(3) && errors.contains("may open 100: raise the limit (ulimit -Hn)"),
        "{errors}"
    );
}

#[test]
fn a_page_that_a_peer_does_not_take_is_named_with_its_connection() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let (relay, listen, mut lines) =
        start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json --interval 50ms --trace-pages")));
    let mut client = TcpStream::connect(listen).expect("it listens");
    let _stalled = server.accept().expect("it connects");
    client.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
    while client.write(&[1; 1 << 16]).is_ok() {}
    until(&mut lines, "it is stalled", |interval| interval["stalled"] == 1);
    let total = total(relay, lines);
    let holders = total["trace_pages"]["holders"].as_array().expect("holders");
    let name = format!("socket queue 'tcp:{to}'");
    let holder = holders.iter().find(|holder| holder["holder"] == *name).unwrap_or_else(|| panic!("{total}"));
    // A direction that has stalled holds more than half its cap; a block counts as the page that it is to its pool.
    assert!(holder["event"] == "held" && holder["pages"].as_u64() > Some(8), "{total}");
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("an address");
    for (line, code, expected) in [
        ("relay 127.0.0.1 127.0.0.1:1".to_owned(), 3, "the port is missing"),
        ("relay 127.0.0.1:http 127.0.0.1:1".to_owned(), 3, "'http' is no port"),
        ("relay localhost:80 127.0.0.1:1".to_owned(), 3, "'localhost' is no IP address"),
        ("relay ::1:80 127.0.0.1:1".to_owned(), 3, "in brackets"),
        (format!("relay {} 127.0.0.1:1", taken.0), 5, "the port is in use"),
        ("relay 192.0.2.7:0 127.0.0.1:1".to_owned(), 5, "no interface of this machine"),
        ("relay 127.0.0.1:0 127.0.0.1:1 --pages 8192 --max-connections 1024".to_owned(), 3, "allow at most 896"),
        ("relay 127.0.0.1:0 127.0.0.1:1 --max-connections 10M".to_owned(), 3, "use 1 to 1 000 000"),
        ("relay 127.0.0.1:0 127.0.0.1:1 --cap 0".to_owned(), 3, "must be 1 or more"),
    ] {
        let output = run(&line);
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
        assert!(errors.matches('\n').count() == 1 && errors.contains(expected), "{line}: {errors}");
    }
}

#[test]
fn who_may_lock_no_memory_is_told_so_or_served() {
    // Kernels count a ring as locked memory, or do not. Root may lock what it likes, unless it gives that up.
    let mut limited = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("env"),
    };
    if rustix::process::geteuid().is_root() {
        limited.args(["--bounding-set", "-ipc_lock"]);
    }
    limited.args(["prlimit", "--memlock=0:0", env!("CARGO_BIN_EXE_waterwheel")]);
    let line = "relay 127.0.0.1:0 127.0.0.1:1 --duration 50ms";
    let output = limited.args(line.split_whitespace()).output().expect("prlimit and setpriv of util-linux run");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    match output.status.code() {
        Some(0) => {}
        code => assert!(code == Some(5) && errors.contains("raise the limit of locked memory (ulimit -l)"), "{errors}"),
    }
}

#[test]
fn a_killed_relay_leaves_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let (mut relay, listen, _lines) = start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json")));
    let client = TcpStream::connect(listen).expect("it listens");
    let (mut accepted, _) = server.accept().expect("it connects");
    relay.signal(Signal::KILL);
    relay.wait();
    // The kernel has closed both ends, and the port is free.
    accepted.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    assert!(!matches!(accepted.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    drop(client);
    let (relay, _, lines) = start(&mut waterwheel(&format!("relay {listen} {to} --json --interval 1h")));
    total(relay, lines);
}

#[test]
fn who_finds_one_worker_full_is_taken_by_the_other() {
    const EACH: usize = 1030;
    raise_descriptors();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&server, 4096).expect("a longer queue");
    let to = server.local_addr().expect("an address");
    let options = format!("--workers 2 --max-connections {} --order 1 --json --interval 20ms", 2 * EACH);
    let (relay, listen, mut lines) = start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} {options}")));
    let open = |count| (0..count).map(|_| TcpStream::connect(listen).expect("connected")).collect::<Vec<_>>();
    // A worker that finds many waiting becomes full while others come: those must not wait for it.
    relay.signal(Signal::STOP);
    let first = open(1000);
    relay.signal(Signal::CONT);
    let second = open(2 * EACH - first.len());
    until(&mut lines, "all are accepted", |interval| interval["accepted"] == 2 * EACH);
    drop((first, second));
    total(relay, lines);
}

/// A namespace with small socket buffers, so that who stalls stalls soon.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let namespace = Self(format!("ww-relay-{}", std::process::id()));
        let ip = |line: &str| {
            let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip of iproute2 runs");
            assert!(output.status.success(), "ip {line}: {output:?}");
        };
        ip(&format!("netns add {}", namespace.0));
        ip(&format!("-n {} link set lo up", namespace.0));
        for (key, value) in [("tcp_wmem", "4096 16384 65536"), ("tcp_rmem", "4096 16384 65536")] {
            let script = format!("echo {value} > /proc/sys/net/ipv4/{key}");
            let status = namespace.command("sh").args(["-c", &script]).status().expect("sh runs");
            assert!(status.success(), "{key}");
        }
        namespace
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

const CONNECTIONS: usize = 10_000;
/// Every tenth connection begins with this, and is then not read any more.
const STALL: u8 = b's';
const MESSAGE: usize = 1024;

fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the limit it may be raised");
}

/// Another process of this test, which does what the variable says.
fn helper(namespace: &Namespace, role: &str) -> Child {
    let this = std::env::current_exe().expect("a path");
    let mut command = namespace.command(this.to_str().expect("UTF-8"));
    command.args(["--exact", "helpers", "--nocapture"]).env("WATERWHEEL_RELAY_TEST", role);
    command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().expect("this program runs")
}

/// Not a test by itself: what the other processes of the test below do.
#[test]
fn helpers() {
    let Ok(role) = std::env::var("WATERWHEEL_RELAY_TEST") else { return };
    raise_descriptors();
    match role.split_once(' ') {
        Some(("clients", listen)) => clients(listen.parse().expect("an address")),
        _ => echo_server(),
    }
}

/// Sends back what comes, but for connections that begin with [`STALL`].
fn echo_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // Else a connection that finds the queue full is answered by a cookie, and may be reset.
    rustix::net::listen(&listener, 4096).expect("a longer queue");
    println!("\nlistens {}", listener.local_addr().expect("an address"));
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let interest = |n: u64| (epoll::EventData::new_u64(n), epoll::EventFlags::IN);
    let (data, flags) = interest(u64::MAX);
    epoll::add(&poll, &listener, data, flags).expect("added");
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    let mut events = vec![epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 256];
    let mut bytes = [0; 4 * MESSAGE];
    loop {
        let ready = epoll::wait(&poll, &mut events, None).expect("waited");
        for event in &events[..ready] {
            if event.data.u64() == u64::MAX {
                let (socket, _) = listener.accept().expect("accepted");
                let (data, flags) = interest(sockets.len() as u64);
                epoll::add(&poll, &socket, data, flags).expect("added");
                sockets.push(Some(socket));
                continue;
            }
            let slot = &mut sockets[event.data.u64() as usize];
            let Some(socket) = slot else { continue };
            match socket.read(&mut bytes) {
                Ok(0) | Err(_) => *slot = None,
                Ok(_) if bytes[0] == STALL => epoll::delete(&poll, &*socket).expect("deleted"),
                Ok(n) => socket.write_all(&bytes[..n]).expect("small enough"),
            }
        }
    }
}

/// Opens all connections, stalls a tenth of them, and then has every other one's messages sent back, each twice. Says so, and waits for the end of its input.
fn clients(listen: SocketAddr) {
    let open = |_| TcpStream::connect(listen).expect("connected");
    let mut sockets = (0..CONNECTIONS).map(open).collect::<Vec<_>>();
    for socket in sockets.iter_mut().step_by(10) {
        socket.set_nonblocking(true).expect("set");
    }
    // Until nothing is taken of any: the buffers on the way are small, and the relay holds what it may hold. It may be busy, and take more after a while.
    let mut quiet = 0;
    while quiet < 3 {
        let mut taken = false;
        for socket in sockets.iter_mut().step_by(10) {
            while matches!(socket.write(&[STALL; 1 << 14]), Ok(1..)) {
                taken = true;
            }
        }
        quiet = if taken { 0 } else { quiet + 1 };
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nstalled");
    for round in 0..2u8 {
        for (n, socket) in sockets.iter_mut().enumerate().filter(|(n, _)| n % 10 != 0) {
            let message = [n as u8 | 0x80, round].repeat(MESSAGE / 2);
            socket.write_all(&message).expect("sent");
        }
        for (n, socket) in sockets.iter_mut().enumerate().filter(|(n, _)| n % 10 != 0) {
            let mut answer = [0; MESSAGE];
            socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
            socket.read_exact(&mut answer).expect("an answer");
            assert!(answer == *[n as u8 | 0x80, round].repeat(MESSAGE / 2), "connection {n}");
        }
    }
    println!("\ndone");
    let _ = std::io::stdin().read(&mut [0]);
}

/// The first line of a helper that begins with `word`, and the rest of it.
fn line(child: &mut Lines, word: &str) -> String {
    let rest = child.find_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned()));
    rest.unwrap_or_else(|| panic!("no line '{word}'"))
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") * 1024
}

/// True when the test may go on: the process is root. Else it fails, or, with `WATERWHEEL_SKIP_ROOT=1`, says that it was left out.
fn is_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
        "the test `{test}` needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
    );
    eprintln!("skipped `{test}`: it needs root, and WATERWHEEL_SKIP_ROOT is set");
    false
}

#[test]
fn ten_thousand_connections_of_which_a_tenth_stalls() {
    if !is_root("ten_thousand_connections_of_which_a_tenth_stalls") {
        return;
    }
    raise_descriptors();
    let namespace = Namespace::new();
    let mut server = Running(helper(&namespace, "server"));
    let mut said = server.lines();
    let to = line(&mut said, "listens");
    let options = format!("--json --interval 100ms --workers 2 --order 1 --max-connections {CONNECTIONS}");
    let relay = waterwheel(&format!("relay 127.0.0.1:0 {to} {options}"));
    let mut inside = namespace.command(relay.get_program().to_str().expect("UTF-8"));
    let (relay, listen, mut lines) = start(inside.args(relay.get_args()));
    let before = resident(relay.0.id());
    let mut clients = Running(helper(&namespace, &format!("clients {listen}")));
    let mut said = clients.lines();
    line(&mut said, "stalled");
    line(&mut said, "done");
    let after = resident(relay.0.id());
    // Messages of all that are not stalled went through, both ways, and the last of these is on its way out.
    // Whose buffers on the way took all that there was has not stalled.
    let interval = until(&mut lines, "all others have their answers", |interval| {
        let stalled = interval["stalled"].as_u64().expect("a count") as usize;
        interval["bytes_down"] == 2 * MESSAGE * CONNECTIONS / 10 * 9
            && (CONNECTIONS / 20..=CONNECTIONS / 10).contains(&stalled)
    });
    assert_eq!((&interval["open"], &interval["reset"]), (&CONNECTIONS.into(), &0.into()), "{interval}");
    // None holds much more than the cap.
    let count = |key: &str| interval[key].as_u64().expect("a count") as usize;
    assert!(count("held_max") < 2 * 16 * CONNECTIONS / 10, "{interval}");
    assert!(after - before < 64 << 20, "memory is flat: {before} and {after} bytes");
    let total = total(relay, lines);
    assert_eq!((&total["accepted"], &total["stopped"]), (&CONNECTIONS.into(), &CONNECTIONS.into()), "{total}");
}

/// A connection is told of when it has ended: who, bytes, how long, and why.
#[test]
fn connections_are_told_on_request() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let line = format!("relay [::ffff:127.0.0.1]:0 {to} --json --interval 1h --log-connections");
    let (relay, listen, mut lines) = start(&mut waterwheel(&line));
    assert!(listen.is_ipv4(), "{listen}");
    let mut client = TcpStream::connect(listen).expect("it listens");
    let (mut accepted, _) = server.accept().expect("it connects");
    client.write_all(b"hello").expect("sent");
    accepted.read_exact(&mut [0; 5]).expect("received");
    accepted.write_all(b"hi").expect("sent");
    client.read_exact(&mut [0; 2]).expect("received");
    let who = client.local_addr().expect("an address").to_string();
    drop((client, accepted));
    let ended = until(&mut lines, "it is told", |object| object["event"] == "connection");
    let expected = [("client", who), ("server", to.to_string())];
    expected.iter().for_each(|(key, value)| assert_eq!(ended[key], **value, "{ended}"));
    assert_eq!((&ended["bytes_up"], &ended["bytes_down"]), (&5.into(), &2.into()), "{ended}");
    assert!(ended["end"] == "finished" && ended["reason"].is_null(), "{ended}");
    assert!(ended["interval_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{ended}");
    // One that is reset.
    let client = TcpStream::connect(listen).expect("it listens");
    let _accepted = server.accept().expect("it connects");
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("set");
    drop(client);
    let ended = until(&mut lines, "it is told", |object| object["event"] == "connection");
    assert_eq!(ended["end"], "reset_by_client", "{ended}");
    // One that the end of the relay ends.
    let _client = TcpStream::connect(listen).expect("it listens");
    let _accepted = server.accept().expect("it connects");
    relay.signal(Signal::TERM);
    let ended = until(&mut lines, "it is told", |object| object["event"] == "connection");
    assert_eq!(ended["end"], "stopped", "{ended}");
    let total = self::ended(relay, lines);
    assert_eq!((&total["finished"], &total["reset"], &total["unlogged"]), (&1.into(), &1.into(), &0.into()), "{total}");
}

#[test]
fn why_a_connection_failed_is_told_and_counted() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let line = format!("relay 127.0.0.1:0 {nobody} --json --interval 20ms --log-connections");
    let (mut relay, listen, mut lines) = start(&mut waterwheel(&line));
    let mut errors = Lines::of(relay.0.stderr.take().expect("piped"));
    let _client = TcpStream::connect(listen).expect("it listens");
    let ended = until(&mut lines, "it is told", |object| object["event"] == "connection");
    assert!(ended["end"] == "connect_failed" && ended["reason"].as_str().is_some_and(|why| why.contains("refused")));
    errors.find(|line| line.contains(&format!("cannot connect to {nobody}: refused"))).expect("why");
    let total = total(relay, lines);
    assert_eq!((&total["connect_failed"], &total["connect_refused"]), (&1.into(), &1.into()), "{total}");
    assert_eq!(total["connect_timed_out"], 0, "{total}");
}

/// In a network of its own: one address leads nowhere, and at the other nobody answers.
#[test]
fn where_nobody_answers_is_told_apart_from_where_there_is_no_way() {
    if !is_root("where_nobody_answers_is_told_apart_from_where_there_is_no_way") {
        return;
    }
    for (to, key, why) in [
        ("198.51.100.1:80", "connect_unreachable", "unreachable: there is no way there"),
        ("192.0.2.2:80", "connect_timed_out", "timed out: nobody answers"),
    ] {
        let shell = format!(
            "ip link set lo up && ip link add silent type veth peer name wall && ip link set wall up && ip link set silent up \
             && ip addr add 192.0.2.1/24 dev silent && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev silent && echo 1 > /proc/sys/net/ipv4/tcp_syn_retries && exec {} relay 127.0.0.1:0 {to} --json --interval 50ms --log-connections",
            env!("CARGO_BIN_EXE_waterwheel")
        );
        let (mut relay, listen, mut lines) = start(Command::new("unshare").args(["--net", "sh", "-c", &shell]));
        let mut errors = Lines::of(relay.0.stderr.take().expect("piped"));
        let network = format!("--net=/proc/{}/ns/net", relay.0.id());
        let client = Command::new("nsenter")
            .args([&network, "socat", "-u", &format!("TCP:{listen}"), "-"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut client = Running(client.expect("nsenter runs"));
        let ended = until(&mut lines, "it is told", |object| object["event"] == "connection");
        assert!(ended["end"] == "connect_failed" && ended["reason"] == why, "{ended}");
        errors.find(|line| line.contains(&format!("cannot connect to {to}: {why}"))).expect("why");
        client.wait();
        let total = total(relay, lines);
        assert_eq!((&total["connect_failed"], &total[key]), (&1.into(), &1.into()), "{total}");
    }
}

/// Each address of a name is tried until one can be connected to.
#[test]
fn a_name_is_looked_up_and_each_of_its_addresses_tried() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let (relay, listen, lines) =
        start(&mut waterwheel(&format!("relay 127.0.0.1:0 localhost:{port} --json --interval 1h")));
    let mut client = TcpStream::connect(listen).expect("it listens");
    let (mut accepted, _) = server.accept().expect("it connects");
    client.write_all(b"hello").expect("sent");
    accepted.read_exact(&mut [0; 5]).expect("received");
    let total = total(relay, lines);
    assert_eq!((&total["connect_failed"], &total["bytes_up"]), (&0.into(), &5.into()), "{total}");
    for (line, code, expected) in [
        ("relay 127.0.0.1:0 there-is-no-such-host.invalid:80", 5, "cannot find the host"),
        ("relay 127.0.0.1:0 localhost:0", 3, "0 is none"),
        ("relay 127.0.0.1:0 localhost", 3, "the port is missing"),
    ] {
        let output = run(line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
        assert!(errors.contains(expected), "{line}: {errors}");
    }
}

/// SIGHUP ends no relay: the name is looked up again, and connections go where it leads then.
#[test]
fn a_hangup_looks_the_name_up_again() {
    if !is_root("a_hangup_looks_the_name_up_again") {
        return;
    }
    // Of 127.0.0.2 the first one hears nothing, and the other way round.
    let first = TcpListener::bind("127.0.0.2:0").expect("a port");
    let port = first.local_addr().expect("an address").port();
    let second = TcpListener::bind(("127.0.0.3", port)).expect("the same port");
    let hosts = common::Scratch::new("hosts");
    std::fs::write(&hosts.0, "127.0.0.2 wheel.test\n").expect("written");
    // In a mount namespace of its own, /etc/hosts is ours.
    let shell = format!(
        "mount --bind {} /etc/hosts && exec {} relay 127.0.0.1:0 wheel.test:{port} --json --interval 1h",
        hosts.display(),
        env!("CARGO_BIN_EXE_waterwheel")
    );
    let (mut relay, listen, lines) = start(Command::new("unshare").args(["--mount", "sh", "-c", &shell]));
    let mut errors = Lines::of(relay.0.stderr.take().expect("piped"));
    let _one = TcpStream::connect(listen).expect("it listens");
    first.accept().expect("it connects to the first");
    std::fs::write(&hosts.0, "127.0.0.3 wheel.test\n").expect("written");
    relay.signal(Signal::HUP);
    errors.find(|line| line.contains(&format!("wheel.test:{port} is 127.0.0.3:{port} now"))).expect("it says so");
    let _two = TcpStream::connect(listen).expect("it listens");
    second.accept().expect("it connects to the second");
    // Without an answer it stays where it was.
    std::fs::write(&hosts.0, "\n").expect("written");
    relay.signal(Signal::HUP);
    errors.find(|line| line.contains(&format!("connections go to 127.0.0.3:{port} meanwhile"))).expect("it says so");
    let _three = TcpStream::connect(listen).expect("it listens");
    second.accept().expect("it connects to the second");
    assert_eq!(total(relay, lines)["accepted"], 3);
}

#[test]
fn a_relay_without_anything_to_do_says_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let output = run(&format!("relay 127.0.0.1:0 {to} --interval 10ms --duration 500ms"));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains(" bit/s  connections "), "{text}");
    assert!(text.starts_with("relay from 127.0.0.1:") && text.contains("\nwaterwheel relay "), "{text}");
}

/// However many signals come: what it has done is told.
#[test]
fn a_second_signal_takes_no_total_away() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::sockopt::set_socket_recv_buffer_size(&server, 4096).expect("set");
    let to = server.local_addr().expect("an address");
    let (relay, listen, mut lines) = start(&mut waterwheel(&format!("relay 127.0.0.1:0 {to} --json --interval 10ms")));
    // Its server reads nothing: there is something to drain, in vain.
    let mut client = TcpStream::connect(listen).expect("it listens");
    let _accepted = server.accept().expect("it connects");
    client.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
    while client.write(&[1; 1 << 16]).is_ok() {}
    until(&mut lines, "it is stalled", |interval| interval["stalled"] == 1);
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        relay.signal(signal);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ended(relay, lines)["stopped"], 1);
}
