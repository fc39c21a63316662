//! `null`: a sink.

use waterwheel_xdp::{Account, Capabilities, Device, Drops, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame};

use crate::sent::Sent;

/// Takes every frame and reports it at the next `complete`; never receives anything.
#[derive(Debug)]
pub struct Null {
    name: String,
    sent: Sent,
}

impl Null {
    /// A sink with the name `null:`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: "null:".to_owned(), sent: Sent::new() }
    }

    /// The same sink with another name.
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
        Capabilities { rx: false, max_frame: u16::MAX.into(), ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, _pool: &mut PagePool, _batch: &mut Vec<XdpBuff>, _budget: usize) -> usize {
        0
    }

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _drops: &mut Drops) -> Traffic {
        self.sent.take(frames)
    }

    fn wait(&self) -> Wait {
        Wait::Never
    }

    fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }
}
