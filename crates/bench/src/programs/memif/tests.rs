//! The line, without its peer.

use super::line::Line;
use crate::harness::Clock;
use std::time::{Duration, Instant};
use waterwheel_mm::cpu;

#[test]
fn packets_arrive_and_every_page_comes_home() {
    let cpus = cpu::allowed_cpus();
    let cpus = [cpus[0], cpus[cpus.len() - 1]];
    for trusted in [false, true] {
        let line = Line::start(cpus, 32, trusted).expect("two workers and a socket");
        let deadline = Instant::now() + Duration::from_secs(30);
        // On a busy machine the sender may not run at all in the time of a reading.
        while let Err(why) = line.interval(Clock::new()) {
            assert!(Instant::now() < deadline, "{why}");
        }
        for end in line.close() {
            let (stats, account) = end.expect("it did not panic");
            assert!(account.is_whole(), "{account:?}");
            assert!(stats.rounds > 0);
        }
    }
}
