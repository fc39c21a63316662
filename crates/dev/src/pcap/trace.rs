//! What passes through a device, into a capture file.

use super::PcapSink;
use super::time::now;
use std::io::{self, Write};
use waterwheel_xdp::wrap::{Heading, Sink};

/// Writes the packets of a [`Trace`](waterwheel_xdp::wrap::Trace) as pcapng, with the wall clock's time: those received as of interface 0, those to be sent as of interface 1.
///
/// An error of the writer ends the trace, not the traffic; [`PcapTrace::error`] tells it.
///
/// ```
/// use waterwheel_dev::{null::Null, pcap::PcapTrace};
/// use waterwheel_xdp::wrap::Trace;
/// let device = Trace::new(Null::new(), PcapTrace::new(Vec::new(), "null")?);
/// # drop(device);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PcapTrace<W: Write> {
    sink: PcapSink<W>,
    error: Option<io::Error>,
}

impl<W: Write> PcapTrace<W> {
    /// Begins the file; the interfaces are called `NAME rx` and `NAME tx`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(writer: W, name: &str) -> io::Result<Self> {
        let mut sink = PcapSink::new(writer, &format!("{name} rx"))?;
        sink.interface(&format!("{name} tx"))?;
        Ok(Self { sink, error: None })
    }

    /// Why nothing is written any more.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }
}

impl<W: Write + Send> Sink for PcapTrace<W> {
    fn packet(&mut self, heading: Heading, data: &[u8]) {
        if self.error.is_none() {
            let interface = if heading == Heading::Rx { 0 } else { 1 };
            self.error = self.sink.packet(interface, now(), data).err();
        }
    }

    fn finish(&mut self) {
        if self.error.is_none() {
            self.error = self.sink.flush().err();
        }
    }
}
