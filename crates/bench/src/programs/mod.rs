//! The programs, in the order in which they run.

mod baseline;
mod latency;
mod page_bench01;
mod page_bench02;
mod pinning;
mod recycle;
mod setup;
pub(crate) mod xdp;

use crate::harness::Program;

/// All of them.
pub fn programs() -> Vec<Program> {
    vec![
        baseline::program(),
        page_bench01::program(),
        page_bench02::program(),
        xdp::drop_program(),
        xdp::tx_program(),
        xdp::redirect_program(),
        latency::program(),
        recycle::program(),
        pinning::program(),
    ]
}
