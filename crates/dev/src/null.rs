//! `null`: a sink, and, with a size, a source of frames that nobody wrote.

use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, Drops, Homes, MAX_FRAGS, PagePool, Traffic, Wait, XdpBuff, XdpFrame,
};

use crate::error::DevError;
use crate::sent::{Sent, room};
use crate::value::{number, unknown_key, usage};

/// The shortest frame, in bytes without FCS (IEEE 802.3: 64 bytes with it).
const MIN_SIZE: usize = 60;
/// The longest: what jumbo frames are given, as for `gen:`.
const MAX_SIZE: usize = 9216;

/// What a `null:` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NullParams {
    /// Length of the frames that are received, in bytes without FCS; `None`: nothing is received.
    pub size: Option<usize>,
}

impl NullParams {
    /// The keys that [`NullParams::set`] takes, each with a line of help.
    pub const KEYS: &[(&str, &str)] =
        &[("size", "packets of so many bytes, 60 to 9216, are received from it (default: none are)")];

    /// Sets one parameter from text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that it cannot have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DevError> {
        match key {
            "size" => {
                let size = usize::try_from(number(key, value)?).unwrap_or(usize::MAX);
                self.size = Some(checked(size)?);
                Ok(())
            }
            _ => Err(unknown_key("null", key, Self::KEYS)),
        }
    }
}

fn checked(size: usize) -> Result<usize, DevError> {
    if (MIN_SIZE..=MAX_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(usage(format!("size={size}: want {MIN_SIZE} to {MAX_SIZE} bytes (without FCS)")))
    }
}

/// Takes every frame and reports it at the next `complete`.
///
/// It receives nothing, unless it is a [source](Null::source): then as many packets as it is asked for, each in a page from the pool, whose bytes are what they were.
/// That is what a loop costs whose packets cost nothing to make (DPDK's `net_null`).
#[derive(Debug)]
pub struct Null {
    name: String,
    /// Length of the packets that it receives.
    size: Option<usize>,
    sent: Sent,
}

impl Null {
    /// A sink with the name `null:`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: "null:".to_owned(), size: None, sent: Sent::new() }
    }

    /// A sink that is also an endless source of packets of `size` bytes without FCS. Their content is whatever the page had: zeros, or what was in it before.
    ///
    /// # Errors
    /// Usage: less than 60 bytes, or more than 9216.
    pub fn source(size: usize) -> Result<Self, DevError> {
        Ok(Self { name: format!("null:size={size}"), size: Some(checked(size)?), sent: Sent::new() })
    }

    /// The same device with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }
}

impl Default for Null {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Null {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rx: self.size.is_some(), max_frame: usize::MAX, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let Some(size) = self.size else { return 0 };
        let before = batch.len();
        if size <= room(pool) {
            batch.extend(pool.hand_out(Direction::Rx, budget).map(|page| XdpBuff::with_len(page, size)));
        } else {
            batch.extend((0..budget).map_while(|_| XdpBuff::of_len(pool, Direction::Rx, size)));
        }
        batch.len() - before
    }

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _drops: &mut Drops) -> Traffic {
        self.sent.take(frames)
    }

    fn wait(&self) -> Wait {
        if self.size.is_some() { Wait::Now } else { Wait::Never }
    }

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }
}
