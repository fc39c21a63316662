//! memif, both roles, against each other, against strangers, and against liars. Nothing here needs root.
#![cfg(feature = "memif")]

#[path = "../common/mod.rs"]
mod common;
mod liars;
mod linger;
mod lost;
mod pair;
mod script;
#[path = "../common/signals.rs"]
mod signals;
mod sockets;
mod support;
mod testpmd;
mod threads;
mod trusted;
mod waits;
