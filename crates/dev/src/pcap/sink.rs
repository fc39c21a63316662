//! Writes pcapng: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet), 4.6 (interface
//! statistics).

use std::io::{self, Write};

/// Block types (section 11.1 of the draft).
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

pub(super) const LINKTYPE_ETHERNET: u16 = 1;
/// What this program says of payloads without a link layer.
pub(super) const LINKTYPE_USER0: u16 = 147;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// The longest block that [`PcapSink::statistics`] writes: its frame, interface and time, four options of eight bytes each, and their end.
pub(super) const STATISTICS: u64 = 12 + 12 + 4 * 12 + 4;

/// A pcapng file of Ethernet packets with time stamps in nanoseconds, in the byte order of this machine.
///
/// Every packet belongs to an interface; [`PcapSink::new`] declares the first one (number 0), [`PcapSink::interface`] more. Buffer the
/// writer below it (`BufWriter`), and call [`PcapSink::flush`] at the end.
///
/// ```
/// let mut sink = waterwheel_dev::pcap::PcapSink::new(Vec::new(), "eth0")?;
/// sink.packet(0, 1_700_000_000_123_456_789, &[0; 60])?;
/// assert_eq!(sink.into_inner()[..4], [0x0A, 0x0D, 0x0D, 0x0A]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PcapSink<W: Write> {
    writer: W,
    interfaces: u32,
}

impl<W: Write> PcapSink<W> {
    /// Begins the file and declares interface 0 with its name, of which at most 65532 bytes are kept.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(writer: W, interface: &str) -> io::Result<Self> {
        let mut sink = Self::begin(writer)?;
        sink.interface(interface)?;
        Ok(sink)
    }

    /// Begins the file.
    pub(super) fn begin(mut writer: W) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(0x1A2B_3C4D_u32.to_ne_bytes()); // byte-order magic
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend((-1_i64).to_ne_bytes()); // length of the section: not known
        block(&mut writer, SECTION_HEADER, &body)?;
        Ok(Self { writer, interfaces: 0 })
    }

    /// Declares one more interface and returns its number.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn interface(&mut self, name: &str) -> io::Result<u32> {
        self.declare(name, LINKTYPE_ETHERNET, 0)
    }

    /// The same, of a link type; no more than `snap` bytes of its packets are kept, or, if that is 0, all.
    pub(super) fn declare(&mut self, name: &str, link: u16, snap: u32) -> io::Result<u32> {
        let mut body = Vec::new();
        body.extend(link.to_ne_bytes());
        body.extend([0; 2]);
        body.extend(snap.to_ne_bytes());
        option(&mut body, IF_NAME, &name.as_bytes()[..name.len().min(65532)]);
        option(&mut body, IF_TSRESOL, &[9]);
        option(&mut body, 0, &[]);
        block(&mut self.writer, INTERFACE_DESCRIPTION, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a whole packet that interface `interface` saw `nanoseconds` after the epoch.
    ///
    /// # Errors
    /// Those of the writer; `InvalidInput` when there is no such interface.
    pub fn packet(&mut self, interface: u32, nanoseconds: u64, data: &[u8]) -> io::Result<()> {
        self.snapped_packet(interface, nanoseconds, data, u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// Like [`PcapSink::packet`], for the first bytes of a packet that was `original` bytes long.
    ///
    /// # Errors
    /// Those of the writer; `InvalidInput` when there is no such interface, or 4 GiB do not hold the packet.
    pub fn snapped_packet(&mut self, interface: u32, nanoseconds: u64, data: &[u8], original: u32) -> io::Result<()> {
        let padding = data.len().wrapping_neg() % 4;
        let total = u32::try_from(32 + data.len() + padding).map_err(|_| io::ErrorKind::InvalidInput)?;
        if interface >= self.interfaces {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let words = [
            ENHANCED_PACKET,
            total,
            interface,
            (nanoseconds >> 32) as u32,
            nanoseconds as u32,
            total - 32 - padding as u32,
            original,
        ];
        let mut header = [0; 28];
        for (bytes, word) in header.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        self.writer.write_all(&header)?;
        self.writer.write_all(data)?;
        self.writer.write_all(&[0; 3][..padding])?;
        self.writer.write_all(&total.to_ne_bytes())
    }

    /// What interface 0 has counted until now, in nanoseconds since the epoch.
    pub(super) fn statistics(&mut self, counts: Counts, now: u64) -> io::Result<()> {
        let time = |nanos: u64| [(nanos >> 32) as u32, nanos as u32].map(u32::to_ne_bytes).concat();
        let mut body = 0_u32.to_ne_bytes().to_vec();
        body.extend(time(now));
        option(&mut body, ISB_STARTTIME, &time(counts.started));
        option(&mut body, ISB_ENDTIME, &time(now));
        option(&mut body, ISB_IFRECV, &counts.received.to_ne_bytes());
        if let Some(dropped) = counts.dropped {
            option(&mut body, ISB_IFDROP, &dropped.to_ne_bytes());
        }
        option(&mut body, 0, &[]);
        block(&mut self.writer, INTERFACE_STATISTICS, &body)
    }

    /// Passes everything on to where the writer writes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    pub(super) fn writer(&self) -> &W {
        &self.writer
    }

    pub(super) fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// The writer, which may still hold packets in its buffer.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

/// What an interface has counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    /// Nanoseconds since the epoch.
    pub(super) started: u64,
    pub(super) received: u64,
    /// `None`: not known.
    pub(super) dropped: Option<u64>,
}

/// Writes a block around a body whose length is a multiple of four.
fn block(writer: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let total = u32::try_from(body.len() + 12).map_err(|_| io::ErrorKind::InvalidInput)?;
    writer.write_all(&kind.to_ne_bytes())?;
    writer.write_all(&total.to_ne_bytes())?;
    writer.write_all(body)?;
    writer.write_all(&total.to_ne_bytes())
}

/// Appends an option, padded to a multiple of four (section 3.5).
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
