//! What the programs say of packets.

use waterwheel_prog::{Discard, Forward, Reflect};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{
    Account, Action, Context, Direction, DropReason, PagePool, PoolParams, PortId, Program, XdpBuff, Zone,
};

/// What a program says of packets of these lengths that come in at a port, and what becomes of their bytes.
fn verdicts(program: &mut impl Program, port: u16, lengths: &[usize]) -> (Vec<Action>, Vec<Vec<u8>>) {
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    let bytes = |len: &usize| (0..*len).map(|i| i as u8).collect::<Vec<_>>();
    let packet = |len: &usize| XdpBuff::copy_from(&mut pool, Direction::Rx, &bytes(len)).unwrap();
    let mut batch: Vec<XdpBuff> = lengths.iter().map(packet).collect();
    let mut actions = vec![Action::Aborted; batch.len()];
    program.run(&Context { port: PortId(port) }, &mut batch, &mut actions);
    let bytes = batch.iter().map(|packet| packet.data().to_vec()).collect();
    batch.into_iter().for_each(|packet| pool.put(packet.into_page()));
    drop(pool);
    assert!(Account::open(&zone).close(Users::Gone).is_whole());
    (actions, bytes)
}

#[test]
fn forward_goes_where_the_wire_goes_and_nowhere_without_one() {
    let mut forward = Forward::new();
    forward.wire(PortId(0), PortId(3)).wire(PortId(2), PortId(0));
    let says = |port| verdicts(&mut forward.clone(), port, &[60, 0]).0;
    assert_eq!(says(0), [Action::Redirect(PortId(3)); 2]);
    assert_eq!(says(2), [Action::Redirect(PortId(0)); 2]);
    // One between those that are wired, one behind them, one that nobody can have.
    for port in [1, 3, u16::MAX] {
        assert_eq!(says(port), [Action::Drop(DropReason::NoTarget); 2], "{port}");
    }
    let rewired = verdicts(forward.wire(PortId(0), PortId(1)), 0, &[60]).0;
    assert_eq!(rewired, [Action::Redirect(PortId(1))], "the wire that was put last");
}

#[test]
fn discard_drops_as_the_program_says() {
    assert_eq!(verdicts(&mut Discard, 0, &[60, 0, 9]).0, [Action::Drop(DropReason::Program); 3]);
}

#[test]
fn reflect_sends_back_what_has_addresses() {
    let (actions, bytes) = verdicts(&mut Reflect, 5, &[60, 13, 14, 0]);
    let malformed = Action::Drop(DropReason::Malformed);
    assert_eq!(actions, [Action::Tx, malformed, Action::Tx, malformed]);
    for swapped in [&bytes[0], &bytes[2]] {
        assert_eq!(swapped[..14], [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13]);
    }
    assert_eq!(bytes[1], (0..13).collect::<Vec<u8>>(), "who is dropped is left as he is");
}
