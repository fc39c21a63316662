//! Capture files made by hand, whole, cut and damaged.

use std::path::PathBuf;

use super::file::{CaptureFile, Next};
use super::sink::PcapSink;
use crate::error::ErrorClass;

/// Time, original length, bytes.
type Packet = (Option<u64>, u32, Vec<u8>);

/// A file that goes away with its owner.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("waterwheel-{}-{number}.pcap", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// What the file has, and the error it ends with, if any.
fn read(bytes: &[u8]) -> (Vec<Packet>, Option<String>) {
    let file = TempFile::new(bytes);
    let mut capture = match CaptureFile::open(&file.0) {
        Ok(capture) => capture,
        Err(error) => {
            assert_eq!(error.class(), ErrorClass::Config);
            assert!(error.message().contains(file.0.to_str().unwrap()), "{error}");
            return (Vec::new(), Some(error.to_string()));
        }
    };
    let mut packets = Vec::new();
    loop {
        match capture.step() {
            Ok(Next::Packet(record)) => {
                packets.push((record.time, record.original, capture.data(&record).to_vec()));
                capture.advance();
            }
            Ok(Next::Other) => {}
            Ok(Next::Starved) => panic!("a file has everything that it will ever have"),
            Ok(Next::End) => return (packets, None),
            Err(error) => {
                assert!(error.contains(file.0.to_str().unwrap()), "{error}");
                return (packets, Some(error));
            }
        }
    }
}

/// Puts numbers into bytes in one byte order.
struct Writer {
    big: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(big: bool) -> Self {
        Self { big, bytes: Vec::new() }
    }

    fn put16(&mut self, value: u16) {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn put32(&mut self, value: u32) {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn pad(&mut self, data: &[u8]) {
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::new(self.big);
        body(&mut inner);
        let total = inner.bytes.len() as u32 + 12;
        self.put32(kind);
        self.put32(total);
        self.bytes.extend(inner.bytes);
        self.put32(total);
    }
}

fn pcap(big: bool, magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = Writer::new(big);
    file.put32(magic);
    file.put16(2);
    file.put16(4);
    [0, 0, 65535, link].into_iter().for_each(|word| file.put32(word));
    for (seconds, fraction, original, data) in packets {
        [*seconds, *fraction, data.len() as u32, *original].into_iter().for_each(|word| file.put32(word));
        file.bytes.extend(*data);
    }
    file.bytes
}

/// A section with one interface of the given options, and packets with the given ticks.
fn pcapng(big: bool, options: &[(u16, &[u8])], packets: &[(u64, u32, &[u8])]) -> Vec<u8> {
    let mut file = Writer::new(big);
    file.block(0x0A0D_0D0A, |body| {
        body.put32(0x1A2B_3C4D);
        body.put16(1);
        body.put16(0);
        body.put32(u32::MAX);
        body.put32(u32::MAX);
    });
    file.block(1, |body| {
        body.put16(1);
        body.put16(0);
        body.put32(0);
        for (code, value) in options {
            body.put16(*code);
            body.put16(value.len() as u16);
            body.pad(value);
        }
        body.put32(0);
    });
    file.block(5, |body| body.pad(&[0; 12])); // interface statistics: to be skipped
    for (ticks, original, data) in packets {
        file.block(6, |body| {
            [0, (*ticks >> 32) as u32, *ticks as u32, data.len() as u32, *original]
                .into_iter()
                .for_each(|word| body.put32(word));
            body.pad(data);
            body.put16(2); // epb_flags
            body.put16(4);
            body.put32(1);
            body.put32(0);
        });
    }
    file.block(3, |body| {
        body.put32(5); // a simple packet
        body.pad(b"hello");
    });
    file.bytes
}

const A: &[u8] = &[1; 61];
const B: &[u8] = &[2; 60];

#[test]
fn pcap_of_both_byte_orders_and_both_resolutions() {
    for big in [false, true] {
        for (magic, scale) in [(0xA1B2_C3D4, 1000), (0xA1B2_3C4D, 1)] {
            let bytes = pcap(big, magic, 1, &[(1_700_000_000, 123_456, 61, A), (4_000_000_000, 999_999, 1500, B)]);
            let expected = vec![
                (Some(1_700_000_000_000_000_000 + 123_456 * scale), 61, A.to_vec()),
                (Some(4_000_000_000_000_000_000 + 999_999 * scale), 1500, B.to_vec()),
            ];
            assert_eq!(read(&bytes), (expected, None), "big {big}, magic {magic:#x}");
        }
    }
}

#[test]
fn pcapng_of_both_byte_orders_and_many_resolutions() {
    for big in [false, true] {
        let offset = if big { 7_i64.to_be_bytes() } else { 7_i64.to_le_bytes() };
        for (options, ticks, time) in [
            (&[][..], 1_700_000_000_123_456, 1_700_000_000_123_456_000),
            (&[(9, &[9][..])], 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
            (&[(9, &[3]), (14, &offset)], 5_001, 12_001_000_000),
            (&[(2, b"eth0"), (9, &[0x80 | 20])], 3 << 19, 1_500_000_000),
            // The first of two counts.
            (&[(9, &[9]), (9, &[3])], 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
            (&[(9, &[3]), (14, &offset), (14, &[0; 8])], 5_001, 12_001_000_000),
        ] {
            let bytes = pcapng(big, options, &[(ticks, 61, A), (ticks, 9000, B)]);
            let simple = (None, 5, b"hello".to_vec());
            let expected = vec![(Some(time), 61, A.to_vec()), (Some(time), 9000, B.to_vec()), simple];
            assert_eq!(read(&bytes), (expected, None), "big {big}, options {options:?}");
        }
    }
}

#[test]
fn files_cut_at_every_byte_give_what_came_before_and_say_where() {
    for bytes in [
        pcap(false, 0xA1B2_C3D4, 1, &[(1, 2, 61, A), (3, 4, 60, B)]),
        pcapng(false, &[(9, &[9])], &[(1, 61, A), (2, 60, B)]),
        pcapng(true, &[(9, &[6])], &[(1, 61, A), (2, 60, B)]),
    ] {
        let (whole, none) = read(&bytes);
        assert_eq!(none, None);
        let mut clean = 0;
        for cut in 0..bytes.len() {
            let (packets, error) = read(&bytes[..cut]);
            assert!(whole.starts_with(&packets), "cut at {cut}");
            match error {
                None => clean += 1, // cut between two records: a file that ends there
                Some(error) => assert!(
                    !error.contains('\n') && error.contains("byte") | error.contains("empty"),
                    "cut at {cut}: {error}"
                ),
            }
        }
        assert!((2..=6).contains(&clean), "{clean} cuts fall between records");
    }
}

#[test]
fn every_damaged_byte_is_survived() {
    for bytes in
        [pcap(true, 0xA1B2_3C4D, 1, &[(1, 2, 61, A), (3, 4, 60, B)]), pcapng(false, &[(9, &[9])], &[(1, 61, A)])]
    {
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                read(&damaged);
            }
        }
    }
}

#[test]
fn what_is_no_capture_is_refused_in_one_clear_line() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"#!/bin/sh\n", "not a capture file"),
        (b"\x1f\x8b\x08\x00gzip", "not a capture file"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "cut"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00", "cut"),
        (&pcap(false, 0xA1B2_C3D4, 148, &[(1, 2, 61, A)]), "link type 148"),
    ] {
        let (packets, error) = read(bytes);
        let error = error.unwrap_or_default();
        assert!(packets.is_empty() && error.contains(word) && !error.contains('\n'), "{error}");
    }
    let missing = CaptureFile::open(&PathBuf::from("/nonexistent/a.pcap")).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::Config);
    assert!(missing.message().contains("/nonexistent/a.pcap"), "{missing}");
}

#[test]
fn an_empty_capture_has_no_packets() {
    for link in [1, 113, 148] {
        assert_eq!(read(&pcap(false, 0xA1B2_C3D4, link, &[])), (vec![], None));
    }
}

#[test]
fn records_longer_than_the_buffer_are_read_and_absurd_ones_refused() {
    let long = vec![7; 3 << 20];
    let bytes = pcap(false, 0xA1B2_C3D4, 1, &[(0, 1, 61, A), (0, 2, 9, &long), (0, 3, 60, B)]);
    let (packets, error) = read(&bytes);
    assert_eq!(error, None);
    assert_eq!(packets.iter().map(|packet| packet.2.len()).collect::<Vec<_>>(), [61, 3 << 20, 60]);
    let bytes = pcap(false, 0xA1B2_C3D4, 1, &[(0, 1, 61, A), (0, 2, 9, &vec![7; 17 << 20])]);
    let (packets, error) = read(&bytes);
    assert_eq!(packets.len(), 1);
    assert!(error.unwrap().contains("absurd"));
}

/// What says nothing about packets may be of any length; its two lengths agree.
#[test]
fn a_long_block_that_is_no_packet_is_gone_over() {
    const LEN: usize = 17 << 20;
    let first = section(false, &[(0, 6)], &[(6, vec![0, 0, 5, 60, 60], B)]);
    let long = vec![7; LEN];
    let mut block = Writer::new(false);
    block.block(0x0BAD, |body| body.bytes.extend(&long));
    let second = section(true, &[(0, 6)], &[(6, vec![0, 0, 6, 61, 61], A)]);
    let whole = [&first[..], &block.bytes, &second].concat();
    let expected = vec![(Some(5000), 60, B.to_vec()), (Some(6000), 61, A.to_vec())];
    assert_eq!(read(&whole), (expected.clone(), None));
    let end = first.len() + LEN + 12;
    for cut in [first.len() + 13, end - LEN / 2, end - 4, end - 3] {
        let (packets, error) = read(&whole[..cut]);
        assert!(packets == expected[..1] && error.expect("it is cut").contains("in the middle of a record"), "{cut}");
    }
    let mut damaged = whole;
    damaged[end - 4] ^= 4;
    let (packets, error) = read(&damaged);
    assert!(packets == expected[..1] && error.expect("its lengths differ").contains("damaged"));
    // A packet that is so long is not believed, and the message says why.
    let (packets, error) = read(&section(false, &[(0, 6)], &[(6, vec![0, 0, 5, LEN as u32, 60], &long)]));
    assert!(packets.is_empty() && error.expect("it is too long").contains("believed are 16777216"));
}

#[test]
fn an_interface_whose_options_are_damaged_matters_only_when_there_is_a_packet() {
    let simple = (None, 5, b"hello".to_vec());
    for (options, word) in [
        (&[(9, &[20][..])], "if_tsresol 0x14"),
        (&[(9, &[0xC0])], "if_tsresol 0xc0"),
        (&[(14, &[0; 4])], "if_tsoffset"),
    ] {
        assert_eq!(read(&pcapng(false, options, &[])), (vec![simple.clone()], None), "{options:?}");
        let (packets, error) = read(&pcapng(false, options, &[(5, 60, B)]));
        assert!(packets.is_empty() && error.expect("its time is not known").contains(word), "{options:?}");
    }
    let both = [(0, 20), (0, 6)];
    let file = |interface: u32| section(false, &both, &[(6, vec![interface, 0, 5, 60, 60], B)]);
    assert_eq!(read(&file(1)), (vec![(Some(5000), 60, B.to_vec())], None));
    let (packets, error) = read(&[file(1), file(0)].concat());
    assert!(packets.len() == 1 && error.expect("its time is not known").contains("after 1 packets"));
}

#[test]
fn what_the_sink_writes_is_read_back() {
    let mut sink = PcapSink::new(Vec::new(), "first").unwrap();
    assert_eq!(sink.interface("second").unwrap(), 1);
    let mut expected = Vec::new();
    for len in 0..70_u32 {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let time = 1_700_000_000_123_456_789 + u64::from(len);
        sink.snapped_packet(len % 2, time, &data, len + len % 3).unwrap();
        expected.push((Some(time), len + len % 3, data));
    }
    assert!(sink.packet(2, 0, &[]).is_err(), "no such interface");
    assert_eq!(read(&sink.into_inner()), (expected, None));
}

/// One section of a pcapng file: its interfaces, each with snap length and resolution, and blocks of these types.
fn section(big: bool, interfaces: &[(u32, u8)], blocks: &[(u32, Vec<u32>, &[u8])]) -> Vec<u8> {
    let mut file = Writer::new(big);
    file.block(0x0A0D_0D0A, |body| {
        body.put32(0x1A2B_3C4D);
        body.put16(1);
        [0, u16::MAX, u16::MAX, u16::MAX, u16::MAX].into_iter().for_each(|half| body.put16(half));
    });
    for (snap, resolution) in interfaces {
        file.block(1, |body| {
            body.put16(1);
            body.put16(0);
            body.put32(*snap);
            body.put16(9);
            body.put16(1);
            body.pad(&[*resolution]);
            body.put32(0);
            // Behind the end of the options there are none.
            body.put16(9);
            body.put16(1);
            body.pad(&[3]);
        });
    }
    for (kind, words, data) in blocks {
        file.block(*kind, |body| {
            words.iter().for_each(|word| body.put32(*word));
            body.pad(data);
        });
    }
    file.bytes
}

#[test]
fn a_section_knows_its_own_interfaces_only() {
    let packet = |interface: u32, ticks: u32| (6, vec![interface, 0, ticks, 60, 60], B);
    for big in [false, true] {
        let first = section(big, &[(0, 6), (0, 9)], &[packet(0, 5), packet(1, 5)]);
        // The second one counts milliseconds, and in the other byte order.
        let second = section(!big, &[(0, 3)], &[packet(0, 7)]);
        let whole = |time| (Some(time), 60, B.to_vec());
        let expected = vec![whole(5000), whole(5), whole(7_000_000)];
        assert_eq!(read(&[&first[..], &second].concat()), (expected.clone(), None));
        for alien in [section(big, &[(0, 3)], &[packet(0, 7), packet(1, 7)]), section(big, &[], &[packet(0, 7)])] {
            let (packets, error) = read(&[&first[..], &alien].concat());
            assert!(expected.starts_with(&packets) && packets.len() >= 2, "{packets:?}");
            let error = error.expect("its interface belongs to the section before");
            assert!(error.contains("does not declare") && error.contains(&format!("after {} packets", packets.len())));
        }
    }
}

#[test]
fn a_simple_packet_is_as_long_as_was_captured() {
    let long = vec![5; 60];
    for (snap, original, len) in [(60, 1514, 60), (58, 1514, 58), (0, 57, 57), (60, 59, 59), (1000, 60, 60)] {
        let file = section(false, &[(snap, 6)], &[(3, vec![original], &long)]);
        assert_eq!(read(&file), (vec![(None, original, vec![5; len])], None), "{snap} {original}");
    }
}

#[test]
fn old_packet_blocks_are_packets() {
    for big in [false, true] {
        // Interface and drops are a half word each.
        let interface = if big { 1 << 16 | 9 } else { 9 << 16 | 1 };
        let blocks = [(2, vec![interface, 0, 5, 61, 99], A), (6, vec![0, 0, 5, 60, 60], B)];
        let file = section(big, &[(0, 6), (0, 9)], &blocks);
        let expected = vec![(Some(5), 99, A.to_vec()), (Some(5000), 60, B.to_vec())];
        assert_eq!(read(&file), (expected, None));
    }
}

#[test]
fn lengths_beyond_a_block_are_damage() {
    for (kind, words) in [(6, vec![0, 0, 5, 65, 65]), (2, vec![0, 0, 5, u32::MAX, 65]), (6, vec![0, 0]), (3, vec![])] {
        let (packets, error) =
            read(&section(false, &[(0, 6)], &[(kind, words.clone(), &B[..60 * usize::from(words.len() > 2)])]));
        assert!(packets.is_empty() && error.expect("an error").contains("damaged"), "{kind} {words:?}");
    }
}

#[test]
fn versions_that_do_not_exist_are_refused_and_old_ones_read() {
    let with = |minor: u8, major: u8| {
        let mut file = pcap(false, 0xA1B2_C3D4, 1, &[(1, 2, 99, A)]);
        (file[4], file[6]) = (major, minor);
        file
    };
    for (minor, major, name) in [(0, 3, "version 3.0"), (5, 2, "version 2.5")] {
        let error = read(&with(minor, major)).1.expect("an error");
        assert!(error.contains(name), "{error}");
    }
    let mut next = section(false, &[(0, 6)], &[]);
    next[12] = 2;
    let error = read(&next).1.expect("an error");
    assert!(error.contains("version 2.0"), "{error}");
    // Until 2.2 the length on the wire stood first; of 2.3 there are files of either kind.
    let mut old = with(2, 2);
    old[32..40].rotate_left(4);
    let mut either = old.clone();
    either[6] = 3;
    for file in [with(4, 2), with(3, 2), old, either] {
        assert_eq!(read(&file), (vec![(Some(1_000_002_000), 99, A.to_vec())], None));
    }
}

#[test]
fn a_modified_capture_tells_more_of_each_packet() {
    for big in [false, true] {
        let mut file = pcap(big, 0xA1B2_CD34, 1, &[(1, 2, 99, A)]);
        file.splice(40..40, [0; 8]);
        assert_eq!(read(&file), (vec![(Some(1_000_002_000), 99, A.to_vec())], None));
    }
}

#[test]
fn packets_of_no_protocol_that_has_an_ether_type_are_counted() {
    let loopback = [&[99, 0, 0, 0], A].concat();
    let mut netlink = [0; 40];
    netlink[2..4].copy_from_slice(&824_u16.to_be_bytes());
    netlink[14..16].copy_from_slice(&0x800_u16.to_be_bytes());
    for (link, strange) in
        [(0, &loopback[..]), (101, A), (113, &netlink[..]), (113, &[0; 15]), (276, &[0; 19]), (101, &[])]
    {
        let file = TempFile::new(&pcap(false, 0xA1B2_C3D4, link, &[(1, 2, 61, strange)]));
        let mut capture = CaptureFile::open(&file.0).unwrap();
        assert_eq!((capture.step(), capture.strange()), (Ok(Next::End), 1), "{link}");
    }
}
