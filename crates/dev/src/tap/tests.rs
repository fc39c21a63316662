//! A tap on the end of a socket of packets, which waits where a tap does not: there signals can interrupt it.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{PoolParams, Zone};

use super::*;
use crate::signals::Signals;

fn counters(tap: &Tap) -> u64 {
    let mut sum = 0;
    tap.counters(&mut |_, n| sum += n);
    tap.lost(&mut |_, n| sum += n);
    sum
}

#[test]
fn an_interrupted_call_is_made_again() {
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    let mut pools = vec![PagePool::new(&zone, PoolParams::default()).unwrap()];
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut tap = Tap::of(ours, "ww-no-such-tap".to_owned(), false);
    let signals = Signals::to_this_thread();
    let other = std::thread::spawn(move || {
        Signals::wait_for(20);
        rustix::io::write(&theirs, &[7; 100]).unwrap();
        // Now it sends more than there is room for.
        Signals::wait_for(50);
        let mut lengths = Vec::new();
        while lengths.len() < 2000 {
            lengths.push(rustix::io::read(&theirs, &mut [0; 4096]).unwrap());
        }
        lengths
    });
    let mut batch = Vec::new();
    assert_eq!(tap.rx(&mut pools[0], &mut batch, 1), 1);
    assert_eq!(batch[0].data(), [7; 100]);
    batch.drain(..).for_each(|packet| pools[0].put(packet.into_page()));
    let (mut sent, mut drops) = (0, Drops::default());
    for round in 0..2000 {
        // Every other one has two parts.
        let mut bytes = XdpBuff::copy_from(&mut pools[0], Direction::Tx, &[1; 60]).unwrap();
        if round % 2 == 1 {
            let _ = bytes.push_frag(pools[0].alloc(Direction::Tx).unwrap(), 0, 40);
        }
        let mut frames = vec![XdpFrame::from(bytes)];
        sent += tap.tx(&mut pools[0], &mut frames, &mut drops).packets;
        assert!(frames.is_empty());
        tap.complete(&mut Homes::new(&mut pools));
    }
    assert_eq!((sent, drops.total(), counters(&tap)), (2000, 0, 0));
    drop(signals);
    let lengths = other.join().unwrap();
    assert!(lengths.chunks(2).all(|pair| pair[0] == 60 && pair[1] > 60), "{lengths:?}");
    tap.shutdown(&mut Homes::new(&mut pools));
    drop((tap, pools));
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
}
