//! A capture file as a source.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use waterwheel_xdp::{
    Capabilities, Device, Direction, DropReason, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame,
};

use super::blocks::Record;
use super::file::{CaptureFile, Next};
use super::memory::Memory;
use super::meta::Stamp;
use super::params::{PcapParams, Timing};
use crate::error::{DevError, ErrorClass};
use crate::pace::Pace;
use crate::sent::room;

/// Steps in a file that one `rx` makes at most, however little they bring: records that are no packets, packets that are too long, files that are over at once.
const STEPS: usize = 512;

/// Plays a pcap or pcapng file of Ethernet packets. Every packet carries its time in the metadata in front of it (see the module's documentation).
///
/// Packets that are longer than [`XdpBuff::longest`] (some 72 KB) are left out and counted as `too_long`. A file that is damaged further on gives what comes before;
/// then the device reports [`Health::Failed`] with a line that names file, byte and packet. Nothing can be sent to it.
///
/// It never waits for somebody else: of a pipe, named or not, it gives what has come, and sleeps until there is more; a pipe is played once for each writer. What is in a pipe is not
/// known when it is opened, and that it is no capture file makes the device fail later.
///
/// A pcap file of microseconds does not say how long the headers of its records are: some kinds of it have longer ones. Out of a pipe the first packet comes at once if it is of IP or ARP,
/// and else with the one behind it, which tells.
#[derive(Debug)]
pub struct PcapReader {
    name: String,
    file: CaptureFile,
    /// Where there is a second time, and as long as it is not too much.
    memory: Option<Memory>,
    /// How many times as fast, in thousandths, as it was captured; `None`: without its gaps.
    speed: Option<u64>,
    burst: Duration,
    pace: Option<Pace>,
    /// What was given up, as more than `burst` was missed.
    late: Duration,
    /// Times still to play after this one; `None`: for ever.
    loops_left: Option<u64>,
    /// When the first packet of this round was given, and its time in the file.
    base: Option<(Instant, u64)>,
    /// When the next packet is due, as far as that is known.
    due: Option<Instant>,
    /// A pipe had nothing more.
    starved: bool,
    /// When packets were given last. A pipe that is starved has had nothing since.
    given: Option<Instant>,
    /// Since when it had nothing until the present call, whose packets could not come before.
    dry: Option<Instant>,
    packets_in_loop: u64,
    too_long: u64,
    /// Packets of which there is no Ethernet frame, in the rounds that were not read.
    strange: u64,
    health: Health,
}

impl PcapReader {
    /// Opens `path` and reads up to the first packet. The device's name is `pcap:PATH`.
    ///
    /// # Errors
    /// Config: no such file, no capture file, not Ethernet, cut or damaged before the first packet. Permission: the file may not be read. Usage: a rate or speed of 0.
    pub fn open(path: impl AsRef<Path>, params: &PcapParams) -> Result<Self, DevError> {
        let path = path.as_ref();
        params.check()?;
        Ok(Self::play(format!("pcap:{}", path.display()), CaptureFile::open(path)?, params))
    }

    /// Plays what this process was given, such as standard input. `name` is how it is called in errors and, behind `pcap:`, as a device.
    ///
    /// Other processes may have the same pipe: nothing about it is changed.
    ///
    /// # Errors
    /// Config: as for [`PcapReader::open`]; or it is to be played several times, and is no file. Usage: a rate or speed of 0.
    pub fn given(fd: OwnedFd, name: &str, params: &PcapParams) -> Result<Self, DevError> {
        params.check()?;
        let file = CaptureFile::given(fd, name)?;
        if params.loops != 1 && !file.is_file() {
            return Err(DevError::new(ErrorClass::Config, format!("{name} is no file: it can be played once")));
        }
        Ok(Self::play(format!("pcap:{name}"), file, params))
    }

    fn play(name: String, file: CaptureFile, params: &PcapParams) -> Self {
        Self {
            name,
            memory: (params.loops != 1 && file.is_file()).then(Memory::default),
            file,
            speed: match params.timing {
                Timing::Asap | Timing::Rate(_) => None,
                Timing::Original => Some(1000),
                Timing::Speed(thousandths) => Some(thousandths),
            },
            burst: params.burst,
            pace: match params.timing {
                Timing::Rate(rate) => Some(Pace::new(rate, params.burst)),
                _ => None,
            },
            late: Duration::ZERO,
            loops_left: params.loops.checked_sub(1),
            base: None,
            due: None,
            starved: false,
            given: None,
            dry: None,
            packets_in_loop: 0,
            too_long: 0,
            strange: 0,
            health: Health::Up,
        }
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The first packet of a call is there. What was due while a pipe had nothing (`starved`) was not missed.
    fn arrived(&mut self, now: Option<Instant>, starved: bool) {
        let Some(now) = now else { return };
        self.dry = self.given.filter(|_| starved);
        if let Some(pace) = &mut self.pace {
            if let Some(since) = self.dry {
                pace.rest(since, now);
            }
            pace.due(now, 1);
        }
    }

    /// Whether the time of a packet has come.
    fn is_due(&mut self, now: Option<Instant>, time: Option<u64>) -> bool {
        let Some(now) = now else { return true };
        if let Some(pace) = &self.pace {
            self.due = pace.next();
            return pace.left(1) > 0;
        }
        let (Some(speed), Some(time)) = (self.speed, time) else { return true };
        let (start, first) = *self.base.get_or_insert((now, time));
        let after = u128::from(time.saturating_sub(first)) * 1000 / u128::from(speed);
        self.due = start.checked_add(Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX)));
        // A time that this clock cannot hold is never due.
        let Some(due) = self.due.filter(|due| *due <= now) else { return false };
        // What was missed is caught up on, but for what is more than the burst: by so much everything comes later.
        let late = (now - due).saturating_sub(self.burst);
        if late > Duration::ZERO {
            let dry = self.dry.map_or(Duration::ZERO, |since| now.saturating_duration_since(due.max(since)));
            self.late = self.late.saturating_add(late.saturating_sub(dry));
            self.base = start.checked_add(late).map(|start| (start, first));
        }
        true
    }

    /// Starts over at the end of the file; false when it was played often enough, or cannot be played again.
    fn rewind(&mut self) -> bool {
        if self.loops_left == Some(0) || self.packets_in_loop == 0 {
            self.health = Health::Finished;
            return false;
        }
        match &mut self.memory {
            Some(memory) => {
                memory.rewind();
                self.strange += self.file.strange(); // they are in this round, too
            }
            None => {
                if let Err(failure) = self.file.rewind() {
                    self.health = Health::Failed(failure);
                    return false;
                }
            }
        }
        self.loops_left = self.loops_left.map(|left| left - 1);
        self.base = None;
        self.packets_in_loop = 0;
        true
    }

    fn is_in_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(Memory::is_whole)
    }

    /// Gives packets of a file that was read before.
    fn play_again(&mut self, now: Option<Instant>, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) {
        let end = batch.len() + budget;
        while batch.len() < end {
            let Some(memory) = &mut self.memory else { return };
            if memory.left() == 0 {
                if !self.rewind() {
                    return;
                }
                continue;
            }
            let mut wanted = memory.left().min(end - batch.len());
            if self.speed.is_none() && memory.longest() <= room(pool) {
                if let Some(pace) = &self.pace {
                    wanted = wanted.min(usize::try_from(pace.left(memory.longest())).unwrap_or(usize::MAX));
                    self.due = pace.next();
                }
                let before = batch.len();
                batch.extend(memory.fill(pool.hand_out(Direction::Rx, wanted)));
                let given = batch.len() - before;
                if let Some(pace) = &mut self.pace {
                    batch[before..].iter().for_each(|packet| pace.sent(packet.len()));
                }
                self.packets_in_loop += given as u64;
                if given == 0 || given < wanted {
                    return;
                }
            } else {
                let Some(kept) = memory.next() else { return };
                if !self.is_due(now, kept.stamp.time) {
                    return;
                }
                let Some(memory) = &mut self.memory else { return };
                let Some(mut packet) = XdpBuff::copy_from(pool, Direction::Rx, memory.data(kept)) else { return };
                kept.stamp.write(&mut packet);
                memory.advance();
                if let Some(pace) = &mut self.pace {
                    pace.sent(packet.total_len());
                }
                batch.push(packet);
                self.packets_in_loop += 1;
            }
        }
    }

    /// Gives a packet, or counts it. False: there is no page for it.
    fn give(&mut self, record: &Record, room: usize, pool: &mut PagePool, batch: &mut Vec<XdpBuff>) -> bool {
        let data = self.file.data(record);
        if data.len() > room {
            self.too_long += 1;
            self.memory = None; // that it is not given is counted each time
        } else {
            let Some(mut packet) = XdpBuff::copy_from(pool, Direction::Rx, data) else { return false };
            let original = (record.original as usize != data.len()).then_some(record.original);
            let stamp = Stamp { time: record.time, original };
            stamp.write(&mut packet);
            batch.push(packet);
            if let Some(pace) = &mut self.pace {
                pace.sent(data.len());
            }
            if self.memory.as_mut().is_some_and(|memory| !memory.keep(stamp, data)) {
                self.memory = None;
            }
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
        let longest = XdpBuff::longest(pool);
        let now = (self.speed.is_some() || self.pace.is_some()).then(Instant::now);
        let before = batch.len();
        let starved = std::mem::take(&mut self.starved);
        if self.is_in_memory() {
            self.arrived(now, false);
            self.play_again(now, pool, batch, budget);
            return batch.len() - before;
        }
        let mut arrived = false;
        for _ in 0..STEPS.max(2 * budget) {
            if batch.len() - before == budget {
                break;
            }
            let goes_on = match self.file.step() {
                Ok(Next::Packet(record)) => {
                    if !std::mem::replace(&mut arrived, true) {
                        self.arrived(now, starved);
                    }
                    self.is_due(now, record.time) && self.give(&record, longest, pool, batch)
                }
                Ok(Next::Other) => true,
                Ok(Next::Starved) => {
                    self.starved = true;
                    false
                }
                Ok(Next::End) => {
                    if self.rewind() && self.is_in_memory() {
                        let left = budget - (batch.len() - before);
                        self.play_again(now, pool, batch, left);
                        false
                    } else {
                        self.health == Health::Up
                    }
                }
                Err(failure) => {
                    self.health = Health::Failed(failure);
                    false
                }
            };
            if !goes_on {
                break;
            }
        }
        if batch.len() > before || self.given.is_none() {
            self.given = now;
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
        match self.due {
            _ if self.health != Health::Up => Wait::Never,
            _ if self.starved => Wait::Readable,
            Some(due) if self.speed.is_some() => Wait::Until(due),
            _ => self.pace.as_ref().and_then(Pace::next).map_or(Wait::Now, Wait::Until),
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
        if let Some(pace) = &self.pace {
            f("rate_missed", pace.missed());
        }
        if self.speed.is_some() {
            f("late_us", u64::try_from(self.late.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn lost(&self, f: &mut dyn FnMut(&'static str, u64)) {
        f("too_long", self.too_long);
        f("not_ethernet", self.file.strange() + self.strange);
    }
}
