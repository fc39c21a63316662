//! Whole pools and whole workers under shuttle: real zones, pools, rings and loops, whose threads run one at a time, in an order that dice choose. Each schedule ends in the page account.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --release -p waterwheel-xdp --test shuttle
//! ```
//!
//! Each test explores for `WATERWHEEL_SHUTTLE_SECONDS` (10). A failure prints the seed of its round; `WATERWHEEL_SHUTTLE_SEED` begins with that round, and so fails at once, in the same
//! way. Loom explores all orders, and what weak orderings allow, of a few steps; shuttle some orders of very many steps, and sequential consistency only.
#![cfg(shuttle)]

#[path = "../common/mod.rs"]
mod common;
mod explore;
mod pools;
mod port;
mod workers;
