//! Capture files, as devices.
#![cfg(feature = "pcap")]

#[path = "../common/mod.rs"]
mod common;
mod timing;
mod writing;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Bench;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use waterwheel_dev::ErrorClass;
use waterwheel_dev::pcap::{Counted, PcapParams, PcapReader, PcapSink, PcapTrace, PcapWriteParams, PcapWriter};
use waterwheel_xdp::{Device, DropReason, Health, Wait, XdpBuff, XdpFrame};

/// A path that is free, and whose file goes away in the end.
struct TempPath(PathBuf);

impl TempPath {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("waterwheel-dev-{}-{number}.pcap", std::process::id())))
    }

    fn with(bytes: &[u8]) -> Self {
        let path = Self::new();
        std::fs::write(&path.0, bytes).unwrap();
        path
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Nanoseconds, original length, bytes.
type Packet = (u64, u32, Vec<u8>);

fn packets(count: u64) -> Vec<Packet> {
    let packet = |k: u64| {
        let len = 14 + (k * 37 % 1500) as usize;
        let original = len as u32 + if k.is_multiple_of(3) { 1000 } else { 0 };
        (1_700_000_000_000_000_000 + k * 1_234_567, original, (0..len).map(|i| (i as u64 + k) as u8).collect())
    };
    (0..count).map(packet).collect()
}

/// A pcap file in this machine's byte order; `unit` nanoseconds are a tick.
fn pcap(packets: &[Packet], unit: u64) -> Vec<u8> {
    let mut file = Vec::new();
    let magic = if unit == 1 { 0xA1B2_3C4D } else { 0xA1B2_C3D4_u32 };
    [magic, 2 | 4 << 16, 0, 0, 262_144, 1].iter().for_each(|word| file.extend(word.to_le_bytes()));
    for (time, original, data) in packets {
        let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
        let words = [seconds as u32, (rest / unit) as u32, data.len() as u32, *original];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(data);
    }
    file
}

fn pcapng(packets: &[Packet]) -> Vec<u8> {
    let mut sink = PcapSink::new(Vec::new(), "eth0").unwrap();
    for (time, original, data) in packets {
        sink.snapped_packet(0, *time, data, *original).unwrap();
    }
    sink.into_inner()
}

/// Reads a pcapng file of nanoseconds with the parser alone.
fn parse(path: &Path) -> Vec<Packet> {
    let mut reader = create_reader(1 << 20, std::fs::File::open(path).unwrap()).unwrap();
    let mut packets = Vec::new();
    loop {
        match reader.next() {
            Ok((len, block)) => {
                if let PcapBlockOwned::NG(Block::EnhancedPacket(packet)) = block {
                    let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                    packets.push((time, packet.origlen, packet.data[..packet.caplen as usize].to_vec()));
                }
                reader.consume(len);
            }
            Err(PcapError::Eof) => return packets,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn open(path: &TempPath, text: &str) -> PcapReader {
    let mut params = PcapParams::default();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap();
        params.set(key, value).unwrap();
    }
    PcapReader::open(&path.0, &params).unwrap()
}

/// Sends everything that the reader has to a writer; how many packets that was.
fn copy(bench: &mut Bench, reader: &mut PcapReader, to: &TempPath) -> u64 {
    let mut writer = PcapWriter::create(&to.0).unwrap();
    let mut packets = 0;
    while reader.health() == Health::Up {
        let received = bench.receive(reader, 7);
        packets += bench.send(&mut writer, received.into_iter().map(XdpFrame::from).collect()).packets;
        bench.complete(&mut writer);
    }
    bench.finish(writer);
    packets
}

#[test]
fn bytes_times_and_lengths_are_those_of_the_input() {
    let mut bench = Bench::new();
    let original = packets(100);
    let micros: Vec<Packet> =
        original.iter().cloned().map(|(time, len, data)| (time / 1000 * 1000, len, data)).collect();
    for (input, expected) in
        [(pcap(&original, 1000), &micros), (pcap(&original, 1), &original), (pcapng(&original), &original)]
    {
        let (from, to) = (TempPath::with(&input), TempPath::new());
        let mut reader = open(&from, "");
        assert_eq!(copy(&mut bench, &mut reader, &to), 100);
        assert_eq!(reader.health(), Health::Finished);
        bench.finish(reader);
        assert_eq!(&parse(&to.0), expected);
    }
}

#[test]
fn tshark_reads_what_is_written() {
    let mut bench = Bench::new();
    let (from, to) = (TempPath::with(&pcap(&packets(5), 1)), TempPath::new());
    let mut reader = open(&from, "");
    copy(&mut bench, &mut reader, &to);
    bench.finish(reader);
    let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-r"];
    let output = Command::new("tshark")
        .args(fields)
        .arg(&to.0)
        .output()
        .expect("this test needs tshark: apt-get install tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<String> = packets(5)
        .iter()
        .map(|(time, len, data)| format!("{}.{:09}\t{len}\t{}", time / 1_000_000_000, time % 1_000_000_000, data.len()))
        .collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn packets_longer_than_any_packet_are_left_out_and_counted() {
    let mut bench = Bench::new();
    let mut input = packets(4);
    let most = 3840 + 17 * 4096;
    input[1].2 = vec![7; most + 1];
    input[2].2 = vec![7; most];
    let from = TempPath::with(&pcapng(&input));
    let mut reader = open(&from, "");
    let received = bench.receive(&mut reader, 64);
    assert_eq!(
        received.iter().map(|packet| packet.total_len()).collect::<Vec<_>>(),
        [input[0].2.len(), most, input[3].2.len()]
    );
    bench.recycle(received);
    let mut counters = Vec::new();
    reader.counters(&mut |key, value| counters.push((key, value)));
    assert_eq!(counters, [("too_long", 1), ("not_ethernet", 0)]);
    bench.finish(reader);
}

#[test]
fn packets_longer_than_a_page_are_read_and_written_whole() {
    let mut bench = Bench::new();
    let mut input = packets(5);
    for (packet, len) in input.iter_mut().zip([60, 3840, 3841, 9000, 65535]) {
        packet.2 = (0..len).map(|i| (i % 251) as u8).collect();
        packet.1 = len;
    }
    let (from, to) = (TempPath::with(&pcapng(&input)), TempPath::new());
    let (mut reader, mut writer) = (open(&from, ""), PcapWriter::create(&to.0).unwrap());
    let frames: Vec<XdpFrame> = bench.receive(&mut reader, 64).into_iter().map(XdpFrame::from).collect();
    assert_eq!(frames.iter().map(XdpFrame::frag_count).collect::<Vec<_>>(), [0, 0, 1, 2, 16]);
    assert_eq!(bench.send(&mut writer, frames).bytes, 60 + 3840 + 3841 + 9000 + 65535);
    bench.complete(&mut writer);
    bench.finish(reader);
    bench.finish(writer);
    assert_eq!(parse(&to.0), input);
}

#[test]
fn as_many_packets_come_as_are_asked_for() {
    let mut bench = Bench::with_pages(2048);
    let from = TempPath::with(&pcapng(&packets(2000)));
    let mut reader = open(&from, "");
    for count in [1500, 1, 499] {
        let received = bench.receive(&mut reader, count);
        assert_eq!(received.len(), count);
        bench.recycle(received);
    }
    bench.finish(reader);
}

#[test]
fn programs_that_are_started_do_not_get_the_files() {
    let (from, to) = (TempPath::with(&pcapng(&[])), TempPath::new());
    let (reader, writer) = (open(&from, ""), PcapWriter::create(&to.0).unwrap());
    let theirs = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    assert!(theirs.contains("/proc/"), "{theirs}");
    for path in [&from, &to] {
        assert!(!theirs.contains(path.0.to_str().unwrap()), "{theirs}");
    }
    drop((reader, writer));
}

#[test]
fn an_empty_pool_loses_no_packet() {
    let mut bench = Bench::with_pages(64);
    let from = TempPath::with(&pcapng(&packets(100)));
    let mut reader = open(&from, "");
    let first = bench.receive(&mut reader, 100);
    let none = bench.receive(&mut reader, 100);
    assert!(first.len() == 64 && none.is_empty());
    bench.recycle(first);
    let rest = bench.receive(&mut reader, 100);
    assert_eq!(rest.len(), 36);
    assert_eq!(rest[0].data(), packets(65)[64].2);
    bench.recycle(rest);
    bench.finish(reader);
}

#[test]
fn a_file_cut_anywhere_gives_what_came_before_and_then_its_reason() {
    let mut bench = Bench::new();
    let input = packets(3);
    for whole in [pcap(&input, 1000), pcapng(&input)] {
        for cut in (0..whole.len()).step_by(7) {
            let from = TempPath::with(&whole[..cut]);
            let mut reader = match PcapReader::open(&from.0, &PcapParams::default()) {
                Ok(reader) => reader,
                Err(error) => {
                    assert_eq!(error.class(), ErrorClass::Config);
                    assert!(error.message().contains(from.0.to_str().unwrap()), "{error}");
                    continue;
                }
            };
            let mut received = 0;
            while reader.health() == Health::Up {
                let packets = bench.receive(&mut reader, 64);
                packets.iter().for_each(|packet| {
                    assert_eq!(packet.data(), input[received].2);
                    received += 1;
                });
                bench.recycle(packets);
            }
            if let Health::Failed(reason) = reader.health() {
                let after = format!("after {received} packets");
                assert!(reason.contains(from.0.to_str().unwrap()) && reason.contains(&after), "{reason}");
            }
            assert!(bench.receive(&mut reader, 64).is_empty());
            bench.finish(reader);
        }
    }
}

/// A block of pcapng, with these two lengths.
fn block(kind: u32, body: &[u8], lengths: [u32; 2]) -> Vec<u8> {
    let mut block = [kind.to_le_bytes(), lengths[0].to_le_bytes()].concat();
    block.extend(body);
    block.extend(lengths[1].to_le_bytes());
    block
}

#[test]
fn blocks_that_tell_nothing_about_packets_are_passed_over() {
    const PROCESS: u32 = 0x8000_0001;
    let mut bench = Bench::new();
    let input = packets(3);
    let file = pcapng(&input);
    // Behind the section header and the interface.
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let place = word(4) + word(word(4) + 4);
    let with = |blocks: &[u8]| TempPath::with(&[&file[..place], blocks, &file[place..]].concat());

    let long = vec![7; 3 << 20];
    let good = [(PROCESS, &[0; 4][..]), (5, b""), (0xBAD, &[9; 100]), (0x0001_0000, &long)]
        .map(|(kind, body)| block(kind, body, [body.len() as u32 + 12; 2]));
    let from = with(&good.concat());
    let mut reader = open(&from, "");
    let came = bench.receive(&mut reader, 64);
    assert!(came.iter().map(XdpBuff::data).eq(input.iter().map(|(.., data)| &data[..])));
    bench.recycle(came);
    bench.finish(reader);

    for lengths in [[0; 2], [10; 2], [11; 2], [16, 20], [15; 2]] {
        for kind in [PROCESS, 0xBAD] {
            let from = with(&block(kind, &[0; 4], lengths));
            let error = PcapReader::open(&from.0, &PcapParams::default()).unwrap_err();
            assert!(error.message().contains("the record is damaged"), "{kind:#x} {lengths:?}: {error}");
        }
    }
    let from = TempPath::with(&[&file[..place], &block(PROCESS, &[0; 4], [1000; 2])].concat());
    let error = PcapReader::open(&from.0, &PcapParams::default()).unwrap_err();
    assert!(error.message().contains("ends in the middle of a record"), "{error}");
    // They may be of any length; that of a packet is not believed.
    for (kind, len, word) in [
        (PROCESS, u32::MAX, "the record is damaged"),
        (PROCESS, u32::MAX - 3, "ends in the middle of a record"),
        (6, u32::MAX - 3, "its length is absurd"),
    ] {
        let from = TempPath::with(&[&file[..place], &block(kind, &long, [len; 2]), &long, &long].concat());
        let error = PcapReader::open(&from.0, &PcapParams::default()).unwrap_err();
        assert!(error.message().contains(word), "{kind:#x} {len}: {error}");
    }
}

#[test]
fn a_snapped_packet_without_a_time_keeps_its_length() {
    let mut bench = Bench::new();
    // One interface that snaps at 60, and a simple packet of which there was more.
    let mut file = pcapng(&[]);
    let section = u32::from_ne_bytes(file[4..8].try_into().unwrap()) as usize;
    file[section + 12..section + 16].copy_from_slice(&60_u32.to_ne_bytes());
    file.extend(block(3, &[&1514_u32.to_le_bytes()[..], &[7; 60]].concat(), [76; 2]));
    let (from, to) = (TempPath::with(&file), TempPath::new());
    let mut reader = open(&from, "");
    assert_eq!(copy(&mut bench, &mut reader, &to), 1);
    bench.finish(reader);
    let [(_, original, data)] = &parse(&to.0)[..] else { panic!("one packet") };
    assert_eq!((*original, &data[..]), (1514, &[7; 60][..]));
}

#[test]
fn frames_without_a_time_get_that_of_the_wall() {
    let mut bench = Bench::new();
    let to = TempPath::new();
    let mut writer = PcapWriter::create(&to.0).unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before = now();
    let frames = (0..3).map(|len| bench.frame(&vec![9; 60 + len])).collect();
    assert_eq!(bench.send(&mut writer, frames).bytes, 183);
    let after = now();
    bench.finish(writer);
    let written = parse(&to.0);
    assert_eq!(written.len(), 3);
    for (k, (time, original, data)) in written.into_iter().enumerate() {
        assert!((before..=after).contains(&time) && original as usize == 60 + k && data == vec![9; 60 + k]);
    }
}

#[test]
fn a_full_disk_is_reported_and_no_page_is_lost() {
    let error = PcapWriter::create("/dev/full").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Device, "{error}");
    assert!(error.message().contains("/dev/full") && error.message().contains("No space left"), "{error}");
    let mut bench = Bench::new();
    let mut writer = PcapWriter::given(common::full::nearly_full(200), "full").unwrap();
    let mut sent = 0;
    while writer.health() == Health::Up {
        let frames = (0..64).map(|_| bench.frame(&[1; 1500])).collect();
        sent += bench.send(&mut writer, frames).packets;
        bench.complete(&mut writer);
        assert!(sent < 10_000);
    }
    assert!(matches!(writer.health(), Health::Failed(reason) if reason.contains("full: cannot write")));
    assert!(bench.drops(DropReason::DeviceDown) > 0);
    bench.finish(writer);
}

#[test]
fn bad_parameters_and_paths_are_named() {
    for (key, value) in [
        ("timing", "slow"),
        ("loop", "often"),
        ("speed", "0"),
        ("rate", "0"),
        ("mbps", "x"),
        ("mbps", "100M"),
        ("mbps", "2.5k"),
        ("burst", "0"),
    ] {
        let error = PcapParams::default().set(key, value).unwrap_err();
        assert!(error.class() == ErrorClass::Usage && error.message().contains(key), "{error}");
    }
    let mut params = PcapParams::default();
    params.set("rate", "10").unwrap();
    assert!(params.set("speed", "2").unwrap_err().message().contains("give one of them"));
    for (key, value) in [("flush", "now"), ("snap", "0"), ("count", "x"), ("file-time", "5x"), ("files", "0")] {
        let error = PcapWriteParams::default().set(key, value).unwrap_err();
        assert!(error.class() == ErrorClass::Usage && error.message().contains(key), "{error}");
    }
    let error = PcapWriter::create("/nonexistent/a.pcapng").unwrap_err();
    assert!(error.class() == ErrorClass::Config && error.message().contains("/nonexistent/a.pcapng"), "{error}");
    let error = PcapReader::open("/tmp", &PcapParams::default()).unwrap_err();
    assert!(error.class() == ErrorClass::Config && error.message().contains("/tmp"), "{error}");
}

#[test]
fn a_trace_shows_both_directions_to_a_file() {
    let path = TempPath::new();
    let mut bench = Bench::new();
    let (near, mut far) = waterwheel_xdp::veth("near", "far", 16);
    let file = std::fs::File::create(&path.0).unwrap();
    let mut traced = waterwheel_xdp::wrap::Trace::new(near, PcapTrace::new(file, "near").unwrap());
    let (there, back) = (bench.frame(&[1; 60]), bench.frame(&[2; 61]));
    bench.send(&mut traced, vec![there]);
    bench.send(&mut far, vec![back]);
    for packet in [bench.receive(&mut traced, 4), bench.receive(&mut far, 4)] {
        bench.recycle(packet);
    }
    bench.finish(traced);
    bench.finish(far);
    let mut reader = PcapReader::open(&path.0, &PcapParams::default()).unwrap();
    let packets = bench.receive(&mut reader, 4);
    assert_eq!(packets.iter().map(|packet| packet.data().to_vec()).collect::<Vec<_>>(), [vec![1; 60], vec![2; 61]]);
    bench.recycle(packets);
    bench.finish(reader);
}
