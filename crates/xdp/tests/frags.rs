//! Packets that are larger than a page.

mod common;

use common::{Peer, assert_balance, assert_whole, pool, zone};
use waterwheel_xdp::wrap::{Count, Fault, FaultParams, Heading, Sink, Trace};
use waterwheel_xdp::{
    Action, AdjustError, Context, Device, Direction, DropReason, Drops, Fabric, Homes, MAX_FRAGS, Page, PagePool,
    Traffic, XdpBuff, XdpFrame, veth,
};

/// Bytes that say where they are.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn whole<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    parts.collect::<Vec<_>>().concat()
}

#[test]
fn bytes_that_do_not_fit_into_a_page_go_into_several() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    for (len, frags) in [(0, 0), (14, 0), (3840, 0), (3841, 1), (3840 + 4096, 1), (9000, 2), (3840 + 17 * 4096, 17)] {
        let packet = XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(len)).unwrap();
        assert_eq!((packet.frag_count(), packet.total_len(), packet.has_frags()), (frags, len, frags > 0));
        assert_eq!(whole(packet.parts()), bytes(len));
        pool.put(packet.into_page());
        assert_eq!(pool.outstanding(), 0, "all parts go into the cache");
    }
    assert!(XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(3840 + 17 * 4096 + 1)).is_none());
    let held = pool.alloc(Direction::Rx).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| pool.alloc(Direction::Rx)).collect();
    drop(held);
    assert!(XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(9000)).is_none(), "one page is not three");
    drop(rest);
    assert_eq!(pool.outstanding(), 0);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn programs_reach_bytes_behind_the_first_part() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    let mut packet = XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(9000)).unwrap();
    let mut out = [0; 300];
    for offset in [0, 3700, 3840, 7935, 9000 - 300] {
        assert!(packet.load_bytes(offset, &mut out));
        assert_eq!(out, bytes(9000)[offset..offset + 300]);
    }
    assert!(packet.store_bytes(3839, &[1, 2, 3]) && packet.load_bytes(3838, &mut out[..5]));
    assert_eq!(out[..5], [(3838 % 251) as u8, 1, 2, 3, (3842 % 251) as u8]);
    for (offset, len) in [(9000, 1), (8701, 300), (usize::MAX, 1)] {
        assert!(!packet.load_bytes(offset, &mut out[..len]) && !packet.store_bytes(offset, &vec![0; len]));
    }
    packet.frags_mut().for_each(|part| part.fill(7));
    assert!(whole(packet.frags()).iter().all(|byte| *byte == 7));
    assert_eq!(packet.len(), 3840, "what programs see without asking");
    packet.adjust_head(40).unwrap();
    packet.adjust_meta(-4).unwrap();
    assert_eq!((packet.total_len(), packet.frag_count()), (8960, 2), "the first part moves, the rest stays");
    drop(packet);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn the_end_moves_across_fragments() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    let mut packet = XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(9000)).unwrap();
    packet.adjust_tail(100).unwrap();
    assert_eq!(whole(packet.parts())[9000..], [0; 100]);
    assert_eq!(packet.adjust_tail(4096), Err(AdjustError { delta: 4096 }));
    packet.adjust_tail(-1164).unwrap();
    assert_eq!((packet.total_len(), packet.frag_count()), (7936, 1), "an empty fragment goes");
    packet.adjust_tail(-4096 - 100).unwrap();
    assert_eq!((packet.total_len(), packet.frag_count(), packet.len()), (3740, 0, 3740));
    assert_eq!(whole(packet.parts()), bytes(3740));
    drop(packet);
    let mut packet = XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(9000)).unwrap();
    for delta in [-8987, i32::MIN, i32::MAX] {
        assert_eq!(packet.adjust_tail(delta), Err(AdjustError { delta }));
        assert_eq!(whole(packet.parts()), bytes(9000), "nothing changed");
    }
    packet.adjust_tail(-8986).unwrap();
    assert_eq!((packet.total_len(), packet.frag_count()), (14, 0));
    drop(packet);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn a_packet_has_so_many_parts_and_no_more_and_comes_apart() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    let mut packet = XdpBuff::whole(pool.alloc(Direction::Rx).unwrap());
    packet.set_len(20);
    for i in 0..MAX_FRAGS {
        packet.push_frag(pool.alloc(Direction::Rx).unwrap(), i, 10).unwrap();
    }
    let page = packet.push_frag(pool.alloc(Direction::Rx).unwrap(), 0, 1).expect_err("one too many");
    pool.put(page);
    assert_eq!((packet.frag_count(), packet.total_len()), (17, 190));
    let copy = packet.duplicate(&mut pool, Direction::Rx).unwrap();
    assert_eq!(whole(copy.parts()), whole(packet.parts()));
    assert_ne!(copy.page().number(), packet.page().number());
    let mut parts = XdpFrame::from(packet).into_parts();
    let first = parts.next().unwrap();
    assert_eq!((first.len(), first.has_frags(), first.page().leads_chain()), (20, false, false));
    let second = parts.next().unwrap();
    assert_eq!((second.offset(), second.len(), second.has_frags()), (0, 10, false));
    let third = parts.next().unwrap();
    assert_eq!((third.offset(), third.len()), (1, 10));
    assert_eq!(pool.outstanding(), 18 + 1, "the copy fits into a page");
    drop(parts);
    assert_eq!(pool.outstanding(), 3 + 1, "what was not taken out is home");
    drop((first, second, third, copy, pool));
    assert_whole(&zone);
}

/// A driver that knows nothing of fragments, on a line that would take them.
struct Plain(waterwheel_xdp::Veth);

impl Device for Plain {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.0.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.0.rx(pool, batch, budget)
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        assert!(frames.iter().all(|frame| !frame.has_frags()), "it was not to get this one");
        self.0.tx(pool, frames, drops)
    }

    fn wait(&self) -> waterwheel_xdp::Wait {
        self.0.wait()
    }
}

#[test]
fn large_packets_pass_the_loop_and_a_device_that_takes_none_counts_them() {
    let zone = zone(512);
    let mut fabric = Fabric::new(1);
    let (mut left, _) = Peer::attach(&mut fabric, 0, &zone, 64);
    let (mut right, to) = Peer::attach(&mut fabric, 0, &zone, 64);
    let (near, mut far) = veth("plain", "its peer", 64);
    let plain = fabric.add(0, Box::new(Plain(near)), pool(&zone)).unwrap();
    let mut worker = fabric.build().unwrap().remove(0);
    let mut program = |_: &Context, _: &mut XdpBuff| Action::Redirect(to);
    let send = |pool: &mut PagePool, veth: &mut waterwheel_xdp::Veth, len: usize| {
        let packet = XdpBuff::copy_from(pool, Direction::Tx, &bytes(len)).unwrap();
        let sent = veth.tx(pool, &mut vec![packet.into()], &mut Drops::default());
        assert_eq!(sent, Traffic { packets: 1, bytes: len as u64 });
    };
    send(&mut left.pool, &mut left.veth, 9000);
    send(&mut left.pool, &mut left.veth, 100);
    worker.poll(&mut program);
    let mut batch = Vec::new();
    right.veth.rx(&mut right.pool, &mut batch, 64);
    assert_eq!((batch.len(), whole(batch[0].parts()), whole(batch[1].parts())), (2, bytes(9000), bytes(100)));
    let stats = worker.stats();
    assert_eq!(stats.ports[0].rx, Traffic { packets: 2, bytes: 9100 });
    assert_eq!(stats.ports[1].tx, Traffic { packets: 2, bytes: 9100 });
    assert_balance(&zone, std::slice::from_mut(&mut worker), &mut [&mut left.pool, &mut right.pool], 4);
    batch.clear();

    let mut program = |_: &Context, _: &mut XdpBuff| Action::Redirect(plain);
    send(&mut left.pool, &mut left.veth, 4000);
    send(&mut left.pool, &mut left.veth, 200);
    let mut parts = XdpBuff::copy_from(&mut left.pool, Direction::Tx, &bytes(100)).unwrap();
    parts.push_frag(left.pool.alloc(Direction::Tx).unwrap(), 0, 40).unwrap();
    assert_eq!(left.veth.tx(&mut left.pool, &mut vec![parts.into()], &mut Drops::default()).packets, 1);
    worker.poll(&mut program);
    far.rx(&mut left.pool, &mut batch, 64);
    assert_eq!((batch.len(), whole(batch[0].parts())), (1, bytes(200)));
    // One is too long for it, one is not and has several parts.
    let drops = &worker.stats().drops;
    let counted = [DropReason::FrameTooLong, DropReason::TooManyFrags].map(|reason| drops.get(reason));
    assert_eq!((counted, drops.total()), ([1, 1], 2));
    let mut program = |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program);
    send(&mut left.pool, &mut left.veth, 9000);
    worker.poll(&mut program);
    batch.clear();
    assert_eq!(left.pool.outstanding(), 0, "dropped, all parts of it");
    drop((worker, left, right, far));
    assert_whole(&zone);
}

#[derive(Default)]
struct Seen(std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>);

impl Sink for Seen {
    fn packet(&mut self, _: Heading, data: &[u8]) {
        self.0.lock().unwrap().push(data.to_vec());
    }
}

#[test]
fn wrappers_see_and_double_all_of_a_packet() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    let (near, mut far) = veth("near", "far", 64);
    let seen = Seen::default();
    let shown = seen.0.clone();
    let (count, counts) = Count::new(Trace::new(near, seen));
    let mut near = Fault::new(count, FaultParams { duplicate: 1_000_000, ..FaultParams::default() });
    let packet = XdpBuff::copy_from(&mut pool, Direction::Tx, &bytes(9000)).unwrap();
    far.tx(&mut pool, &mut vec![packet.into()], &mut Drops::default());
    let mut batch = Vec::new();
    near.rx(&mut pool, &mut batch, 64);
    assert_eq!(batch.iter().map(|packet| whole(packet.parts())).collect::<Vec<_>>(), [bytes(9000), bytes(9000)]);
    assert_eq!(counts.rx(), Traffic { packets: 1, bytes: 9000 });
    assert_eq!(*shown.lock().unwrap(), [bytes(9000)]);
    drop((batch, near, far, pool));
    assert_whole(&zone);
}

/// Whatever is made of a page that led fragments: it is one part, says so, and the rest is at home.
#[test]
fn a_page_out_of_a_larger_packet_can_be_used_for_another() {
    let zone = zone(256);
    let (mut pool, mut other) = (pool(&zone), pool(&zone));
    let ways: [fn(Page, &mut PagePool) -> XdpBuff; 5] = [
        |page, _| XdpBuff::new(page, 256, 100),
        |page, _| XdpBuff::whole(page),
        |page, _| XdpBuff::with_len(page, 100),
        |page, _| XdpBuff::with_len(page.share().try_unique().unwrap(), 3000),
        |page, pool| {
            let mut packet = XdpBuff::with_len(pool.alloc(Direction::Tx).unwrap(), 64);
            packet.push_frag(page, 57, 36).unwrap();
            packet
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        for len in [3840, 3841, 9000, 3840 + MAX_FRAGS * 4096] {
            let mut large = XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(len)).unwrap();
            // A page of somebody else is among them, and comes home to him.
            let _ = large.push_frag(other.alloc(Direction::Rx).unwrap(), 0, 64);
            let page = large.into_page();
            let mut packet = way(page, &mut other);
            let parts = if number == 4 { 2 } else { 1 };
            assert_eq!((packet.parts().count(), packet.frag_count()), (parts, parts - 1));
            assert_eq!((packet.has_frags(), packet.frags().count()), (parts > 1, parts - 1));
            assert_eq!(packet.total_len(), packet.parts().map(<[u8]>::len).sum::<usize>());
            assert_eq!((pool.outstanding(), other.outstanding()), (1, parts as u64 - 1), "the rest is at home");
            packet.push_frag(other.alloc(Direction::Rx).unwrap(), 4095, 1).unwrap();
            assert_eq!((packet.frag_count(), packet.frags().last().map(<[u8]>::len)), (parts, Some(1)));
            let places = XdpFrame::from(packet).into_parts().map(|part| {
                let (len, (page, place)) = (part.len(), part.into_place());
                assert!(place.len() == len && place.end <= page.size() && !page.leads_chain());
            });
            assert_eq!(places.count(), parts + 1);
            assert_eq!((pool.outstanding(), other.outstanding()), (0, 0));
        }
    }
    drop((pool, other));
    assert_whole(&zone);
}

#[test]
fn what_was_chained_to_a_page_beside_packets_is_no_part_of_one() {
    let zone = zone(256);
    let mut pool = pool(&zone);
    let mut first = pool.alloc(Direction::Tx).unwrap();
    // Bytes at 12 544: true of this page, which has so many, but not of a packet that begins with the first.
    first.append(zone.alloc(2).unwrap().into_page(), 12_544..12_644);
    let mut packet = XdpBuff::new(first, 256, 64);
    packet.push_frag(pool.alloc(Direction::Tx).unwrap(), 0, 64).unwrap();
    assert!(packet.frags().map(<[u8]>::len).eq([64]));
    assert!(XdpFrame::from(packet).into_parts().map(|part| part.len()).eq([64, 64]));
    drop(pool);
    assert_whole(&zone);
}
