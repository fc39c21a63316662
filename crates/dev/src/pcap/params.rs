//! How a capture file is played.

use std::time::Duration;

use crate::error::DevError;
use crate::pace::{BURST, BURST_KEY, Rate, parse_burst};
use crate::value::{duration, number, unknown_key, usage};

/// When the packets of a file come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// As fast as they are taken.
    Asap,
    /// With the gaps that they had when they were captured; the first one comes at once.
    Original,
    /// The same, so many thousandths as fast, 1 at least.
    Speed(u64),
    /// So many a second, 1 at least, whatever the gaps were.
    Rate(Rate),
}

/// How a capture file is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcapParams {
    /// When the packets come.
    pub timing: Timing,
    /// How much is caught up on at once when nobody asked in time. What is more comes later than it should, and is counted: as `rate_missed` packets, or as `late_us`.
    pub burst: Duration,
    /// How many times the file is played, one after the other; 0: for ever.
    pub loops: u64,
}

impl Default for PcapParams {
    fn default() -> Self {
        Self { timing: Timing::Asap, burst: BURST, loops: 1 }
    }
}

impl PcapParams {
    /// The keys that [`PcapParams::set`] takes, each with a line of help.
    pub const KEYS: &[(&str, &str)] = &[
        ("timing", "asap or original: with the gaps of the capture (default asap)"),
        ("speed", "with the gaps of the capture, so many times as fast: 2, 0.5"),
        Rate::KEYS[0],
        Rate::KEYS[1],
        BURST_KEY,
        ("loop", "how many times the file is played, 0 for ever (default 1)"),
    ];

    /// Sets one parameter from text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that it cannot have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DevError> {
        match key {
            "timing" if value == "asap" => {}
            "timing" if value == "original" => self.choose(Timing::Original)?,
            "timing" => return Err(usage(format!("{key}={value}: want one of asap, original"))),
            "speed" => match number(key, &format!("{value}k")) {
                Ok(0) | Err(_) => {
                    return Err(usage(format!("{key}={value}: want a number such as 2 or 0.5, not finer than 0.001")));
                }
                Ok(thousandths) => self.choose(Timing::Speed(thousandths))?,
            },
            "rate" | "mbps" => self.choose(Timing::Rate(Rate::parse(key, value)?))?,
            "burst" => self.burst = parse_burst(value)?,
            "loop" => self.loops = number(key, value)?,
            _ => return Err(unknown_key("pcap", key, Self::KEYS)),
        }
        Ok(())
    }

    /// # Errors
    /// Usage: a number that nothing would come of.
    pub(super) fn check(&self) -> Result<(), DevError> {
        match self.timing {
            Timing::Speed(0) => Err(usage("speed: with 0 no packet would come; want more")),
            Timing::Rate(Rate::Packets(0) | Rate::Bits(0)) => {
                Err(usage("rate, mbps: with 0 no packet would come; want more"))
            }
            _ => Ok(()),
        }
    }

    fn choose(&mut self, timing: Timing) -> Result<(), DevError> {
        match std::mem::replace(&mut self.timing, timing) {
            Timing::Asap => Ok(()),
            _ => Err(usage("timing, speed, rate and mbps: give one of them")),
        }
    }
}

/// When packets that were taken are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flush {
    /// With the batch in which they came.
    Packet,
    /// When nothing more comes for a moment, and once a second at least.
    Idle,
    /// When a buffer is full (256 KiB), and at the end.
    Full,
}

/// How a capture file is written. [`create`](Self::create) and [`given`](Self::given) begin one. All numbers are 1 at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcapWriteParams {
    /// Name of the interface that the packets are said to come from.
    pub interface: String,
    /// What comes is payloads of datagrams or streams instead of Ethernet frames: the file says so, as link type USER0.
    pub payloads: bool,
    /// Files that are not to be overwritten, as they are read meanwhile: device and inode.
    pub spared: Vec<(u64, u64)>,
    /// When packets are written.
    pub flush: Flush,
    /// Bytes that are kept of a packet; `None`: all.
    pub snap: Option<u32>,
    /// Packets after which it has enough.
    pub packets: Option<u64>,
    /// Bytes of packets, as captured, after which it has enough.
    pub bytes: Option<u64>,
    /// Bytes of a file at which the next one is begun.
    pub file_size: Option<u64>,
    /// How long a file is written before the next one is begun, with the first packet that comes then.
    pub file_time: Option<Duration>,
    /// How many files are kept: the oldest is removed when there are more.
    pub files: Option<usize>,
}

impl Default for PcapWriteParams {
    fn default() -> Self {
        Self {
            interface: "waterwheel".to_owned(),
            payloads: false,
            spared: Vec::new(),
            flush: Flush::Idle,
            snap: None,
            packets: None,
            bytes: None,
            file_size: None,
            file_time: None,
            files: None,
        }
    }
}

impl PcapWriteParams {
    /// The keys that [`PcapWriteParams::set`] takes, each with a line of help.
    pub const KEYS: &[(&str, &str)] = &[
        (
            "flush",
            "when packets are written: packet (at once), idle (when nothing more comes for a moment, and once a second at least) or full (256 KiB) (default idle)",
        ),
        ("snap", "keep so many bytes of each packet (default all)"),
        ("count", "end after so many packets"),
        ("bytes", "end after so many bytes of packets"),
        (
            "file-size",
            "begin another file before one has more than so many bytes; FILE has %n for its number, or %s for the seconds since 1970 (then one a second at most)",
        ),
        ("file-time", "begin another file after so long: 30s, 5m, 1h"),
        ("files", "keep so many files: the oldest is removed"),
    ];

    /// Sets one parameter from text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that it cannot have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DevError> {
        let positive = || match number(key, value)? {
            0 => Err(usage(format!("{key}={value}: want 1 or more"))),
            n => Ok(n),
        };
        match key {
            "flush" => {
                self.flush = match value {
                    "packet" => Flush::Packet,
                    "idle" => Flush::Idle,
                    "full" => Flush::Full,
                    _ => return Err(usage(format!("{key}={value}: want one of packet, idle, full"))),
                }
            }
            "snap" => {
                let snap = u32::try_from(positive()?);
                self.snap = Some(snap.map_err(|_| usage(format!("{key}={value}: want less than 4 G")))?);
            }
            "count" => self.packets = Some(positive()?),
            "bytes" => self.bytes = Some(positive()?),
            "file-size" => self.file_size = Some(positive()?),
            "file-time" => self.file_time = Some(duration(key, value)?),
            "files" => self.files = Some(usize::try_from(positive()?).unwrap_or(usize::MAX)),
            _ => return Err(unknown_key("pcap", key, Self::KEYS)),
        }
        Ok(())
    }

    /// # Errors
    /// Usage: a number that is 0.
    pub(super) fn check(&self) -> Result<(), DevError> {
        let numbers = [
            ("snap", self.snap == Some(0)),
            ("count", self.packets == Some(0)),
            ("bytes", self.bytes == Some(0)),
            ("file-size", self.file_size == Some(0)),
            ("file-time", self.file_time == Some(Duration::ZERO)),
            ("files", self.files == Some(0)),
        ];
        match numbers.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(usage(format!("{name}: want more than 0"))),
            None => Ok(()),
        }
    }

    /// Whether there may be several files.
    pub(super) fn rotates(&self) -> bool {
        self.file_size.is_some() || self.file_time.is_some()
    }
}
