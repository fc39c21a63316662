//! Captures of others: what editcap, tcpdump and tshark read is read as they do, record by record, or refused with a way out that works. Needs these three.
#![cfg(all(feature = "pcap", feature = "gen"))]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, whole};
use waterwheel_dev::generator::{Gen, GenParams};
use waterwheel_dev::pcap::{PcapParams, PcapReader, PcapSink, PcapWriter};
use waterwheel_xdp::{Device, Health, XdpFrame};

/// A path that is free, and whose file goes away in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("waterwheel-captures-{}-{number}", std::process::id())))
    }

    fn with(bytes: &[u8]) -> Self {
        let path = Self::new();
        std::fs::write(&path.0, bytes).unwrap();
        path
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Nanoseconds, length on the wire, bytes.
type Packet = (u64, u32, Vec<u8>);

fn output(line: &[&str]) -> Output {
    let output = Command::new(line[0]).args(&line[1..]).output();
    output.unwrap_or_else(|error| panic!("{line:?}: {error} (apt-get install tshark tcpdump)"))
}

fn run(line: &[&str]) -> Vec<u8> {
    let output = output(line);
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The records of a pcap file of nanoseconds in this machine's byte order.
fn records(file: &[u8]) -> Vec<Packet> {
    let word = |at: usize| u32::from_ne_bytes(*file[at..].first_chunk().unwrap());
    assert_eq!(word(0), 0xA1B2_3C4D);
    let (mut at, mut packets) = (24, Vec::new());
    while at < file.len() {
        let len = word(at + 8) as usize;
        let time = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4));
        packets.push((time, word(at + 12), file[at + 16..at + 16 + len].to_vec()));
        at += 16 + len;
    }
    packets
}

/// What editcap reads; `None`: nothing, or not all.
fn editcap(file: &Scratch) -> Option<Vec<Packet>> {
    let plain = Scratch::new();
    let output = output(&["editcap", "-F", "nsecpcap", file.text(), plain.text()]);
    output.status.success().then(|| records(&std::fs::read(&plain.0).unwrap()))
}

/// What tcpdump reads; `None`: nothing, or not all.
fn tcpdump(file: &Scratch) -> Option<Vec<Packet>> {
    let output = output(&["tcpdump", "--time-stamp-precision=nano", "-Z", "root", "-r", file.text(), "-w", "-"]);
    output.status.success().then(|| records(&output.stdout))
}

/// What we read: written by our own writer, which says what it was given, and read from there by editcap. The error, if there is one.
fn ours(file: &Path) -> Result<Vec<Packet>, String> {
    let mut bench = Bench::new();
    let mut reader = PcapReader::open(file, &PcapParams::default()).map_err(|error| error.to_string())?;
    let copy = Scratch::new();
    let mut writer = PcapWriter::create(&copy.0).unwrap();
    let mut count = 0;
    while reader.health() == Health::Up {
        let frames: Vec<XdpFrame> = bench.receive(&mut reader, 7).into_iter().map(XdpFrame::from).collect();
        count += bench.send(&mut writer, frames).packets;
        bench.complete(&mut writer);
    }
    let health = reader.health();
    bench.finish(reader);
    bench.finish(writer);
    if let Health::Failed(why) = health {
        return Err(why);
    }
    let packets = editcap(&copy).expect("editcap reads what we write");
    assert_eq!(packets.len() as u64, count);
    Ok(packets)
}

/// Frames of many kinds, with a time in milliseconds, as coarse as the coarsest of the formats.
fn frames() -> Vec<Packet> {
    let mut bench = Bench::new();
    let mut packets = Vec::new();
    for keys in
        ["proto=udp", "proto=tcp,size=1514", "proto=icmp,size=61", "ip=v6,proto=udp", "ip=v6,proto=tcp,size=999"]
    {
        let mut params = GenParams::default();
        for pair in keys.split(',') {
            let (key, value) = pair.split_once('=').unwrap();
            params.set(key, value).unwrap();
        }
        let mut generator = Gen::new(&params).unwrap();
        let made = bench.receive(&mut generator, 2);
        for packet in &made {
            let time = 1_700_000_000_000_000_000 + packets.len() as u64 * 7_000_000;
            packets.push((time, packet.total_len() as u32, whole(packet)));
        }
        bench.recycle(made);
        bench.finish(generator);
    }
    packets
}

fn capture(packets: &[Packet]) -> Scratch {
    let mut sink = PcapSink::new(Vec::new(), "eth0").unwrap();
    packets.iter().for_each(|(time, original, data)| sink.snapped_packet(0, *time, data, *original).unwrap());
    Scratch::with(&sink.into_inner())
}

#[test]
fn every_format_that_editcap_writes_is_read_as_it_does_or_refused_with_a_way_out() {
    let input = capture(&frames());
    let snapped = Scratch::new();
    run(&["editcap", "-s", "100", input.text(), snapped.text()]);
    let Output { stdout, stderr, .. } = output(&["editcap", "-F"]);
    let help = String::from_utf8([stdout, stderr].concat()).unwrap();
    let formats = help.lines().filter_map(|line| line.split_once(" - ")).map(|(name, _)| name.trim());
    let mut read = std::collections::BTreeSet::new();
    let mut refused = 0;
    for format in formats {
        for from in [&input, &snapped] {
            let file = Scratch::new();
            if !output(&["editcap", "-F", format, from.text(), file.text()]).status.success() {
                continue; // it has no place for such packets
            }
            let judge = editcap(&file);
            match ours(&file.0) {
                Ok(packets) => {
                    assert_eq!(packets, judge.expect("who writes it reads it"), "{format}");
                    if let Some(judge) = tcpdump(&file).filter(|judge| !judge.is_empty()) {
                        assert_eq!(packets, judge, "{format}, tcpdump");
                    }
                    read.insert(format);
                }
                Err(message) => {
                    assert!(message.contains("'editcap -F pcapng' converts"), "{format}: {message}");
                    let Some(judge) = judge else { continue }; // it cannot read it again itself
                    let converted = Scratch::new();
                    run(&["editcap", "-F", "pcapng", file.text(), converted.text()]);
                    assert_eq!(ours(&converted.0).expect(format), judge, "{format}, converted");
                    refused += 1;
                }
            }
        }
    }
    let known = ["modpcap", "nokiapcap", "nsecpcap", "pcap", "pcapng", "rh6_1pcap", "suse6_3pcap"];
    assert!(read.iter().eq(&known) && refused > 10, "{read:?}, {refused}");
}

/// Puts bytes into a pipe, piece by piece, and reads what there is after each: how many packets there were by then, and in the end what they are.
fn piecewise<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<usize>, Vec<Vec<u8>>) {
    let mut bench = Bench::new();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut reader = PcapReader::given(read, "-", &PcapParams::default()).unwrap();
    let (mut came, mut counts) = (Vec::new(), Vec::new());
    let mut receive = |reader: &mut PcapReader| {
        let packets = bench.receive(reader, 64);
        came.extend(packets.iter().map(whole));
        bench.recycle(packets);
        came.len()
    };
    for piece in pieces {
        assert_eq!(rustix::io::write(&write, piece).unwrap(), piece.len());
        counts.push(receive(&mut reader));
    }
    drop(write);
    let deadline = Instant::now() + Duration::from_secs(60);
    while reader.health() == Health::Up && Instant::now() < deadline {
        receive(&mut reader);
    }
    assert_eq!(reader.health(), Health::Finished);
    bench.finish(reader);
    (counts, came)
}

/// No magic number tells how long the headers of records are. Whatever comes together, and however little there is, no piece of one is taken for a packet.
#[test]
fn long_headers_are_known_in_whatever_pieces_they_come() {
    // In the last of these there is no protocol that anybody knows.
    let strange =
        |(time, len, data): Packet| (time, len, [&data[..12], &[0x88, 0xB5], &vec![7; data.len() - 14]].concat());
    let frames = frames();
    for frames in [&frames[..1], &frames[..2], &frames, &frames.iter().cloned().map(strange).collect::<Vec<_>>()] {
        let input = capture(frames);
        let expected: Vec<_> = frames.iter().map(|(.., data)| data.clone()).collect();
        for (format, header) in
            [("pcap", 16), ("nokiapcap", 20), ("rh6_1pcap", 24), ("modpcap", 24), ("suse6_3pcap", 28)]
        {
            let file = Scratch::new();
            run(&["editcap", "-F", format, input.text(), file.text()]);
            assert_eq!(ours(&file.0).unwrap().len(), frames.len(), "{format}");
            let bytes = std::fs::read(&file.0).unwrap();
            let (head, records) = bytes.split_at(24);
            assert_eq!(piecewise([head, records].into_iter()).1, expected, "{format}, its header first");
            assert_eq!(piecewise(bytes.chunks(1)).1, expected, "{format}, byte by byte");
            let mut rest = records;
            let records = frames.iter().map(|(.., data)| rest.split_off(..header + data.len()).unwrap());
            let (counts, came) = piecewise(std::iter::once(head).chain(records));
            assert_eq!(came, expected, "{format}, record by record");
            if matches!(format, "pcap" | "modpcap") && frames[0].2[12] == 8 {
                assert!(counts.into_iter().eq(0..=frames.len()), "{format}: each is there when it has come");
            }
        }
    }
}

/// The packets of old versions, whose lengths stood the other way round, and of headers that say less than the file has.
#[test]
fn headers_are_understood_as_others_do() {
    let frames = frames();
    let (whole, snapped) = (capture(&frames), Scratch::new());
    run(&["editcap", "-s", "60", "-F", "nsecpcap", whole.text(), snapped.text()]);
    let file = std::fs::read(&snapped.0).unwrap();
    let expected = records(&file);
    for minor in [2, 3] {
        let mut old = file.clone();
        old[6..8].copy_from_slice(&u16::to_ne_bytes(minor));
        for record in 0..expected.len() {
            let at = 24 + 76 * record;
            old[at + 8..at + 16].rotate_left(4);
        }
        let old = Scratch::with(&old);
        assert_eq!(ours(&old.0).unwrap(), expected, "2.{minor}");
        assert!(editcap(&old) == Some(expected.clone()) && tcpdump(&old) == Some(expected.clone()), "2.{minor}");
    }
    // What is in the file is kept, although it should not be so long.
    let mut shorter = file;
    shorter[16..20].copy_from_slice(&50_u32.to_ne_bytes());
    let shorter = Scratch::with(&shorter);
    assert_eq!((ours(&shorter.0).unwrap(), editcap(&shorter)), (expected.clone(), Some(expected)));
}

/// Both judges see in the frames that we make what they see in the capture.
#[test]
fn link_types_without_an_ethernet_header_are_given_one() {
    let frames = frames();
    let stated = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let expected: Vec<Packet> =
        frames.iter().map(|(time, len, data)| (*time, *len, [&stated[..], &data[12..]].concat())).collect();
    let seen = |file: &Scratch| {
        let fields = "ip.src ip.dst ip.len ipv6.src ipv6.plen udp.srcport tcp.dstport icmp.seq frame.time_epoch";
        let fields = fields.split(' ').flat_map(|field| ["-e", field]);
        run(&["tshark", "-r", file.text(), "-T", "fields"].into_iter().chain(fields).collect::<Vec<_>>())
    };
    let judge = seen(&capture(&frames));
    for kind in ["rawip", "null-le", "null-be", "loop"] {
        // editcap removes the Ethernet header; what else there is to be stands in its place.
        let in_front = |data: &[u8]| {
            let family = if data[12] == 8 { 2_u32 } else { 30 };
            match kind {
                "rawip" => vec![],
                "null-le" => family.to_le_bytes().to_vec(),
                _ => family.to_be_bytes().to_vec(),
            }
        };
        let stripped: Vec<Packet> = frames
            .iter()
            .map(|(time, len, data)| {
                let bytes = [&in_front(data), &data[14..]].concat();
                (*time, len - data.len() as u32 + bytes.len() as u32, bytes)
            })
            .collect();
        let stripped = capture(&stripped);
        for (format, snap) in [("pcap", "9999"), ("pcapng", "9999"), ("pcapng", "50")] {
            let file = Scratch::new();
            let link = kind.trim_end_matches("-le").trim_end_matches("-be");
            run(&["editcap", "-s", snap, "-F", format, "-T", link, stripped.text(), file.text()]);
            let packets = ours(&file.0).unwrap_or_else(|error| panic!("{kind} {format}: {error}"));
            for (packet, expected) in packets.iter().zip(&expected) {
                assert_eq!((packet.0, packet.1), (expected.0, expected.1), "{kind} {format} {snap}");
                assert!(expected.2.starts_with(&packet.2) && packet.2.len() > 50, "{kind} {format} {snap}");
            }
            assert_eq!(packets.len(), expected.len());
            if (format, snap) == ("pcap", "9999") {
                assert!(seen(&file) == judge && seen(&capture(&packets)) == judge, "{kind}");
            }
        }
    }
}

/// What tcpdump captures from all interfaces at once, beside what it captures from the one on which everything happens.
#[test]
fn linux_cooked_captures_are_those_of_the_interface() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("WATERWHEEL_SKIP_ROOT").is_some_and(|value| value == "1"),
            "this test needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
        );
        eprintln!("left out, needs root: linux_cooked_captures_are_those_of_the_interface");
        return;
    }
    let namespace = format!("ww-cooked-{}", std::process::id());
    run(&["ip", "netns", "add", &namespace]);
    let inside = ["ip", "netns", "exec", &namespace];
    run(&[&inside[..], &["ip", "link", "set", "lo", "up"]].concat());
    let files = [("lo", "EN10MB"), ("any", "LINUX_SLL"), ("any", "LINUX_SLL2")].map(|(interface, link)| {
        let file = Scratch::new();
        let mut child = Command::new("ip")
            .args(&inside[1..])
            .args([
                "tcpdump",
                "-Z",
                "root",
                "-i",
                interface,
                "-y",
                link,
                "-U",
                "-Q",
                "in",
                "-c",
                "4",
                "-w",
                file.text(),
                "icmp or icmp6",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(words.read_line(&mut line).unwrap() > 0, "tcpdump does not begin");
        }
        (child, file, words)
    });
    for address in ["127.0.0.1", "::1"] {
        run(&[&inside[..], &["ping", "-c", "1", "-W", "60", address]].concat());
    }
    let [plain, cooked, cooked2] = files.map(|(mut child, file, _words)| {
        assert!(child.wait().unwrap().success());
        ours(&file.0).unwrap()
    });
    run(&["ip", "netns", "del", &namespace]);
    let stated = |(_, len, data): &Packet| {
        let mut data = data.clone();
        data[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
        (*len, data)
    };
    let expected: Vec<_> = plain.iter().map(stated).collect();
    assert_eq!(expected.len(), 4);
    for cooked in [cooked, cooked2] {
        assert_eq!(cooked.into_iter().map(|(_, len, data)| (len, data)).collect::<Vec<_>>(), expected);
    }
}

/// Says what really converts, and reads a capture that has such an interface, but no packets of it.
#[test]
fn a_link_type_that_cannot_be_read_matters_only_when_there_is_a_packet() {
    let frames = frames();
    let ethernet = capture(&frames);
    let strange = Scratch::new();
    run(&["editcap", "-T", "ieee-802-11", ethernet.text(), strange.text()]);
    let message = ours(&strange.0).unwrap_err();
    assert!(message.contains("link type 105") && message.contains("tcprewrite --dlt=enet"), "{message}");
    let none = Scratch::new();
    run(&["editcap", "-r", "-T", "ieee-802-11", ethernet.text(), none.text(), "100"]);
    assert_eq!(ours(&none.0).unwrap(), []);
    // Two interfaces in one section, in the order of the files; of the first there are no packets.
    let both = Scratch::new();
    run(&["mergecap", "-a", "-w", both.text(), none.text(), ethernet.text()]);
    assert_eq!(ours(&both.0).unwrap(), frames);
    run(&["mergecap", "-a", "-w", both.text(), ethernet.text(), strange.text()]);
    let message = ours(&both.0).unwrap_err();
    assert!(message.contains("link type 105") && message.contains("after 10 packets"), "{message}");
}
