//! `--trace-pages`: the binary says who has pages, at the end and when it is asked.

mod common;

use common::{Lines, Running, events, run, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

/// `(holder, pages, seen)` of the total, which accounts for every page.
fn held(total: &Value) -> Vec<(String, u64, u64)> {
    let number = |group: &Value, key: &str| group[key].as_u64().unwrap_or_else(|| panic!("{key}: {group}"));
    let group = |group: &Value| {
        assert!(number(group, "oldest_ms") < 60_000 && group["event"].is_string(), "{group}");
        (group["holder"].as_str().expect("a name").to_owned(), number(group, "pages"), number(group, "seen"))
    };
    total["trace_pages"]["holders"].as_array().expect("groups").iter().map(group).collect()
}

#[test]
fn the_total_says_who_had_pages() {
    // What is sent into a veth whose other end nobody empties fast enough lies there; at any moment the pages that are out are with these two.
    let total = events("forward gen: veth: --duration 200ms --trace-pages").pop().expect("a total");
    assert_eq!(total["trace_pages"]["one_in"], 1);
    let held = held(&total);
    assert!(
        held.iter().all(|(name, pages, seen)| ["gen:", "veth:"].contains(&name.as_str()) && pages == seen),
        "{total}"
    );
}

#[test]
fn a_sample_is_scaled_and_nothing_is_said_unless_it_is_asked_for() {
    let total = events("drop gen: --duration 100ms --trace-pages=1/16").pop().expect("a total");
    assert_eq!(total["trace_pages"]["one_in"], 16);
    assert!(held(&total).iter().all(|(_, pages, seen)| *pages == 16 * seen), "{total}");
    let total = events("drop gen: --count 1000").pop().expect("a total");
    assert!(total.get("trace_pages").is_none(), "{total}");
}

#[test]
fn text_has_lines_for_holders_before_the_account() {
    let output = run("drop gen: --count 1000 --plain --trace-pages=1/2");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("  held  ")).unwrap_or_else(|| panic!("{text}"));
    assert!(lines[at..lines.len() - 1].iter().all(|line| line.starts_with("  held  ")), "{text}");
    assert!(lines[lines.len() - 1].starts_with("  pages  "), "{text}");
    assert!(lines[lines.len() - 2].contains("1 in 2") || lines[lines.len() - 2].contains("1 page in 2"), "{text}");
}

/// What standard error says of the holders when it is asked.
fn asked(arguments: &str, answer: &str) {
    let mut running = Running::start(&mut waterwheel(arguments));
    let mut lines = Lines::of(running.0.stderr.take().expect("piped"));
    let first = lines.next().expect("a notice"); // it runs
    assert!(first.contains("of memory"), "{first}");
    running.signal(Signal::USR1);
    let line = lines.next().expect("an answer");
    assert!(line.contains(answer), "{line}");
    running.signal(Signal::INT);
    assert!(running.wait().success());
}

#[test]
fn sigusr1_asks_who_has_pages() {
    // A slow source: now and then a page is out, mostly none is.
    asked("drop gen:rate=1 --plain --trace-pages", "waterwheel: ");
    asked("drop gen:rate=1 --plain --trace-pages=1/1024", "none of the pages that are followed (1 in 1024) is out");
    asked("drop gen:rate=1 --plain", "who has pages is not known: start it with --trace-pages");
}

#[test]
fn a_share_that_cannot_be_is_refused_in_one_line() {
    for (share, why) in [
        ("1/3", "1 in 3 pages cannot be followed: want a power of two from 1 to 1024"),
        ("1/0", "1 in 0 pages cannot be followed"),
        ("1/4096", "1 in 4096 pages cannot be followed"),
        ("64", "not a share of the pages: use 1/N, e.g. 1/64; 1/1 is every page"),
        ("", "--trace-pages"),
    ] {
        let output = run(&format!("drop gen: --count 1 --trace-pages={share}"));
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{text}");
        assert!(text.contains(why) && text.contains("--trace-pages"), "{text}");
    }
}
