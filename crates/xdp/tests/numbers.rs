//! Every number that can be given, at its ends: it is refused, or it works.

mod common;

use common::{Peer, assert_whole, pool, zone};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use waterwheel_xdp::wrap::{Fault, FaultParams};
use waterwheel_xdp::{Action, Context, Device, Direction, Fabric, FabricError, MAX_BUDGET, MAX_WORKERS, XdpBuff, veth};

/// What its documentation says that it panics with.
fn refused<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

fn reflect(_: &Context, _: &mut XdpBuff) -> Action {
    Action::Tx
}

#[test]
fn a_worker_works_whatever_it_is_told() {
    for budget in [0, 1, MAX_BUDGET, MAX_BUDGET + 1, usize::MAX] {
        for nap in [Duration::ZERO, Duration::MAX] {
            for limit in [0, 1, u64::MAX - 1, u64::MAX] {
                let zone = zone(256);
                let mut fabric = Fabric::new(0);
                fabric.budget(budget);
                fabric.nap(Some(nap));
                fabric.pin(usize::MAX, 0);
                fabric.pin(0, usize::MAX);
                let fault = FaultParams { duplicate: u32::MAX, corrupt: u32::MAX, ..FaultParams::default() };
                let (mut peer, _) = Peer::attach_as(&mut fabric, 0, &zone, 8, |near| Box::new(Fault::new(near, fault)));
                assert_eq!(peer.send(1), 1);
                let mut worker = fabric.build().unwrap().remove(0);
                let control = worker.control();
                control.limit(limit);
                (0..3).for_each(|_| _ = worker.poll(&mut reflect));
                // It comes twice, as far as it may come.
                assert_eq!(worker.stats().ports[0].rx.packets > 0, limit > 0, "{budget} {limit}");
                control.stop();
                worker.run(&mut reflect);
                drop((worker.close(), peer));
                assert_whole(&zone);
            }
        }
    }
}

#[test]
fn there_are_as_many_workers_as_there_can_be() {
    let zone = zone(64);
    let mut fabric = Fabric::new(usize::MAX);
    for worker in [MAX_WORKERS, usize::MAX] {
        let (near, _) = veth("near", "far", 1);
        let nobody = fabric.add(worker, Box::new(near), pool(&zone));
        assert!(matches!(nobody, Err(FabricError::NoWorker(it)) if it == worker));
    }
    let (near, _) = veth("near", "far", 1);
    fabric.add(MAX_WORKERS - 1, Box::new(near), pool(&zone)).unwrap();
    assert!(refused(|| veth("near", "far", usize::MAX)));
}

#[test]
fn a_packet_is_as_long_as_it_can_be() {
    let zone = zone(64);
    let mut pool = pool(&zone);
    for len in [1 << 17, 1 << 32, usize::MAX] {
        assert!(XdpBuff::of_len(&mut pool, Direction::Tx, len).is_none());
        for (offset, len) in [(len, 0), (0, len), (len, len), (1, len)] {
            let page = pool.alloc(Direction::Tx).unwrap();
            assert!(refused(|| XdpBuff::new(page, offset, len)));
        }
        let page = pool.alloc(Direction::Tx).unwrap();
        assert!(refused(|| XdpBuff::with_len(page, len)));
        let mut packet = XdpBuff::of_len(&mut pool, Direction::Tx, 5000).unwrap();
        assert!(refused(|| packet.set_len(len)));
        for (offset, len) in [(len, 0), (0, len), (len, len), (1, len)] {
            let page = pool.alloc(Direction::Tx).unwrap();
            assert!(refused(|| packet.push_frag(page, offset, len)));
        }
        assert!(!packet.load_bytes(len, &mut [0; 2]) && !packet.store_bytes(len, &[0; 2]));
        for delta in [i32::MIN, i32::MAX] {
            assert!(packet.adjust_head(delta).is_err() && packet.adjust_tail(delta).is_err());
            assert!(packet.adjust_meta(delta).is_err());
        }
        assert_eq!(packet.total_len(), 5000);
        // Devices are asked for as many as there are.
        let (mut near, _) = veth("near", "far", 1);
        assert_eq!(near.rx(&mut pool, &mut Vec::new(), usize::MAX), 0);
    }
    drop(pool);
    assert_whole(&zone);
}
