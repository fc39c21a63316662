//! Packets of several parts, against a model of them: a page of bytes for each part, and where in it the part lies.

#[allow(unused, reason = "a part of it is used")]
mod common;

use common::{assert_whole, zone};
use proptest::prelude::*;
use waterwheel_xdp::mm::PAGE_SIZE;
use waterwheel_xdp::{MAX_FRAGS, XdpBuff, XdpFrame, Zone};

#[derive(Debug, Clone)]
enum Step {
    Head(i32),
    Tail(i32),
    /// A fragment of these bytes, so many from the start of its page.
    Push(usize, usize),
    Store(usize, Vec<u8>),
    /// Travels, and comes back.
    Travel,
}

fn step() -> impl Strategy<Value = Step> {
    let delta = || prop_oneof![4 => -70..70i32, 4 => -9000..5000i32, 1 => any::<i32>()];
    let place = prop_oneof![(0..=PAGE_SIZE).prop_map(|at| (at, PAGE_SIZE - at)), (0..100usize, 0..2000usize)];
    prop_oneof![
        1 => delta().prop_map(Step::Head),
        4 => delta().prop_map(Step::Tail),
        6 => place.prop_map(|(at, len)| Step::Push(at, len)),
        2 => (0..20_000usize, prop::collection::vec(any::<u8>(), 0..9000)).prop_map(|(at, bytes)| Step::Store(at, bytes)),
        1 => Just(Step::Travel),
    ]
}

#[derive(Debug)]
struct Part {
    page: Vec<u8>,
    start: usize,
    end: usize,
}

impl Part {
    fn len(&self) -> usize {
        self.end - self.start
    }

    /// Moves the end, if the page is so large; what is gained is zero.
    fn grow(&mut self, by: usize) -> bool {
        let fits = self.end + by <= PAGE_SIZE;
        if fits {
            self.page[self.end..self.end + by].fill(0);
            self.end += by;
        }
        fits
    }
}

#[derive(Debug)]
struct Model(Vec<Part>);

impl Model {
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|part| &part.page[part.start..part.end]).copied().collect()
    }

    fn head(&mut self, delta: i32) -> bool {
        let first = &mut self.0[0];
        let start = first.start as i64 + i64::from(delta);
        let fits = start >= 0 && start + 14 <= first.end as i64;
        if fits {
            first.start = start as usize;
        }
        fits
    }

    fn tail(&mut self, delta: i32) -> bool {
        if delta >= 0 {
            return self.0.last_mut().is_some_and(|last| last.grow(delta as usize));
        }
        let mut less = delta.unsigned_abs() as usize;
        if self.bytes().len() < 14 + less || self.0[0].len() < 14 {
            return false;
        }
        while less > 0 {
            let only = self.0.len() == 1;
            let last = self.0.last_mut().expect("a first part");
            let here = less.min(last.len());
            last.end -= here;
            less -= here;
            if last.len() == 0 && !only {
                self.0.pop();
            }
        }
        true
    }

    fn store(&mut self, at: usize, bytes: &[u8]) -> bool {
        let fits = at + bytes.len() <= self.bytes().len();
        if fits {
            let all = self.0.iter_mut().flat_map(|part| &mut part.page[part.start..part.end]);
            all.skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        }
        fits
    }
}

/// A page full of a number, and the same for the model.
fn page(zone: &Zone, number: u8) -> (waterwheel_xdp::Page, Vec<u8>) {
    let mut page = zone.alloc(0).expect("enough pages").into_page();
    page.as_mut_slice().fill(number);
    (page, vec![number; PAGE_SIZE])
}

/// The step with both. Tells whether each has done it.
fn both(zone: &Zone, mut packet: XdpBuff, model: &mut Model, step: &Step, number: u8) -> (XdpBuff, bool, bool) {
    let (done, expected) = match step {
        Step::Head(delta) => (packet.adjust_head(*delta).is_ok(), model.head(*delta)),
        Step::Tail(delta) => (packet.adjust_tail(*delta).is_ok(), model.tail(*delta)),
        Step::Push(start, len) => {
            let (page, bytes) = page(zone, number);
            let room = model.0.len() <= MAX_FRAGS;
            if room {
                model.0.push(Part { page: bytes, start: *start, end: start + len });
            }
            (packet.push_frag(page, *start, *len).is_ok(), room)
        }
        Step::Store(at, bytes) => (packet.store_bytes(*at, bytes), model.store(*at, bytes)),
        Step::Travel => {
            packet = XdpBuff::from(XdpFrame::from(packet));
            (true, true)
        }
    };
    (packet, done, expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_of_several_parts_is_as_its_model_and_touches_nothing_else(
        place in (0..1000usize, 14..2000usize),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let zone = zone(64);
        let (first, bytes) = page(&zone, 0);
        let mut packet = XdpBuff::new(first, place.0, place.1);
        let mut model = Model(vec![Part { page: bytes, start: place.0, end: place.0 + place.1 }]);
        for (number, step) in steps.iter().enumerate() {
            let (moved, done, expected) = both(&zone, packet, &mut model, step, 1 + number as u8);
            packet = moved;
            prop_assert_eq!(done, expected, "{:?} of {:?}", step, &packet);
            let total = model.bytes();
            prop_assert_eq!((packet.frag_count() + 1, packet.total_len()), (model.0.len(), total.len()));
            prop_assert!(packet.parts().map(<[u8]>::len).eq(model.0.iter().map(Part::len)), "{:?}", step);
            prop_assert_eq!(packet.parts().collect::<Vec<_>>().concat(), total.clone());
            let pages = std::iter::once(packet.page().as_slice()).chain(packet.page().chain().map(|part| part.as_slice()));
            prop_assert!(pages.eq(model.0.iter().map(|part| part.page.as_slice())), "bytes elsewhere changed: {:?}", step);
            let (from, to) = (total.len() / 3, total.len() / 2);
            let mut some = vec![0; to - from];
            prop_assert!(packet.load_bytes(from, &mut some) && some == total[from..to]);
            prop_assert!(!packet.load_bytes(from, &mut vec![0; total.len()]) || from == 0);
        }
        let parts = XdpFrame::from(packet).into_parts();
        for (part, model) in parts.zip(&model.0).take(2) {
            prop_assert!(part.data() == &model.page[model.start..model.end] && !part.has_frags());
        }
        assert_whole(&zone);
    }
}
