//! The conformance suite (`waterwheel_xdp::conformance`) on every device of this crate. A driver that is added gets a rig here. Those of interfaces need root.

#[path = "../common/full.rs"]
mod full;
mod interfaces;
mod memif;
mod socket;
#[path = "../../src/af_xdp/testing.rs"]
mod testing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use waterwheel_dev::generator::{Gen, GenParams};
use waterwheel_dev::null::Null;
use waterwheel_dev::pcap::{PcapParams, PcapReader, PcapWriter};
use waterwheel_xdp::conformance::{Nobody, Pair, Peer, Profile, Receives, Rig, Sends, conform};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device, Direction, Drops, Homes, PagePool, PoolParams, XdpBuff, Zone};

/// Nobody can look at what such a device receives and sends, but for its pages and its counters.
struct Alone(fn() -> Box<dyn Device>, Receives);

impl Rig for Alone {
    fn profile(&self) -> Profile {
        Profile { receives: self.1, sends: Sends::Sink, ..Profile::default() }
    }

    fn open(&mut self, _: &Zone, _: &[Vec<u8>]) -> Pair {
        Pair { device: (self.0)(), peer: Box::new(Nobody) }
    }
}

/// Rules that apply to a device whose frames nobody sees.
const WITHOUT_A_WIRE: [&str; 14] = [
    "profile",
    "runts",
    "fragments",
    "counters",
    "losses",
    "unsent",
    "tx_wait",
    "returns",
    "conservation",
    "foreign_pages",
    "orphans",
    "stop_while_busy",
    "drop_while_busy",
    "reopen",
];

#[test]
fn null_conforms() {
    let kept = conform(&mut Alone(|| Box::new(Null::new()), Receives::Nothing)).kept;
    assert_eq!(kept, WITHOUT_A_WIRE);
}

#[test]
fn null_as_a_source_conforms() {
    let kept = conform(&mut Alone(|| Box::new(Null::source(64).unwrap()), Receives::Own)).kept;
    assert!(kept.len() == WITHOUT_A_WIRE.len() + 1 && kept.contains(&"budget"), "{kept:?}");
}

#[test]
fn the_generator_conforms() {
    let kept = conform(&mut Alone(|| Box::new(Gen::new(&GenParams::default()).unwrap()), Receives::Own)).kept;
    assert!(kept.len() == WITHOUT_A_WIRE.len() + 1 && kept.contains(&"budget"), "{kept:?}");
}

/// A file of one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("waterwheel-conformance-{}-{number}.pcapng", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file that is written: its frames are read when the device is closed.
struct Written(Scratch);

/// Reads the file that was written.
struct Reader {
    path: PathBuf,
    frames: Option<std::vec::IntoIter<Vec<u8>>>,
}

impl Peer for Reader {
    fn put(&mut self, _: &[u8]) -> bool {
        false
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let path = &self.path;
        self.frames.get_or_insert_with(|| read(path).into_iter()).next()
    }
}

/// The packets of a capture file.
fn read(path: &PathBuf) -> Vec<Vec<u8>> {
    let zone = Zone::new(&ZoneParams::pages(512)).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    let Ok(mut reader) = PcapReader::open(path, &PcapParams::default()) else { return Vec::new() };
    let (mut frames, mut batch) = (Vec::new(), Vec::with_capacity(64));
    while reader.rx(&mut pool, &mut batch, 64) > 0 {
        frames.extend(batch.drain(..).map(|packet| packet.parts().flatten().copied().collect()));
    }
    frames
}

impl Rig for Written {
    fn profile(&self) -> Profile {
        Profile { receives: Receives::Nothing, sends: Sends::File, longest: 9000, ..Profile::default() }
    }

    fn open(&mut self, _: &Zone, _: &[Vec<u8>]) -> Pair {
        let path = self.0.0.clone();
        Pair { device: Box::new(PcapWriter::create(&path).unwrap()), peer: Box::new(Reader { path, frames: None }) }
    }

    fn choke(&mut self, _: &Zone) -> Option<Pair> {
        Some(Pair {
            device: Box::new(PcapWriter::given(full::nearly_full(200), "full").unwrap()),
            peer: Box::new(Nobody),
        })
    }
}

#[test]
fn a_capture_file_that_is_written_conforms() {
    let report = conform(&mut Written(Scratch::new()));
    assert_eq!(report.not_asked, ["budget", "ring_full", "ring_empty", "the_last_packet", "reset_while_busy"]);
}

/// A file that is read.
struct Played(Scratch);

impl Rig for Played {
    fn profile(&self) -> Profile {
        Profile { receives: Receives::File, sends: Sends::Nothing, longest: 9000, ..Profile::default() }
    }

    fn open(&mut self, _: &Zone, inbound: &[Vec<u8>]) -> Pair {
        let zone = Zone::new(&ZoneParams::pages(1024)).unwrap();
        let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
        let mut writer = PcapWriter::create(&self.0.0).unwrap();
        let packet = |bytes: &Vec<u8>| XdpBuff::copy_from(&mut pool, Direction::Tx, bytes).unwrap().into();
        let mut frames = inbound.iter().map(packet).collect();
        writer.tx(&mut pool, &mut frames, &mut Drops::default());
        writer.shutdown(&mut Homes::new(&mut []));
        Pair { device: Box::new(PcapReader::open(&self.0.0, &PcapParams::default()).unwrap()), peer: Box::new(Nobody) }
    }
}

#[test]
fn a_capture_file_that_is_read_conforms() {
    let report = conform(&mut Played(Scratch::new()));
    assert_eq!(
        report.not_asked,
        ["runts", "fragments", "ring_full", "ring_empty", "foreign_pages", "orphans", "reset_while_busy"]
    );
}
