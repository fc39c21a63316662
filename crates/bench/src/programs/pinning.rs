//! `pinning`: an attacker keeps one small fragment of each block.

use crate::harness::{Case, Group, Interrupted, Program};
use crate::programs::setup;
use waterwheel_mm::{ORDERS, PAGE_SIZE, PageFrag, Zone};
use waterwheel_page_pool::{Direction, PagePool, PoolError, PoolParams};

/// Pages of the zone that two pools share: 64 MiB. None of their bytes is touched.
const ZONE: usize = 16384;
/// The part of the zone that a limited pool may have, and that the other pool asks for: one in so many.
const PART: usize = 8;
/// What is cut from the blocks: the smallest packet, and the half page that drivers receive into.
const FRAGMENTS: [(&str, usize); 2] = [("64 B", 64), ("2 KiB", 2048)];

pub(crate) fn program() -> Program {
    let case = |order: u8| Case::new(format!("order {order}"), "pinning", order, move |group| measure(group, order));
    Program {
        name: "pinning",
        about: "an attacker keeps one small fragment of each block, of order 0 to 10: how much memory that pins, and what is left for another pool",
        answers: "slide \"Cost when page order increase (Kernel 4.11-rc1)\": want to avoid this trick, attacker pin down memory",
        notes: vec![
            "a pool receives small packets into fragments of its blocks; the attacker keeps the first of each block, and everybody else lets go. pinned/held: bytes of the blocks \
             that cannot be used while the attacker holds on, per byte that he holds; it doubles with each order, which is what a large block costs in exchange for being cheaper \
             per 4 KiB (page_bench01). packets: how many he had to see pass until he had all he could get",
            "zone pinned: of a zone of 64 MiB that two pools share. Without a limit it is all of it, and the other pool gets nothing; with a limit of an eighth the attack stops \
             there, and the other pool gets all of the eighth that it asks for. A limit does not lower what a byte pins: it says who suffers, the pool that is attacked. The \
             kernel's page_pool has no limit of this kind",
        ],
        cases: (0..ORDERS as u8).map(case).collect(),
    }
}

fn measure(group: &mut Group<'_, '_>, order: u8) -> Result<(), Interrupted> {
    for (size, len) in FRAGMENTS {
        for (how, part) in [("no limit", 1), ("limit 1/8", PART)] {
            let name = format!("{size}, {how}");
            let Some(zone) = setup::zone(group, &name, ZONE) else { continue };
            match attack(&zone, order, len, part) {
                Ok(Pinned { per_byte, zone, other, packets }) => {
                    group.count(&name, "pinned/held", per_byte);
                    group.count(&name, "zone pinned %", zone);
                    group.count(&name, "other pool gets %", other);
                    group.count(&name, "packets", packets as f64);
                }
                Err(error) => group.absent(name, error.to_string()),
            }
        }
    }
    group.measure() // nothing to time, but a run can be interrupted here
}

/// What the attacker came to.
#[derive(Debug, PartialEq)]
struct Pinned {
    /// Bytes pinned per byte held.
    per_byte: f64,
    /// Share of the zone that is pinned, per cent.
    zone: f64,
    /// What the other pool gets of what it asks for, per cent.
    other: f64,
    /// Packets that passed.
    packets: u64,
}

/// Attacks a pool that may have one `part`-th of the zone, in packets of `len` bytes.
fn attack(zone: &Zone, order: u8, len: usize, part: usize) -> Result<Pinned, PoolError> {
    let limit = (ZONE / part) >> order;
    let mut pool = PagePool::new(zone, PoolParams { order, limit, ..PoolParams::default() })?;
    let mut kept: Vec<PageFrag> = Vec::with_capacity(limit);
    let mut packets = 0;
    while let Some(packet) = pool.alloc_frag(len, len) {
        packets += 1;
        if packet.offset() == 0 {
            kept.push(packet);
        } // else an honest receiver lets go of it
    }
    let pinned = pool.outstanding() as usize * (PAGE_SIZE << order);
    Ok(Pinned {
        per_byte: pinned as f64 / (kept.len() * len) as f64,
        zone: 100.0 * pinned as f64 / (ZONE * PAGE_SIZE) as f64,
        other: others_share(zone)?,
        packets,
    })
}

/// What a second pool over the same zone gets of an eighth of it, per cent.
fn others_share(zone: &Zone) -> Result<f64, PoolError> {
    let limit = ZONE / PART;
    let mut pool = PagePool::new(zone, PoolParams { limit, ..PoolParams::default() })?;
    let mut got = Vec::with_capacity(limit);
    pool.alloc_bulk(Direction::Rx, limit, &mut got);
    Ok(100.0 * got.len() as f64 / limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_mm::{Account, Users, ZoneParams};

    #[test]
    fn a_byte_pins_its_block_and_a_limit_confines_it() {
        for order in 0..ORDERS as u8 {
            for (_, len) in FRAGMENTS {
                let zone = Zone::new(&ZoneParams::pages(ZONE)).expect("memory");
                let per_byte = ((PAGE_SIZE << order) / len) as f64;
                let packets = (ZONE * PAGE_SIZE / len) as u64;
                let free = attack(&zone, order, len, 1).expect("a pool");
                assert_eq!(free, Pinned { per_byte, zone: 100.0, other: 0.0, packets });
                let limited = attack(&zone, order, len, PART).expect("a pool");
                let packets = packets / PART as u64;
                assert_eq!(limited, Pinned { per_byte, zone: 12.5, other: 100.0, packets });
                assert!(Account::open(&zone).close(Users::Gone).is_whole());
            }
        }
    }
}
