//! A capture file as a source.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use waterwheel_xdp::{
    Capabilities, Device, Direction, DropReason, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame,
};

use super::blocks::Record;
use super::file::{CaptureFile, Next};
use super::meta::Stamp;
use super::params::{PcapParams, Timing};
use crate::error::{DevError, ErrorClass};

/// Steps in a file that one `rx` makes at most, however little they bring: records that are no packets, packets that are too long, files that are over at once.
const STEPS: usize = 512;

/// Plays a pcap or pcapng file of Ethernet packets. Every packet carries its time in the metadata in front of it (see the module's documentation).
///
/// Packets that are longer than [`XdpBuff::longest`] (some 72 KB) are left out and counted as `too_long`. A file that is damaged further on gives what comes before;
/// then the device reports [`Health::Failed`] with a line that names file, byte and packet. Nothing can be sent to it.
///
/// It never waits for somebody else: of a pipe, named or not, it gives what has come, and sleeps until there is more; a pipe is played once for each writer. What is in a pipe is not
/// known when it is opened, and that it is no capture file makes the device fail later.
#[derive(Debug)]
pub struct PcapReader {
    name: String,
    file: CaptureFile,
    timing: Timing,
    /// Times still to play after this one; `None`: for ever.
    loops_left: Option<u64>,
    /// When the first packet of this round was given, and its time in the file.
    base: Option<(Instant, u64)>,
    /// When the next packet is due, as far as that is known.
    due: Option<Instant>,
    /// A pipe had nothing more.
    starved: bool,
    packets_in_loop: u64,
    too_long: u64,
    health: Health,
}

impl PcapReader {
    /// Opens `path` and reads up to the first packet. The device's name is `pcap:PATH`.
    ///
    /// # Errors
    /// Config: no such file, no capture file, not Ethernet, cut or damaged before the first packet. Permission: the file may not be read.
    pub fn open(path: impl AsRef<Path>, params: &PcapParams) -> Result<Self, DevError> {
        let path = path.as_ref();
        Ok(Self::play(format!("pcap:{}", path.display()), CaptureFile::open(path)?, params))
    }

    /// Plays what this process was given, such as standard input. `name` is how it is called in errors and, behind `pcap:`, as a device.
    ///
    /// Other processes may have the same pipe: nothing about it is changed.
    ///
    /// # Errors
    /// Config: as for [`PcapReader::open`]; or it is to be played several times, and is no file.
    pub fn given(fd: OwnedFd, name: &str, params: &PcapParams) -> Result<Self, DevError> {
        let file = CaptureFile::given(fd, name)?;
        if params.loops != 1 && !file.is_file() {
            return Err(DevError::new(ErrorClass::Config, format!("{name} is no file: it can be played once")));
        }
        Ok(Self::play(format!("pcap:{name}"), file, params))
    }

    fn play(name: String, file: CaptureFile, params: &PcapParams) -> Self {
        Self {
            name,
            file,
            timing: params.timing,
            loops_left: params.loops.checked_sub(1),
            base: None,
            due: None,
            starved: false,
            packets_in_loop: 0,
            too_long: 0,
            health: Health::Up,
        }
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Whether the time of a packet has come.
    fn is_due(&mut self, now: Option<Instant>, record: &Record) -> bool {
        let (Some(now), Some(time)) = (now, record.time) else { return true };
        let (start, first) = *self.base.get_or_insert((now, time));
        self.due = start.checked_add(Duration::from_nanos(time.saturating_sub(first)));
        // A time that this clock cannot hold is never due.
        self.due.is_some_and(|due| due <= now)
    }

    /// Starts over at the end of the file; false when it was played often enough, or cannot be played again.
    fn rewind(&mut self) -> bool {
        if self.loops_left == Some(0) || self.packets_in_loop == 0 {
            self.health = Health::Finished;
            return false;
        }
        if let Err(failure) = self.file.rewind() {
            self.health = Health::Failed(failure);
            return false;
        }
        self.loops_left = self.loops_left.map(|left| left - 1);
        self.base = None;
        self.packets_in_loop = 0;
        true
    }

    /// Gives a packet, or counts it. False: there is no page for it.
    fn give(&mut self, record: &Record, room: usize, pool: &mut PagePool, batch: &mut Vec<XdpBuff>) -> bool {
        let data = self.file.data(record);
        if data.len() > room {
            self.too_long += 1;
        } else {
            let Some(mut packet) = XdpBuff::copy_from(pool, Direction::Rx, data) else { return false };
            let original = (record.original as usize != data.len()).then_some(record.original);
            Stamp { time: record.time, original }.write(&mut packet);
            batch.push(packet);
        }
        self.packets_in_loop += 1;
        self.file.advance();
        true
    }
}

impl Device for PcapReader {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tx: false, ..Capabilities::default() }
    }

    fn complete(&mut self, _homes: &mut Homes<'_>) -> usize {
        0
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if self.health != Health::Up {
            return 0;
        }
        let room = XdpBuff::longest(pool);
        let now = (self.timing == Timing::Original).then(Instant::now);
        let before = batch.len();
        self.starved = false;
        for _ in 0..STEPS.max(2 * budget) {
            if batch.len() - before == budget {
                break;
            }
            let goes_on = match self.file.step() {
                Ok(Next::Packet(record)) => self.is_due(now, &record) && self.give(&record, room, pool, batch),
                Ok(Next::Other) => true,
                Ok(Next::Starved) => {
                    self.starved = true;
                    false
                }
                Ok(Next::End) => self.rewind(),
                Err(failure) => {
                    self.health = Health::Failed(failure);
                    false
                }
            };
            if !goes_on {
                break;
            }
        }
        batch.len() - before
    }

    /// Nothing can be sent into a file that is read: all of it is dropped.
    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        drops.add(DropReason::NotSupported, frames.len() as u64);
        frames.clear();
        Traffic::default()
    }

    fn wait(&self) -> Wait {
        match (self.health == Health::Up, self.timing) {
            (false, _) => Wait::Never,
            (true, _) if self.starved => Wait::Readable,
            (true, Timing::Asap) => Wait::Now,
            (true, Timing::Original) => self.due.map_or(Wait::Now, Wait::Until),
        }
    }

    /// A file is always readable: only a pipe that had nothing is waited on.
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if self.starved && self.health == Health::Up {
            add(self.file.fd());
        }
    }

    fn health(&mut self) -> Health {
        self.health.clone()
    }

    fn counters(&self, f: &mut dyn FnMut(&'static str, u64)) {
        self.lost(f);
    }

    fn lost(&self, f: &mut dyn FnMut(&'static str, u64)) {
        f("too_long", self.too_long);
        f("not_ethernet", self.file.strange());
    }
}
