//! The bytes of a packet: who made it, which one it is, and a pattern over the whole length that follows from that.
//!
//! Whoever receives, sends, holds or drops a packet verifies it. If a page has two holders, or is used after it went home, one of them finds the other's bytes.

use waterwheel_dev::generator::SplitMix64;

/// Bytes in front of the pattern: number, source, length, and a check word over these three.
pub(super) const HEADER: usize = 24;

/// Names a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ident {
    pub(super) source: u32,
    pub(super) number: u64,
    pub(super) len: u32,
}

/// The first byte that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// From the start of the packet.
    pub(super) offset: usize,
    pub(super) expected: u8,
    pub(super) found: u8,
}

impl Ident {
    /// The numbers that the packet's bytes are made of; the first one is the check word.
    fn pattern(self, seed: u64) -> SplitMix64 {
        let name = (u64::from(self.source) << 32) + u64::from(self.len);
        SplitMix64::new(seed ^ self.number.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ name.rotate_left(17))
    }

    fn header(self, seed: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&self.number.to_le_bytes());
        header[8..12].copy_from_slice(&self.source.to_le_bytes());
        header[12..16].copy_from_slice(&self.len.to_le_bytes());
        header[16..].copy_from_slice(&self.pattern(seed).next().to_le_bytes());
        header
    }

    /// Writes the packet into `out`, which has its length (at least [`HEADER`]).
    pub(super) fn write(self, seed: u64, out: &mut [u8]) {
        out[..HEADER].copy_from_slice(&self.header(seed));
        let mut pattern = self.pattern(seed);
        pattern.next();
        for bytes in out[HEADER..].chunks_mut(8) {
            bytes.copy_from_slice(&pattern.next().to_le_bytes()[..bytes.len()]);
        }
    }

    /// Whether `bytes` are this packet.
    pub(super) fn verify(self, seed: u64, bytes: &[u8]) -> Result<(), Damage> {
        let header = self.header(seed);
        let there = bytes.len().min(HEADER);
        compare(0, &header, &bytes[..there])?;
        if there < HEADER {
            return Err(Damage { offset: there, expected: header[there], found: 0 }); // it is cut
        }
        let mut pattern = self.pattern(seed);
        pattern.next();
        for (i, found) in bytes[HEADER..].chunks(8).enumerate() {
            let expected = pattern.next().to_le_bytes();
            if *found != expected[..found.len()] {
                compare(HEADER + 8 * i, &expected, found)?;
            }
        }
        Ok(())
    }

    /// Reads from a packet which one it is, and verifies the rest.
    pub(super) fn read(seed: u64, bytes: &[u8]) -> Result<Self, Damage> {
        let mut header = [0; HEADER];
        let there = bytes.len().min(HEADER);
        header[..there].copy_from_slice(&bytes[..there]);
        let (number, rest) = header.split_at(8);
        let claimed = Self {
            number: u64::from_le_bytes(number.try_into().unwrap_or_default()),
            source: u32::from_le_bytes(rest[..4].try_into().unwrap_or_default()),
            len: u32::from_le_bytes(rest[4..8].try_into().unwrap_or_default()),
        };
        let len = (bytes.len() as u32).to_le_bytes();
        compare(12, &len, &claimed.len.to_le_bytes())?;
        claimed.verify(seed, bytes).map(|()| claimed)
    }
}

/// The first of `found` that is not as in `expected`; `offset` is where both begin.
fn compare(offset: usize, expected: &[u8], found: &[u8]) -> Result<(), Damage> {
    match std::iter::zip(expected, found).position(|(expected, found)| expected != found) {
        None => Ok(()),
        Some(at) => Err(Damage { offset: offset + at, expected: expected[at], found: found[at] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    #[test]
    fn every_changed_byte_is_found_where_it_is() {
        for len in [HEADER, 60, 61, 67, 1514] {
            let id = Ident { source: 3, number: 1 << 40, len: len as u32 };
            let mut bytes = vec![0; len];
            id.write(SEED, &mut bytes);
            assert_eq!((Ident::read(SEED, &bytes), id.verify(SEED, &bytes)), (Ok(id), Ok(())));
            for at in 0..len {
                bytes[at] ^= 0x10;
                let damage = id.verify(SEED, &bytes).unwrap_err();
                assert_eq!((damage.offset, damage.expected ^ damage.found), (at, 0x10), "{len}");
                assert!(Ident::read(SEED, &bytes).is_err(), "byte {at} of {len}");
                bytes[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn another_packet_is_not_this_one() {
        let id = Ident { source: 1, number: 1, len: 100 };
        let mut bytes = vec![0; 100];
        id.write(SEED, &mut bytes);
        for other in [Ident { source: 2, ..id }, Ident { number: 2, ..id }] {
            assert!(other.verify(SEED, &bytes).is_err());
        }
        assert!(id.verify(SEED + 1, &bytes).is_err(), "a packet of another run");
        assert!(Ident::read(SEED, &bytes[..99]).is_err(), "cut");
        assert!(Ident::read(SEED, &[0; 100]).is_err() && Ident::read(SEED, &[]).is_err());
    }
}
