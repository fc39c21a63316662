//! What is in a record of pcap (draft-ietf-opsawg-pcap), and how its records are made.

use super::blocks::{LONGEST_RECORD, Order, Record};
use super::link::Link;
use super::time::Clock;

/// How the records of a pcap file are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    order: Order,
    clock: Clock,
    /// Bytes in front of a packet.
    header: usize,
    /// Which version wrote it: until 2.2 the two lengths of a packet stood the other way round, in 2.3 either way.
    minor: u16,
    link: Link,
}

/// How well bytes agree with records that are made in one way, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// They cannot be such records.
    Not,
    /// More bytes will tell.
    Open,
    /// They are.
    Sure,
}

impl Plain {
    /// Bytes of the file's header.
    pub(super) const LEN: usize = 24;

    /// What the file's header says: microseconds, nanoseconds, or Kuznetzov's variant, which tells more of each packet.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, String> {
        let magic = Order { big: false }.word(bytes, 0)?;
        let order = Order { big: magic & 0xff != 0xd4 && magic & 0xff != 0x4d && magic & 0xff != 0x34 };
        let magic = order.word(bytes, 0)?;
        let (major, minor) = (order.half(bytes, 4)?, order.half(bytes, 6)?);
        if major != 2 || minor > 4 {
            return Err(format!("it is of version {major}.{minor} of pcap, which is not known: want 2.4"));
        }
        // The upper bits tell about an FCS (section 4).
        let link = Link::new(order.word(bytes, 20)? as u16);
        let clock = Clock::decimal(if magic == 0xA1B2_3C4D { 9 } else { 6 });
        Ok(Self { order, clock, header: if magic == 0xA1B2_CD34 { 24 } else { 16 }, minor, link })
    }

    /// The same for a file whose records begin with `bytes`; `None`: more of them will tell. Some wrote longer headers under the same magic number
    /// (Nokia: 4 bytes more; RedHat 6.1: 8; SuSE 6.3: 4 more than Kuznetzov). The first records tell which it is, as no other reading of them makes sense.
    pub(super) fn settled(self, bytes: &[u8]) -> Option<Self> {
        let (fit, best) = self.best(bytes, false);
        (fit != Fit::Open || self.variants().len() == 1).then_some(best)
    }

    /// The same where no more bytes come.
    pub(super) fn settled_at_end(self, bytes: &[u8]) -> Self {
        self.best(bytes, true).1
    }

    /// How long the header of a record may be, beginning with what the magic number says.
    fn variants(&self) -> &'static [usize] {
        match (self.header, self.clock.per_second()) {
            (24, _) => &[24, 28],
            (_, 1_000_000) => &[16, 20, 24],
            _ => &[16], // who wrote nanoseconds came later
        }
    }

    /// The variant that agrees best with these bytes; of several that agree as well, the one with the shortest header.
    fn best(self, bytes: &[u8], ended: bool) -> (Fit, Self) {
        let fit = |&header: &usize| {
            let variant = Self { header, ..self };
            (variant.fit(bytes, ended, header == self.header), variant)
        };
        self.variants().iter().rev().map(fit).max_by_key(|(fit, _)| *fit).unwrap_or((Fit::Not, self))
    }

    /// How well the bytes agree with records that are made so; `expected`: as the magic number says.
    fn fit(&self, mut bytes: &[u8], ended: bool, expected: bool) -> Fit {
        /// So many records do not stand one right behind the other by accident.
        const RECORDS: usize = 4;
        /// Seconds that are no fraction of a second and no length of a packet: a header that is looked for at a wrong place has them where those should be.
        const NO_LENGTH: u32 = LONGEST_RECORD as u32;
        let (mut certain, mut usual) = (true, true);
        for record in 0..RECORDS {
            if bytes.is_empty() && ended && record > 0 {
                // One packet alone may be one of the expected kind, and a piece of what came behind it.
                return if record > 1 || expected || usual { Fit::Sure } else { Fit::Open };
            }
            let word = |at: usize| self.order.word(bytes, at);
            let (Ok(seconds), Ok(fraction), Ok(packet)) = (word(0), word(4), self.packet(bytes)) else {
                return Fit::Open;
            };
            let in_order = u64::from(fraction) < self.clock.per_second() && packet.len <= packet.original as usize;
            if !in_order || packet.len > LONGEST_RECORD {
                return Fit::Not;
            }
            certain &= seconds > NO_LENGTH;
            if record > 0 && certain {
                return Fit::Sure;
            }
            let end = packet.at + packet.len;
            let Some(next) = bytes.get(end..) else { return Fit::Open };
            if record == 0 {
                usual = self.link.is_usual(&bytes[packet.at..end], packet.original);
                // Behind a tag that is not known other readings look right, too.
                if usual && expected {
                    return Fit::Sure;
                }
            }
            bytes = next;
        }
        Fit::Sure
    }

    /// Bytes in front of each packet.
    pub(super) fn header(&self) -> usize {
        self.header
    }

    /// The packet whose record begins with these bytes.
    pub(super) fn packet(&self, bytes: &[u8]) -> Result<Record, String> {
        let word = |at: usize| self.order.word(bytes, at);
        let (mut len, mut original) = (word(8)?, word(12)?);
        if self.minor < 3 || (self.minor == 3 && len > original) {
            (len, original) = (original, len);
        }
        let ticks = u64::from(word(0)?) * self.clock.per_second() + u64::from(word(4)?);
        Ok(Record {
            time: Some(self.clock.nanoseconds(ticks)),
            original,
            at: self.header,
            len: len as usize,
            link: self.link,
        })
    }
}
