//! Zones and the lists in front of them: a block comes out when one is free as a whole, and never twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;
use waterwheel::Zone;
use waterwheel::mm::{Account, FrozenPage, MAX_ORDER, Pcp, PcpParams, Users};
use waterwheel_fuzz::script::Script;
use waterwheel_fuzz::{assert_whole, take, zone};

/// More than one block of the highest order, and not a multiple of it.
static ZONES: LazyLock<[Zone; 2]> = LazyLock::new(|| [zone(1536, 0), zone(100, 1)]);

/// A zone, the lists in front of it, and the blocks that are with the user: number of the first page, and order.
struct Side {
    zone: Zone,
    pcp: Pcp,
    out: BTreeMap<u32, u8>,
    pages_out: usize,
}

struct Model {
    sides: [Side; 2],
    /// Blocks that are out, of both zones.
    blocks: Vec<FrozenPage>,
}

fn pages(block: &FrozenPage) -> Range<u32> {
    block.number()..block.number() + (1 << block.order())
}

impl Side {
    /// A block has come out: aligned, and with nobody until now.
    fn came_out(&mut self, block: &FrozenPage, order: u8) {
        assert_eq!((block.order(), block.number() % (1 << order)), (order, 0));
        assert_eq!(block.region_id(), self.zone.id());
        assert!(block.number() as usize + (1 << order) <= self.zone.region().pages());
        assert!(self.is_home(&pages(block)), "a page of {block:?} was out already");
        self.out.insert(block.number(), order);
        self.pages_out += 1 << order;
    }

    /// The block leaves the user's hands.
    fn gone(&mut self, block: &FrozenPage) {
        assert_eq!(self.out.remove(&block.number()), Some(block.order()));
        self.pages_out -= 1 << block.order();
    }

    /// None of these pages is with the user.
    fn is_home(&self, pages: &Range<u32>) -> bool {
        self.out.range(..pages.end).next_back().is_none_or(|(first, order)| first + (1 << order) <= pages.start)
    }

    /// There is no such block: none that is whole is free. What is in the lists is not free; who has nothing there knows exactly what is.
    fn refused(&self, order: u8) {
        if order <= MAX_ORDER && self.pcp.pages() == 0 {
            let (size, pages) = (1 << order, self.zone.region().pages() as u32);
            let mut gap = 0; // where the pages begin that are not out
            for (first, taken) in self.out.iter().chain([(&pages, &0)]) {
                assert!(
                    u32::next_multiple_of(gap, size) + size > *first,
                    "refused a block of order {order}, and had it"
                );
                gap = first + (1 << taken);
            }
        }
    }

    fn check(&self) {
        let free = self.zone.stats().free;
        assert_eq!(free + self.pcp.pages() + self.pages_out, self.zone.region().pages(), "a page is lost");
    }

    fn account(&self) {
        let mut account = Account::open(&self.zone);
        self.pcp.account(&mut account);
        let account = account.close(Users::Alive);
        let known = (account.held_by_users, account.frozen, account.conflicts);
        assert_eq!(known, (self.pages_out, self.pcp.pages(), 0), "{account:?}");
    }
}

impl Model {
    fn new(script: &mut Script<'_>) -> Self {
        let mut side = |i: usize| {
            let zone = ZONES[i].clone();
            let params = PcpParams { high: script.below(200), batch: script.below(80) };
            Side { pcp: Pcp::new(&zone, params), zone, out: BTreeMap::new(), pages_out: 0 }
        };
        Self { sides: [side(0), side(1)], blocks: Vec::new() }
    }

    /// The side that the block is of.
    fn side_of(&mut self, block: &FrozenPage) -> &mut Side {
        self.sides.iter_mut().find(|side| side.zone.id() == block.region_id()).expect("one of the zones")
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let action = script.u8();
        let side = &mut self.sides[usize::from(action >> 7)];
        match action & 0x7f {
            0..24 => {
                let order = script.u8() % (MAX_ORDER + 2);
                let block = if action & 1 == 1 { side.pcp.alloc(order) } else { side.zone.alloc(order) };
                match &block {
                    Some(block) => side.came_out(block, order),
                    None => side.refused(order),
                }
                self.blocks.extend(block);
            }
            24..40 => {
                let (order, count, before) =
                    (script.u8() % (MAX_ORDER + 2), usize::from(script.u8()), self.blocks.len());
                let (got, order) = if action & 1 == 1 {
                    (side.pcp.alloc_bulk(count, &mut self.blocks), 0)
                } else {
                    (side.zone.alloc_bulk(order, count, &mut self.blocks), order)
                };
                assert_eq!(got, self.blocks.len() - before);
                self.blocks[before..].iter().for_each(|block| side.came_out(block, order));
                if got < count {
                    side.refused(order);
                }
            }
            40..60 => {
                let Some(block) = take(&mut self.blocks, script.u16().into()) else { return };
                let (whole, order) = (pages(&block), script.u8().min(block.order()));
                let side = self.side_of(&block);
                side.gone(&block);
                // Those parts that nobody takes out are freed.
                let parts: Vec<FrozenPage> = block.split(order).take(script.u8().into()).collect();
                for (i, part) in parts.iter().enumerate() {
                    assert_eq!(part.number(), whole.start + ((i as u32) << order), "the parts lie side by side");
                    assert!(part.number() < whole.end);
                    side.came_out(part, order);
                }
                self.blocks.extend(parts);
            }
            60..84 => {
                if let Some(block) = take(&mut self.blocks, script.u16().into()) {
                    self.side_of(&block).gone(&block);
                }
            }
            84..108 => {
                if let Some(block) = take(&mut self.blocks, script.u16().into()) {
                    self.side_of(&block).gone(&block);
                    self.sides[usize::from(action >> 7)].pcp.free(block); // also one of the other zone
                }
            }
            108..120 => {
                let rest = self.blocks.len() - usize::from(script.u8()).min(self.blocks.len());
                let mut freed = self.blocks.split_off(rest);
                freed.iter().for_each(|block| self.side_of(block).gone(block));
                let side = &mut self.sides[usize::from(action >> 7)];
                if action & 1 == 1 { side.pcp.free_bulk(&mut freed) } else { side.zone.free_bulk(freed.drain(..)) }
            }
            120..124 => side.pcp.drain(),
            _ => self.sides.iter().for_each(Side::account),
        }
        self.sides.iter().for_each(Side::check);
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let mut model = Model::new(&mut script);
    while !script.is_empty() {
        model.step(&mut script);
    }
    model.sides.iter().for_each(Side::account);
    let zones = model.sides.each_ref().map(|side| side.zone.clone());
    drop(model);
    zones.iter().for_each(assert_whole);
});
