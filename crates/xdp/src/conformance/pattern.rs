//! Frames that say who they are, and whose every byte follows from that.
//!
//! Destination `02:57:57:57:57:57`, source `02` and the number in five bytes, EtherType 0x88b5 (local experimental, IEEE 802), then bytes that follow from the number and the place.

use crate::mm::PAGE_SIZE;

const DESTINATION: [u8; 6] = [0x02, 0x57, 0x57, 0x57, 0x57, 0x57];
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// An Ethernet header: the shortest frame that has a number.
pub(super) const HEADER: usize = 14;
/// One page of the suite's pool.
pub(super) const PAGE: usize = PAGE_SIZE;

/// Frame `number`, of `len` bytes, at least [`HEADER`].
pub(super) fn frame(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    bytes.extend(DESTINATION);
    bytes.push(0x02);
    bytes.extend(&number.to_be_bytes()[3..]);
    bytes.extend(ETHERTYPE);
    bytes.extend((HEADER..len).map(|place| byte(number, place)));
    bytes
}

fn byte(number: u64, place: usize) -> u8 {
    // Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4): neighbours differ, in number and in place.
    let mixed = (number << 20 | place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// The number of a frame of the suite; nothing for anybody else's, such as what a kernel sends of its own.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(..HEADER)?;
    (header[..6] == DESTINATION && header[6] == 0x02 && header[12..] == ETHERTYPE).then(|| {
        let mut number = [0; 8];
        number[3..].copy_from_slice(&header[7..12]);
        u64::from_be_bytes(number)
    })
}

/// Where `bytes` differ from frame `number` of `len` bytes, in words.
pub(super) fn damage(bytes: &[u8], number: u64, len: usize) -> Option<String> {
    if bytes.len() != len {
        return Some(format!("frame {number} of {len} bytes came out with {}", bytes.len()));
    }
    let right = frame(number, len);
    let place = bytes.iter().zip(&right).position(|(is, should)| is != should)?;
    Some(format!("frame {number} of {len} bytes: byte {place} is {:#04x} and was {:#04x}", bytes[place], right[place]))
}
