//! Records on their way to a stream.

use std::io::{self, Write};

use waterwheel_xdp::Traffic;

use super::blocks::ENHANCED_PACKET;
use super::stream::Stream;

/// Whole records of pcapng in this machine's byte order, and how far they were written. It knows which packets have left it whole, and those only.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Bytes that were written.
    written: usize,
    /// Where the first record begins that was not written whole.
    front: usize,
    sent: Traffic,
}

impl Outbox {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Bytes that are not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Packets that were written whole.
    pub(super) fn sent(&self) -> Traffic {
        self.sent
    }

    /// Writes as much as the stream has room for; true: everything.
    pub(super) fn write_to(&mut self, stream: &Stream) -> io::Result<bool> {
        while self.waiting() > 0 {
            match stream.write(&self.bytes[self.written..])? {
                None => {
                    self.close_up();
                    return Ok(false);
                }
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(n) => self.note(n),
            }
        }
        self.bytes.clear();
        (self.written, self.front) = (0, 0);
        Ok(true)
    }

    /// `n` bytes more were written.
    fn note(&mut self, n: usize) {
        self.written += n;
        while let Some(len) = self.word(self.front + 4).filter(|len| self.front + len <= self.written) {
            if self.word(self.front) == Some(ENHANCED_PACKET as usize) {
                self.sent.add(self.word(self.front + 20).unwrap_or(0));
            }
            self.front += len;
        }
    }

    fn word(&self, at: usize) -> Option<usize> {
        let word = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*word) as usize)
    }

    /// Lets go of records that were written, when they are the greater part.
    fn close_up(&mut self) {
        if self.front > self.bytes.len() / 2 {
            self.bytes.drain(..self.front);
            (self.written, self.front) = (self.written - self.front, 0);
        }
    }
}

impl Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::PcapSink;
    use super::*;

    #[test]
    fn what_was_written_is_counted_and_let_go_of() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let stream = Stream::given(write).unwrap();
        let mut sink = PcapSink::new(Outbox::default(), "eth0").unwrap();
        let mut part = vec![0; 10_000];
        let (mut packets, mut bytes, mut came) = (0, 0, 0);
        for round in 0..1000 {
            while sink.writer().waiting() < 200_000 {
                let len = 1000 + packets as usize % 7;
                sink.packet(0, 5, &part[..len]).unwrap();
                (packets, bytes) = (packets + 1, bytes + len as u64);
            }
            assert!(!sink.writer_mut().write_to(&stream).unwrap(), "a pipe is smaller than that");
            assert!(sink.writer().bytes.len() < 1_000_000, "round {round}: it keeps what was written");
            came += rustix::io::read(&read, &mut part).unwrap();
            let sent = sink.writer().sent();
            assert!(sent.packets < packets && sent.bytes < bytes);
        }
        while !sink.writer_mut().write_to(&stream).unwrap() {
            came += rustix::io::read(&read, &mut part).unwrap();
        }
        assert_eq!(sink.writer().sent(), Traffic { packets, bytes }, "all of them, to the last byte");
        assert!(came as u64 > bytes - 70_000);
    }
}
