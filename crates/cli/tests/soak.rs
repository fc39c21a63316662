//! `waterwheel soak`: short runs, from the command line to the total.

mod common;

use std::process::Output;

use common::{Running, run, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

fn soak(line: &str) -> Output {
    run(&format!("soak {line}"))
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Two seconds with this seed: everything happens, and nothing is found.
fn two_seconds(seed: u64) {
    let output = soak(&format!("--duration 2s --interval 500ms --seed {seed} --threads 2 --json"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let all = objects(&output);
    let (start, total) = (&all[0], all.last().expect("objects"));
    assert_eq!((&start["event"], &start["seed"]), (&"start".into(), &seed.into()));
    assert!(all.len() > 3 && all[1..all.len() - 1].iter().all(|object| object["event"] == "interval"));
    assert_eq!((&total["event"], &total["seed"]), (&"total".into(), &seed.into()));

    let count = |key: &str| total[key].as_u64().unwrap_or_else(|| panic!("{key}: {total}"));
    for key in ["packets", "resets", "pools_made", "pages_out_max", "checks"] {
        assert!(count(key) > 0, "{key}: {total}");
    }
    assert_eq!(count("pools_made"), count("pools_destroyed"), "{total}");
    for (event, times) in total["events"].as_object().expect("events") {
        assert!(times.as_u64() > Some(0), "no {event}: {total}");
    }
    for reason in ["program", "aborted", "no_target", "fault", "tx_ring_full"] {
        assert!(total["drops"][reason].as_u64() > Some(0), "{reason}: {total}");
    }
    let pages = &total["pages"];
    assert_eq!((&pages["free"], &pages["leaked"]), (&pages["total"], &0.into()), "{total}");
}

#[test]
fn two_seconds_with_one_seed() {
    two_seconds(1);
}

#[test]
fn two_seconds_with_another_seed() {
    two_seconds(0xdead_beef);
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
