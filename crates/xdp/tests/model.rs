//! Moving the ends of a packet, against a model of it: a vector of bytes, and where in it the packet begins.

#[allow(unused, reason = "a part of it is used")]
mod common;

use common::{assert_whole, zone};
use proptest::prelude::*;
use waterwheel_xdp::{XdpBuff, XdpFrame};

#[derive(Debug, Clone)]
enum Step {
    Head(i32),
    Tail(i32),
    Meta(i32),
    /// Writes the packet and its metadata.
    Write(u8),
    /// Travels, and comes back.
    Travel,
}

fn step() -> impl Strategy<Value = Step> {
    let delta = || prop_oneof![8 => -70..70i32, 4 => -5000..5000i32, 1 => any::<i32>()];
    prop_oneof![
        4 => delta().prop_map(Step::Head),
        4 => delta().prop_map(Step::Tail),
        3 => prop_oneof![(-70..70i32).prop_map(|words| 4 * words), delta()].prop_map(Step::Meta),
        2 => any::<u8>().prop_map(Step::Write),
        1 => Just(Step::Travel),
    ]
}

/// The page's bytes; the packet is `start..end` of them, and its metadata the `meta` bytes in front of it.
#[derive(Debug)]
struct Model {
    page: Vec<u8>,
    start: i64,
    end: i64,
    meta: i64,
}

impl Model {
    /// Moves the ends, if a packet can lie there: it has a header, and its place is said in 16 bits.
    fn move_to(&mut self, start: i64, end: i64, meta: i64) -> bool {
        let room = 0 <= meta && meta <= start && end <= self.page.len() as i64;
        let fits = room && start <= 65535 && (14..=65535).contains(&(end - start));
        if fits {
            let kept = self.meta.min(meta);
            let bytes = self.page[(self.start - kept) as usize..self.start as usize].to_vec();
            self.page[(start - kept) as usize..start as usize].copy_from_slice(&bytes);
            let gained = self.end.min(end) as usize..end as usize;
            self.page[gained].fill(0);
            (self.start, self.end, self.meta) = (start, end, meta);
        }
        fits
    }

    fn step(&mut self, step: &Step) -> bool {
        match *step {
            Step::Head(delta) => self.move_to(self.start + i64::from(delta), self.end, self.meta),
            Step::Tail(delta) => self.move_to(self.start, self.end + i64::from(delta), self.meta),
            Step::Meta(delta) => {
                let meta = self.meta - i64::from(delta);
                meta % 4 == 0 && meta <= 252 && self.move_to(self.start, self.end, meta)
            }
            Step::Write(byte) => {
                self.page[(self.start - self.meta) as usize..self.end as usize].fill(byte);
                true
            }
            Step::Travel => true,
        }
    }
}

/// The same with the packet.
fn done(packet: XdpBuff, step: &Step) -> (XdpBuff, bool) {
    let mut packet = packet;
    let done = match *step {
        Step::Head(delta) => packet.adjust_head(delta).is_ok(),
        Step::Tail(delta) => packet.adjust_tail(delta).is_ok(),
        Step::Meta(delta) => packet.adjust_meta(delta).is_ok(),
        Step::Write(byte) => {
            packet.meta_mut().fill(byte);
            packet.data_mut().fill(byte);
            true
        }
        Step::Travel => {
            packet = XdpBuff::from(XdpFrame::from(packet));
            true
        }
    };
    (packet, done)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_moves_as_its_model_and_touches_nothing_else(
        order in prop_oneof![4 => Just(0u8), 1 => 1..=5u8],
        place in (any::<u16>(), 14..2000usize),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let zone = zone(64);
        let mut page = zone.alloc(order).expect("the zone is new").into_page();
        page.as_mut_slice().iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 251) as u8);
        let (start, len) = (usize::from(place.0) % (page.len() - place.1), place.1);
        let mut model = Model { page: page.to_vec(), start: start as i64, end: (start + len) as i64, meta: 0 };
        let mut packet = XdpBuff::new(page, start, len);
        for step in &steps {
            let (moved, taken) = done(packet, step);
            packet = moved;
            prop_assert_eq!(taken, model.step(step), "{:?} of {:?}", step, &packet);
            let (start, end, meta) = (model.start as usize, model.end as usize, model.meta as usize);
            prop_assert_eq!((packet.offset(), packet.len()), (start, end - start));
            prop_assert_eq!((packet.headroom(), packet.tailroom()), (start, model.page.len() - end));
            prop_assert!(packet.meta() == &model.page[start - meta..start] && packet.data() == &model.page[start..end]);
            prop_assert!(packet.page().as_slice() == model.page, "bytes elsewhere in the page changed: {:?}", step);
        }
        drop(packet);
        assert_whole(&zone);
    }
}
