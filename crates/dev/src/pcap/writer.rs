//! A capture file as a sink.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use waterwheel_xdp::{
    Account, Capabilities, Device, DropReason, Drops, Health, Homes, MAX_FRAGS, PagePool, Traffic, Wait, XdpBuff,
    XdpFrame,
};

use super::meta::Stamp;
use super::sink::PcapSink;
use super::time::now;
use crate::error::DevError;
use crate::sent::Sent;

/// Bytes that are gathered for one system call.
const BUFFER: usize = 1 << 18;

/// Writes every frame into a pcapng file, with the time in the metadata in front of it (see the module's documentation), else the time of the call.
///
/// The file is complete after `shutdown`. When it cannot be written any more, the device reports [`Health::Failed`] and drops what comes.
#[derive(Debug)]
pub struct PcapWriter {
    name: String,
    path: PathBuf,
    sink: PcapSink<BufWriter<File>>,
    sent: Sent,
    failure: Option<String>,
}

impl PcapWriter {
    /// Makes the file `path`, or empties it. The device's name is `pcap:PATH`.
    ///
    /// # Errors
    /// Config: the file cannot be made. Permission: it may not be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DevError> {
        let path = path.as_ref();
        let create = || {
            let file = File::create(path)?;
            PcapSink::new(BufWriter::with_capacity(BUFFER, file), "waterwheel")
        };
        let sink = create().map_err(|error| DevError::file("write", path, &error))?;
        let name = format!("pcap:{}", path.display());
        Ok(Self { name, path: path.to_owned(), sink, sent: Sent::new(), failure: None })
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    fn write(&mut self, frame: &XdpFrame, wall: &mut Option<u64>) -> io::Result<()> {
        let whole: Cow<'_, [u8]> = if frame.has_frags() {
            Cow::Owned(frame.parts().flatten().copied().collect())
        } else {
            Cow::Borrowed(frame.data())
        };
        let data = &*whole;
        match Stamp::read(frame.meta()) {
            Some(Stamp { time, original: Some(original) }) => self.sink.snapped_packet(0, time, data, original),
            Some(Stamp { time, original: None }) => self.sink.packet(0, time, data),
            None => self.sink.packet(0, *wall.get_or_insert_with(now), data),
        }
    }

    fn note(&mut self, result: io::Result<()>) -> bool {
        if let Err(error) = &result
            && self.failure.is_none()
        {
            self.failure = Some(format!("{}: cannot write: {error}", self.path.display()));
        }
        result.is_ok()
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

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let mut wall = None;
        for frame in frames.drain(..) {
            let written = self.failure.is_none() && {
                let result = self.write(&frame, &mut wall);
                self.note(result)
            };
            if written {
                traffic.packets += 1;
                traffic.bytes += frame.total_len() as u64;
            } else {
                drops.add(DropReason::DeviceDown, 1);
            }
            self.sent.push(frame);
        }
        traffic
    }

    fn wait(&self) -> Wait {
        Wait::Never
    }

    fn health(&mut self) -> Health {
        self.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        let result = self.sink.flush();
        self.note(result);
        self.sent.complete(homes);
    }
}
