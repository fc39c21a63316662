//! How a capture file is played.

use crate::error::DevError;
use crate::value::{number, unknown_key, usage};

/// When the packets of a file come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// As fast as they are taken.
    Asap,
    /// With the gaps that they had when they were captured; the first one comes at once.
    Original,
}

/// How a capture file is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcapParams {
    /// When the packets come.
    pub timing: Timing,
    /// How many times the file is played, one after the other; 0: for ever.
    pub loops: u64,
}

impl Default for PcapParams {
    fn default() -> Self {
        Self { timing: Timing::Asap, loops: 1 }
    }
}

impl PcapParams {
    /// The keys that [`PcapParams::set`] takes, each with a line of help.
    pub const KEYS: &[(&str, &str)] = &[
        ("timing", "asap or original: with the gaps of the capture (default asap)"),
        ("loop", "how many times the file is played, 0 for ever (default 1)"),
    ];

    /// Sets one parameter from text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that it cannot have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DevError> {
        match key {
            "timing" => {
                self.timing = match value {
                    "asap" => Timing::Asap,
                    "original" => Timing::Original,
                    _ => return Err(usage(format!("{key}={value}: want one of asap, original"))),
                }
            }
            "loop" => self.loops = number(key, value)?,
            _ => return Err(unknown_key("pcap", key, Self::KEYS)),
        }
        Ok(())
    }
}
