//! Sends packets back (`xdp_tx`, testpmd's macswap).

use crate::ethernet::EthernetMut;
use waterwheel_xdp::{Action, Context, DropReason, Program, XdpBuff};

/// Swaps the Ethernet addresses and sends the packet back where it came from; what has no whole Ethernet header is dropped as malformed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reflect;

impl Program for Reflect {
    fn run(&mut self, _: &Context, batch: &mut [XdpBuff], actions: &mut [Action]) {
        for (packet, action) in batch.iter_mut().zip(actions) {
            *action = match EthernetMut::new(packet.data_mut()) {
                Some(mut ethernet) => {
                    ethernet.swap_addresses();
                    Action::Tx
                }
                None => Action::Drop(DropReason::Malformed),
            };
        }
    }
}
