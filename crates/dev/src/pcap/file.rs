//! Reads pcap and pcapng, packet by packet.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::blocks::{
    DAMAGED, Interface, LONGEST_RECORD, Order, Record, SECTION_HEADER, is_capture, is_understood, order_of_section,
    understand,
};
use super::input::{Fill, Input};
use super::link::{ETHERNET, Link};
use super::plain::Plain;
use super::stream::Stream;
use crate::error::{DevError, ErrorClass};

const CUT: &str = "the file ends in the middle of a record";

/// Steps up to the first packet that are made at once, when a file is opened.
const FIRST_STEPS: usize = 1 << 16;

/// What one step has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A packet; the same again until [`CaptureFile::advance`].
    Packet(Record),
    /// Nothing to give: bytes were read, or a record that is no packet.
    Other,
    /// The other end of a pipe has sent nothing more yet.
    Starved,
    /// The end of the file.
    End,
}

/// What the file is, and how far it is understood.
#[derive(Debug, Clone, Copy)]
enum Format {
    Unknown,
    /// Its header is known; how its records are made, perhaps not yet.
    Unsettled(Plain),
    Pcap(Plain),
    /// In the byte order of its present section.
    PcapNg(Order),
    /// The same within a block of `len` bytes that is not kept, of which `left` are to come.
    Skipping {
        order: Order,
        len: usize,
        left: usize,
    },
}

/// An open capture file at one of its packets.
pub(super) struct CaptureFile {
    path: PathBuf,
    input: Input,
    format: Format,
    /// Of the current section of a pcapng file.
    interfaces: Vec<Interface>,
    /// A packet, and the length of its record.
    found: Option<(Record, usize)>,
    /// That packet as an Ethernet frame, if it was none.
    frame: Vec<u8>,
    packets: u64,
    /// Packets of which no Ethernet frame could be made.
    strange: u64,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile").field("path", &self.path).field("packets", &self.packets).finish_non_exhaustive()
    }
}

impl CaptureFile {
    /// Opens the file and reads up to its first packet, so that what is no capture file is refused here. Of a pipe that is seen later.
    pub(super) fn open(path: &Path) -> Result<Self, DevError> {
        let stream = Stream::to_read(path).map_err(|error| DevError::file("open", path, &error))?;
        Self::begin(stream, path.to_owned())
    }

    /// What this process was given, under a name.
    pub(super) fn given(fd: OwnedFd, name: &str) -> Result<Self, DevError> {
        let stream = Stream::given(fd).map_err(|error| DevError::file("open", Path::new(name), &error))?;
        Self::begin(stream, name.into())
    }

    fn begin(stream: Stream, path: PathBuf) -> Result<Self, DevError> {
        let mut capture = Self {
            path,
            input: Input::new(stream),
            format: Format::Unknown,
            interfaces: Vec::new(),
            found: None,
            frame: Vec::new(),
            packets: 0,
            strange: 0,
        };
        if capture.input.is_file() {
            for _ in 0..FIRST_STEPS {
                match capture.step().map_err(|message| DevError::new(ErrorClass::Config, message))? {
                    Next::Other => {}
                    Next::Packet(_) | Next::Starved | Next::End => break,
                }
            }
        }
        Ok(capture)
    }

    /// One step towards the next packet: at most one call to the kernel, one record. The error is one line that names file, byte and packet.
    pub(super) fn step(&mut self) -> Result<Next, String> {
        if let Some((record, _)) = self.found {
            return Ok(Next::Packet(record));
        }
        match self.format {
            Format::Unknown => self.header(),
            Format::Unsettled(plain) => self.settle(plain),
            Format::Pcap(plain) => self.record(plain),
            Format::PcapNg(order) => self.block(order),
            Format::Skipping { order, len, left } => self.skip(order, len, left),
        }
    }

    /// Finds out what the file is.
    fn header(&mut self) -> Result<Next, String> {
        let path = self.path.display();
        let data = self.input.data();
        let magic = &data[..data.len().min(4)];
        if !is_capture(magic) {
            return Err(format!(
                "{path} is not a capture file: it begins with {magic:02x?}; want pcap or pcapng (unpack it first if it is compressed; 'editcap -F pcapng' converts other kinds)"
            ));
        }
        if magic == SECTION_HEADER.to_le_bytes() {
            self.format = Format::PcapNg(Order { big: false });
            return Ok(Next::Other);
        }
        if data.len() < Plain::LEN {
            let empty = data.is_empty();
            return match self.more(Plain::LEN)? {
                Next::End if empty => Err(format!("{} is empty: want a pcap or pcapng file", self.path.display())),
                next => Ok(next),
            };
        }
        let plain = Plain::new(data).map_err(|what| self.problem(&what))?;
        self.input.consume(Plain::LEN);
        self.format = Format::Unsettled(plain);
        Ok(Next::Other)
    }

    /// Finds out how the records of a pcap file are made. No packet is given before: it might have a piece of a header in it.
    fn settle(&mut self, plain: Plain) -> Result<Next, String> {
        /// Bytes that are asked for beyond those that did not tell.
        const MORE: usize = 1 << 16;
        let data = self.input.data();
        if let Some(settled) = plain.settled(data) {
            self.format = Format::Pcap(settled);
            return Ok(Next::Other);
        }
        match self.fill(data.len() + MORE)? {
            Fill::More => Ok(Next::Other),
            Fill::Starved => Ok(Next::Starved),
            Fill::End => {
                self.format = Format::Pcap(plain.settled_at_end(self.input.data()));
                Ok(Next::Other)
            }
        }
    }

    /// A packet of a pcap file.
    fn record(&mut self, plain: Plain) -> Result<Next, String> {
        let header = plain.header();
        if self.input.data().len() < header {
            return self.more(header);
        }
        let record = plain.packet(self.input.data()).map_err(|what| self.problem(&what))?;
        let len = self.believed(header.saturating_add(record.len))?;
        if self.input.data().len() < len {
            return self.more(len);
        }
        self.find(record, len)
    }

    /// A packet in a record of `len` bytes.
    fn find(&mut self, mut record: Record, len: usize) -> Result<Next, String> {
        if let Link::Other(number) = record.link {
            return Err(self.problem(&Link::refusal(number)));
        }
        if record.link != Link::Ethernet {
            let packet = &self.input.data()[record.at..record.at + record.len];
            let Some((replaced, header)) = record.link.header(packet, record.original) else {
                self.strange += 1;
                self.packets += 1;
                self.input.consume(len);
                return Ok(Next::Other);
            };
            self.frame.clear();
            self.frame.extend(header);
            self.frame.extend(&packet[replaced..]);
            record.len = self.frame.len();
            record.original = record.original.saturating_sub(replaced as u32).saturating_add(ETHERNET as u32);
        }
        self.found = Some((record, len));
        Ok(Next::Packet(record))
    }

    /// A block of a pcapng file.
    fn block(&mut self, order: Order) -> Result<Next, String> {
        /// Type, length, and the length again. Of a section the byte order is where that would be.
        const LEAST: usize = 12;
        let data = self.input.data();
        if data.len() < LEAST {
            return self.more(LEAST);
        }
        let (kind, order) = match order.word(data, 0) {
            Ok(SECTION_HEADER) => (SECTION_HEADER, order_of_section(data).map_err(|what| self.problem(&what))?),
            kind => (kind?, order),
        };
        let len = order.word(data, 4)? as usize;
        if len < LEAST || !len.is_multiple_of(4) {
            return Err(self.problem(DAMAGED));
        }
        if len > LONGEST_RECORD && !is_understood(kind) {
            return self.skip(order, len, len);
        }
        self.believed(len)?;
        let data = self.input.data();
        if data.len() < len {
            return self.more(len);
        }
        if order.word(data, len - 4)? as usize != len {
            return Err(self.problem(DAMAGED));
        }
        let understood = understand(kind, &data[..len], order, &mut self.interfaces);
        self.format = Format::PcapNg(order);
        match understood.map_err(|what| self.problem(&what))? {
            Some(record) => self.find(record, len),
            None => {
                self.input.consume(len);
                Ok(Next::Other)
            }
        }
    }

    /// Goes over a block of `len` bytes that says nothing about packets, and may be of any length: `left` of them are to come.
    fn skip(&mut self, order: Order, len: usize, left: usize) -> Result<Next, String> {
        /// The length again, at the end.
        const END: usize = 4;
        let over = self.input.data().len().min(left - END);
        self.input.consume(over);
        let left = left - over;
        self.format = Format::Skipping { order, len, left };
        if self.input.data().len() < END {
            return match self.more(END)? {
                Next::End => Err(self.problem(CUT)),
                next => Ok(next),
            };
        }
        if left == END {
            if order.word(self.input.data(), 0)? as usize != len {
                return Err(self.problem(DAMAGED));
            }
            self.input.consume(END);
            self.format = Format::PcapNg(order);
        }
        Ok(Next::Other)
    }

    /// Reads on, as there are less than `want` bytes.
    fn more(&mut self, want: usize) -> Result<Next, String> {
        match self.fill(want)? {
            Fill::More => Ok(Next::Other),
            Fill::Starved => Ok(Next::Starved),
            Fill::End if self.input.data().is_empty() => Ok(Next::End),
            Fill::End if self.input.consumed() == 0 => Err(self.problem("the file is cut: it ends within its header")),
            Fill::End => Err(self.problem(CUT)),
        }
    }

    fn fill(&mut self, want: usize) -> Result<Fill, String> {
        self.input.fill(want).map_err(|error| self.problem(&format!("the file cannot be read: {error}")))
    }

    fn believed(&self, len: usize) -> Result<usize, String> {
        if len <= LONGEST_RECORD {
            return Ok(len);
        }
        Err(self.problem(&format!(
            "the record is damaged: its length is absurd ({len} bytes; believed are {LONGEST_RECORD})"
        )))
    }

    /// The bytes of the packet that [`CaptureFile::step`] gave.
    pub(super) fn data(&self, record: &Record) -> &[u8] {
        match record.link {
            Link::Ethernet => &self.input.data()[record.at..record.at + record.len],
            _ => &self.frame,
        }
    }

    /// Packets of which no Ethernet frame could be made.
    pub(super) fn strange(&self) -> u64 {
        self.strange
    }

    /// Goes on to the next packet.
    pub(super) fn advance(&mut self) {
        if let Some((_, len)) = self.found.take() {
            self.input.consume(len);
            self.packets += 1;
        }
    }

    /// Begins again: a file at its beginning; a pipe that has a name is opened for its next writer.
    pub(super) fn rewind(&mut self) -> Result<(), String> {
        (self.format, self.found, self.packets) = (Format::Unknown, None, 0);
        self.interfaces.clear();
        if self.input.is_file() {
            return self
                .input
                .rewind()
                .map_err(|error| self.problem(&format!("the file cannot be read again: {error}")));
        }
        let stream =
            Stream::to_read(&self.path).map_err(|error| DevError::file("open", &self.path, &error).to_string())?;
        self.input = Input::new(stream);
        Ok(())
    }

    pub(super) fn is_file(&self) -> bool {
        self.input.is_file()
    }

    /// What becomes readable when a pipe brings more.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.input.fd()
    }

    fn problem(&self, what: &str) -> String {
        format!("{}: {what} (at byte {}, after {} packets)", self.path.display(), self.input.consumed(), self.packets)
    }
}
