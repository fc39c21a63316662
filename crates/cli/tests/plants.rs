//! What the binary says when something is wrong with it. The feature `plants` breaks it on purpose.

mod common;

use common::{run, waterwheel, whole};
use serde_json::Value;

/// Its code, its total and its last word.
fn outcome(line: &str) -> (Option<i32>, Value, String) {
    let output = waterwheel(&format!("{line} --json")).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    let total = serde_json::from_str(text.lines().last().expect("a total")).expect("JSON");
    (output.status.code(), total, errors.lines().last().expect("a word").to_owned())
}

#[test]
fn a_leaked_page_is_a_failure_of_its_own_class() {
    let (code, total, word) = outcome("drop gen: --count 100 --plant leak");
    assert_eq!(code, Some(6), "{word}");
    assert!(word.starts_with("waterwheel: pages leaked: ") && word.contains("1 LEAKED"), "{word}");
    assert_eq!(total["pages"]["leaked"], 1, "{total}");
    let (free, all) = (total["pages"]["free"].as_u64(), total["pages"]["total"].as_u64());
    assert_eq!(free.map(|free| free + 1), all, "{total}");
}

#[test]
fn a_page_that_is_held_twice_is_a_failure_of_the_same_class() {
    let (code, total, word) = outcome("drop gen: --count 100 --plant twice");
    assert_eq!(code, Some(6), "{word}");
    assert!(word.contains("1 pages are held twice"), "{word}");
    assert_eq!(total["rx_packets"], 100, "the run is told of all the same: {total}");
}

#[test]
fn a_worker_that_panics_is_a_failure_of_its_own_class() {
    let (code, total, word) = outcome("forward gen: null: --count 100 --plant panic");
    assert_eq!(code, Some(9), "{word}");
    assert!(word.contains("panicked") && word.contains("please report this"), "{word}");
    whole(&total);
    assert_eq!(total["actions"]["aborted"], total["rx_packets"], "{total}");
    assert_eq!(total["drops"]["aborted"], total["rx_packets"], "{total}");
    assert!(total["rx_packets"].as_u64().expect("a count") > 0, "{total}");
}

/// The others are not left waiting for it.
#[test]
fn one_of_two_workers_that_panics_ends_the_run() {
    let (code, total, word) = outcome("forward gen: gen: --workers 2 --plant panic");
    assert_eq!(code, Some(9), "{word}");
    whole(&total);
    assert_eq!(total["actions"]["aborted"], total["rx_packets"], "{total}");
}

#[test]
fn without_a_plant_all_is_well() {
    assert_eq!(run("drop gen: --count 100").status.code(), Some(0));
}
