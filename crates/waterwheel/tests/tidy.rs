//! The house is as its plan says: the arrow between the crates, the files with unsafe code, tests that run.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate and which of ours it may depend on. Left to right is the only way.
const ARROW: &[(&str, &[&str])] = &[
    ("waterwheel-mm", &[]),
    ("waterwheel-page-pool", &["waterwheel-mm"]),
    // The same sources on counting atomics, for the benchmarks.
    ("waterwheel-count", &[]),
    ("waterwheel-mm-counted", &["waterwheel-count"]),
    ("waterwheel-page-pool-counted", &["waterwheel-mm-counted"]),
    // The same sources without statistics, for the benchmarks.
    ("waterwheel-mm-uncounted", &[]),
    ("waterwheel-page-pool-uncounted", &["waterwheel-mm-uncounted"]),
    ("waterwheel-xdp", &["waterwheel-page-pool"]),
    ("waterwheel-dev", &["waterwheel-xdp"]),
    ("waterwheel-prog", &["waterwheel-xdp"]),
    ("waterwheel", &["waterwheel-mm", "waterwheel-page-pool", "waterwheel-xdp", "waterwheel-dev", "waterwheel-prog"]),
    (
        "waterwheel-bench",
        &[
            "waterwheel-mm",
            "waterwheel-page-pool",
            "waterwheel-xdp",
            "waterwheel-dev",
            "waterwheel-prog",
            "waterwheel-count",
            "waterwheel-mm-counted",
            "waterwheel-page-pool-counted",
            "waterwheel-mm-uncounted",
            "waterwheel-page-pool-uncounted",
        ],
    ),
    ("waterwheel-cli", &["waterwheel-bench", "waterwheel-dev", "waterwheel-prog", "waterwheel-xdp"]),
];

/// Crates in which the compiler itself forbids unsafe code.
const SAFE: &[&str] = &["count", "page_pool", "xdp", "prog", "waterwheel"];

/// A file that is longer is not read in one go.
const LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is two levels up")
}

/// All Rust files of the workspace, with their text, by path from the root.
fn sources() -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_symlink() {
                continue; // one crate's sources in another's package: they are read once
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(path).expect("UTF-8"));
            }
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

#[test]
fn the_crates_follow_the_arrow() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let (_, allowed) =
            ARROW.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name} has no place in the arrow"));
        seen.insert(name.to_owned());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let for_tests = dependency["kind"] == "dev";
            assert!(
                !on.starts_with("waterwheel") || for_tests || allowed.contains(&on),
                "{name} depends on {on}, against the arrow"
            );
        }
    }
    assert_eq!(seen.len(), ARROW.len(), "the arrow names crates that are not there: {seen:?}");
}

#[test]
fn unsafe_code_is_where_the_list_says() {
    // An attribute, perhaps over several lines, that expects or allows unsafe code.
    let lifted = |text: &str| {
        text.split('#').map(|attribute| attribute.trim_start_matches('!').trim_start_matches('[')).any(|attribute| {
            let head: String =
                attribute.chars().take_while(|c| *c != ',' && *c != ']').filter(|c| !c.is_whitespace()).collect();
            head.starts_with("expect(unsafe_code") || head.starts_with("allow(unsafe_code")
        })
    };
    let found: BTreeSet<String> =
        sources().into_iter().filter(|(_, text)| lifted(text)).map(|(name, _)| name).collect();
    let plan = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let listed: BTreeSet<String> = plan
        .lines()
        .filter_map(|line| line.strip_prefix("| `crates/"))
        .filter_map(|line| line.split('`').next())
        .map(|path| format!("crates/{path}"))
        .collect();
    assert_eq!(
        found, listed,
        "files that lift the denial of unsafe code (left) and the list in ARCHITECTURE.md (right)"
    );
}

#[test]
fn crates_without_unsafe_code_forbid_it() {
    for name in SAFE {
        let text = fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).expect("the crate's root");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_undone() {
    // Put together here so that this file does not find itself.
    let banned = [
        format!("cfg({}())", "any"),
        format!("#[{}", "ignore"),
        format!("{}!(", "todo"),
        format!("{}!(", "unimplemented"),
        format!("{}!(", "dbg"),
        format!("{}ME", "FIX"),
    ];
    for (name, text) in sources() {
        for word in &banned {
            assert!(!text.contains(word.as_str()), "{name} contains {word}");
        }
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines; the limit is {LINES_MAX}");
    }
}
