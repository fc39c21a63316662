//! Capture files: whatever the bytes, no panic, no packet that is not in the file, no page lost; errors say where. What was read, written and read again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;
use waterwheel::dev::pcap::{PcapParams, PcapReader, PcapWriter};
use waterwheel::mm::PAGE_SIZE;
use waterwheel::xdp::{Drops, HEADROOM, Health, Homes};
use waterwheel::{Device, PagePool, PoolParams, XdpBuff, XdpFrame, Zone};
use waterwheel_fuzz::capture::Capture;
use waterwheel_fuzz::{assert_whole, zone};

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(64, 0));

/// A packet as it was read: metadata and bytes.
type Packet = (Vec<u8>, Vec<u8>);

/// All packets that `path` gives when it is played `loops` times, and how it ended. `None`: it was refused at once.
fn play(zone: &Zone, path: &Path, loops: u64, mut each: impl FnMut(XdpBuff)) -> Option<Health> {
    let mut reader = match PcapReader::open(path, &PcapParams { loops, ..PcapParams::default() }) {
        Ok(reader) => reader,
        Err(error) => {
            says_where(&error.to_string(), path);
            return None;
        }
    };
    let mut pool = PagePool::new(zone, PoolParams::default()).expect("a pool");
    let mut batch = Vec::new();
    loop {
        let got = reader.rx(&mut pool, &mut batch, 7);
        assert!(got == batch.len() && got <= 7);
        let health = reader.health();
        assert!(got > 0 || health != Health::Up, "it neither gives packets nor ends");
        for packet in batch.drain(..) {
            assert!(packet.headroom() >= HEADROOM);
            assert!(matches!(packet.meta().len(), 0 | 4 | 8 | 12));
            each(packet);
        }
        if got == 0 {
            if let Health::Failed(line) = &health {
                says_where(line, path);
                assert!(line.contains("(at byte "), "{line:?}");
            }
            assert_eq!(reader.rx(&mut pool, &mut batch, 7), 0, "nothing comes after the end");
            return Some(health);
        }
    }
}

/// The packets of a plain pcap file of version 2.4 (draft-ietf-opsawg-pcap), in microseconds or nanoseconds, of either byte order: a reader that knows nothing else. (Before 2.4 the two
/// lengths of a record stood in another order.)
fn plain(input: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let word = |bytes: &[u8], at: usize, big: bool| {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    };
    let is_magic = |big| matches!(word(input, 0, big), Some(0xa1b2_c3d4 | 0xa1b2_3c4d));
    let big = is_magic(true);
    let version: &[u8] = if big { &[0, 2, 0, 4] } else { &[2, 0, 4, 0] };
    let known = (big || is_magic(false)) && input.get(4..8) == Some(version);
    // Ethernet; and of microseconds there are variants with longer headers.
    let known =
        known && matches!(word(input, 20, big), Some(link) if link as u16 == 1) && input[usize::from(big) * 3] != 0xd4;
    let mut rest = input.get(24..).filter(|_| known)?;
    Some(std::iter::from_fn(move || {
        let len = word(rest, 8, big)? as usize;
        let data = rest.get(16..)?.get(..len)?;
        rest = &rest[16 + len..];
        Some(data)
    }))
}

fn says_where(line: &str, path: &Path) {
    assert!(line.contains(path.to_str().expect("text")) && !line.contains(['\n', '\r']), "{line:?}");
}

fuzz_target!(|input: &[u8]| {
    let file = Capture::new(input);
    let zone = &*ZONE;
    let mut packets: Vec<Packet> = Vec::new();
    let health = play(zone, &file.path(), 1, |packet| {
        let is_there = |bytes: &[u8]| bytes.is_empty() || input.windows(bytes.len()).any(|window| window == bytes);
        // Packets without an Ethernet header are given one.
        let in_the_file = is_there(packet.data()) || packet.data().get(14..).is_some_and(is_there);
        assert!(in_the_file, "{packet:?} is not in the file");
        packets.push((packet.meta().to_vec(), packet.data().to_vec()));
        // A record has a header of 16 bytes.
        assert!(packets.len() * 16 <= input.len(), "more packets than the file can have");
    });
    if let Some(expected) = plain(input) {
        let fit = expected.filter(|data| data.len() <= PAGE_SIZE - HEADROOM);
        assert!(packets.iter().zip(fit).all(|((_, data), expected)| data == expected), "other bytes than the file has");
    }
    if health == Some(Health::Finished) {
        let mut again = packets.iter().cycle();
        let mut count = 0;
        play(zone, &file.path(), 2, |packet| {
            count += 1;
            assert_eq!(again.next().map(|(_, data)| &data[..]), Some(packet.data()));
        });
        assert_eq!(count, packets.len() * 2);
    }
    if health.is_some() {
        round_trip(zone, &file, &packets);
    }
    assert_whole(zone);
});

/// Copies the file packet by packet; the copy is as the original.
fn round_trip(zone: &Zone, file: &Capture, packets: &[Packet]) {
    let copy = Capture::new(&[]);
    let mut writer = PcapWriter::create(copy.path()).expect("it can be written");
    let mut pools = [PagePool::new(zone, PoolParams::default()).expect("a pool")];
    play(zone, &file.path(), 1, |packet| {
        let mut frames = vec![XdpFrame::from(packet)];
        assert_eq!(writer.tx(&mut pools[0], &mut frames, &mut Drops::default()).packets, 1);
        writer.complete(&mut Homes::new(&mut pools));
    });
    writer.shutdown(&mut Homes::new(&mut pools));
    let mut originals = packets.iter();
    let health = play(zone, &copy.path(), 1, |packet| {
        let (meta, data) = originals.next().expect("no more than there were");
        assert_eq!(data, packet.data());
        // A packet without a time was given one.
        assert!(meta.len() < 8 || meta == packet.meta(), "{meta:?} became {:?}", packet.meta());
    });
    assert_eq!((health, originals.len()), (Some(Health::Finished), 0));
}
