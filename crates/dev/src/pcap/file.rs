//! Reads pcap and pcapng, packet by packet.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_parser::pcapng::InterfaceDescriptionBlock;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, create_reader};

use super::time::Clock;
use crate::error::{DevError, ErrorClass};

/// Bytes that are read at once, and the length of a record up to which the buffer need not grow.
const BUFFER: usize = 1 << 20;

/// The longest record that is believed. Longer ones are damage, not data: captures snap packets at 256 KiB.
const LONGEST_RECORD: usize = 16 << 20;

/// Blocks of pcapng that tell about packets: section header, interface, simple packet, enhanced packet.
const OF_PACKETS: [u32; 4] = [SECTION_HEADER, 1, 3, 6];
const SECTION_HEADER: u32 = 0x0A0D_0D0A;

/// A packet of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Nanoseconds since the epoch; `None` for pcapng's simple packets, which have no time.
    pub(super) time: Option<u64>,
    /// Length of the packet on the wire in bytes, of which the file may have less.
    pub(super) original: u32,
    /// Where the bytes are in the reader's data.
    at: usize,
    len: usize,
    /// Length of the record in the file.
    record: usize,
}

/// An interface that packets were captured on.
#[derive(Debug, Clone, Copy)]
struct Interface {
    clock: Clock,
    /// Length up to which its packets were captured; 0: no limit.
    snap: u32,
}

/// An open capture file at one of its packets.
pub(super) struct CaptureFile {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Of the current section of a pcapng file; of a pcap file the only one.
    interfaces: Vec<Interface>,
    big_endian: bool,
    pcapng: bool,
    peeked: Option<Record>,
    packets: u64,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile").field("path", &self.path).field("packets", &self.packets).finish_non_exhaustive()
    }
}

impl CaptureFile {
    /// Opens the file and reads up to its first packet, so that what is no capture file is refused here.
    pub(super) fn open(path: &Path) -> Result<Self, DevError> {
        let mut file = File::open(path).map_err(|error| DevError::file("open", path, &error))?;
        let mut magic = [0; 4];
        let got = read_fully(&mut file, &mut magic).map_err(|error| DevError::file("read", path, &error))?;
        let config = |message: String| DevError::new(ErrorClass::Config, message);
        if got == 0 {
            return Err(config(format!("{} is empty: want a pcap or pcapng file", path.display())));
        }
        if !is_capture(&magic[..got]) {
            return Err(config(format!(
                "{} is not a capture file: it begins with {:02x?}; want pcap or pcapng (unpack it first if it is compressed)",
                path.display(),
                &magic[..got]
            )));
        }
        let reader =
            create_reader(BUFFER, Whole(std::io::Cursor::new(magic[..got].to_vec()).chain(file))).map_err(|_| {
                config(format!(
                    "{} is cut or damaged in its first {BUFFER} bytes, before the first packet",
                    path.display()
                ))
            })?;
        let mut capture = Self {
            path: path.to_owned(),
            reader,
            interfaces: Vec::new(),
            big_endian: false,
            pcapng: magic == SECTION_HEADER.to_le_bytes(),
            peeked: None,
            packets: 0,
        };
        capture.peek().map_err(config)?;
        Ok(capture)
    }

    /// The next packet; `None` at the end of the file. The error is one line that names file, byte and packet.
    pub(super) fn peek(&mut self) -> Result<Option<Record>, String> {
        while self.peeked.is_none() {
            let available = self.reader.data().len();
            if let Some(len) = self.other_block() {
                self.pass_over(len, available)?;
                continue;
            }
            match self.reader.next() {
                Ok((record, block)) => match understand(record, &block, &mut self.interfaces, &mut self.big_endian) {
                    Ok(Some(packet)) => self.peeked = Some(packet),
                    Ok(None) => self.reader.consume(record),
                    Err(problem) => return Err(self.problem(&problem)),
                },
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::UnexpectedEof) => return Err(self.problem("the file ends in the middle of a record")),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => self.read_more(available)?,
                Err(PcapError::ReadError) => return Err(self.problem("the file cannot be read")),
                Err(_) => return Err(self.problem("the record is damaged")),
            }
        }
        Ok(self.peeked)
    }

    /// Length of the block that comes next, if it is one of pcapng's that tell nothing about packets.
    fn other_block(&self) -> Option<usize> {
        let kind = self.word(0).filter(|kind| self.pcapng && !OF_PACKETS.contains(kind));
        kind.and_then(|_| self.word(4)).map(|len| len as usize)
    }

    /// Passes over a block of `len` bytes, if all of it is there. The parser is not shown it: in one of a kind that nobody asked for it believes a length that is none (pcap-parser 0.17,
    /// process information).
    fn pass_over(&mut self, len: usize, available: usize) -> Result<(), String> {
        match len.checked_sub(4) {
            Some(8..) if available < len && self.reader.reader_exhausted() => {
                Err(self.problem("the file ends in the middle of a record"))
            }
            Some(8..) if available < len => self.read_more(available),
            Some(end @ 8..) if self.word(end) == Some(len as u32) => {
                self.reader.consume(len);
                Ok(())
            }
            _ => Err(self.problem("the record is damaged")),
        }
    }

    /// A word of the data that comes next, in the byte order of the section.
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = *self.reader.data().get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The bytes of the packet that [`CaptureFile::peek`] gave.
    pub(super) fn data(&self, record: &Record) -> &[u8] {
        &self.reader.data()[record.at..record.at + record.len]
    }

    /// Goes on to the next packet.
    pub(super) fn advance(&mut self) {
        if let Some(record) = self.peeked.take() {
            self.reader.consume(record.record);
            self.packets += 1;
        }
    }

    /// Gets more bytes into the buffer, which held `available` of them.
    fn read_more(&mut self, available: usize) -> Result<(), String> {
        if self.reader.refill().is_err() {
            return Err(self.problem("the file cannot be read"));
        }
        let stuck = self.reader.data().len() == available && !self.reader.reader_exhausted();
        if stuck && !self.reader.grow((available * 2).clamp(BUFFER, LONGEST_RECORD)) {
            return Err(self.problem("the record is damaged: its length is absurd"));
        }
        Ok(())
    }

    fn problem(&self, what: &str) -> String {
        format!("{}: {what} (at byte {}, after {} packets)", self.path.display(), self.reader.consumed(), self.packets)
    }
}

/// What a record says: a packet, or something to remember for the packets to come.
fn understand(
    record: usize,
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    big_endian: &mut bool,
) -> Result<Option<Record>, String> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            // The upper bits tell about an FCS (draft-ietf-opsawg-pcap, section 4).
            ethernet(Linktype(header.network.0 & 0xffff))?;
            let clock = Clock::decimal(if header.is_nanosecond_precision() { 9 } else { 6 });
            interfaces.push(Interface { clock, snap: header.snaplen });
            Ok(None)
        }
        PcapBlockOwned::Legacy(packet) => {
            let Interface { clock, .. } = declared(interfaces, 0)?;
            let ticks = u64::from(packet.ts_sec) * clock.per_second() + u64::from(packet.ts_usec);
            let len = packet.data.len();
            let time = Some(clock.nanoseconds(ticks));
            Ok(Some(Record { time, original: packet.origlen, at: record - len, len, record }))
        }
        PcapBlockOwned::NG(Block::SectionHeader(section)) => {
            *big_endian = section.big_endian();
            interfaces.clear();
            Ok(None)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            ethernet(interface.linktype)?;
            interfaces.push(Interface { clock: clock(interface, *big_endian)?, snap: interface.snaplen });
            Ok(None)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let Interface { clock, .. } = declared(interfaces, packet.if_id)?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let len = packet.caplen as usize;
            // Header of the block: type, length, interface, two words of time, two lengths.
            Ok(Some(Record { time: Some(clock.nanoseconds(ticks)), original: packet.origlen, at: 28, len, record }))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            // The data is padded; how much of it was captured follows from the snap length (section 4.4).
            let snap = match declared(interfaces, 0)?.snap {
                0 => u32::MAX,
                snap => snap,
            };
            let len = packet.data.len().min(packet.origlen.min(snap) as usize);
            Ok(Some(Record { time: None, original: packet.origlen, at: 12, len, record }))
        }
        PcapBlockOwned::NG(_) => Ok(None),
    }
}

fn declared(interfaces: &[Interface], number: u32) -> Result<&Interface, String> {
    interfaces
        .get(number as usize)
        .ok_or_else(|| format!("the packet belongs to interface {number}, which the file does not declare"))
}

fn ethernet(link: Linktype) -> Result<(), String> {
    if link == Linktype::ETHERNET {
        return Ok(());
    }
    Err(format!(
        "the packets are of link type {}, not Ethernet (1); convert the file, for instance with editcap -T ether",
        link.0
    ))
}

/// Reads if_tsresol and if_tsoffset from the options themselves: the parser knows neither binary resolutions nor big-endian offsets.
fn clock(interface: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Result<Clock, String> {
    let mut resolution = 6;
    let mut offset = 0;
    for option in &interface.options {
        match (option.code, option.as_bytes()) {
            (OptionCode::IfTsresol, Ok(&[value])) => resolution = value,
            (OptionCode::IfTsoffset, Ok(bytes)) => {
                let bytes =
                    <[u8; 8]>::try_from(bytes).map_err(|_| "the interface's if_tsoffset is damaged".to_owned())?;
                offset = if big_endian { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) };
            }
            _ => {}
        }
    }
    Clock::new(resolution, offset)
        .ok_or_else(|| format!("if_tsresol {resolution:#x} is finer than this reader can tell"))
}

/// Whether the bytes are the beginning of pcap (microseconds, nanoseconds, or Kuznetzov's variant; either byte order) or pcapng.
fn is_capture(magic: &[u8]) -> bool {
    [0xA1B2_C3D4, 0xA1B2_3C4D, 0xA1B2_CD34, 0xD4C3_B2A1, 0x4D3C_B2A1, SECTION_HEADER]
        .iter()
        .any(|known| known.to_le_bytes().starts_with(magic))
}

fn read_fully(reader: &mut impl Read, mut buffer: &mut [u8]) -> std::io::Result<usize> {
    let len = buffer.len();
    while !buffer.is_empty() {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(n) => buffer = &mut buffer[n..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len - buffer.len())
}

/// Fills the buffer whole, as the parser takes the first read for the whole header.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        read_fully(&mut self.0, buffer)
    }
}
