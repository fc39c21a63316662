//! The programs, in the order in which they run.

mod baseline;
mod iova;
mod latency;
mod page_bench01;
mod page_bench02;
mod page_bench03;
mod page_bench04;
mod page_bench05;
mod page_pool_cross_cpu;
mod page_pool_simple;
mod pinning;
mod recycle;
mod rings;
mod setup;
pub(crate) mod xdp;

use crate::harness::Program;

/// All of them.
pub fn programs() -> Vec<Program> {
    vec![
        baseline::program(),
        page_bench01::program(),
        page_bench02::program(),
        page_bench03::program(),
        page_bench04::program(),
        page_bench05::program(),
        page_pool_simple::program(),
        page_pool_cross_cpu::program(),
        xdp::drop_program(),
        xdp::tx_program(),
        xdp::redirect_program(),
        latency::program(),
        recycle::program(),
        pinning::program(),
    ]
}
