//! `waterwheel soak`: short runs, from the command line to the total.

mod common;

use std::io::Read as _;
use std::process::Output;

use common::{Running, next, run, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

fn soak(line: &str) -> Output {
    run(&format!("soak {line}"))
}

const COUNTS: [&str; 5] = ["packets", "resets", "pools_made", "pages_out_max", "checks"];
const REASONS: [&str; 7] = ["program", "aborted", "no_target", "fault", "tx_ring_full", "worker_gone", "unsent"];

/// Whether everything has happened at least once.
fn all_happened(counters: &Value) -> bool {
    let happened = |value: &Value| value.as_u64() > Some(0);
    COUNTS.iter().all(|key| happened(&counters[key]))
        && counters["events"].as_object().expect("events").values().all(happened)
        && REASONS.iter().all(|reason| happened(&counters["drops"][reason]))
}

/// With this seed everything happens, mostly within two seconds, and nothing is found.
fn everything_happens(seed: u64) {
    let line = format!("soak --duration 60s --interval 200ms --seed {seed} --threads 2 --json");
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    let start = next(&mut lines);
    assert_eq!((&start["event"], &start["seed"]), (&"start".into(), &seed.into()));
    loop {
        let interval = next(&mut lines);
        assert_eq!(interval["event"], "interval", "not all has happened: {interval}");
        if all_happened(&interval) {
            break;
        }
    }
    running.signal(Signal::INT);
    let total: Value = serde_json::from_str(&lines.last().expect("the total")).expect("JSON");
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!((running.wait().code(), errors.as_str()), (Some(0), ""));
    assert_eq!((&total["event"], &total["seed"]), (&"total".into(), &seed.into()));
    assert!(all_happened(&total), "{total}");
    assert_eq!(total["pools_made"], total["pools_destroyed"], "{total}");
    let pages = &total["pages"];
    assert_eq!((&pages["free"], &pages["leaked"]), (&pages["total"], &0.into()), "{total}");
}

#[test]
fn everything_happens_with_one_seed() {
    everything_happens(1);
}

#[test]
fn everything_happens_with_another_seed() {
    everything_happens(0xdead_beef);
}

#[test]
fn a_seed_that_was_not_given_is_printed_first() {
    let output = soak("--duration 100ms --threads 1");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let seed = text.strip_prefix("soak: seed ").and_then(|rest| rest.split(',').next()).expect("a seed");
    assert!(seed.parse::<u64>().is_ok() && text.contains(&format!("\nseed {seed}\n")), "{text}");
    assert!(text.contains("\npages: 12288 of 12288 free\n"), "{text}");
}

#[test]
fn sigint_ends_it_with_the_figures() {
    let mut running = Running::start(&mut waterwheel("soak --threads 1 --interval 50ms --json"));
    let mut lines = running.lines();
    // With the first interval out, signals are handled and threads run.
    assert!(lines.any(|line| line.contains("\"interval\"")));
    running.signal(Signal::INT);
    let last = lines.last().expect("the total");
    assert_eq!(running.wait().code(), Some(0));
    let total: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(total["event"], "total");
    assert_eq!(total["pages"]["free"], total["pages"]["total"]);
}
