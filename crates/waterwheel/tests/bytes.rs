//! Packets as `Bytes`, without a copy, and back.

use bytes::{Buf as _, Bytes};
use waterwheel::mm::{HugePages, Users};
use waterwheel::xdp::{Account, MAX_FRAGS, PacketBytes};
use waterwheel::{Direction, PagePool, PoolParams, XdpBuff, XdpFrame, Zone, ZoneParams};

fn zone() -> Zone {
    let params = ZoneParams { pages: 512, huge_pages: HugePages::Never, ..ZoneParams::default() };
    Zone::new(&params).expect("a small zone")
}

fn pool(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams::default()).expect("a pool")
}

#[track_caller]
fn assert_whole(zone: &Zone) {
    let account = Account::open(zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn packet(pool: &mut PagePool, len: usize) -> XdpFrame {
    XdpBuff::copy_from(pool, Direction::Rx, &text(len)).expect("pages").into()
}

#[test]
fn the_page_itself_goes_out_and_its_last_drop_brings_it_home() {
    let zone = zone();
    let mut pool = pool(&zone);
    let frame = packet(&mut pool, 1500);
    let address = frame.data().as_ptr();
    let bytes = frame.into_bytes().into_one();
    assert_eq!((bytes.as_ptr(), bytes.len()), (address, 1500), "nothing was copied");
    assert_eq!(bytes, text(1500));
    let (header, payload) = (bytes.slice(..14), bytes.slice(14..));
    drop(bytes);
    assert_eq!(pool.outstanding(), 1);
    drop(header);
    let elsewhere = std::thread::spawn(move || drop(payload));
    elsewhere.join().expect("it ends");
    assert_eq!(pool.outstanding(), 0);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn a_packet_of_several_pages_is_a_chain() {
    let zone = zone();
    let mut pool = pool(&zone);
    let parts: Vec<Bytes> = packet(&mut pool, 9000).into_bytes().collect();
    assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [3840, 4096, 1064]);
    assert_eq!(parts.concat(), text(9000));
    let outstanding = pool.outstanding();
    let mut parts = parts.into_iter();
    drop(parts.next_back());
    assert_eq!(pool.outstanding(), outstanding - 1, "each part comes home by itself");
    drop(parts);

    // As a `Buf`, in steps that know nothing of pages.
    let mut buf = packet(&mut pool, 9000).into_bytes();
    let mut read = Vec::new();
    for step in [1usize, 3000, 839, 1, 4000, 96, 1000].into_iter().cycle() {
        let step = step.min(buf.remaining());
        if step % 2 == 0 {
            read.extend_from_slice(&buf.copy_to_bytes(step));
        } else {
            let mut bytes = vec![0; step];
            buf.copy_to_slice(&mut bytes);
            read.extend(bytes);
        }
        assert_eq!(buf.chunk().is_empty(), !buf.has_remaining(), "as `Buf` asks");
        if !buf.has_remaining() {
            break;
        }
    }
    assert_eq!(read, text(9000));
    assert_eq!(buf.next(), None);
    drop(buf);

    let mut buf = packet(&mut pool, 9000).into_bytes();
    buf.advance(5000);
    assert_eq!(buf.into_one(), text(9000)[5000..]);
    drop(packet(&mut pool, 9000).into_bytes()); // what nobody reads
    assert_eq!(pool.outstanding(), 0);
    drop(pool);
    assert_whole(&zone);
}

#[test]
fn bytes_come_back_as_a_copy_in_as_many_pages_as_they_need() {
    let zone = zone();
    let (mut from, mut to) = (pool(&zone), pool(&zone));
    for len in [0, 1, 14, 3840, 3841, 7936, 7937, 9000] {
        let mut bytes = packet(&mut from, len).into_bytes();
        let copy = XdpBuff::copy_from_buf(&mut to, Direction::Tx, &mut bytes).expect("pages");
        assert_eq!((bytes.remaining(), copy.total_len()), (0, len));
        assert_eq!(copy.parts().collect::<Vec<_>>().concat(), text(len));
    }
    let longest = XdpBuff::longest(&to);
    assert_eq!(longest, 3840 + MAX_FRAGS * 4096);
    let mut too_long = Bytes::from(text(longest + 1));
    assert!(XdpBuff::copy_from_buf(&mut to, Direction::Tx, &mut too_long).is_none());
    assert_eq!(too_long.len(), longest + 1, "nothing was read");
    // Fewer pages than are needed: what was taken goes back.
    let mut few = PagePool::new(&zone, PoolParams { limit: 2, ..PoolParams::default() }).expect("a pool");
    assert!(XdpBuff::copy_from_buf(&mut few, Direction::Tx, &mut text(9000).as_slice()).is_none());
    assert_eq!((few.outstanding(), from.outstanding(), to.outstanding()), (0, 0, 0));
    drop((few, from, to));
    assert_whole(&zone);
}

#[test]
#[should_panic(expected = "11 bytes of 10 cannot be skipped")]
fn nothing_is_behind_the_end() {
    let zone = zone();
    let mut bytes: PacketBytes = packet(&mut pool(&zone), 10).into();
    bytes.advance(11);
}
