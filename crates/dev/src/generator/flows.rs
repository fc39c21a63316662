//! The sequence of packets: which template comes next, and with which fields.

use super::params::{GenParams, Vary};
use super::random::SplitMix64;
use super::range::Walk;
use super::template::{Fields, Template};
use crate::error::DevError;

/// An endless sequence of packets, the same for the same parameters.
#[derive(Debug, Clone)]
pub(super) struct Flows {
    /// One for every frame length of a round.
    templates: Vec<Template>,
    /// Position in the round.
    at: usize,
    /// Source address, destination address, source port, destination port.
    walks: [Walk; 4],
    /// Whether any of the ranges has more than one value: without, a packet is a mere copy.
    varies: bool,
    vary: Vary,
    random: SplitMix64,
}

impl Flows {
    pub(super) fn new(params: &GenParams) -> Result<Self, DevError> {
        let walks = params.walks()?;
        let fields = current(&walks);
        let sizes = params.sizes()?;
        let templates = sizes.into_iter().map(|size| Template::new(params, size, &fields)).collect::<Result<_, _>>()?;
        let varies = walks.iter().any(Walk::moves);
        let random = SplitMix64::new(params.seed ^ 0x5eed);
        Ok(Self { templates, at: 0, walks, varies, vary: params.vary, random })
    }

    /// The longest frame in bytes.
    pub(super) fn longest(&self) -> usize {
        self.templates.iter().map(|template| template.bytes().len()).max().unwrap_or(0)
    }

    /// Writes the next packet to the beginning of `room` and tells its length. `room` has [`Flows::longest`] bytes at least.
    #[inline(always)] // into each of two loops
    pub(super) fn write_next(&mut self, room: &mut [u8]) -> usize {
        let template = &self.templates[self.at];
        self.at = if self.at + 1 == self.templates.len() { 0 } else { self.at + 1 };
        let bytes = template.bytes();
        copy(&mut room[..bytes.len()], bytes);
        if self.varies {
            template.patch(room, &current(&self.walks));
            step(&mut self.walks, self.vary, &mut self.random);
        }
        bytes.len()
    }
}

/// Copies a packet; the common shortest length has a constant size, which spares the call of `memcpy`.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match (<&mut [u8; 64]>::try_from(&mut *to), <&[u8; 64]>::try_from(from)) {
        (Ok(to), Ok(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

#[inline]
fn current(walks: &[Walk; 4]) -> Fields {
    let [source, destination, source_port, destination_port] = walks;
    Fields {
        source: source.current(),
        destination: destination.current(),
        source_port: source_port.current() as u16,
        destination_port: destination_port.current() as u16,
    }
}

#[inline]
fn step(walks: &mut [Walk; 4], vary: Vary, random: &mut SplitMix64) {
    match vary {
        Vary::Sequential => walks.iter_mut().for_each(|walk| _ = walk.step()),
        Vary::Combinations => {
            let [source, destination, source_port, destination_port] = walks;
            // Each wheel turns the next one when it comes round.
            _ = source_port.step() && destination_port.step() && source.step() && destination.step();
        }
        Vary::Random => walks.iter_mut().for_each(|walk| walk.jump(random.next())),
    }
}
