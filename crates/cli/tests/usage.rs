//! The command line as a person or a script meets it: help, errors, exit codes. What moves packets is in `run.rs`.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

fn waterwheel(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waterwheel")).args(line.split_whitespace()).output().expect("the binary runs")
}

/// The exit code and the one line on standard error.
fn refused(line: &str) -> (i32, String) {
    let output = waterwheel(line);
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(errors.starts_with("waterwheel: "), "{line}: {errors}");
    assert_eq!(errors.matches('\n').count(), 1, "{line}: one line: {errors}");
    assert!(output.stdout.is_empty(), "{line}: nothing on standard output");
    (output.status.code().expect("no signal"), errors.trim_end().trim_start_matches("waterwheel: ").to_owned())
}

fn printed(line: &str) -> String {
    let output = waterwheel(line);
    assert!(output.status.success(), "{line}: {output:?}");
    assert!(output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn help_names_every_verb_and_every_exit_code() {
    let help = printed("--help");
    for verb in ["forward", "drop", "tx", "generate", "capture", "relay", "bench", "soak", "devices", "help"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
        let own = printed(&format!("help {verb}"));
        if verb != "devices" {
            assert_eq!(own, printed(&format!("{verb} --help")), "help {verb} is {verb} --help");
        }
    }
    for code in ["0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "6  ", "7  ", "8  ", "9  ", "130, 143"] {
        assert!(help.contains(&format!("\n  {code}")), "{code}: {help}");
    }
    assert_eq!(printed("help"), help);
    assert!(printed("--version").starts_with("waterwheel "));
}

#[test]
fn every_verb_that_moves_packets_takes_the_common_options() {
    for verb in ["forward", "drop", "tx", "generate", "capture"] {
        let help = printed(&format!("help {verb}"));
        for option in
            ["--duration", "--count", "--interval", "--json", "--workers", "--pages", "--idle", "--require-zerocopy"]
        {
            assert!(help.contains(option), "{verb} {option}");
        }
        assert!(help.contains("\nExamples:\n  waterwheel "), "{verb} shows how");
    }
}

#[test]
fn help_devices_explains_every_kind() {
    let help = printed("help devices");
    for form in ["afxdp:IFACE[:QUEUE]", "tap:NAME", "pcap:FILE", "gen:", "null:", "veth:"] {
        assert!(help.contains(&format!("\n{form}")), "{form}");
    }
}

#[test]
fn a_command_line_that_cannot_be_understood_is_usage() {
    for (line, expected) in [
        ("frwd gen: null:", "'forward'"),
        ("forward gen:", "<B> (see 'waterwheel forward --help')"),
        ("forward gen: null: more", "'more'"),
        ("forward gen: null: --durtion 5", "'--duration'"),
        ("forward gen: null: --duration 5x", "us, ms, s, m or h"),
        ("forward gen: null: --duration 0", "longer than 0"),
        ("forward gen: null: --count ten", "not a count"),
        ("forward gen: null: --workers 0", "1 or more"),
        ("forward gen: null: --idle spn", "'spin'"),
        ("forward nul: null:", "did you mean 'null:'?"),
        ("forward gen null:", "did you mean 'gen:'?"),
        ("drop eth0", "did you mean 'afxdp:eth0'?"),
        ("drop dpdk:0", "use one of 'afxdp:IFACE[:QUEUE]'"),
        ("drop afxdp:", "IFACE[:QUEUE]"),
        ("drop afxdp:lo:one", "'one' is not a queue"),
        ("drop gen:size=64,,", "empty key"),
        ("generate null: --size 64 --gen size=65", "given twice"),
        ("soak --seed x", "not a count"),
        ("soak --threads 0", "1 or more"),
        ("soak more", "'more'"),
        ("help devcies", "did you mean 'devices'?"),
    ] {
        let (code, message) = refused(line);
        assert_eq!(code, 2, "{line}: {message}");
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn what_cannot_be_is_config() {
    for (line, expected) in [
        ("drop null:", "nothing comes from there"),
        ("tx pcap:x", "receives and sends"),
        ("forward null: gen: --one-way", "did you mean 'forward gen: null:'?"),
        ("soak --threads 65", "1 to 64"),
        ("drop afxdp:lo:99", "lo has only queue 0"),
    ] {
        let (code, message) = refused(line);
        assert_eq!(code, 3, "{line}: {message}");
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn an_unknown_interface_names_those_that_are_there() {
    let (code, message) = refused("drop afxdp:loo");
    assert_eq!(code, 5, "{message}");
    assert!(message.contains("did you mean 'lo'?"), "{message}");
    assert!(message.contains("interfaces are "), "{message}");
}

#[test]
fn devices_lists_this_machine() {
    let text = printed("devices");
    assert!(text.contains("kernel") && text.contains("\n  lo "), "{text}");
    let json = serde_json::from_str::<serde_json::Value>(&printed("devices --json")).expect("one JSON object");
    assert_eq!(json["event"], "devices");
    let interfaces = json["interfaces"].as_array().expect("a list");
    let lo = interfaces.iter().find(|interface| interface["name"] == "lo").expect("lo is there");
    for key in ["driver", "mtu", "queues", "answer"] {
        assert!(!lo[key].is_null(), "{key}: {lo}");
    }
    for fact in json["host"].as_array().expect("a list") {
        let verdict = fact["answer"]["verdict"].as_str().expect("a verdict");
        assert!(["ready", "careful", "optional", "no"].contains(&verdict), "{fact}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for line in ["--help", "help devices", "devices"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_waterwheel"))
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
        assert_eq!((child.wait().expect("it ends").code(), errors.as_str()), (Some(0), ""), "{line}");
    }
}

#[test]
fn without_a_verb_there_is_help_and_a_usage_error() {
    let output = waterwheel("");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: waterwheel"));
}
