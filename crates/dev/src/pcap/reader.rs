//! A capture file as a source.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use waterwheel_xdp::{
    Capabilities, Device, Direction, DropReason, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame,
};

use super::file::{CaptureFile, Record};
use super::meta::Stamp;
use super::params::{PcapParams, Timing};
use crate::error::DevError;

/// Plays a pcap or pcapng file of Ethernet packets. Every packet carries its time in the metadata in front of it (see the module's documentation).
///
/// Packets that are longer than [`XdpBuff::longest`] (some 72 KB) are left out and counted as `too_long`. A file that is damaged further on gives what comes before;
/// then the device reports [`Health::Failed`] with a line that names file, byte and packet. Nothing can be sent to it.
#[derive(Debug)]
pub struct PcapReader {
    name: String,
    path: PathBuf,
    file: CaptureFile,
    timing: Timing,
    /// Times still to play after this one; `None`: for ever.
    loops_left: Option<u64>,
    /// When the first packet of this round was given, and its time in the file.
    base: Option<(Instant, u64)>,
    /// When the next packet is due, as far as that is known.
    due: Option<Instant>,
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
        Ok(Self {
            name: format!("pcap:{}", path.display()),
            path: path.to_owned(),
            file: CaptureFile::open(path)?,
            timing: params.timing,
            loops_left: params.loops.checked_sub(1),
            base: None,
            due: None,
            packets_in_loop: 0,
            too_long: 0,
            health: Health::Up,
        })
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The next packet, if there is one and its time has come.
    fn next_due(&mut self, now: Option<Instant>) -> Option<Record> {
        let record = match self.file.peek() {
            Ok(Some(record)) => record,
            Ok(None) => return self.rewind().then(|| self.next_due(now)).flatten(),
            Err(failure) => {
                self.health = Health::Failed(failure);
                return None;
            }
        };
        if let (Some(now), Some(time)) = (now, record.time) {
            let (start, first) = *self.base.get_or_insert((now, time));
            self.due = start.checked_add(Duration::from_nanos(time.saturating_sub(first)));
            // A time that this clock cannot hold is never due.
            if self.due.is_none_or(|due| due > now) {
                return None;
            }
        }
        Some(record)
    }

    /// Starts over at the end of the file; false when it was played often enough, or cannot be opened again.
    fn rewind(&mut self) -> bool {
        if self.loops_left == Some(0) || self.packets_in_loop == 0 {
            self.health = Health::Finished;
            return false;
        }
        match CaptureFile::open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                self.health = Health::Failed(error.to_string());
                return false;
            }
        }
        self.loops_left = self.loops_left.map(|left| left - 1);
        self.base = None;
        self.packets_in_loop = 0;
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
        let mut received = 0;
        while received < budget
            && let Some(record) = self.next_due(now)
        {
            let data = self.file.data(&record);
            if data.len() > room {
                self.too_long += 1;
            } else {
                let Some(mut packet) = XdpBuff::copy_from(pool, Direction::Rx, data) else { break };
                if let Some(time) = record.time {
                    let original = (record.original as usize != data.len()).then_some(record.original);
                    Stamp { time, original }.write(&mut packet);
                }
                batch.push(packet);
                received += 1;
            }
            self.packets_in_loop += 1;
            self.file.advance();
        }
        received
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
            (true, Timing::Asap) => Wait::Now,
            (true, Timing::Original) => self.due.map_or(Wait::Now, Wait::Until),
        }
    }

    fn health(&mut self) -> Health {
        self.health.clone()
    }

    fn counters(&self, f: &mut dyn FnMut(&'static str, u64)) {
        f("too_long", self.too_long);
    }
}
