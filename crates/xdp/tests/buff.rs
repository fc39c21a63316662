//! Moving the ends of a packet, and its metadata.

mod common;

use common::{assert_whole, zone};
use waterwheel_xdp::{AdjustError, HEADROOM, XdpBuff, XdpFrame};

#[test]
fn the_front_moves_between_the_page_and_the_last_header() {
    let zone = zone(4);
    let mut packet = XdpBuff::whole(zone.alloc(0).unwrap().into_page());
    packet.set_len(100);
    packet.data_mut().iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
    assert_eq!((packet.headroom(), packet.tailroom(), packet.page().order()), (HEADROOM, 4096 - 356, 0));
    packet.adjust_head(20).unwrap();
    assert_eq!((packet.offset(), packet.len(), packet.data()[0]), (HEADROOM + 20, 80, 20));
    packet.adjust_head(66).unwrap();
    assert_eq!((packet.len(), packet.data()[0]), (14, 86), "an Ethernet header is left");
    assert_eq!(packet.adjust_head(1), Err(AdjustError { delta: 1 }));
    packet.adjust_head(-(HEADROOM as i32) - 86).unwrap();
    assert_eq!((packet.offset(), packet.len(), packet.data()[HEADROOM]), (0, 100 + HEADROOM, 0));
    for delta in [-1, i32::MIN, i32::MAX, 5000] {
        assert_eq!(packet.adjust_head(delta), Err(AdjustError { delta }));
    }
    assert_eq!(AdjustError { delta: -1 }.to_string(), "the packet cannot be moved by -1 bytes there");
    drop(packet);
    assert_whole(&zone);
}

#[test]
fn the_end_moves_and_what_is_gained_is_zero() {
    let zone = zone(4);
    let mut page = zone.alloc(0).unwrap().into_page();
    page.as_mut_slice().fill(0xff);
    let mut packet = XdpBuff::new(page, 100, 50);
    packet.adjust_tail(20).unwrap();
    assert!(packet.data()[..50].iter().all(|b| *b == 0xff) && packet.data()[50..].iter().all(|b| *b == 0));
    packet.adjust_tail(-56).unwrap();
    assert_eq!(packet.len(), 14);
    for delta in [-1, i32::MIN, i32::MAX, 4096 - 114 + 1] {
        assert_eq!(packet.adjust_tail(delta), Err(AdjustError { delta }));
    }
    packet.adjust_tail(4096 - 114).unwrap();
    assert_eq!((packet.len(), packet.tailroom()), (4096 - 100, 0));
    drop(packet);
    assert_whole(&zone);
}

#[test]
fn metadata_grows_in_steps_and_moves_with_the_front() {
    let zone = zone(4);
    let mut packet = XdpBuff::whole(zone.alloc(0).unwrap().into_page());
    packet.set_len(60);
    assert!(packet.meta().is_empty());
    for delta in [-1, -2, -3, 4, -256, i32::MIN, i32::MAX] {
        assert_eq!(packet.adjust_meta(delta), Err(AdjustError { delta }));
    }
    packet.adjust_meta(-252).unwrap();
    assert_eq!(packet.adjust_meta(-4), Err(AdjustError { delta: -4 }));
    packet.adjust_meta(252 - 8).unwrap();
    packet.meta_mut().copy_from_slice(b"metadata");
    packet.data_mut()[..4].copy_from_slice(b"data");
    for delta in [-100, 130, -4, -8, 4, 20] {
        packet.adjust_head(delta).unwrap();
        assert_eq!(packet.meta(), b"metadata", "after {delta}");
    }
    let room = packet.headroom() as i32 - 8;
    assert!(packet.adjust_head(-room - 1).is_err(), "it needs its place");
    packet.adjust_head(-room).unwrap();
    assert_eq!((packet.offset(), packet.meta()), (8, &b"metadata"[..]));
    assert!(packet.adjust_meta(-4).is_err(), "there is nothing in front of it");
    let frame = XdpFrame::from(packet);
    assert_eq!((frame.meta(), frame.offset()), (&b"metadata"[..], 8));
    let mut packet = XdpBuff::from(frame);
    packet.adjust_meta(8).unwrap();
    assert!(packet.meta().is_empty());
    drop(packet.into_page());
    assert_whole(&zone);
}

#[test]
fn packets_in_large_blocks() {
    let zone = zone(64);
    let mut packet = XdpBuff::new(zone.alloc(4).unwrap().into_page(), 256, 65280);
    assert_eq!((packet.len(), packet.tailroom()), (65280, 0));
    assert!(packet.adjust_head(-256).is_err(), "65536 bytes are more than 16 bits can say");
    packet.adjust_head(-255).unwrap();
    assert_eq!((packet.offset(), packet.len(), packet.data().len()), (1, 65535, 65535));
    drop(packet);
    assert_whole(&zone);
}

#[test]
fn what_does_not_lie_in_the_page_is_a_bug_of_the_driver() {
    let zone = zone(64);
    let whole = |order: u8| zone.alloc(order).unwrap().into_page();
    let fails = |order, offset, len| {
        std::panic::catch_unwind(|| drop(XdpBuff::new(whole(order), offset, len))).expect_err("it must be refused");
    };
    fails(0, 0, 4097);
    fails(0, 4097, 0);
    fails(0, 4000, 97);
    fails(0, usize::MAX, 1);
    fails(0, 1, usize::MAX);
    fails(4, 0, 65536);
    fails(4, 65536, 0);
    fails(5, 65536, 60);
    drop(XdpBuff::new(whole(0), 4096, 0));
    assert_whole(&zone);
}

#[test]
fn packets_of_a_batch_begin_at_different_cache_lines_where_there_is_room() {
    let zone = zone(64);
    let mut offsets = [0; 4096 / 64];
    let mut packets = Vec::new();
    for _ in 0..64 {
        let page = zone.alloc(0).unwrap().into_page();
        let number = page.number();
        let mut packet = XdpBuff::with_len(page, 1514);
        assert!(
            packet.headroom() >= HEADROOM && packet.len() == 1514 && packet.offset().is_multiple_of(64),
            "{number}"
        );
        packet.data_mut().fill(1);
        offsets[packet.offset() / 64] += 1;
        packets.push(packet);
    }
    drop(packets);
    assert_eq!(offsets.iter().filter(|&&packets| packets == 4).count(), 16, "{offsets:?}");
    assert_whole(&zone);
}

#[test]
fn a_packet_that_needs_the_page_begins_behind_the_head_room() {
    let zone = zone(4);
    for len in [4096 - HEADROOM - 1024 + 1, 4096 - HEADROOM] {
        let packet = XdpBuff::with_len(zone.alloc(0).unwrap().into_page(), len);
        assert_eq!((packet.offset(), packet.len()), (HEADROOM, len));
    }
    let packet = XdpBuff::with_len(zone.alloc(1).unwrap().into_page(), 6000);
    assert_eq!((packet.offset(), packet.len()), (HEADROOM, 6000));
    drop(packet);
    assert_whole(&zone);
}
