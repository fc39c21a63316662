//! The programs, in the order in which they run.

mod af_xdp;
mod baseline;
mod instructions;
mod iova;
mod latency;
mod memif;
mod page_bench01;
mod page_bench02;
mod page_bench03;
mod page_bench04;
mod page_bench05;
mod page_pool_cross_cpu;
mod page_pool_simple;
mod pinning;
mod recycle;
pub(crate) mod relay;
mod rings;
mod setup;
mod station;
pub(crate) mod usage;
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
        af_xdp::program(),
        memif::program(),
        latency::program(),
        relay::program(),
        recycle::program(),
        pinning::program(),
        instructions::program(), // the last one: see harness/steps.rs
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The talk's slides that are answered.
    const SLIDES: [&str; 14] = [
        "Mind-bugling speeds",
        "XDP - eXpress Data Path",
        "XDP “real” forwarding missing",
        "Driver page recycling",
        "Need “handle” to page after leaving the driver",
        "Generalize problem statement",
        "Even more generic",
        "History: Benchmark page order-0 fast-path",
        "Cost when page order increase (Kernel 4.11-rc1)",
        "Pressure PCP lists with many out-standing pages",
        "Moving pages cross CPU",
        "Disable zone_statistics (via No-NUMA)",
        "Compare vs. No-NUMA out-standing pages test",
        "Page allocator bulk API benchmarks",
    ];

    #[test]
    fn every_slide_is_called_by_its_title_and_answered() {
        let all: Vec<&str> = programs().iter().map(|program| program.answers).collect();
        let quoted = all
            .iter()
            .filter(|answers| answers.contains("slide"))
            .flat_map(|answers| answers.split('"').skip(1).step_by(2));
        quoted.for_each(|title| assert!(SLIDES.contains(&title), "no slide has the title {title}"));
        for slide in SLIDES {
            assert!(all.iter().any(|answers| answers.contains(&format!("\"{slide}\""))), "{slide} is not answered");
        }
    }

    #[test]
    fn what_is_asked_for_by_name_has_a_name_of_its_own() {
        for program in programs() {
            let mut names: Vec<&str> = program.cases.iter().map(|case| case.name.as_str()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}: {names:?}", program.name);
        }
    }
}
