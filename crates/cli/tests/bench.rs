//! `waterwheel bench`: names, formats, the report, the comparison, signals and pipes. Times are nobody's test.

mod common;

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use common::{Running, Scratch, run, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

/// A bench that takes a moment: one case, one run.
const TINY: &str = "bench --quick --runs 1 page_bench01/order\u{a0}0";

/// The binary with these arguments, a no-break space standing for a space within one.
fn bench(line: &str) -> Output {
    let args = line.split(' ').map(|word| word.replace('\u{a0}', " "));
    waterwheel("").args(args).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A file of this test alone.
fn file(name: &str, text: &str) -> Scratch {
    let scratch = Scratch::new(name);
    fs::write(&scratch.0, text).expect("a writable folder for temporary files");
    scratch
}

#[test]
fn the_list_names_and_describes_the_programs() {
    let list = text(&run("bench --list"));
    for expected in ["page_bench01\n", "page_bench02\n", "answers: page_bench02.c", "cases: order 0, order 1"] {
        assert!(list.contains(expected), "{expected}: {list}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 100), "{list}");
}

#[test]
fn an_unknown_name_gets_the_list_of_names() {
    for (line, expected) in [
        ("bench page_bench99", "there is no bench `page_bench99`; there are: baseline, page_bench01"),
        ("bench page_bench01/order\u{a0}99", "has no case `order 99`; it has: order 0, order 1"),
    ] {
        let output = bench(line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected) && errors.matches('\n').count() == 1, "{errors}");
        assert!(output.stdout.is_empty(), "nothing has run");
    }
}

#[test]
fn options_that_do_not_fit_together_are_usage() {
    for line in ["bench --json --time-bench", "bench --quick compare a b", "bench compare a", "bench --json --all"] {
        assert_eq!(run(line).status.code(), Some(2), "{line}");
    }
    assert_eq!(run("bench --runs 0").status.code(), Some(3), "a value that cannot be");
}

/// At a terminal everything but the end is kept back, unless it is asked for or a bench is named.
#[test]
fn a_terminal_gets_a_summary_of_one_screen() {
    let at_a_terminal = |line: &str| {
        let line = line.replace("waterwheel", env!("CARGO_BIN_EXE_waterwheel"));
        let output = std::process::Command::new("script").args(["-qec", &line, "/dev/null"]).output();
        String::from_utf8_lossy(&output.expect("script runs").stdout).into_owned()
    };
    let named = at_a_terminal("waterwheel bench --quick --runs 1 page_pool_simple/64\\ pages page_bench02/N=16384");
    assert!(named.contains("page_bench02\r\n") && named.contains("contender"), "all of what was named: {named}");
    let (_, summary) = named.split_once("\r\nWhat a page costs here").expect(&named);
    assert!(summary.contains("a packet's page from the pool and back") && summary.contains("Linux: about"), "{named}");
    assert!(summary.contains("16384 pages out") && summary.lines().count() <= 10, "{named}");
    // All of it takes long: what there is by then is told.
    let folder = Scratch::new("typescript");
    let line = format!("timeout -s INT 3 {} bench --quick --runs 1", env!("CARGO_BIN_EXE_waterwheel"));
    let output = std::process::Command::new("script").args(["-qec", &line]).arg(&folder.0).output();
    let quiet = String::from_utf8_lossy(&output.expect("script runs").stdout).into_owned();
    assert!(quiet.contains("measuring ") && !quiet.contains("contender"), "{quiet}");
}

#[test]
fn json_begins_with_the_machine_and_has_its_keys() {
    let events = objects(&text(&bench(&format!("{TINY} --json"))));
    assert_eq!(events[0]["event"], "machine");
    for key in ["cpu", "kernel", "huge_pages", "mitigations", "governor", "locked_ns", "empty_ns"] {
        assert!(!events[0][key].is_null(), "{key}: {}", events[0]);
    }
    let rows: Vec<&Value> = events.iter().filter(|event| event["event"] == "row").collect();
    assert!(rows.iter().any(|row| row["impl"] == "pcp" && row["side"] == "ours"), "{rows:?}");
    for row in rows {
        assert_eq!((&row["bench"], &row["case"], &row["runs"]), (&"page_bench01".into(), &"order 0".into(), &1.into()));
        for key in ["ns", "min_ns", "median_ns", "max_ns", "locked"] {
            assert!(row[key].as_f64().is_some_and(|ns| ns >= 0.0), "{key}: {row}");
        }
        assert!(row["cycles"].is_number() != events[0]["tsc_ghz"].is_null(), "cycles where there is a TSC: {row}");
    }
}

#[test]
fn packets_between_interfaces_are_counted_where_they_arrive_or_the_reason_is_said() {
    let can = rustix::process::geteuid().is_root() && std::thread::available_parallelism().map_or(1, usize::from) > 1;
    let deadline = Instant::now() + Duration::from_secs(60);
    // On a busy machine nothing may arrive in the short time of a quick run: that is no figure then.
    let events = loop {
        let events = objects(&text(&run("bench --quick --runs 1 --peers --json af_xdp_forward/interrupts")));
        let has_row = events.iter().any(|event| event["event"] == "row" && event["impl"] == "forward");
        if has_row == can || Instant::now() > deadline {
            break events;
        }
    };
    let of = |kind: &str, name: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["event"] == kind && event["impl"] == name).collect()
    };
    for name in ["forward", "dpdk-testpmd"] {
        let (rows, counts, absent) = (of("row", name), of("count", name), of("absent", name));
        if let [row] = rows.as_slice() {
            assert!(row["elements"].as_u64() > Some(0) && absent.is_empty(), "{row}");
            let counted: Vec<&str> = counts.iter().filter_map(|count| count["what"].as_str()).collect();
            assert_eq!(
                counted,
                ["user ns/packet", "system ns/packet", "packets sent to it for each that arrives"],
                "{name}"
            );
        } else {
            assert!(absent.len() <= 1 && rows.is_empty(), "{absent:?} {rows:?}");
        }
    }
    // Ours lacks nothing as root; what the peer is measured against is then ours.
    let (ours, peers) = (of("row", "forward").len(), of("row", "dpdk-testpmd").len());
    assert_eq!(ours, usize::from(can), "{events:?}");
    assert!(ours + peers > 0 || events.iter().any(|event| event["event"] == "absent"), "{events:?}");
    assert_eq!(of("ratio", "forward").len(), ours * peers, "{events:?}");
}

/// `Type:page_bench01 order 0 pcp Per elem: 9 cycles(tsc) 3.500 ns (step:0) - (measurement period time:0.1 sec ...)`, as lib/time_bench.c prints it.
#[test]
fn time_bench_lines_are_the_kernels() {
    let lines = text(&bench(&format!("{TINY} --time-bench")));
    for line in lines.lines() {
        let mut rest = line;
        for (before, is_number) in [
            ("Type:", false),
            (" Per elem: ", true),
            (" cycles(tsc) ", true),
            (" ns (step:", true),
            (") - (measurement period time:", true),
            (" sec time_interval:", true),
            (") - (invoke count:", true),
            (" tsc_interval:", true),
            (")", false),
        ] {
            let (field, after) = rest.split_once(before).unwrap_or_else(|| panic!("{before}: {line}"));
            assert!(
                before == "Type:" || field.starts_with("page_bench01 order 0 ") || field.parse::<f64>().is_ok(),
                "{field}: {line}"
            );
            assert!(!is_number || after.starts_with(|c: char| c.is_ascii_digit()), "{before}: {line}");
            rest = after;
        }
    }
    assert!(lines.lines().count() >= 2, "{lines}");
}

#[test]
fn a_signal_ends_it_with_what_is_finished() {
    // Far more runs than the test waits for.
    let mut command = waterwheel("bench --quick --json --runs 1000000 baseline page_bench01");
    let mut running = Running::start(&mut command);
    let mut lines = running.lines();
    let machine = lines.next().expect("the machine");
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), Some(0), "as every verb that is stopped");
    let events = objects(&(machine + "\n" + &lines.rest()));
    assert_eq!(events[0]["event"], "machine");
    assert!(
        events.last().is_some_and(|note| note["text"].as_str().is_some_and(|text| text.starts_with("interrupted")))
    );
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let mut command = waterwheel("bench --quick --runs 1000 baseline page_bench01");
    let mut running = Running::start(&mut command);
    drop(running.0.stdout.take());
    assert_eq!(running.wait().code(), Some(0));
    let errors = std::io::read_to_string(running.0.stderr.take().expect("piped")).expect("UTF-8");
    assert_eq!(errors, "");
}

#[test]
fn the_report_is_one_well_formed_file() {
    let folder = Scratch::new("report");
    let output = bench(&format!("bench --quick --runs 1 --report {folder} page_bench01", folder = folder.display()));
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(folder.0.join("index.html")).expect("the report");
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).expect("HTML that is XML as well");
    let drawings = document.descendants().filter(|node| node.has_tag_name("svg")).count();
    assert_eq!(drawings, 2, "cost per block and per page");
    let titles = document.descendants().filter(|node| node.has_tag_name("h2")).filter_map(|node| node.text());
    let titles = titles.map(str::trim).collect::<Vec<_>>();
    let mut once = titles.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), titles.len(), "no title twice: {titles:?}");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(
        at("id=\"page_bench01\"") < at("id=\"targets\"") && at("id=\"targets\"") < at("id=\"rows\""),
        "slides first"
    );
    assert!(at("A <b>LOCKed increment</b> is") < at("id=\"page_bench01\""), "words are explained before they are used");
    assert!(at("<b>Reach</b> is") > at("id=\"targets\""), "and these, where they stand");
    assert!(page.contains("--report") && page.contains("Not part of this run: "), "the command, and what is missing");
    for outside in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_run() {
    let output = run("bench --report /dev/null/out page_bench01");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty(), "nothing has run");
}

/// A run of one row of ours, all of whose times lie around `ns`.
fn results(ns: f64) -> String {
    let machine = serde_json::json!({
        "event": "machine", "cpu": "c", "cpus": [0], "tsc_ghz": 2.0, "kernel": "k", "huge_pages": "h", "mitigations": [], "governor": "g",
        "target": "t", "version": "v", "empty_ns": 0.2, "locked_ns": 5.0,
    });
    let row = serde_json::json!({
        "event": "row", "bench": "page_bench02", "case": "N=64", "impl": "pool, put", "side": "ours", "series": "s", "x": 64.0, "work": "w", "ns": ns,
        "cycles": 2.0 * ns, "locked": ns / 5.0, "min_ns": 0.98 * ns, "median_ns": ns, "max_ns": 1.02 * ns, "q1_ns": 0.99 * ns, "q3_ns": 1.01 * ns, "runs": 11, "elements": 1000, "empty_ns": 0.2,
        "noisy": false,
    });
    format!("{machine}\n{row}\n")
}

fn compare(old: &str, new: &str) -> (Option<i32>, String, String) {
    let (old, new) = (file("old.json", old), file("new.json", new));
    let output = run(&format!("bench compare {} {}", old.display(), new.display()));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_run_compared_with_itself_is_no_slower() {
    let measured = text(&bench(&format!("{TINY} --json")));
    let (code, out, errors) = compare(&measured, &measured);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("0 slower, 0 faster"), "{out}");
}

#[test]
fn what_became_slower_is_named_and_fails() {
    let (code, out, errors) = compare(&results(10.0), &results(15.0));
    assert_eq!((code, errors.as_str()), (Some(7), "waterwheel: slower: page_bench02/N=64: pool, put\n"));
    assert!(out.contains("+50.0%  page_bench02/N=64: pool, put"), "{out}");
    let (code, out, _) = compare(&results(15.0), &results(10.0));
    assert_eq!(code, Some(0));
    assert!(out.contains("-33.3%  page_bench02/N=64: pool, put"), "{out}");
}

#[test]
fn a_file_may_hold_several_runs() {
    let (code, out, _) = compare(&(results(10.0) + &results(15.0)), &(results(15.0) + &results(15.0)));
    assert_eq!(code, Some(0), "no slower than one of the runs before: {out}");
    let (code, ..) = compare(&(results(10.0) + &results(11.0)), &(results(15.0) + &results(15.0)));
    assert_eq!(code, Some(7));
}

#[test]
fn another_machine_is_warned_of() {
    let (_, out, _) = compare(&results(10.0), &results(10.0).replace("\"kernel\":\"k\"", "\"kernel\":\"other\""));
    assert!(out.contains("warning: the machines differ: kernel: k before, other now"), "{out}");
}

#[test]
fn the_targets_of_a_run_are_its_last_results_and_a_table() {
    let run_of_it = text(&bench("bench --quick --runs 1 --json page_bench02/N=64"));
    let last = objects(&run_of_it).pop().expect("results");
    assert_eq!((&last["event"], &last["bench"]), (&"target".into(), &"page_bench02".into()), "{last}");
    let saved = file("targets.json", &run_of_it);
    let table = text(&run(&format!("bench targets {}", saved.display())));
    let line = table.lines().find(|line| line.contains("Linux 6.19: 0.97")).expect(&table);
    assert!(line.contains(" LOCKed | ") && !line.contains("not measured"), "{line}");
    assert_eq!(run("bench targets /nowhere/run.json").status.code(), Some(3));
}

#[test]
fn a_file_that_is_no_run_is_named_with_its_line() {
    for (new, expected) in [
        ("", "no results of 'bench --json'"),
        ("hello\n", "line 1: not a result"),
        (&format!("{}{{\"event\":\"row\"", results(10.0)), "line 3: not a result"),
    ] {
        let (code, out, errors) = compare(&results(10.0), new);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{errors}");
        assert!(errors.contains("new.json: ") && errors.contains(expected), "{errors}");
        assert_eq!(errors.matches('\n').count(), 1, "{errors}");
    }
    assert_eq!(run("bench compare /nowhere/a /nowhere/b").status.code(), Some(3));
}
