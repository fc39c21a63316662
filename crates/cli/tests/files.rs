//! Captures through the binary where the other side does not do its part: pipes that nobody opens, reads or writes, full disks, files that bring nothing, signals without end.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Running, Scratch, events, next, on_a_small_disk, outcome, parsed, pipe, until, waterwheel, whole};
use rustix::process::Signal;
use serde_json::Value;

/// Both ends at once, which waits for nobody.
fn both(pipe: &Scratch) -> File {
    File::options().read(true).write(true).open(&pipe.0).expect("the pipe opens")
}

fn count(total: &Value, key: &str) -> u64 {
    total[key].as_u64().unwrap_or_else(|| panic!("{key}: {total}"))
}

/// What was received was sent, or dropped for a reason that is told.
fn adds_up(total: &Value) {
    let drops = total["drops"].as_object().expect("an object").values().filter_map(Value::as_u64).sum::<u64>();
    let lost = total["devices"].as_array().expect("a list").iter().filter_map(|device| device["lost"].as_object());
    let lost = lost.flat_map(|lost| lost.values()).filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(count(total, "rx_packets") + lost, count(total, "tx_packets") + drops, "{total}");
}

/// How many packets a capture has.
fn packets(file: &Scratch) -> u64 {
    let output = waterwheel(&format!("drop pcap:{} --json", file.display())).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let total = serde_json::from_str::<Value>(text.lines().last().expect("a total")).expect("JSON");
    count(&total, "rx_packets")
}

#[test]
fn what_a_full_disk_does_not_take_is_not_sent() {
    for (packets, size) in [(600, 1500), (2_000, 500), (100_000, 60)] {
        let line = format!("generate pcap:{{disk}}/out.pcapng --count {packets} --size {size} --json");
        let (mut command, _disk) = on_a_small_disk("512k", &line);
        let (code, total, word) = outcome(Running::start(&mut command));
        assert_eq!(code, Some(5), "{word}");
        assert!(word.contains("out.pcapng") && word.contains("No space left"), "{word}");
        assert!(count(&total, "tx_bytes") < 512 << 10, "{total}");
        let [unsent, down] = ["unsent", "device_down"].map(|reason| count(&total["drops"], reason));
        assert!(unsent + down > 0, "{total}");
        adds_up(&total);
    }
}

/// Nobody waits until the end, or until a buffer is full: it ends by itself.
#[test]
fn a_full_disk_ends_the_run_at_once() {
    let line = "generate pcap:{disk}/out.pcapng --rate 1000 --size 1000 --json --interval 20ms";
    let (mut command, _disk) = on_a_small_disk("512k", line);
    let (code, total, word) = outcome(Running::start(&mut command));
    assert_eq!(code, Some(5), "{word}");
    assert!(word.contains("No space left"), "{word}");
    assert!(count(&total, "tx_packets") > 0, "{total}");
    adds_up(&total);
}

#[test]
fn a_full_disk_is_told_also_to_who_asked_for_the_end() {
    // What it takes is with us when the end is asked for, and then there is no room for it.
    let line = "generate pcap:{disk}/out.pcapng,flush=full --rate 20 --size 1000 --json --interval 20ms";
    let (mut command, _disk) = on_a_small_disk("8k", line);
    let mut running = Running::start(&mut command);
    let mut lines = running.lines();
    until(&mut lines, "more was taken than fits", |interval| count(interval, "rx_bytes") > 16 << 10);
    running.signal(Signal::INT);
    let (text, code) = (lines.rest(), running.wait().code());
    let total = parsed(text.as_bytes()).pop().expect("a total");
    assert_eq!(code, Some(5), "{total}");
    assert!(count(&total["drops"], "unsent") > 0, "{total}");
    adds_up(&total);
}

#[test]
fn a_disk_that_has_no_place_for_a_header_is_told_before_anything_begins() {
    let full = || File::options().write(true).open("/dev/full").expect("it is there");
    for (file, stdout) in [("pcap:/dev/full", None), ("pcap:-", Some(full()))] {
        let mut command = waterwheel(&format!("generate {file} --count 100 --json"));
        let output = command.stdout(stdout.map_or(Stdio::piped(), Stdio::from)).output().expect("the binary runs");
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(5), "{errors}");
        assert!(errors.contains("No space left") && errors.lines().count() < 3, "{errors}");
    }
}

#[test]
fn who_closes_a_pipe_is_sent_what_went_into_it() {
    let pipe = pipe("closed");
    let mut other = both(&pipe);
    let line = format!("generate pcap:{} --json --interval 20ms", pipe.display());
    let mut running = Running::start(&mut waterwheel(&line));
    let mut bytes = vec![0; 100_000];
    other.read_exact(&mut bytes).expect("packets");
    let mut lines = running.lines();
    next(&mut lines);
    // No more fits: what is in the pipe is what will have been sent.
    rustix::io::ioctl_fionbio(&other, true).expect("a pipe");
    let mut same = 0;
    while same < 5 {
        let before = bytes.len();
        let mut part = [0; 65536];
        match other.read(&mut part) {
            Ok(n) => bytes.extend_from_slice(&part[..n]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        same = if bytes.len() > 1_000_000 || bytes.len() == before { same + 1 } else { 0 };
    }
    drop(other);
    let text = lines.rest();
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(running.wait().code(), Some(5), "{errors}");
    assert!(errors.contains("Broken pipe") && errors.contains("could not be written"), "{errors}");
    let total = parsed(text.as_bytes()).pop().expect("a total");
    adds_up(&total);
    let file = Scratch::new("read.pcapng");
    std::fs::write(&file.0, &bytes).expect("a scratch file");
    assert!(packets(&file) <= count(&total, "tx_packets"), "{total}");
    assert!(total["drops"]["unsent"].as_u64() > Some(0), "{total}");
}

#[test]
fn who_has_read_enough_of_standard_output_ends_the_run_well() {
    let mut running = Running::start(&mut waterwheel("generate pcap:- --json --interval 20ms"));
    let mut packets = running.0.stdout.take().expect("piped");
    packets.read_exact(&mut [0; 1000]).expect("packets");
    drop(packets);
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(running.wait().code(), Some(0), "{errors}");
    let total = errors.lines().rev().find(|line| line.starts_with('{')).expect("a total");
    let total: Value = serde_json::from_str(total).expect("JSON");
    adds_up(&total);
    assert!(total["drops"]["unsent"].as_u64() > Some(0), "what is left was not sent: {total}");
}

#[test]
fn a_pipe_that_nobody_writes_ends_when_it_is_told() {
    let pipe = pipe("silent");
    let line = format!("drop pcap:{} --json --interval 20ms", pipe.display());
    let (code, total, word) = outcome(Running::start(&mut waterwheel(&format!("{line} --duration 200ms"))));
    assert_eq!((code, count(&total, "rx_packets")), (Some(0), 0), "{word}");
    // The other end is open, and says nothing.
    let _other = both(&pipe);
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    next(&mut lines);
    running.signal(Signal::INT);
    whole(&parsed(lines.rest().as_bytes()).pop().expect("a total"));
    assert_eq!(running.wait().code(), Some(0), "the first signal ends it");
}

#[test]
fn a_pipe_that_nobody_reads_ends_when_it_is_told() {
    for open in [false, true] {
        for signal in [false, true] {
            let pipe = pipe("stuck");
            let other = open.then(|| both(&pipe));
            let end = if signal { "" } else { "--duration 200ms" };
            let line = format!("generate pcap:{} --json --interval 20ms {end}", pipe.display());
            let mut running = Running::start(&mut waterwheel(&line));
            if signal {
                let mut lines = running.lines();
                until(&mut lines, "it has taken something", |interval| count(interval, "rx_packets") > 0);
                running.signal(Signal::TERM);
                let total = parsed(lines.rest().as_bytes()).pop().expect("a total");
                adds_up(&total);
                assert!(total["drops"]["unsent"].as_u64() > Some(0), "{total}");
                assert_eq!(running.wait().code(), Some(5), "what was taken was not written");
            } else {
                let (code, total, word) = outcome(running);
                adds_up(&total);
                assert_eq!(code, Some(5), "{word}");
                assert!(word.contains("read"), "{word}");
            }
            drop(other);
        }
    }
}

#[test]
fn a_slow_reader_gets_everything() {
    let mut running = Running::start(&mut waterwheel("generate pcap:- --count 20000 --size 100 --json"));
    let mut pipe = running.0.stdout.take().expect("piped");
    let (mut bytes, mut part) = (Vec::new(), [0; 65536]);
    loop {
        std::thread::sleep(std::time::Duration::from_millis(20));
        match pipe.read(&mut part).expect("packets") {
            0 => break,
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(running.wait().code(), Some(0), "{errors}");
    let total: Value = serde_json::from_str(errors.lines().last().expect("a total")).expect("JSON");
    whole(&total);
    assert_eq!(count(&total, "tx_packets"), 20_000, "{total}");
    let file = Scratch::new("slow.pcapng");
    std::fs::write(&file.0, &bytes).expect("a scratch file");
    assert_eq!(packets(&file), 20_000);
}

/// Through two devices that wait for each other, to a peer that waits longer than the end of a stream usually would.
#[test]
fn every_byte_of_a_capture_arrives_at_a_peer_that_is_slow_to_read() {
    const PACKETS: u32 = 8000;
    let file = Scratch::new("to-tcp.pcap");
    let mut capture = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_ne_bytes).concat();
    let mut expected = Vec::<u8>::new();
    for n in 0..PACKETS {
        let len = 60 + n * 389 % 1400;
        let packet = (0..len).map(|place| (n * 31 + place * 7) as u8).collect::<Vec<_>>();
        capture.extend([n, 0, len, len].map(u32::to_ne_bytes).concat());
        capture.extend(&packet);
        expected.extend(&packet);
    }
    std::fs::write(&file.0, &capture).expect("a scratch file");
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    // Small buffers: much is on its way when the file has ended.
    rustix::net::sockopt::set_socket_recv_buffer_size(&server, 4096).expect("a socket option");
    let peer = server.local_addr().expect("an address");
    let line = format!("forward pcap:{} tcp:{peer} --one-way --json", file.display());
    let mut running = Running::start(&mut waterwheel(&line));
    let (mut connection, _) = server.accept().expect("it connects");
    let (mut came, mut part) = (Vec::new(), vec![0; 1 << 16]);
    // It pauses now and then: once when the file has ended, and what the kernel has no room for is still with the device.
    let mut pauses = (0..).step_by(1 << 17).peekable();
    loop {
        if pauses.next_if(|place| came.len() >= *place).is_some() {
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        match connection.read(&mut part).expect("an end in order") {
            0 => break,
            n => came.extend_from_slice(&part[..n]),
        }
    }
    assert!(came == expected, "{} of {} bytes", came.len(), expected.len());
    let total = parsed(running.lines().rest().as_bytes()).pop().expect("a total");
    assert_eq!(running.wait().code(), Some(0), "{total}");
    assert_eq!((count(&total, "rx_packets"), count(&total, "tx_packets")), (PACKETS.into(), PACKETS.into()), "{total}");
    assert_eq!(count(&total, "tx_bytes"), expected.len() as u64);
    adds_up(&total);
}

#[test]
fn packets_come_through_standard_input_as_they_come() {
    let file = Scratch::new("in.pcapng");
    events(&format!("generate pcap:{} --count 10", file.display()));
    let bytes = std::fs::read(&file.0).expect("a capture");
    let mut command = waterwheel("drop pcap:- --json --interval 20ms");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut lines = running.lines();
    let mut pipe = running.0.stdin.take().expect("piped");
    // In the midst of the tenth, in front of the statistics.
    let statistics = u32::from_ne_bytes(*bytes.last_chunk().expect("a length")) as usize;
    let (most, rest) = bytes.split_at(bytes.len() - statistics - 10);
    pipe.write_all(most).expect("it reads");
    until(&mut lines, "nine have come", |interval| count(interval, "rx_packets") == 9);
    pipe.write_all(rest).expect("it reads");
    drop(pipe);
    assert_eq!(count(&parsed(lines.rest().as_bytes()).pop().expect("a total"), "rx_packets"), 10);
    assert_eq!(running.wait().code(), Some(0));
}

/// A capture in which every packet is longer than any that fits, and `short` others.
fn too_long(short: usize) -> Scratch {
    let file = Scratch::new("long.pcap");
    let mut bytes = [0xA1B2_C3D4_u32, 4 << 16 | 2, 0, 0, 1 << 20, 1].map(u32::to_le_bytes).concat();
    for len in std::iter::repeat_n(100_000_u32, 3).chain(std::iter::repeat_n(60, short)) {
        bytes.extend([1, 0, len, len].map(u32::to_le_bytes).concat());
        bytes.resize(bytes.len() + len as usize, 7);
    }
    std::fs::write(&file.0, &bytes).expect("a scratch file");
    file
}

#[test]
fn a_file_of_which_nothing_fits_ends_when_it_is_told() {
    let file = too_long(0);
    let line = format!("drop pcap:{},loop=0 --json --interval 20ms", file.display());
    let (code, total, word) = outcome(Running::start(&mut waterwheel(&format!("{line} --duration 200ms"))));
    assert_eq!(code, Some(0), "{word}");
    assert!(total["drops"]["too_long"].as_u64() > Some(0), "{total}");
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    until(&mut lines, "some were lost", |interval| interval["drops"]["too_long"].as_u64() > Some(0));
    running.signal(Signal::INT);
    adds_up(&parsed(lines.rest().as_bytes()).pop().expect("a total"));
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn what_a_device_lost_is_among_the_drops_and_adds_up() {
    let file = too_long(5);
    let line = format!("drop pcap:{},loop=2", file.display());
    let all = events(&line);
    let total = all.last().expect("a total");
    let device = &total["devices"][0];
    assert_eq!((count(total, "rx_packets"), &total["drops"]["too_long"]), (10, &6.into()), "{total}");
    assert_eq!((&device["lost"]["too_long"], &device["offered"]), (&6.into(), &16.into()), "{total}");
    adds_up(total);
    let output = waterwheel(&line).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("received 10 + lost 6 = offered 16, sent 0"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("drops") && line.contains("too_long 6")), "{text}");
}

/// Every wait of the main thread, and every call of a worker, is interrupted again and again.
#[test]
fn signals_without_end_change_nothing() {
    let file = Scratch::new("storm.pcapng");
    let line = format!("generate pcap:{} --rate 20k --count 10000 --json --interval 5ms --idle sleep", file.display());
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    next(&mut lines);
    let over = Arc::new(AtomicBool::new(false));
    let (pid, ends) = (rustix::process::Pid::from_child(&running.0), over.clone());
    let storm = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            let _ = rustix::process::kill_process(pid, Signal::USR1);
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    });
    // What it answers is taken from it.
    let errors = common::Lines::of(running.0.stderr.take().expect("piped"));
    let total = parsed(lines.rest().as_bytes()).pop().expect("a total");
    over.store(true, Ordering::Relaxed);
    storm.join().expect("no panic");
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(count(&total, "tx_packets"), 10_000, "{total}");
    assert!(errors.rest().contains("--trace-pages"), "it was asked");
    assert_eq!(packets(&file), 10_000);
}

#[test]
fn statistics_that_nobody_reads_keep_no_run() {
    for end in ["--duration 500ms", ""] {
        let line = format!("forward gen: null: --json --interval 1ms {end}");
        let mut running = Running::start(&mut waterwheel(&line));
        if end.is_empty() {
            // As much as a pipe holds is written before it stands still; then comes the only signal.
            let pipe = running.0.stdout.as_ref().expect("piped");
            let mut before = 0;
            loop {
                let now = rustix::io::ioctl_fionread(pipe).expect("a pipe");
                if now > 50_000 && now == before {
                    break;
                }
                before = now;
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            running.signal(Signal::INT);
        }
        let mut errors = String::new();
        running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
        assert_eq!(running.wait().code(), Some(1), "{errors}");
        assert!(errors.contains("cannot write the output: nobody reads it"), "{errors}");
    }
}

/// Neither what is shown nor what is said of it has a reader, as in `2>&1 | sleep 1000`.
#[test]
fn a_pipe_that_takes_no_last_word_keeps_no_run() {
    for line in [
        "relay 127.0.0.1:0 127.0.0.1:9 --plain",
        "relay 127.0.0.1:0 127.0.0.1:9 --json",
        "drop gen:",
        "forward gen: null: --json",
    ] {
        let pipe = pipe("mute");
        let mut full = both(&pipe);
        rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::NONBLOCK).expect("set");
        while full.write(&[0; 4096]).is_ok() {}
        let theirs = || File::options().write(true).open(&pipe.0).expect("somebody could read it");
        let mut command = waterwheel(line);
        let mut running = Running(command.stdout(theirs()).stderr(theirs()).spawn().expect("the binary runs"));
        // From the moment on that it handles them.
        let handles =
            |bits: &str| u64::from_str_radix(bits.trim(), 16).expect("a mask") >> (Signal::TERM.as_raw() - 1) & 1 == 1;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).expect("it runs");
            if status.lines().find_map(|line| line.strip_prefix("SigCgt:")).is_some_and(handles) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "it handles no signal");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        running.signal(Signal::TERM);
        assert_eq!(running.wait().code(), Some(1), "{line}");
    }
}

#[test]
fn a_terminal_at_which_nobody_types_keeps_no_run() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let theirs = || File::options().read(true).write(true).open(&name).expect("the terminal opens");
    let mut command = waterwheel("drop pcap:- --json --duration 300ms");
    let (code, total, word) = outcome(Running::start(command.stdin(Stdio::from(theirs()))));
    assert_eq!((code, count(&total, "rx_packets")), (Some(0), 0), "{word}");
    // What is typed is read.
    let mut command = waterwheel("drop pcap:- --json");
    let running = Running::start(command.stdin(Stdio::from(theirs())));
    rustix::io::write(&ours, b"no capture at all\n").expect("typed");
    let (code, _, word) = outcome(running);
    assert_eq!(code, Some(5), "{word}");
    assert!(word.contains("not a capture file"), "{word}");
}
