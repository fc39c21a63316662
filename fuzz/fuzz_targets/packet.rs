//! A packet in a page against a model of it: a vector of bytes and three numbers. And views of its Ethernet header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use waterwheel::prog::{Ethernet, EthernetMut};
use waterwheel::xdp::HEADROOM;
use waterwheel::{XdpBuff, XdpFrame, Zone};
use waterwheel_fuzz::script::Script;
use waterwheel_fuzz::{assert_whole, zone};

/// What a page holds at first: no two places near each other are alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..4096 << 5).map(|i| (i % 251) as u8).collect());
static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(64, 0));

/// The page, and where in it the packet lies.
struct Model {
    page: Vec<u8>,
    offset: i64,
    len: i64,
    meta: i64,
}

impl Model {
    fn size(&self) -> i64 {
        self.page.len() as i64
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.page[self.offset as usize..(self.offset + self.len) as usize]
    }

    fn meta(&mut self) -> &mut [u8] {
        &mut self.page[(self.offset - self.meta) as usize..self.offset as usize]
    }

    /// Whether a packet may lie there after its ends were moved.
    fn may_be(&self, offset: i64, len: i64, meta: i64) -> bool {
        (14..=65535).contains(&len) && meta <= offset && offset <= 65535 && offset + len <= self.size()
    }

    fn adjust_head(&mut self, delta: i64) -> bool {
        let moved = self.may_be(self.offset + delta, self.len - delta, self.meta);
        if moved {
            let meta = self.meta().to_vec();
            (self.offset, self.len) = (self.offset + delta, self.len - delta);
            self.meta().copy_from_slice(&meta);
        }
        moved
    }

    fn adjust_tail(&mut self, delta: i64) -> bool {
        let moved = self.may_be(self.offset, self.len + delta, self.meta);
        if moved {
            let before = self.len;
            self.len += delta;
            let gained = self.len.min(before) as usize;
            self.data()[gained..].fill(0);
        }
        moved
    }

    fn adjust_meta(&mut self, delta: i64) -> bool {
        let meta = self.meta - delta;
        let moved = (0..=252).contains(&meta) && meta % 4 == 0 && meta <= self.offset;
        if moved {
            self.meta = meta;
        }
        moved
    }

    fn check(&mut self, packet: &XdpBuff) {
        assert_eq!((packet.offset() as i64, packet.len() as i64), (self.offset, self.len));
        assert_eq!(packet.headroom() as i64, self.offset);
        assert_eq!(packet.tailroom() as i64, self.size() - self.offset - self.len);
        assert!(packet.meta() == self.meta() && packet.data() == self.data());
        assert!(packet.page().as_slice() == self.page, "bytes outside of the packet changed");
    }
}

/// A step of some bytes, mostly small, sometimes of any size.
fn delta(script: &mut Script<'_>) -> i32 {
    match script.u8() {
        0 => script.u32() as i32,
        1..32 => i32::from(script.u16() as i16),
        small => i32::from(small as i8),
    }
}

/// The view of the header says what the bytes say; there is a view exactly of packets that have a header.
fn ethernet(packet: &[u8]) {
    let Some(view) = Ethernet::new(packet) else {
        assert!(packet.len() < 14);
        return;
    };
    assert_eq!((&view.destination()[..], &view.source()[..]), (&packet[..6], &packet[6..12]));
    assert_eq!(view.ethertype().to_be_bytes(), packet[12..14]);
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let zone = &*ZONE;
    let order = [0, 0, 0, 0, 0, 0, 1, 1, 4, 5][script.below(10)];
    let mut page = zone.alloc(order).expect("the zone is new").into_page();
    let size = page.size();
    page.as_mut_slice().copy_from_slice(&PATTERN[..size]);
    let (offset, len) = (usize::from(script.u16()), usize::from(script.u16()));
    let (offset, len) = if offset + len <= page.size() { (offset, len) } else { (HEADROOM, 60) };
    let mut model = Model { page: page.to_vec(), offset: offset as i64, len: len as i64, meta: 0 };
    let mut packet = XdpBuff::new(page, offset, len);
    while !script.is_empty() {
        match script.below(8) {
            0 => {
                let delta = delta(&mut script);
                assert_eq!(packet.adjust_head(delta).is_ok(), model.adjust_head(delta.into()), "head {delta}");
            }
            1 => {
                let delta = delta(&mut script);
                assert_eq!(packet.adjust_tail(delta).is_ok(), model.adjust_tail(delta.into()), "tail {delta}");
            }
            2 => {
                let delta = delta(&mut script);
                assert_eq!(packet.adjust_meta(delta).is_ok(), model.adjust_meta(delta.into()), "meta {delta}");
            }
            3 => {
                let bytes = script.bytes(packet.len().min(32));
                packet.data_mut()[..bytes.len()].copy_from_slice(bytes);
                model.data()[..bytes.len()].copy_from_slice(bytes);
            }
            4 => {
                let byte = script.u8();
                packet.meta_mut().fill(byte);
                model.meta().fill(byte);
            }
            5 => {
                let len = usize::from(script.u16());
                if len as i64 + model.offset <= model.size() {
                    packet.set_len(len);
                    model.len = len as i64;
                }
            }
            6 => {
                if let Some(mut view) = EthernetMut::new(packet.data_mut()) {
                    view.swap_addresses();
                    model.data()[..12].rotate_left(6);
                }
            }
            _ => {
                let frame = XdpFrame::from(packet);
                assert!(frame.data() == model.data() && frame.meta() == model.meta());
                packet = frame.into();
            }
        }
        ethernet(packet.data());
        model.check(&packet);
    }
    drop(packet);
    assert_whole(zone);
});
