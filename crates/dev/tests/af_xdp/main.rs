//! The AF_XDP device between veth pairs, with packets that strangers (packet sockets) send and receive. Needs root.
#![cfg(feature = "af_xdp")]

mod ends;
mod processes;
mod revive;
#[path = "../common/signals.rs"]
mod signals;
mod support;
#[path = "../../src/af_xdp/testing.rs"]
mod testing;
mod traffic;
