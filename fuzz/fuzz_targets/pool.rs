//! Several pools over two zones: pages go out, are shared, cut, put into the right pool and into the wrong one, dropped here and elsewhere, and outlive their pool.
//! No page is with two, none is lost, no limit is broken, and what is mapped for a device is what its pool has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use waterwheel::mm::{Account, PAGE_SIZE, Page, PageFrag, PageRef, Users, Zone};
use waterwheel::{Direction, PagePool, PoolParams};
use waterwheel_fuzz::device::Device;
use waterwheel_fuzz::script::Script;
use waterwheel_fuzz::{all, assert_whole, take, zone};

static ZONES: LazyLock<[Zone; 2]> = LazyLock::new(|| [zone(1024, 0), zone(200, 1)]);
/// Threads cost more than all other steps.
const THREADS: usize = 3;

struct Side {
    pool: PagePool,
    device: Device,
    limit: usize,
    /// What the pool keeps for each direction.
    floors: [usize; 2],
    /// Index of its current zone.
    zone: usize,
    /// It has cut pages: it may hold one itself.
    cuts: bool,
}

enum Held {
    Page(Page),
    Shared(PageRef),
    Frag(PageFrag),
}

/// Where a page's first byte lies: the name of the page, in whatever zone.
fn address(held: &Held) -> usize {
    match held {
        Held::Page(page) => page.as_ptr() as usize,
        Held::Shared(page) => page.as_ptr() as usize,
        Held::Frag(frag) => frag.as_ptr() as usize - frag.offset(),
    }
}

/// What is known of a page that is out.
struct Out {
    handles: usize,
    pool: u32,
    direction: Direction,
    order: u8,
}

struct Model {
    zones: [Zone; 2],
    sides: Vec<(u32, Side)>,
    next_id: u32,
    held: Vec<Held>,
    out: BTreeMap<usize, Out>,
    threads: usize,
}

fn tag(address: usize) -> u8 {
    (address / PAGE_SIZE % 251) as u8
}

impl Model {
    fn new() -> Self {
        let (sides, held, out) = Default::default();
        Self { zones: ZONES.clone(), sides, next_id: 0, held, out, threads: THREADS }
    }

    fn new_pool(&mut self, script: &mut Script<'_>) {
        let (zone, limit) = (script.below(2), usize::from(script.u8()));
        let order = [0, 0, 0, 1, 3][script.below(5)];
        let (rx, tx) = if script.flag() { (script.u8().into(), script.u8().into()) } else { (0, 0) };
        let high = script.flag().then(|| script.u8().into());
        let device = Device::refusing(if script.u8() < 32 { 7 } else { 0 });
        let dma: Box<Device> = Box::new(device.clone());
        let params = PoolParams { order, limit, floor_rx: rx, floor_tx: tx, high, dma: Some(dma), name: String::new() };
        match PagePool::new(&self.zones[zone], params) {
            Ok(pool) => {
                let side = Side { pool, device, limit, floors: [rx, tx], zone, cuts: false };
                self.sides.push((self.next_id, side));
                self.next_id += 1;
            }
            Err(error) => assert!(rx + tx > limit, "{error}"),
        }
    }

    /// A page of pool `id` has come out, which nobody had.
    fn came_out(out: &mut BTreeMap<usize, Out>, id: u32, direction: Direction, page: &mut Page) {
        let address = page.as_ptr() as usize;
        page.as_mut_slice().fill(tag(address));
        let before = out.insert(address, Out { handles: 1, pool: id, direction, order: page.order() });
        assert!(before.is_none(), "page {} was out already", page.number());
    }

    /// A handle is about to go; its bytes are what they should be.
    fn gone(&mut self, held: &Held) {
        let address = address(held);
        let bytes: &[u8] = match held {
            Held::Page(page) => page,
            Held::Shared(page) => page,
            Held::Frag(frag) => frag,
        };
        assert!(all(bytes, tag(address)), "somebody else wrote into a page");
        let out = self.out.get_mut(&address).expect("it is out");
        out.handles -= 1;
        if out.handles == 0 {
            self.out.remove(&address);
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let action = script.u8();
        let Some(which) = (!self.sides.is_empty()).then(|| script.below(self.sides.len())) else {
            return self.new_pool(script);
        };
        match action {
            0..70 => self.alloc(which, script),
            70..80 => self.frag(which, script),
            80..130 => self.let_go(which, script),
            130..145 => {
                if let Some(held) = take(&mut self.held, script.u16().into()) {
                    let held = match held {
                        Held::Page(page) => Held::Shared(page.share()),
                        Held::Shared(page) => self.unique_or_clone(page, script.flag()),
                        frag @ Held::Frag(_) => frag,
                    };
                    self.held.push(held);
                }
            }
            145..155 => {
                let (_, side) = &mut self.sides[which];
                side.zone = 1 - side.zone;
                side.pool.set_zone(&self.zones[side.zone]).expect("it maps page by page");
            }
            155..165 => self.sides[which].1.pool.shrink(script.u8().into()),
            165..175 if self.sides.len() < 4 => self.new_pool(script),
            175..180 => {
                let (_, side) = self.sides.swap_remove(which);
                drop(side.pool);
                assert_eq!(side.device.mapped(), 0, "nothing is mapped after the pool");
            }
            180..185 => self.account(),
            _ => self.put_many(which, script),
        }
        if let Some(which) = self.sides.len().checked_sub(1).map(|last| which.min(last)) {
            self.check(which);
        }
    }

    fn alloc(&mut self, which: usize, script: &mut Script<'_>) {
        let direction = if script.flag() { Direction::Rx } else { Direction::Tx };
        let (id, side) = &mut self.sides[which];
        let count = if script.flag() { 1 } else { usize::from(script.u8()) };
        let mut pages = Vec::new();
        if count == 1 {
            pages.extend(side.pool.alloc(direction));
        } else {
            assert_eq!(side.pool.alloc_bulk(direction, count, &mut pages), pages.len());
        }
        assert!(pages.len() <= count);
        let refused = pages.len() < count;
        for mut page in pages {
            assert!(side.pool.owns(&page) && page.order() == side.pool.order());
            assert!(side.pool.dma_addr(&page).is_some(), "a page that is not mapped came out");
            Self::came_out(&mut self.out, *id, direction, &mut page);
            self.held.push(Held::Page(page));
        }
        let (id, side) = &mut self.sides[which];
        let of = |direction| self.out.values().filter(|out| out.pool == *id && out.direction == direction).count();
        let (mine, [rx, tx]) = (of(direction), side.floors);
        let others_floor = if direction == Direction::Rx { tx } else { rx };
        assert!(refused || count == 0 || mine + others_floor <= side.limit, "the other direction's floor was broken");
    }

    fn frag(&mut self, which: usize, script: &mut Script<'_>) {
        let (id, side) = &mut self.sides[which];
        side.cuts = true;
        let len = 1 + usize::from(script.u16()) % 5000;
        let Some(mut frag) = side.pool.alloc_frag(len, 1 << script.below(8)) else { return };
        assert_eq!(frag.len(), len);
        let address = frag.as_ptr() as usize - frag.offset();
        assert!(frag.offset() + len <= PAGE_SIZE << side.pool.order());
        frag.fill(tag(address));
        let fresh = Out { handles: 0, pool: *id, direction: Direction::Rx, order: side.pool.order() };
        self.out.entry(address).or_insert(fresh).handles += 1;
        self.held.push(Held::Frag(frag));
    }

    fn unique_or_clone(&mut self, page: PageRef, unique: bool) -> Held {
        let out = self.out.get_mut(&(page.as_ptr() as usize)).expect("it is out");
        if !unique {
            out.handles += 1;
            self.held.push(Held::Shared(page.clone()));
            return Held::Shared(page);
        }
        let alone = out.handles == 1;
        match page.try_unique() {
            Ok(page) => {
                assert!(alone, "unique, though {} hold it", out.handles);
                Held::Page(page)
            }
            Err(page) => {
                assert!(!alone, "nobody else holds it");
                Held::Shared(page)
            }
        }
    }

    /// One handle goes: into a pool, its own or not, or by its drop, here or elsewhere.
    fn let_go(&mut self, which: usize, script: &mut Script<'_>) {
        let Some(held) = take(&mut self.held, script.u16().into()) else { return };
        self.gone(&held);
        match (held, script.u8()) {
            (Held::Page(page), 0..128) => self.sides[which].1.pool.put(page),
            (held, 255) if self.threads > 0 => {
                self.threads -= 1;
                std::thread::spawn(|| drop(held)).join().expect("the other thread");
            }
            (held, _) => drop(held),
        }
    }

    /// Many go at once into a pool; those that are another's stay in the vector.
    fn put_many(&mut self, which: usize, script: &mut Script<'_>) {
        let from = self.held.len() - usize::from(script.u8()).min(self.held.len());
        let mut pages = Vec::new();
        for held in self.held.split_off(from) {
            match held {
                Held::Page(page) => pages.push(page),
                other => self.held.push(other),
            }
        }
        let pool = &mut self.sides[which].1.pool;
        let own = pages.iter().filter(|page| pool.owns(page)).count();
        let (all, addresses) = (pages.len(), pages.iter().map(|page| page.as_ptr() as usize).collect::<Vec<_>>());
        self.out.retain(|address, _| !addresses.contains(address));
        if script.flag() {
            pool.put_bulk(&mut pages);
            assert_eq!(pages.len(), all - own);
        } else {
            assert_eq!(pool.take_back(pages).len(), all - own);
        }
    }

    /// What a pool says of itself.
    fn check(&mut self, which: usize) {
        let (id, side) = &mut self.sides[which];
        let stats = side.pool.stats();
        assert!(stats.inflight() as usize <= side.limit, "more than the limit");
        assert_eq!(side.device.mapped(), stats.inflight() as usize, "mapped, and the pool's, is the same");
        let known = self.out.values().filter(|out| out.pool == *id).count();
        let out = side.pool.outstanding() as usize;
        // The pool itself holds on to the page that it cuts from.
        assert!((known..=known + usize::from(side.cuts)).contains(&out), "{out} out, {known} known");
    }

    /// Each page of both zones is in one place; those with users are those that the model knows, and at most one a pool that is being cut.
    fn account(&mut self) {
        (0..self.sides.len()).for_each(|which| self.check(which));
        let (mut users, mut known) = (0, self.out.values().map(|out| 1 << out.order).sum::<usize>());
        let mut cut = 0;
        for zone in &self.zones {
            let mut account = Account::open(zone);
            self.sides.iter_mut().for_each(|(_, side)| side.pool.account(&mut account));
            let account = account.close(Users::Alive);
            assert_eq!(account.conflicts, 0, "{account:?}");
            users += account.held_by_users;
        }
        for (id, side) in &mut self.sides {
            let of_pool = self.out.values().filter(|out| out.pool == *id).count();
            cut += (side.pool.outstanding() as usize - of_pool) << side.pool.order();
        }
        known += cut;
        assert_eq!(users, known, "pages with users");
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let pools_first = script.flag();
    let mut model = Model::new();
    while !script.is_empty() {
        model.step(&mut script);
    }
    model.account();
    let Model { zones, sides, held, .. } = model;
    if pools_first {
        drop((sides, held));
    } else {
        drop((held, sides));
    }
    zones.iter().for_each(assert_whole);
});
