//! AF_XDP against a hostile kernel: arbitrary descriptors, addresses and indices cost counters, and a model knows which; no page is given twice, none is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use waterwheel::dev::af_xdp::rings::{Desc, Entry, RingMemory};
use waterwheel::dev::af_xdp::unbound::{KernelEnds, Unbound};
use waterwheel::mm::{Account, Users};
use waterwheel::xdp::MAX_FRAGS;
use waterwheel::{Direction, PagePool, PoolParams, XdpBuff, Zone};
use waterwheel_fuzz::script::Script;
use waterwheel_fuzz::{all, assert_whole, take, zone};

const PAGES: usize = 32;
const SLOTS: u32 = 8;
const PAGE: u64 = 4096;

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(PAGES, 0));

struct Model {
    zone: Zone,
    pool: PagePool,
    socket: Unbound,
    kernel: KernelEnds,
    /// Pages that wait for packets, as the fill ring said.
    rx: BTreeSet<u64>,
    /// Pages with packets to send.
    tx: BTreeSet<u64>,
    /// What there is of a packet that goes on.
    begun: Begun,
    /// Slots that our side has taken so far: where it stands in the rings that the kernel fills.
    rx_next: u32,
    completion_next: u32,
    /// Packets in the program's hands, each full of its first page's number.
    held: Vec<XdpBuff>,
}

/// A packet of several descriptors, of which the last has not come.
#[derive(Default)]
enum Begun {
    #[default]
    Nothing,
    /// Page, offset and length of each.
    Parts(Vec<[u64; 3]>),
    Spoilt,
}

/// Page, offset and length of each part, as a packet has them. (Where in its page a fragment begins, its address says.)
fn parts_of(packet: &XdpBuff) -> Vec<[u64; 3]> {
    let numbers = std::iter::once(packet.page().number()).chain(packet.page().chain().map(|part| part.number()));
    let place = |part: &[u8]| [part.as_ptr().addr() as u64 % PAGE, part.len() as u64];
    numbers.zip(packet.parts()).map(|(number, part)| [number.into(), place(part)[0], place(part)[1]]).collect()
}

/// The kernel, or whoever has its place, writes a slot and shows it.
fn produce<E: Entry>(ring: &RingMemory<E>, entry: E) {
    let at = ring.producer().load(Relaxed);
    entry.store(ring.slot(at));
    ring.producer().store(at.wrapping_add(1), Relaxed);
}

/// The slots from `at` on, `count` of them.
fn slots<E: Entry>(ring: &RingMemory<E>, at: u32, count: usize) -> Vec<E> {
    (0..count as u32).map(|i| E::load(ring.slot(at.wrapping_add(i)))).collect()
}

fn fill_in(packet: &mut XdpBuff) {
    let tag = packet.page().number() as u8;
    packet.data_mut().fill(tag);
    packet.frags_mut().for_each(|part| part.fill(tag));
}

fn is_untouched(packet: &XdpBuff) -> bool {
    let tag = packet.page().number() as u8;
    packet.parts().all(|part| all(part, tag))
}

/// One of `posted`, or any page, also one that is not there.
fn page(script: &mut Script<'_>, posted: &BTreeSet<u64>) -> u64 {
    let which = script.below(PAGES + 2);
    let page = posted.iter().nth(which).copied().filter(|_| script.u8() < 192);
    page.unwrap_or(which as u64)
}

impl Begun {
    fn pages(&self) -> usize {
        if let Self::Parts(parts) = self { parts.len() } else { 0 }
    }

    /// The next descriptor. Tells the packet that it ends, if it does; adds to `bad` if it costs a counter.
    fn go_on(&mut self, part: [u64; 3], good: bool, more: bool, bad: &mut u64) -> Option<Vec<[u64; 3]>> {
        let parts = match std::mem::take(self) {
            Self::Nothing if good => vec![part],
            Self::Parts(parts) if good && parts.len() <= MAX_FRAGS => [parts, vec![part]].concat(),
            _ => {
                *bad += 1;
                *self = if more { Self::Spoilt } else { Self::Nothing };
                return None;
            }
        };
        if more {
            *self = Self::Parts(parts);
            return None;
        }
        Some(parts)
    }
}

impl Model {
    fn new(script: &mut Script<'_>) -> Self {
        let zone = ZONE.clone();
        let limit = 1 + script.below(PAGES);
        let pool = PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() }).expect("a pool");
        let start = if script.flag() { u32::MAX - 5 } else { script.u32() };
        let (socket, kernel) = Unbound::new(&zone, SLOTS, start);
        let (rx, tx, begun, held) = Default::default();
        Self { zone, pool, socket, kernel, rx, tx, begun, rx_next: start, completion_next: start, held }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() {
            0..40 => self.fill(script.u8().into()),
            40..80 => self.receive(script.u8().into()),
            80..110 => self.send(script),
            110..130 => self.complete(),
            130..150 => {
                if let Some(packet) = take(&mut self.held, script.u8().into()) {
                    assert!(is_untouched(&packet), "somebody else wrote into {packet:?}");
                    if script.flag() { drop(packet) } else { self.pool.put(packet.into_page()) }
                }
            }
            150..180 => {
                // Near the truth: mostly a page that waits, and a packet that may fit.
                let page = page(script, &self.rx);
                let (addr, len) = (page * PAGE + u64::from(script.u16() % 4200), u32::from(script.u16() % 4200));
                produce(&self.kernel.rx, Desc { addr, len, options: (script.u8() < 96).into() });
            }
            180..195 => {
                let (addr, len, options) = (script.u64(), script.u32(), script.u32());
                produce(&self.kernel.rx, Desc { addr, len, options });
            }
            195..215 => {
                let page = page(script, &self.tx);
                produce(&self.kernel.completion, page * PAGE + u64::from(script.u16() % 4200));
            }
            215..220 => produce(&self.kernel.completion, script.u64()),
            220..235 => {
                // An honest look at what we sent and what we posted.
                self.kernel.fill.consumer().store(self.kernel.fill.producer().load(Relaxed), Relaxed);
                self.kernel.tx.consumer().store(self.kernel.tx.producer().load(Relaxed), Relaxed);
            }
            _ => {
                let (kernel, index) = (&self.kernel, script.u8());
                let word = match index % 8 {
                    0 => kernel.fill.consumer(),
                    1 => kernel.rx.producer(),
                    2 => kernel.tx.consumer(),
                    3 => kernel.completion.producer(),
                    // Ours: the kernel only reads them, and this one writes.
                    4 => kernel.fill.producer(),
                    5 => kernel.rx.consumer(),
                    6 => kernel.tx.producer(),
                    _ => kernel.completion.consumer(),
                };
                let by = if index & 0x80 == 0 { i32::from(script.u8() as i8) as u32 } else { script.u32() };
                word.fetch_add(by, Relaxed);
            }
        }
        self.check();
    }

    fn fill(&mut self, count: u32) {
        let count = self.socket.fill(&mut self.pool, count);
        assert!(count <= SLOTS as usize);
        let end = self.kernel.fill.producer().load(Relaxed);
        for addr in slots(&self.kernel.fill, end.wrapping_sub(count as u32), count) {
            assert!(addr % PAGE == 0 && addr / PAGE < PAGES as u64, "{addr:#x} is no page of ours");
            assert!(self.rx.insert(addr / PAGE), "page {} was posted twice", addr / PAGE);
        }
    }

    fn receive(&mut self, budget: u32) {
        let bad = self.socket.refused().0;
        self.kernel.rx.consumer().store(self.rx_next, Relaxed); // our side writes it only when it takes something
        let mut packets = self.socket.receive(&mut self.pool, budget).into_iter();
        let taken = self.kernel.rx.consumer().load(Relaxed).wrapping_sub(self.rx_next);
        assert!(taken <= SLOTS.min(budget));
        let mut expected = bad;
        for Desc { addr, len, options } in slots(&self.kernel.rx, self.rx_next, taken as usize) {
            let part = [addr / PAGE, addr % PAGE, len.into()];
            // The page is ours again, be the packet as it may.
            let good = self.rx.remove(&part[0]) && part[1] + part[2] <= PAGE;
            if let Some(parts) = self.begun.go_on(part, good, options & 1 == 1, &mut expected) {
                let mut packet = packets.next().expect("this was a packet");
                assert_eq!((parts_of(&packet), packet.frag_count() + 1), (parts.clone(), parts.len()));
                fill_in(&mut packet);
                self.held.push(packet);
            }
        }
        assert_eq!((packets.len(), self.socket.refused().0), (0, expected), "packets that the ring did not say");
        self.rx_next = self.rx_next.wrapping_add(taken);
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let which = script.u8();
        let packet = match take(&mut self.held, which.into()) {
            Some(packet) if which & 1 == 1 => packet,
            other => {
                self.held.extend(other);
                let Some(page) = self.pool.alloc(Direction::Tx) else { return };
                let offset = usize::from(script.u16()) % (PAGE as usize + 1);
                let mut packet = XdpBuff::new(page, offset, usize::from(script.u16()) % (PAGE as usize - offset + 1));
                fill_in(&mut packet);
                packet
            }
        };
        assert!(is_untouched(&packet));
        let parts = parts_of(&packet);
        match self.socket.send(packet.into()) {
            Ok(()) => {
                let end = self.kernel.tx.producer().load(Relaxed).wrapping_sub(parts.len() as u32);
                let descs = slots(&self.kernel.tx, end, parts.len());
                for (i, (part, desc)) in parts.iter().zip(descs).enumerate() {
                    let said = (desc.addr, u64::from(desc.len), desc.options);
                    assert_eq!(said, (part[0] * PAGE + part[1], part[2], (i + 1 < parts.len()).into()));
                    assert!(self.tx.insert(part[0]), "page {} was sent twice", part[0]);
                }
            }
            Err(frame) => self.held.push(frame.into()),
        }
    }

    fn complete(&mut self) {
        let bad = self.socket.refused().1;
        let mut home = Vec::new();
        let count = self.socket.complete(|page| home.push(page));
        assert_eq!(count, home.len());
        let taken = count + (self.socket.refused().1 - bad) as usize;
        assert!(taken <= SLOTS as usize);
        let sent = slots(&self.kernel.completion, self.completion_next, taken);
        let expected: Vec<u64> = sent.iter().map(|addr| addr / PAGE).filter(|page| self.tx.remove(page)).collect();
        assert_eq!(home.iter().map(|page| u64::from(page.number())).collect::<Vec<_>>(), expected);
        self.pool.put_bulk(&mut home);
        self.completion_next = self.completion_next.wrapping_add(taken as u32);
    }

    fn held_pages(&self) -> usize {
        self.held.iter().map(|packet| 1 + packet.frag_count()).sum()
    }

    fn check(&mut self) {
        assert_eq!(self.socket.posted(), (self.rx.len(), self.tx.len()));
        assert_eq!(
            self.pool.outstanding() as usize,
            self.rx.len() + self.tx.len() + self.begun.pages() + self.held_pages()
        );
    }

    fn account(&mut self) {
        let mut account = Account::open(&self.zone);
        self.pool.account(&mut account);
        self.socket.account(&mut account);
        let account = account.close(Users::Alive);
        let found = (account.held_by_devices, account.held_by_users, account.conflicts);
        assert_eq!(found, (self.rx.len() + self.tx.len() + self.begun.pages(), self.held_pages(), 0), "{account:?}");
    }

    /// The kernel comes to its senses: its indices are right again, and it names every page once. With that every page comes home.
    fn come_home(&mut self) {
        for page in 0..PAGES as u64 {
            self.kernel.rx.producer().store(self.rx_next, Relaxed);
            self.receive(u32::MAX); // what was known to be there before
            self.kernel.completion.producer().store(self.completion_next, Relaxed);
            self.complete();
            self.kernel.rx.producer().store(self.rx_next, Relaxed);
            produce(&self.kernel.rx, Desc { addr: page * PAGE + 256, len: 60, options: 0 });
            self.receive(u32::MAX);
            self.kernel.completion.producer().store(self.completion_next, Relaxed);
            produce(&self.kernel.completion, page * PAGE);
            self.complete();
        }
        assert_eq!((self.socket.posted(), self.begun.pages()), ((0, 0), 0), "the kernel gave everything back");
        assert!(self.held.iter().all(is_untouched));
        self.held.clear();
        self.check();
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let mut model = Model::new(&mut script);
    while !script.is_empty() {
        model.step(&mut script);
    }
    model.account();
    model.come_home();
    model.account();
    let zone = model.zone.clone();
    drop(model);
    assert_whole(&zone);
});
