//! `gen`: a source of made packets.
//!
//! The packets are valid in every length and checksum. They are made once, when the device is, and copied into pages from
//! the pool; where addresses or ports vary, these are patched, and the checksums updated as RFC 1624 says.

mod flows;
mod params;
mod random;
mod range;
mod template;

use std::time::Instant;

use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, Drops, Health, Homes, MAX_FRAGS, PagePool, Traffic, Wait, XdpBuff,
    XdpFrame,
};

use crate::error::DevError;
use crate::pace::Pace;
use crate::sent::{Sent, room};
use flows::Flows;
pub use params::{GenParams, IMIX, IpVersion, MAX_SIZE, MIN_SIZE, Protocol, Size, Vary};
pub use random::SplitMix64;
pub use range::AddressRange;

/// The generator: receives the packets that it makes, and is a sink for what is sent to it.
#[derive(Debug)]
pub struct Gen {
    name: String,
    flows: Flows,
    /// Packets still to make.
    left: u64,
    pace: Option<Pace>,
    sent: Sent,
    /// Where packets are made that do not fit into a page.
    whole: Vec<u8>,
    /// Length of the packet there that waits for pages.
    waiting: Option<usize>,
}

impl Gen {
    /// A generator with the name `gen:`.
    ///
    /// # Errors
    /// Usage: parameters that do not fit together, such as a size that does not hold the headers, or addresses of two IP versions.
    pub fn new(params: &GenParams) -> Result<Self, DevError> {
        Ok(Self {
            name: "gen:".to_owned(),
            flows: Flows::new(params)?,
            left: params.count.unwrap_or(u64::MAX),
            pace: params.rate.map(|rate| Pace::new(rate, params.burst)),
            sent: Sent::new(),
            whole: Vec::new(),
            waiting: None,
        })
    }

    /// The same generator with another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// How many packets to make now, `budget` at most.
    fn wanted(&mut self, budget: usize) -> usize {
        let mut wanted = self.left.min(budget as u64);
        if let Some(pace) = &mut self.pace
            && wanted > 0
        {
            wanted = wanted.min(pace.due(Instant::now(), self.flows.longest()));
        }
        wanted as usize
    }
}

impl Device for Gen {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: usize::MAX, max_frags: MAX_FRAGS, ..Capabilities::default() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.sent.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let wanted = self.wanted(budget);
        if wanted == 0 {
            return 0;
        }
        let longest = self.flows.longest();
        let flows = &mut self.flows;
        let before = batch.len();
        if longest > room(pool) {
            self.whole.resize(longest, 0);
            batch.extend((0..wanted).map_while(|_| {
                // For want of pages it waits: the sequence has no gaps.
                let len = self.waiting.take().unwrap_or_else(|| flows.write_next(&mut self.whole));
                let packet = XdpBuff::copy_from(pool, Direction::Rx, &self.whole[..len]);
                self.waiting = packet.is_none().then_some(len);
                packet
            }));
        } else {
            batch.extend(pool.hand_out(Direction::Rx, wanted).map(|page| {
                let mut packet = XdpBuff::with_len(page, longest);
                let len = flows.write_next(packet.data_mut());
                packet.set_len(len);
                packet
            }));
        }
        let made = batch.len() - before;
        self.left -= made as u64;
        if let Some(pace) = &mut self.pace {
            batch[before..].iter().for_each(|packet| pace.sent(packet.total_len()));
        }
        made
    }

    fn tx(&mut self, _pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _drops: &mut Drops) -> Traffic {
        self.sent.take(frames)
    }

    fn wait(&self) -> Wait {
        match &self.pace {
            _ if self.left == 0 => Wait::Never,
            Some(pace) => pace.next().map_or(Wait::Now, Wait::Until),
            None => Wait::Now,
        }
    }

    fn health(&mut self) -> Health {
        if self.left == 0 { Health::Finished } else { Health::Up }
    }

    fn counters(&self, f: &mut dyn FnMut(&'static str, u64)) {
        if let Some(pace) = &self.pace {
            f("rate_missed", pace.missed());
        }
    }

    fn in_flight(&self) -> usize {
        self.sent.pages()
    }

    fn account(&self, account: &mut Account) {
        self.sent.account(account);
    }
}

#[cfg(test)]
mod tests;
