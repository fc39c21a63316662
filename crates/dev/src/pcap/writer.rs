//! A capture file as a sink.

use std::borrow::Cow;
use std::fmt;
use std::io;
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
use super::sink::PcapSink;
use super::stream::Stream;
use super::time::now;
use crate::error::DevError;
use crate::sent::Sent;

/// Bytes that are gathered for one system call. As long as so many wait to be written, no frame is taken.
const BUFFER: usize = 1 << 18;

/// How long the end waits for whoever reads a pipe and does not take what is left.
const LONGEST_END: Duration = Duration::from_secs(2);

/// How often one who waits looks again at what gives no signal: a pipe that nobody has opened, [`PcapWriter::patient`].
const LOOK: Duration = Duration::from_millis(10);

/// Writes every frame into a pcapng file, with the time in the metadata in front of it (see the module's documentation), else the time of the call.
///
/// The file is complete after `shutdown`. When it cannot be written any more, the device reports [`Health::Failed`] and drops what comes; what it had taken by then and not written is
/// [`unsent`](Device::unsent).
///
/// Into a pipe it writes what there is room for, and takes no frames while much is left. The end waits for who reads it, two seconds at most, or for as long as it was [told](Self::patient).
pub struct PcapWriter {
    name: String,
    path: PathBuf,
    sink: PcapSink<Outbox>,
    /// `None`: a pipe that nobody reads yet.
    stream: Option<Stream>,
    /// Becomes readable when the pipe can be written to.
    room: Option<OwnedFd>,
    /// The pipe was full.
    blocked: bool,
    /// When it was tried last to open the pipe.
    tried: Instant,
    patience: Option<Patience>,
    /// Nothing is written any more: it is closed, or has failed.
    over: bool,
    taken: Traffic,
    sent: Sent,
    failure: Option<String>,
}

/// Whether to go on waiting.
type Patience = Box<dyn Fn() -> bool + Send>;

impl PcapWriter {
    /// Makes the file `path`, or empties it. The device's name is `pcap:PATH`. A pipe is opened when somebody reads it.
    ///
    /// # Errors
    /// Config: the file cannot be made. Permission: it may not be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DevError> {
        let path = path.as_ref();
        let stream = Stream::to_write(path).and_then(|stream| Self::begin(stream, path.to_owned()));
        stream.map_err(|error| DevError::file("write", path, &error))
    }

    /// Writes into what this process was given, such as standard output. `name` is how it is called in errors and, behind `pcap:`, as a device.
    ///
    /// Other processes may have the same pipe: nothing about it is changed.
    ///
    /// # Errors
    /// Config: it is nothing that can be written to.
    pub fn given(fd: OwnedFd, name: &str) -> Result<Self, DevError> {
        let stream = Stream::given(fd).and_then(|stream| Self::begin(Some(stream), name.into()));
        stream.map_err(|error| DevError::file("write", Path::new(name), &error))
    }

    fn begin(stream: Option<Stream>, path: PathBuf) -> io::Result<Self> {
        let name = format!("pcap:{}", path.display());
        let sink = PcapSink::new(Outbox::with_capacity(2 * BUFFER), "waterwheel")?;
        let mut writer = Self {
            name,
            path,
            sink,
            stream: None,
            room: None,
            blocked: false,
            tried: Instant::now(),
            patience: None,
            over: false,
            taken: Traffic::default(),
            sent: Sent::new(),
            failure: None,
        };
        writer.connect(stream)?;
        Ok(writer)
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

    fn write(&mut self, frame: &XdpFrame, wall: &mut Option<u64>) -> io::Result<()> {
        let whole: Cow<'_, [u8]> = if frame.has_frags() {
            Cow::Owned(frame.parts().flatten().copied().collect())
        } else {
            Cow::Borrowed(frame.data())
        };
        let data = &*whole;
        let Stamp { time, original } = Stamp::read(frame.meta());
        let time = time.unwrap_or_else(|| *wall.get_or_insert_with(now));
        match original {
            Some(original) => self.sink.snapped_packet(0, time, data, original),
            None => self.sink.packet(0, time, data),
        }
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
            let stream = Stream::to_write(&self.path)?;
            self.connect(stream)?;
        }
        if let Some(stream) = &self.stream {
            self.blocked = !self.sink.writer_mut().write_to(stream)?;
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
            if !self.over {
                let result = self.write(&frame, &mut wall);
                self.note(result);
            }
            if self.is_full() && !self.blocked {
                self.drain();
            }
            if self.over {
                drops.add(DropReason::DeviceDown, 1);
            } else {
                traffic.add(frame.total_len());
            }
            self.sent.push(frame);
        }
        self.taken.merge(traffic);
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
        if self.blocked || self.stream.is_none() {
            self.drain();
        }
    }

    fn wait(&self) -> Wait {
        match &self.stream {
            _ if self.over => Wait::Never,
            None => Wait::Until(self.tried + LOOK),
            Some(_) if self.blocked => self.wait_tx(),
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

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.sent.complete(homes);
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
