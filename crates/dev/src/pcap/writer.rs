//! A capture file as a sink.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use waterwheel_xdp::{
    Account, Capabilities, Device, DropReason, Drops, Health, Homes, MAX_FRAGS, PagePool, Traffic, Wait, XdpBuff,
    XdpFrame,
};

use super::meta::Stamp;
use super::outbox::Outbox;
use super::params::{Flush, PcapWriteParams};
use super::rotation::Files;
use super::sink::{Counts, LINKTYPE_ETHERNET, LINKTYPE_USER0, PcapSink};
use super::stream::Stream;
use super::time::now;
use crate::error::{DevError, ErrorClass};
use crate::sent::Sent;

/// Bytes that are gathered for one system call. As long as so many wait to be written, no frame is taken.
const BUFFER: usize = 1 << 18;

/// How long the end waits for whoever reads a pipe and does not take what is left.
const LONGEST_END: Duration = Duration::from_secs(2);

/// How often one who waits looks again at what gives no signal: a pipe that nobody has opened, [`PcapWriter::patient`].
const LOOK: Duration = Duration::from_millis(10);

/// Rounds in which nothing came, after which what was taken is written.
const QUIET: u32 = 32;

/// How long packets wait at most while others come.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Rounds between two looks at the clock.
const CLOCK_ROUNDS: u32 = 64;

/// Writes every frame into a pcapng file, with the time in the metadata in front of it (see the module's documentation), else the time of the call.
///
/// The header is written at once, packets when nothing more comes for a moment, or as [`PcapWriteParams::flush`] says. The file is complete after `shutdown`, with a block that tells how many packets
/// were received and dropped. When it cannot be written any more, the device reports [`Health::Failed`] and drops what comes; what it had taken by then and not written is
/// [`unsent`](Device::unsent).
///
/// Of several files an old one that cannot be removed is counted as `files_not_removed`, and tried again with the next one.
///
/// Into a pipe it writes what there is room for, and takes no frames while much is left. The end waits for who reads it, two seconds at most, or for as long as it was [told](Self::patient).
pub struct PcapWriter {
    name: String,
    /// Of the file that is written now.
    path: PathBuf,
    params: PcapWriteParams,
    sink: PcapSink<Outbox>,
    files: Files,
    /// `None`: a pipe that nobody reads yet.
    stream: Option<Stream>,
    /// Becomes readable when the pipe can be written to.
    room: Option<OwnedFd>,
    /// The pipe was full.
    blocked: bool,
    /// When it was tried last to open the pipe.
    tried: Instant,
    patience: Option<Patience>,
    wanted: Option<Wanted>,
    counted: Option<Box<dyn Fn() -> Option<Counted> + Send>>,
    at_limit: Option<Box<dyn FnOnce() + Send>>,
    /// Nothing is written any more: it is closed, or has failed.
    over: bool,
    /// Something came in this round.
    fresh: bool,
    /// Rounds since the last write, and those of them at the end in which nothing came.
    rounds: u32,
    quiet: u32,
    written: Instant,
    /// Nanoseconds since the epoch.
    started: u64,
    /// Packets that it was given, those that were not wanted included.
    came: u64,
    unwanted: u64,
    taken: Traffic,
    sent: Sent,
    failure: Option<String>,
}

/// Whether to go on waiting.
type Patience = Box<dyn Fn() -> bool + Send>;

/// Whether a packet is to be written.
type Wanted = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What the source of a capture has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Packets that it received.
    pub received: u64,
    /// Packets that were lost, before they were received or later.
    pub dropped: u64,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// So many bytes of it will be written.
    Taken(usize),
    Unwanted,
    /// Nothing is written any more.
    Down,
}

impl PcapWriteParams {
    /// Makes the file `path`, or empties it. The device's name is `pcap:PATH`. A pipe is opened when somebody reads it.
    ///
    /// # Errors
    /// Config: the file cannot be made, or is a terminal. Permission: it may not be written. Device: there is no place for its header. Usage: parameters that do not fit together.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<PcapWriter, DevError> {
        self.check()?;
        let template = path.as_ref();
        let mut files = Files::new(template, self)?;
        let path = files.next(self, now()).unwrap_or_else(|| template.into());
        let stream = Stream::to_write(&path, &self.spared).map_err(|error| DevError::file("write", &path, &error))?;
        if self.rotates() && stream.as_ref().is_none_or(|stream| !stream.is_file()) {
            return Err(DevError::new(
                ErrorClass::Config,
                format!("{} is no file: there cannot be several", path.display()),
            ));
        }
        PcapWriter::begin(format!("pcap:{}", template.display()), files, stream, path, self)
    }

    /// Writes into what this process was given, such as standard output. `name` is how it is called in errors and, behind `pcap:`, as a device.
    ///
    /// Other processes may have the same pipe: nothing about it is changed.
    ///
    /// # Errors
    /// Config: it is nothing that can be written to, a terminal, or there are to be several files. Usage: a number that is 0.
    pub fn given(&self, fd: OwnedFd, name: &str) -> Result<PcapWriter, DevError> {
        self.check()?;
        if self.rotates() {
            return Err(DevError::new(
                ErrorClass::Config,
                format!("{name} is no file of its own: there cannot be several"),
            ));
        }
        let stream = Stream::given(fd).and_then(|stream| {
            stream.spare(&self.spared)?;
            Ok(stream)
        });
        let stream = stream.map_err(|error| DevError::file("write", Path::new(name), &error))?;
        PcapWriter::begin(format!("pcap:{name}"), Files::new(Path::new(name), self)?, Some(stream), name.into(), self)
    }
}

impl PcapWriter {
    /// [`PcapWriteParams::create`], with the defaults.
    ///
    /// # Errors
    /// Those.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DevError> {
        PcapWriteParams::default().create(path)
    }

    /// [`PcapWriteParams::given`], with the defaults.
    ///
    /// # Errors
    /// Those.
    pub fn given(fd: OwnedFd, name: &str) -> Result<Self, DevError> {
        PcapWriteParams::default().given(fd, name)
    }

    fn begin(
        name: String,
        files: Files,
        stream: Option<Stream>,
        path: PathBuf,
        params: &PcapWriteParams,
    ) -> Result<Self, DevError> {
        if stream.as_ref().is_some_and(|stream| stream.as_fd().is_terminal()) {
            let message = format!(
                "{} is a terminal, and packets are no text: write a file, or to another program, such as '- | tcpdump -nr -'",
                path.display()
            );
            return Err(DevError::new(ErrorClass::Config, message));
        }
        let failed = |error: io::Error, path: &Path| DevError::file("write", path, &error);
        let sink = PcapSink::begin(Outbox::with_capacity(2 * BUFFER)).map_err(|error| failed(error, &path))?;
        let mut writer = Self {
            name,
            path,
            params: params.clone(),
            sink,
            files,
            stream: None,
            room: None,
            blocked: false,
            tried: Instant::now(),
            patience: None,
            wanted: None,
            counted: None,
            at_limit: None,
            over: false,
            fresh: false,
            rounds: 0,
            quiet: 0,
            written: Instant::now(),
            started: now(),
            came: 0,
            unwanted: 0,
            taken: Traffic::default(),
            sent: Sent::new(),
            failure: None,
        };
        let begun = writer.connect(stream).and_then(|()| writer.head());
        match begun.and_then(|()| if writer.stream.is_some() { writer.try_drain() } else { Ok(()) }) {
            // Whoever was to read it has left: that ends a run, and is not a bad file.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => writer.note(Err(error)),
            begun => begun.map_err(|error| failed(error, &writer.path))?,
        }
        Ok(writer)
    }

    /// The header of a file whose section has begun.
    fn head(&mut self) -> io::Result<()> {
        let link = if self.params.payloads { LINKTYPE_USER0 } else { LINKTYPE_ETHERNET };
        self.sink.declare(&self.params.interface, link, self.params.snap.unwrap_or(0))?;
        self.files.begin(&self.params, self.path.clone(), self.sink.writer().waiting());
        Ok(())
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same device, whose end waits for a slow reader of a pipe as long as `goes_on` says so, and then two seconds.
    #[must_use]
    pub fn patient(mut self, goes_on: impl Fn() -> bool + Send + 'static) -> Self {
        self.patience = Some(Box::new(goes_on));
        self
    }

    /// The same device, which writes those packets only of whose first part `wanted` says so. The others are dropped (`program`), and counted as `unwanted`.
    #[must_use]
    pub fn filtered(mut self, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        self.wanted = Some(Box::new(wanted));
        self
    }

    /// The same device, which asks this at the end of each file for what the source has counted until then. Else, and as long as the answer is `None`, it tells what it was given itself.
    #[must_use]
    pub fn counted(mut self, counted: impl Fn() -> Option<Counted> + Send + 'static) -> Self {
        self.counted = Some(Box::new(counted));
        self
    }

    /// The same device, which calls this once when it has as many packets or bytes as it was to have. What comes then is dropped (`program`), and counted as `unwanted`.
    #[must_use]
    pub fn at_limit(mut self, at_limit: impl FnOnce() + Send + 'static) -> Self {
        self.at_limit = Some(Box::new(at_limit));
        self
    }

    /// Device and inode of the file that is written now, as [`PcapWriteParams::spared`] of another writer wants them. `None`: it is no file.
    #[must_use]
    pub fn identity(&self) -> Option<(u64, u64)> {
        self.stream.as_ref().filter(|stream| stream.is_file()).and_then(|stream| stream.identity().ok())
    }

    /// Writes a copy of a packet that goes elsewhere: its parts, and its metadata. False: a full pipe, or one that has failed, does not take it.
    pub fn copy<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>, meta: &[u8]) -> bool {
        if self.is_full() {
            self.drain();
        }
        let fate = if self.is_full() { Fate::Down } else { self.take(parts, meta, &mut None) };
        if let Fate::Taken(len) = fate {
            self.taken.add(len);
            self.has_enough();
        }
        fate != Fate::Down
    }

    fn connect(&mut self, stream: Option<Stream>) -> io::Result<()> {
        self.stream = stream;
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.is_file()) {
            let room = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            match epoll::add(&room, stream, epoll::EventData::new_u64(0), epoll::EventFlags::OUT) {
                Ok(()) => self.room = Some(room),
                Err(rustix::io::Errno::PERM) => {} // a device that never makes anybody wait, such as /dev/null
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes a packet to be written, or what is wanted of it.
    fn take<'a>(&mut self, mut parts: impl Iterator<Item = &'a [u8]>, meta: &[u8], wall: &mut Option<u64>) -> Fate {
        if self.over {
            return Fate::Down;
        }
        let first = parts.next().unwrap_or_default();
        if self.has_enough() || self.wanted.as_ref().is_some_and(|wanted| !wanted(first)) {
            self.came += 1;
            self.unwanted += 1;
            return Fate::Unwanted;
        }
        let whole: Cow<'_, [u8]> = match parts.next() {
            Some(second) => [first, second].into_iter().chain(parts).flatten().copied().collect(),
            None => Cow::Borrowed(first),
        };
        let kept = self.params.snap.map_or(&*whole, |snap| &whole[..whole.len().min(snap as usize)]);
        let Stamp { time, original } = Stamp::read(meta);
        let time = time.unwrap_or_else(|| *wall.get_or_insert_with(now));
        let original = original.unwrap_or(u32::try_from(whole.len()).unwrap_or(u32::MAX));
        let result = self.write(time, kept, original);
        self.note(result);
        self.came += 1; // not before: with it the next file may have begun, and the one before has told without it
        self.fresh = true;
        if self.is_full() && !self.blocked {
            self.drain();
        }
        if self.over { Fate::Down } else { Fate::Taken(kept.len()) }
    }

    fn write(&mut self, time: u64, kept: &[u8], original: u32) -> io::Result<()> {
        let record = 32 + kept.len().next_multiple_of(4) as u64;
        if self.params.rotates() && self.files.is_full(&self.params, record) {
            self.next_file()?;
        }
        self.files.add(record);
        self.sink.snapped_packet(0, time, kept, original)
    }

    /// Ends a file, which is no pipe, and begins another.
    fn next_file(&mut self) -> io::Result<()> {
        let Some(path) = self.files.next(&self.params, now()) else {
            return Ok(()); // the same second: not yet
        };
        self.end()?;
        self.try_drain()?;
        self.path = path; // what fails from here on is the new one
        let stream = Stream::to_write(&self.path, &self.params.spared)?;
        if stream.as_ref().is_none_or(|stream| !stream.is_file()) {
            return Err(io::Error::other("it is no file"));
        }
        self.connect(stream)?;
        self.sink = PcapSink::begin(std::mem::take(self.sink.writer_mut()))?;
        self.head()
    }

    /// What stands at the end of a file.
    fn end(&mut self) -> io::Result<()> {
        let counted = self.counted.as_ref().and_then(|counted| counted());
        let counts = Counts {
            started: self.started,
            received: counted.map_or(self.came, |counted| counted.received),
            dropped: counted.map(|counted| counted.dropped),
        };
        self.sink.statistics(counts, now())
    }

    /// Whether it has what it was to have. Says so, once.
    fn has_enough(&mut self) -> bool {
        let reached = |limit: Option<u64>, taken: u64| limit.is_some_and(|limit| taken >= limit);
        let enough = reached(self.params.packets, self.taken.packets) || reached(self.params.bytes, self.taken.bytes);
        if enough && let Some(at_limit) = self.at_limit.take() {
            at_limit();
        }
        enough
    }

    /// Whether so much waits to be written that nothing more is taken.
    fn is_full(&self) -> bool {
        self.sink.writer().waiting() >= BUFFER
    }

    /// Writes what the stream has room for.
    fn drain(&mut self) {
        if self.over {
            return;
        }
        let result = self.try_drain();
        self.note(result);
    }

    fn try_drain(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            if self.tried.elapsed() < LOOK {
                return Ok(());
            }
            self.tried = Instant::now();
            let stream = Stream::to_write(&self.path, &self.params.spared)?;
            self.connect(stream)?;
        }
        if let Some(stream) = &self.stream {
            self.blocked = !self.sink.writer_mut().write_to(stream)?;
            (self.rounds, self.quiet, self.written) = (0, 0, Instant::now());
        }
        Ok(())
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(&format!("cannot write: {error}"));
        }
    }

    fn fail(&mut self, what: &str) {
        if !std::mem::replace(&mut self.over, true) {
            self.failure = Some(format!("{}: {what}", self.path.display()));
        }
    }

    /// Writes what is left. False: who reads it did not take it all.
    fn finish(&mut self) -> bool {
        let mut end = None;
        loop {
            self.drain();
            if self.over || self.sink.writer().waiting() == 0 {
                return true;
            }
            let now = Instant::now();
            if !self.patience.as_ref().is_some_and(|goes_on| goes_on()) && now >= *end.get_or_insert(now + LONGEST_END)
            {
                return false;
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
            let mut room = self.room.as_ref().map(|room| PollFd::new(room, PollFlags::IN));
            // Interrupted or not: it is looked at again.
            let _ = poll(room.as_mut_slice(), Some(&timeout));
        }
    }
}

impl fmt::Debug for PcapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapWriter").field("path", &self.path).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Device for PcapWriter {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rx: false, max_frame: usize::MAX, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, _pool: &mut PagePool, _batch: &mut Vec<XdpBuff>, _budget: usize) -> usize {
        0
    }

    /// All of them, or none.
    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        if self.is_full() {
            self.drain();
        }
        if self.is_full() && !self.over {
            return traffic;
        }
        let mut wall = None;
        for frame in frames.drain(..) {
            match self.take(frame.parts(), frame.meta(), &mut wall) {
                Fate::Taken(len) => {
                    traffic.add(len);
                    self.taken.add(len);
                }
                Fate::Unwanted => drops.add(DropReason::Program, 1),
                Fate::Down => drops.add(DropReason::DeviceDown, 1),
            }
            self.sent.push(frame);
        }
        self.has_enough();
        traffic
    }

    fn tx_room(&mut self) -> usize {
        if self.is_full() && !self.over { 0 } else { usize::MAX }
    }

    /// A pipe tells when it has room again; that somebody opens it gives no signal.
    fn wait_tx(&self) -> Wait {
        if self.room.is_some() { Wait::Readable } else { Wait::soon() }
    }

    /// What did not fit into a pipe goes on; whole buffers are written by `tx`.
    fn flush(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.quiet = if fresh { 0 } else { self.quiet.saturating_add(1) };
        self.rounds = self.rounds.saturating_add(1);
        let due = self.sink.writer().waiting() > 0
            && match self.params.flush {
                Flush::Packet => true,
                Flush::Idle if self.rounds.is_multiple_of(CLOCK_ROUNDS) => {
                    self.quiet >= QUIET || self.written.elapsed() >= LONGEST_WAIT
                }
                Flush::Idle => self.quiet >= QUIET,
                Flush::Full => false,
            };
        if due || self.blocked || self.stream.is_none() {
            self.drain();
        }
    }

    fn wait(&self) -> Wait {
        match &self.stream {
            _ if self.over => Wait::Never,
            None => Wait::Until(self.tried + LOOK),
            Some(_) if self.blocked => self.wait_tx(),
            // A few rounds more, and it is written.
            Some(_) if self.params.flush == Flush::Idle && self.sink.writer().waiting() > 0 => Wait::Now,
            Some(_) => Wait::Never,
        }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if let Some(room) = self.room.as_ref().filter(|_| self.blocked && !self.over) {
            add(room.as_fd());
        }
    }

    fn health(&mut self) -> Health {
        self.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn unsent(&self) -> Traffic {
        if !self.over {
            return Traffic::default(); // it may still be written
        }
        let sent = self.sink.writer().sent();
        Traffic { packets: self.taken.packets - sent.packets, bytes: self.taken.bytes - sent.bytes }
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        if self.wanted.is_some() || self.params.packets.is_some() || self.params.bytes.is_some() {
            count("unwanted", self.unwanted);
        }
        if self.params.files.is_some() {
            count("files_not_removed", self.files.stuck());
        }
    }

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.sent.complete(homes);
        if !self.over {
            let end = self.end();
            self.note(end);
        }
        if !self.finish() {
            let nobody = if self.stream.is_none() { "nobody has opened it to read" } else { "it is not read" };
            self.fail(&format!("cannot write: {nobody}"));
        }
        self.over = true;
    }
}

impl Drop for PcapWriter {
    /// Who did not shut it down gets what can be written without waiting.
    fn drop(&mut self) {
        self.drain();
    }
}
