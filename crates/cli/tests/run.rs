//! Packets through the binary, between devices in memory and files: counts, totals, the page account, signals, pipes, the terminal.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use common::{Lines, Running, Scratch, events, parsed, run, until, waterwheel};
use rustix::process::Signal;

/// Whether the last line says that every page is free.
fn all_free(text: &str) -> bool {
    let words = text.lines().last().expect("the page account").split_whitespace().collect::<Vec<_>>();
    matches!(words[..], ["pages", free, "of", total, "free"] if free == total)
}

#[test]
fn null_with_a_size_is_a_source() {
    let total = events("forward null:size=100 null: --count 1000").pop().expect("a total");
    assert_eq!((total["rx_packets"].as_u64(), total["tx_bytes"].as_u64()), (Some(1000), Some(100_000)), "{total}");
    let total = events("tx null:size=64 --count 777").pop().expect("a total");
    assert_eq!(total["tx_packets"], 777, "{total}");
}

#[test]
fn forward_moves_exactly_the_packets_that_were_asked_for() {
    let total = events("forward gen: null: --count 100003").pop().expect("a total");
    for key in ["rx_packets", "tx_packets"] {
        assert_eq!(total[key], 100_003, "{key}");
    }
    assert_eq!(total["rx_bytes"], 100_003 * 64);
    assert_eq!(total["actions"]["redirect"], 100_003);
    assert_eq!(total["devices"][0]["rx_packets"], 100_003);
    assert_eq!(total["devices"][1]["tx_packets"], 100_003);
    assert!(total["drops"].as_object().expect("an object").values().all(|n| *n == 0), "{total}");
}

#[test]
fn every_packet_is_counted_under_its_action() {
    let dropped = events("drop gen: --count 1000").pop().expect("a total");
    assert_eq!((&dropped["actions"]["drop"], &dropped["drops"]["program"]), (&1000.into(), &1000.into()));
    let back = events("tx gen: --count 1000").pop().expect("a total");
    assert_eq!((&back["actions"]["tx"], &back["tx_packets"]), (&1000.into(), &1000.into()));
    let generated = events("generate null: --size 100 --count 10 --gen seed=3").pop().expect("a total");
    assert_eq!((&generated["tx_packets"], &generated["tx_bytes"]), (&10.into(), &1000.into()));
}

#[test]
fn workers_share_the_count_and_lose_no_page() {
    for line in
        ["forward gen: null: --workers 2", "generate veth: --workers 2", "forward gen: gen: --workers 2 --idle sleep"]
    {
        let total = events(&format!("{line} --count 200000")).pop().expect("a total");
        assert_eq!(total["rx_packets"], 200_000, "{line}");
        let drops = total["drops"].as_object().expect("an object").values().filter_map(|n| n.as_u64()).sum::<u64>();
        assert_eq!(total["tx_packets"].as_u64().expect("a count") + drops, 200_000, "{line}: counted out: {total}");
    }
}

#[test]
fn the_duration_ends_a_run() {
    let started = Instant::now();
    let total = events("forward gen:rate=10k null: --duration 300ms").pop().expect("a total");
    let seconds = total["seconds"].as_f64().expect("a number");
    assert!((0.3..60.0).contains(&seconds), "{total}");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(total["rx_packets"].as_u64().expect("a count") > 0, "{total}");
}

#[test]
fn a_source_that_ends_ends_the_run() {
    assert_eq!(events("forward gen:count=77 null:").pop().expect("a total")["tx_packets"], 77);
}

#[test]
fn intervals_and_total_have_the_same_keys_and_count_from_the_start() {
    let output = run("forward gen: null: --duration 2s --interval 100ms --json");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let events = parsed(&output.stdout);
    assert!(events.len() >= 3, "{text}");
    for event in &events {
        // Before a worker has answered for the first time there are none.
        let devices = event["devices"].as_array().map_or(0, Vec::len);
        assert!(devices == 2 || devices == 0 && event["event"] == "interval", "{event}");
        let number = |key: &str| event[key].as_f64().expect(key);
        assert!(number("time") > 1.0e9 && number("interval_seconds") > 0.0, "{event}");
        assert!((number("mpps") * 1e6 - number("rx_pps")).abs() <= 1000.0, "one figure in two units: {event}");
    }
    let total = events.last().expect("a total");
    assert_eq!(total["interval_seconds"], total["seconds"], "{total}");
    let counts = events.iter().map(|event| event["rx_packets"].as_u64().expect("an integer")).collect::<Vec<_>>();
    assert!(counts.is_sorted() && counts[counts.len() - 1] > 0, "{counts:?}");
    let keys =
        |event: &serde_json::Value| event["drops"].as_object().map(|drops| drops.keys().cloned().collect::<Vec<_>>());
    assert!(events.iter().all(|event| keys(event) == keys(&events[0])), "reasons do not come and go");
}

#[test]
fn lines_and_total_for_people() {
    let output = run("forward gen: null: --duration 1s --interval 100ms");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (lines, total) = text.split_once("waterwheel forward gen: null:").expect("lines, then the total");
    assert!(lines.lines().count() >= 2, "{text}");
    assert!(lines.lines().all(|line| line.contains(" s  rx ") && line.contains("bit/s  tx ")), "{text}");
    assert!(all_free(total), "{text}");
    assert!(!text.contains('\x1b'), "no escapes outside a terminal");
}

#[test]
fn generated_packets_go_to_a_file_and_come_back() {
    let file = Scratch::new("a.pcapng");
    let written = events(&format!("generate pcap:{} --size imix --count 120", file.display())).pop().expect("a total");
    let read = events(&format!("drop pcap:{}", file.display())).pop().expect("a total");
    assert_eq!((&read["rx_packets"], &read["rx_bytes"]), (&written["tx_packets"], &written["tx_bytes"]));
    assert_eq!(read["rx_packets"], 120);
    let copy = Scratch::new("b.pcapng");
    let copied = events(&format!("forward pcap:{} pcap:{}", file.display(), copy.display())).pop().expect("a total");
    assert_eq!(copied["tx_packets"], 120);
}

#[test]
fn capture_writes_packets_to_standard_output_and_the_total_beside_it() {
    let output = run("capture gen: - --count 10 --json");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header block");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    let total = errors.lines().last().expect("a total");
    assert_eq!(parsed(total.as_bytes())[0]["tx_packets"], 10);
}

#[test]
fn bad_files_and_values_have_their_codes() {
    let file = Scratch::new("not.pcap");
    std::fs::write(&file.0, "no capture file").expect("a scratch file");
    for (line, code, expected) in [
        ("drop pcap:/nowhere/x.pcap".to_owned(), 3, "/nowhere/x.pcap"),
        (format!("drop pcap:{}", file.display()), 3, "not a capture file"),
        ("generate null: --size 5".to_owned(), 3, "'--size 5': want 60"),
        ("drop gen:sze=64".to_owned(), 2, "did you mean 'size'?"),
        ("forward gen: null: --pages 64".to_owned(), 3, "--pages 128"),
    ] {
        let output = run(&line);
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
        let last = errors.lines().last().expect("a line");
        assert!(last.starts_with("waterwheel: ") && last.contains(expected), "{line}: {errors}");
    }
}

#[test]
fn a_signal_ends_a_run_cleanly() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Running::start(&mut waterwheel("forward gen: null: --json --interval 50ms"));
        let mut lines = running.lines();
        lines.next().expect("an interval");
        running.signal(signal);
        let text = lines.rest();
        assert_eq!(running.wait().code(), Some(0), "{signal:?}");
        parsed(text.as_bytes());
    }
}

/// As timeout(1) does it: once to the process, once to its group.
#[test]
fn one_request_that_comes_twice_forces_nothing() {
    let mut running = Running::start(&mut waterwheel("forward gen: null: --json --interval 50ms"));
    let mut lines = running.lines();
    lines.next().expect("an interval");
    let before = std::time::Instant::now();
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    let together = before.elapsed() < Duration::from_millis(100); // else this machine was too busy to tell
    let text = lines.rest();
    let code = running.wait().code();
    if together {
        assert_eq!(code, Some(0));
        parsed(text.as_bytes());
    }
}

#[test]
fn a_second_signal_forces_the_end() {
    let fifo = Scratch::new("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo.0).status().expect("mkfifo runs");
    assert!(made.success());
    // Somebody has the pipe open and never reads: the writer blocks, so that there is something to drain for ever.
    let reader = std::fs::File::options().read(true).write(true).open(&fifo.0).expect("the fifo opens");
    let mut running =
        Running::start(&mut waterwheel(&format!("generate pcap:{} --json --interval 50ms", fifo.display())));
    running.lines().next().expect("an interval");
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.0.try_wait().expect("a child can be waited for"), None, "it drains");
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), Some(130));
    drop(reader);
}

#[test]
fn a_reader_of_the_statistics_that_goes_away_ends_the_run_cleanly() {
    let mut running = Running::start(&mut waterwheel("forward gen: null: --interval 20ms"));
    drop(running.0.stdout.take());
    assert_eq!(running.wait().code(), Some(0));
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert!(!errors.contains("panicked") && !errors.contains("leaked"), "{errors}");
}

#[test]
fn a_reader_of_the_packets_that_goes_away_ends_the_run_cleanly() {
    let mut running = Running::start(&mut waterwheel("capture gen: - --interval 20ms"));
    let mut head = [0; 64];
    let mut packets = running.0.stdout.take().expect("piped");
    packets.read_exact(&mut head).expect("packets");
    drop(packets);
    assert_eq!(running.wait().code(), Some(0));
}

/// A datagram through two sockets of the binary, to one of the standard library.
#[test]
fn datagrams_are_forwarded_from_socket_to_socket() {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (from, to) = (bind(), bind());
    to.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    // A port that is free now: in the worst case the binary says that it is taken.
    let port = bind().local_addr().expect("an address").port();
    let peer = to.local_addr().expect("an address").port();
    let line = format!(
        "forward udp:127.0.0.1:{port},mtu=9000 udp:127.0.0.1:0,peer=127.0.0.1:{peer} --one-way --count 3 --idle sleep --json --interval 50ms"
    );
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    lines.next().expect("an interval");
    for payload in ["one", "two", "three of those that a page cannot hold".repeat(230).as_str()] {
        from.send_to(payload.as_bytes(), ("127.0.0.1", port)).expect("sent");
        let mut bytes = [0; 10_000];
        let len = to.recv(&mut bytes).expect("it comes");
        assert_eq!(&bytes[..len], payload.as_bytes());
    }
    let text = lines.rest();
    assert_eq!(running.wait().code(), Some(0));
    let total = parsed(text.as_bytes()).pop().expect("a total");
    assert_eq!((&total["rx_packets"], &total["tx_packets"], &total["tx_bytes"]), (&3.into(), &3.into(), &8746.into()));
}

/// Payloads are no Ethernet frames: a capture of them says so, and can be sent again as it is.
#[test]
fn a_capture_of_payloads_is_marked_so_and_sent_again() {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (from, to) = (bind(), bind());
    to.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let port = bind().local_addr().expect("an address").port();
    let file = Scratch::new("payloads.pcapng");
    let line = format!("capture udp:127.0.0.1:{port} {} --count 1 --json --interval 50ms", file.display());
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    lines.next().expect("an interval");
    from.send_to(b"hello", ("127.0.0.1", port)).expect("sent");
    let text = lines.rest();
    assert_eq!(running.wait().code(), Some(0));
    parsed(text.as_bytes());
    let output = std::process::Command::new("tshark")
        .args(["-r", &file.display().to_string(), "-T", "fields", "-e", "frame.encap_type", "-e", "frame.len"])
        .output()
        .expect("tshark runs");
    // WTAP_ENCAP_USER0 of wireshark; Ethernet is 1.
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "45\t5", "{output:?}");
    let peer = to.local_addr().expect("an address");
    events(&format!("forward pcap:{} udp:127.0.0.1:0,peer={peer} --one-way", file.display()));
    let mut bytes = [0; 100];
    assert_eq!(to.recv(&mut bytes).map(|len| bytes[..len].to_vec()).expect("it comes"), b"hello");
    let ethernet = Scratch::new("ethernet.pcapng");
    events(&format!("generate pcap:{} --count 1", ethernet.display()));
    let output = std::process::Command::new("tshark")
        .args(["-r", &ethernet.display().to_string(), "-T", "fields", "-e", "frame.encap_type"])
        .output()
        .expect("tshark runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
}

#[test]
fn a_stream_is_received_and_its_end_is_said() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let line = format!("drop tcp:{} --json --on-device-loss exit", server.local_addr().expect("an address"));
    let mut running = Running::start(&mut waterwheel(&line));
    let (mut connection, _) = server.accept().expect("it connects");
    connection.write_all(b"hello").expect("sent");
    drop((connection, server));
    let (mut text, mut errors) = (String::new(), String::new());
    running.0.stdout.take().expect("piped").read_to_string(&mut text).expect("a total");
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("a word");
    running.wait();
    let total = parsed(text.as_bytes()).pop().expect("a total");
    assert_eq!(total["rx_bytes"], 5, "{total} {errors}");
    assert!(errors.contains("its peer has closed it"), "{errors}");
}

/// The newcomer's second step: two processes, without root.
#[test]
fn two_processes_exchange_packets_through_shared_memory() {
    let socket = Scratch::new("memif");
    let server = format!("drop memif:{},role=server --json --interval 50ms", socket.display());
    let mut server = Running::start(&mut waterwheel(&server));
    let mut lines = server.lines();
    lines.next().expect("an interval");
    let client = run(&format!("generate memif:{} --count 1000 --json", socket.display()));
    let sent = parsed(&client.stdout).pop().expect("a total");
    let told = String::from_utf8_lossy(&client.stderr).into_owned();
    assert!(told.contains(": connected to waterwheel"), "{told}");
    let mode = sent["devices"][1]["mode"].as_str().expect("a mode");
    assert!(mode.contains(", connected to waterwheel"), "as it was until the end: {mode}");
    // Who ends does not wait for ever until the other side has taken everything; what it has not taken was not sent.
    let left = sent["devices"][1]["counters"]["tx_left_at_close"].as_u64().expect("a count");
    assert_eq!(sent["tx_packets"], 1000 - left, "{sent}");
    until(&mut lines, "all have come", |interval| interval["rx_packets"] == 1000 - left);
    let mut told = Lines::of(server.0.stderr.take().expect("piped"));
    for word in [": waiting for a client", ": connected to waterwheel", ": the peer disconnected: "] {
        while !told.next().expect("it tells what happens").contains(word) {}
    }
    server.signal(Signal::INT);
    let text = lines.rest();
    assert_eq!(server.wait().code(), Some(0));
    let received = parsed(text.as_bytes()).pop().expect("a total");
    assert_eq!(received["rx_packets"], 1000 - left, "{received}");
    assert!(!socket.0.exists(), "the socket went with its server");
}

#[test]
fn who_only_sends_to_a_memif_says_why_nobody_takes_it() {
    let socket = Scratch::new("memif");
    let server = format!("drop memif:{},role=server,secret=sesame --json --interval 50ms", socket.display());
    let mut server = Running::start(&mut waterwheel(&server));
    server.lines().next().expect("an interval");
    let refused = run(&format!("generate memif:{},secret=open --count 10 --duration 1s --json", socket.display()));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{errors}");
    assert!(errors.contains("never connected: the peer disconnected: incorrect secret"), "{errors}");
    let total = parsed(&refused.stdout).pop().expect("a total");
    let mode = total["devices"][1]["mode"].as_str().expect("a mode");
    assert!(mode.contains("sends only") && mode.contains("not connected: "), "{mode}");
    assert_eq!(total["tx_packets"], 0, "{total}");
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
}
