//! memif, both roles, against each other, against strangers, and against liars. Nothing here needs root.
#![cfg(feature = "memif")]

#[path = "../common/mod.rs"]
mod common;
mod pair;
mod sockets;
mod support;
