//! Captures through pipes, and files that bring nothing: no call waits for anybody, and none goes on without end.
#![cfg(feature = "pcap")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use common::Bench;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use waterwheel_dev::pcap::{PcapParams, PcapReader, PcapSink, PcapWriter};
use waterwheel_xdp::{Device, DropReason, Health, Traffic, Wait, XdpFrame};

/// A named pipe, or a file, that goes away in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("waterwheel-pipes-{}-{number}", std::process::id())))
    }

    fn pipe() -> Self {
        let scratch = Self::new();
        let made = Command::new("mkfifo").arg(&scratch.0).status().expect("mkfifo runs");
        assert!(made.success());
        scratch
    }

    fn file(bytes: &[u8]) -> Self {
        let scratch = Self::new();
        std::fs::write(&scratch.0, bytes).unwrap();
        scratch
    }

    /// Both ends at once, which waits for nobody.
    fn open(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn looped(loops: u64) -> PcapParams {
    PcapParams { loops, ..PcapParams::default() }
}

/// A capture of packets of these lengths.
fn capture(lengths: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut sink = PcapSink::new(Vec::new(), "eth0").unwrap();
    lengths.into_iter().for_each(|len| sink.packet(0, 5, &vec![len as u8; len]).unwrap());
    sink.into_inner()
}

fn lengths(bench: &mut Bench, reader: &mut impl Device) -> Vec<usize> {
    let packets = bench.receive(reader, 64);
    let lengths = packets.iter().map(|packet| packet.total_len()).collect();
    bench.recycle(packets);
    lengths
}

/// Waits as the loop does; false: it would never wake.
fn sleeps_until_there_is_something(device: &impl Device) {
    assert_eq!(device.wait(), Wait::Readable);
    let mut fds = Vec::new();
    device.fds(&mut |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    assert_eq!(fds.len(), 1);
    poll(&mut fds, None).unwrap();
}

/// How many packets of 1000 bytes it takes until it takes none.
fn fill(bench: &mut Bench, writer: &mut PcapWriter) -> u64 {
    let mut taken = 0;
    while writer.tx_room() > 0 {
        let mut frames: Vec<XdpFrame> = (0..16).map(|_| bench.frame(&[7; 1000])).collect();
        let traffic = bench.offer(writer, &mut frames);
        assert_eq!((traffic.packets, frames.len()), (16, 0), "it takes what it said it has room for");
        taken += traffic.packets;
        bench.complete(writer);
        writer.flush();
        assert!(taken < 100_000);
    }
    let mut frames = vec![bench.frame(&[7; 1000])];
    assert_eq!(bench.offer(writer, &mut frames), Traffic::default(), "it is full");
    assert_eq!(frames.len(), 1, "what it does not take stays with the loop");
    taken
}

#[test]
fn a_pipe_is_open_before_somebody_writes_and_ends_with_the_writer() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut reader = PcapReader::open(&pipe.0, &PcapParams::default()).unwrap();
    for _ in 0..3 {
        assert!(lengths(&mut bench, &mut reader).is_empty());
        assert_eq!((reader.health(), reader.wait()), (Health::Up, Wait::Readable), "nobody has written yet");
    }
    let bytes = capture([60, 61, 62]);
    let mut writer = File::options().write(true).open(&pipe.0).unwrap();
    let mut came = Vec::new();
    // It may come in any pieces, in the middle of headers and numbers.
    for byte in &bytes {
        writer.write_all(std::slice::from_ref(byte)).unwrap();
        sleeps_until_there_is_something(&reader);
        came.extend(lengths(&mut bench, &mut reader));
        assert_eq!(reader.health(), Health::Up);
    }
    assert_eq!(came, [60, 61, 62]);
    drop(writer);
    sleeps_until_there_is_something(&reader);
    assert!(lengths(&mut bench, &mut reader).is_empty());
    assert_eq!(reader.health(), Health::Finished);
    bench.finish(reader);
}

#[test]
fn a_pipe_is_played_once_for_each_writer() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut reader = PcapReader::open(&pipe.0, &looped(2)).unwrap();
    for len in [60, 99] {
        assert!(lengths(&mut bench, &mut reader).is_empty());
        assert_eq!((reader.health(), reader.wait()), (Health::Up, Wait::Readable));
        let mut writer = File::options().write(true).open(&pipe.0).unwrap();
        writer.write_all(&capture([len])).unwrap();
        assert_eq!(lengths(&mut bench, &mut reader), [len]);
        drop(writer);
    }
    assert!(lengths(&mut bench, &mut reader).is_empty());
    assert_eq!(reader.health(), Health::Finished);
    bench.finish(reader);
}

#[test]
fn what_is_no_capture_is_said_when_it_comes_out_of_the_pipe() {
    for (bytes, word) in
        [(&b"GET / HTTP/1.1"[..], "not a capture file"), (b"", "empty"), (b"\xd4\xc3\xb2\xa1\x02", "cut")]
    {
        let mut bench = Bench::new();
        let pipe = Scratch::pipe();
        let mut reader = PcapReader::open(&pipe.0, &PcapParams::default()).unwrap();
        assert!(lengths(&mut bench, &mut reader).is_empty());
        let mut writer = File::options().write(true).open(&pipe.0).unwrap();
        writer.write_all(bytes).unwrap();
        drop(writer);
        sleeps_until_there_is_something(&reader);
        assert!(lengths(&mut bench, &mut reader).is_empty());
        let health = reader.health();
        assert!(matches!(&health, Health::Failed(reason) if reason.contains(word)), "{health:?}");
        assert_eq!(reader.wait(), Wait::Never);
        bench.finish(reader);
    }
}

#[test]
fn a_full_pipe_takes_no_more_and_loses_nothing() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut other = pipe.open();
    let mut writer = PcapWriter::create(&pipe.0).unwrap();
    let mut taken = fill(&mut bench, &mut writer);
    // Who reads wakes it: it can go on, again and again.
    let (mut bytes, mut part) = (Vec::new(), vec![0; 1 << 17]);
    for _ in 0..3 {
        assert_eq!(writer.wait_tx(), Wait::Readable);
        while writer.tx_room() == 0 {
            let n = other.read(&mut part).unwrap();
            bytes.extend_from_slice(&part[..n]);
            sleeps_until_there_is_something(&writer);
            writer.flush();
        }
        taken += fill(&mut bench, &mut writer);
    }
    assert_eq!(writer.unsent(), Traffic::default(), "it may still be written");
    let reader = std::thread::spawn(move || {
        let other = other;
        let mut only = File::open(&pipe.0).unwrap();
        drop(other); // now the writer's end is the last one
        only.read_to_end(&mut bytes).unwrap();
        bytes
    });
    bench.finish_with(writer, |writer| {
        assert_eq!((writer.unsent(), writer.health()), (Traffic::default(), Health::Up));
    });
    let file = Scratch::file(&reader.join().unwrap());
    let mut reader = PcapReader::open(&file.0, &PcapParams::default()).unwrap();
    let mut read = 0;
    while reader.health() == Health::Up {
        read += lengths(&mut bench, &mut reader).len() as u64;
    }
    assert_eq!((read, reader.health()), (taken, Health::Finished));
    bench.finish(reader);
}

#[test]
fn the_end_of_a_pipe_that_is_not_read_is_told_and_counted() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut other = pipe.open();
    let mut writer = PcapWriter::create(&pipe.0).unwrap();
    let taken = fill(&mut bench, &mut writer);
    let mut unsent = 0;
    bench.finish_with(writer, |writer| {
        unsent = writer.unsent().packets;
        assert_eq!(writer.unsent().bytes, 1000 * unsent);
        assert!(matches!(writer.health(), Health::Failed(reason) if reason.contains("it is not read")));
    });
    // What is in the pipe can still be read: whole packets, and a part of one.
    let mut bytes = vec![0; 1 << 20];
    let n = other.read(&mut bytes).unwrap();
    let file = Scratch::file(&bytes[..n]);
    let mut reader = PcapReader::open(&file.0, &PcapParams::default()).unwrap();
    let mut read = 0;
    while reader.health() == Health::Up {
        read += lengths(&mut bench, &mut reader).len() as u64;
    }
    assert_eq!(read + unsent, taken, "sent is what can be read");
    assert!(read > 0 && unsent > 0);
    bench.finish(reader);
}

#[test]
fn a_pipe_that_nobody_opens_keeps_nobody() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut writer = PcapWriter::create(&pipe.0).unwrap();
    let taken = fill(&mut bench, &mut writer);
    assert!(matches!(writer.wait(), Wait::Until(_)), "it looks again");
    bench.finish_with(writer, |writer| {
        assert_eq!(writer.unsent(), Traffic { packets: taken, bytes: 1000 * taken });
        assert!(matches!(writer.health(), Health::Failed(reason) if reason.contains("nobody has opened it")));
    });

    // Somebody does, later.
    let mut writer = PcapWriter::create(&pipe.0).unwrap();
    let frame = bench.frame(&[7; 60]);
    assert_eq!(bench.send(&mut writer, vec![frame]).packets, 1);
    let path = pipe.0.clone();
    let reader = std::thread::spawn(move || std::fs::read(path).unwrap());
    let goes_on = || true;
    bench.finish_with(writer.patient(goes_on), |writer| assert_eq!(writer.unsent(), Traffic::default()));
    let whole = Scratch::file(&reader.join().unwrap());
    let mut reader = PcapReader::open(&whole.0, &PcapParams::default()).unwrap();
    assert_eq!(lengths(&mut bench, &mut reader), [60]);
    bench.finish(reader);
}

#[test]
fn the_end_waits_for_a_slow_reader_as_long_as_it_is_told() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let mut other = pipe.open();
    let patient = Arc::new(AtomicBool::new(true));
    let goes_on = patient.clone();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let mut writer = PcapWriter::create(&pipe.0).unwrap().patient(move || {
        count.fetch_add(1, Ordering::Relaxed);
        goes_on.load(Ordering::Relaxed)
    });
    let taken = fill(&mut bench, &mut writer);
    let reader = std::thread::spawn(move || {
        // It is waited for: for longer than impatience would take.
        while asked.load(Ordering::Relaxed) < 250 {
            std::thread::yield_now();
        }
        let mut part = vec![0; 1 << 16];
        for _ in 0..4 {
            other.read_exact(&mut part).unwrap();
        }
        patient.store(false, Ordering::Relaxed);
        other
    });
    let mut unsent = 0;
    bench.finish_with(writer, |writer| unsent = writer.unsent().packets);
    assert!((0..taken - 100).contains(&unsent), "{unsent} of {taken}");
    drop(reader.join().unwrap());
}

#[test]
fn a_reader_that_goes_away_is_told_and_counted() {
    let mut bench = Bench::new();
    let pipe = Scratch::pipe();
    let other = pipe.open();
    let mut writer = PcapWriter::create(&pipe.0).unwrap();
    let taken = fill(&mut bench, &mut writer);
    drop(other);
    writer.flush();
    assert!(matches!(writer.health(), Health::Failed(reason) if reason.contains("Broken pipe")));
    let unsent = writer.unsent();
    assert!(unsent.packets > 0 && unsent.packets < taken);
    let frame = bench.frame(&[7; 60]);
    bench.send(&mut writer, vec![frame]);
    assert_eq!(bench.drops(DropReason::DeviceDown), 1);
    bench.finish_with(writer, |writer| assert_eq!(writer.unsent(), unsent, "told once"));
}

#[test]
fn what_only_the_end_writes_is_counted_by_what_the_disk_takes() {
    for count in [1, 100, 1000] {
        let mut bench = Bench::with_pages(2048);
        let mut writer = PcapWriter::given(common::full::nearly_full(200), "full").unwrap();
        let mut taken = 0;
        for _ in 0..count {
            let frame = bench.frame(&[1; 60]);
            taken += bench.send(&mut writer, vec![frame]).packets;
        }
        bench.finish_with(writer, |writer| {
            assert_eq!(writer.unsent().packets, taken, "nothing was written");
            assert!(matches!(writer.health(), Health::Failed(reason) if reason.contains("full: cannot write")));
        });
    }
}

#[test]
fn the_end_writes_what_is_left() {
    let mut bench = Bench::new();
    let file = Scratch::new();
    let mut writer = PcapWriter::create(&file.0).unwrap();
    let frames = (60..70).map(|len| bench.frame(&vec![1; len])).collect();
    bench.send(&mut writer, frames);
    bench.finish_with(writer, |writer| {
        // Before its drop: that is no part of the promise.
        let mut reader = PcapReader::open(&file.0, &PcapParams::default()).unwrap();
        let mut batch = Bench::new();
        assert_eq!(lengths(&mut batch, &mut reader), (60..70).collect::<Vec<_>>());
        batch.finish(reader);
        assert_eq!((writer.unsent(), writer.health()), (Traffic::default(), Health::Up));
    });
}

/// What others gave to this process, and use as well.
#[test]
fn a_pipe_that_was_given_is_left_as_it_is() {
    let mut bench = Bench::new();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (reads_too, writes_too): (OwnedFd, OwnedFd) = (read.try_clone().unwrap(), write.try_clone().unwrap());
    let blocks = |fd: &OwnedFd| !fcntl_getfl(fd.as_fd()).unwrap().contains(OFlags::NONBLOCK);

    let mut reader = PcapReader::given(read, "-", &PcapParams::default()).unwrap();
    let mut writer = PcapWriter::given(write, "-").unwrap();
    assert_eq!((reader.name(), writer.name()), ("pcap:-", "pcap:-"));
    assert!(lengths(&mut bench, &mut reader).is_empty(), "nobody has written yet");
    assert_eq!(reader.wait(), Wait::Readable);
    let mut taken = fill(&mut bench, &mut writer);
    assert!(blocks(&reads_too) && blocks(&writes_too));
    let mut read = 0;
    for _ in 0..3 {
        while writer.tx_room() == 0 {
            read += lengths(&mut bench, &mut reader).len() as u64;
            sleeps_until_there_is_something(&writer);
            writer.flush();
        }
        taken += fill(&mut bench, &mut writer);
    }
    while writer.wait() == Wait::Readable {
        read += lengths(&mut bench, &mut reader).len() as u64;
        writer.flush();
    }
    bench.finish(writer);
    drop(writes_too);
    while reader.health() == Health::Up {
        read += lengths(&mut bench, &mut reader).len() as u64;
    }
    assert_eq!((read, reader.health()), (taken, Health::Finished));
    assert!(blocks(&reads_too));
    bench.finish(reader);

    let (read, _write) = rustix::pipe::pipe().unwrap();
    let error = PcapReader::given(read, "-", &looped(2)).unwrap_err();
    assert!(error.message().contains("can be played once"), "{error}");
}

#[test]
fn sockets_and_files_can_be_given_too() {
    let mut bench = Bench::new();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut reader = PcapReader::given(ours.try_clone().unwrap().into(), "-", &PcapParams::default()).unwrap();
    let mut writer = PcapWriter::given(ours.into(), "-").unwrap();
    assert!(lengths(&mut bench, &mut reader).is_empty());
    theirs.write_all(&capture([60])).unwrap();
    assert_eq!(lengths(&mut bench, &mut reader), [60]);
    let taken = fill(&mut bench, &mut writer);
    let echo = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).unwrap();
        bytes
    });
    bench.finish_with(writer.patient(|| true), |writer| assert_eq!(writer.unsent(), Traffic::default()));
    bench.finish(reader); // its half of the socket was the last
    let bytes = echo.join().unwrap();
    assert!(bytes.len() as u64 > taken * 1000);

    // A file is written from where it stands, and read again from where it stood.
    let file = Scratch::file(b"before");
    let mut at_the_end = File::options().append(true).open(&file.0).unwrap();
    at_the_end.write_all(b"!!").unwrap();
    let mut writer = PcapWriter::given(at_the_end.into(), "-").unwrap();
    let frame = bench.frame(&[1; 77]);
    bench.send(&mut writer, vec![frame]);
    bench.finish(writer);
    let mut whole = File::open(&file.0).unwrap();
    whole.read_exact(&mut [0; 8]).unwrap();
    let mut reader = PcapReader::given(whole.into(), "-", &looped(3)).unwrap();
    assert_eq!(lengths(&mut bench, &mut reader), [77; 3]);
    bench.finish(reader);
}

fn counter(reader: &PcapReader, name: &str) -> u64 {
    let mut found = None;
    reader.counters(&mut |key, n| found = found.or((key == name).then_some(n)));
    found.unwrap()
}

/// What a rate, or the gaps of a capture, ask for while the pipe has nothing was not missed by this machine.
#[test]
fn no_packet_is_missed_while_a_pipe_has_none() {
    for (key, value, counts) in
        [("rate", "1k", "rate_missed"), ("mbps", "8", "rate_missed"), ("timing", "original", "late_us")]
    {
        let mut bench = Bench::new();
        let (read, mut write) = rustix::pipe::pipe().map(|(read, write)| (read, File::from(write))).unwrap();
        let mut params = PcapParams::default();
        params.set(key, value).unwrap();
        params.set("burst", "1ms").unwrap();
        let mut reader = PcapReader::given(read, "-", &params).unwrap();
        let mut sink = PcapSink::new(Vec::new(), "eth0").unwrap();
        for round in 0..4 {
            assert!(lengths(&mut bench, &mut reader).is_empty());
            std::thread::sleep(Duration::from_millis(30));
            if round % 2 == 0 {
                assert!(lengths(&mut bench, &mut reader).is_empty(), "looked at in between, or not");
                std::thread::sleep(Duration::from_millis(30));
            }
            sink.packet(0, 1_700_000_000_000_000_000 + round * 1_000_000, &[1; 1000]).unwrap();
            let bytes = std::mem::replace(&mut sink, PcapSink::new(Vec::new(), "eth0").unwrap()).into_inner();
            write.write_all(&bytes).unwrap();
            assert_eq!(lengths(&mut bench, &mut reader), [1000], "{key}, round {round}");
            assert_eq!(counter(&reader, counts), 0, "{key}, round {round}");
        }
        bench.finish(reader);
    }
}

#[test]
fn a_file_that_brings_nothing_lets_the_loop_go_on() {
    let mut bench = Bench::new();
    // Every packet is longer than fits, and it is played for ever.
    let file = Scratch::file(&capture([80_000, 80_000]));
    let mut reader = PcapReader::open(&file.0, &looped(0)).unwrap();
    let mut before = 0;
    for _ in 0..5 {
        assert!(lengths(&mut bench, &mut reader).is_empty());
        let too_long = counter(&reader, "too_long");
        assert!(too_long > before, "it goes on");
        before = too_long;
    }
    assert_eq!(reader.health(), Health::Up);
    bench.finish(reader);

    // More records that are no packets than one look is for, in each of three rounds.
    let head = capture([]);
    let statistics = [5_u32, 12, 12].map(u32::to_ne_bytes).concat();
    let file = Scratch::file(&[&head[..], &statistics.repeat(100_000), &capture([60, 80_000, 61])].concat());
    let mut reader = PcapReader::open(&file.0, &looped(3)).unwrap();
    let (mut came, mut empty) = (Vec::new(), 0);
    while reader.health() == Health::Up {
        let some = lengths(&mut bench, &mut reader);
        empty += u32::from(some.is_empty());
        came.extend(some);
    }
    assert_eq!(came, [60, 61, 60, 61, 60, 61]);
    assert!(empty > 100, "no call reads all of it: {empty}");
    assert_eq!((counter(&reader, "too_long"), reader.health()), (3, Health::Finished), "once in each round");
    bench.finish(reader);
}
