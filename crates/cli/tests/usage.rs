//! The command line as a person or a script meets it: help, errors, exit codes. What moves packets is in `run.rs`.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

use waterwheel_dev::spec::Kind;

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
fn every_kind_of_device_is_listed_and_explained() {
    let (main, devices) = (printed("--help"), printed("help devices"));
    for kind in Kind::ALL {
        let (name, form) = (kind.as_str(), kind.form());
        assert!(main.contains(&format!("\n  {form:20}  ")), "{form}: {main}");
        assert!(devices.contains(&format!("\n{form}\n")), "{form}");
        let own = printed(&format!("help {name}"));
        assert!(own.starts_with(&format!("{form}\n  ")) && devices.contains(&own), "{own}");
        assert_eq!(printed(&format!("help {name}:")), own);
    }
    assert!(refused("help memiff").1.contains("did you mean 'memif'?"));
}

#[test]
fn a_share_of_the_pages_needs_no_equals_sign() {
    for option in ["--trace-pages=1/2", "--trace-pages 1/2", "--trace-pages"] {
        for line in [format!("drop null:size=64 --count 1 {option}"), format!("drop {option} null:size=64 --count 1")] {
            let output = waterwheel(&line);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("\n  held "), "{line}: {output:?}");
            assert_eq!(text.contains("1 in 2") || text.contains("1 page in 2"), option.contains('2'), "{line}: {text}");
        }
    }
}

#[test]
fn a_command_line_that_cannot_be_understood_is_usage() {
    for (line, expected) in [
        ("frwd gen: null:", "'forward'"),
        ("forward gen: null: --duration", "none was supplied"),
        ("forward gen:", "<B> (see 'waterwheel forward --help')"),
        ("forward gen: null: more", "'more'"),
        ("forward gen: null: --durtion 5", "'--duration'"),
        ("forward nul: null:", "did you mean 'null:'?"),
        ("forward gen null:", "did you mean 'gen:'?"),
        ("drop eth0", "did you mean 'afxdp:eth0'?"),
        ("drop dpdk:0", "use one of 'afxdp:IFACE[:QUEUE]'"),
        ("drop afxdp:", "IFACE[:QUEUE]"),
        ("drop gen:size=64,,", "empty key"),
        ("generate null: --size 64 --gen size=65", "given twice"),
        ("soak more", "'more'"),
        ("generate null: --gen sze=64", "'--gen sze=64': unknown key 'sze', did you mean 'size'?"),
        ("capture gen: - --filter snap=60", "'--filter snap=60': unknown key 'snap', the keys are dst, proto, port"),
        ("capture gen: - --filter port=1,,", "'--filter port=1,,' has an empty key"),
        ("help devcies", "did you mean 'devices'?"),
    ] {
        let (code, message) = refused(line);
        assert_eq!(code, 2, "{line}: {message}");
        assert!(message.contains(expected), "{line}: {message}");
    }
}

/// One class for one mistake: it is the same for an option, a key and an argument.
#[test]
fn what_cannot_be_is_config() {
    for (line, expected) in [
        ("forward gen: null: --duration 5x", "us, ms, s, m or h"),
        ("forward gen: null: --duration 0", "longer than 0"),
        ("forward gen: null: --count ten", "not a count"),
        ("forward gen: null: --workers 0", "1 or more"),
        ("forward gen: null: --idle spn", "'spin'"),
        ("drop afxdp:lo:one", "'one' is not a queue"),
        ("soak --seed x", "not a count"),
        ("soak --threads 0", "1 or more"),
        ("forward gen: null: --duration -1", "longer than 0"),
        ("forward gen: null: -d -1.5s", "longer than 0"),
        ("forward gen: null: --duration=-1", "longer than 0"),
        ("forward gen: null: --count -5", "not negative"),
        ("relay 127.0.0.1:0 127.0.0.1:9 --idle-timeout -5m", "longer than 0"),
        ("forward gen: null: --trace-pages 2/64", "use 1/N"),
        ("generate null: --size -5", "'--size -5': want a number such as "),
        ("generate null: --gen size=-5", "'--gen size=-5': size=-5: want a number such as "),
        ("generate null: --src x", "'--src x': "),
        ("capture gen: /tmp/x --file-time -5", "'--file-time -5': want a length of time"),
        ("capture gen: /tmp/x --snap -5", "'--snap -5': want "),
        ("capture gen: - --filter port=x", "'--filter port=x': "),
        ("bench --runs -1", "not negative"),
        ("relay 127.0.0.1:0 127.0.0.1:x", "'x' is no port"),
        ("drop udp:127.0.0.1:x", "'x' is no port"),
        ("drop memif:/tmp/x,ring=1000", "a power of two"),
        ("drop memif:/tmp/x,id=99999999999", "id=99999999999: want a whole number up to 4294967295"),
        ("drop tap:a/b", "tap:"),
        ("drop null:", "nothing comes from there"),
        ("tx pcap:x", "receives and sends"),
        ("forward null: gen: --one-way", "did you mean 'forward gen: null:'?"),
        ("soak --threads 65", "1 to 64"),
        ("drop afxdp:lo:99", "lo has only queue 0"),
        ("capture gen: /dev/null --filter=", "leave the option out"),
        ("generate null: --gen=", "leave the option out"),
        ("capture gen: /dev/null --to udp:127.0.0.1:9", "with peer=ADDR:PORT"),
        ("generate udp:127.0.0.1:9", "with peer=ADDR:PORT"),
    ] {
        let (code, message) = refused(line);
        assert_eq!(code, 3, "{line}: {message}");
        assert!(message.contains(expected), "{line}: {message}");
    }
}

/// No option is advised that nobody can mean.
#[test]
fn a_length_of_time_of_bench_is_no_name() {
    for line in ["bench --duration -1", "bench --duration 5", "relay --listen 1"] {
        let (code, message) = refused(line);
        assert_eq!(code, 2, "{line}: {message}");
        assert!(!message.contains("-- -"), "{line}: {message}");
    }
}

/// Who asks for a thing twice hears that this very command has it.
#[test]
fn what_stands_twice_is_said() {
    for (line, what) in [
        ("forward tcp:127.0.0.1:9,listen tcp:127.0.0.1:9,listen", "tcp:127.0.0.1:9"),
        ("forward tcp:0.0.0.0:9,listen tcp:127.0.0.1:9,listen", "tcp:127.0.0.1:9"),
        ("forward udp:127.0.0.1:9,peer=127.0.0.1:10 udp:127.0.0.1:9,peer=127.0.0.1:11", "udp:127.0.0.1:9"),
        ("forward memif:@waterwheel-twice,role=server memif:@waterwheel-twice,role=server", "memif:@waterwheel-twice"),
        ("forward memif:@waterwheel-twice memif:@waterwheel-twice,queues=2", "memif:@waterwheel-twice"),
        ("forward memif:/tmp/x.sock memif:/tmp/./x.sock", "memif:/tmp/./x.sock"),
    ] {
        let (code, message) = refused(line);
        assert_eq!(code, 3, "{line}: {message}");
        assert!(message.contains(&format!("{what} stands twice in this command")), "{line}: {message}");
        assert!(message.contains("'waterwheel tx "), "{line}: {message}");
    }
    let (code, message) = refused("capture tap:wwtwice - --to tap:wwtwice");
    assert!(code == 3 && message.contains("stands twice") && message.contains("--to"), "{message}");
    assert!(!message.contains("waterwheel tx"), "{message}");
}

/// A relay that connects to itself would connect again for each connection that it accepts.
#[test]
fn a_relay_does_not_connect_to_itself() {
    for line in [
        "relay 127.0.0.1:9 127.0.0.1:9",
        "relay 0.0.0.0:9 127.0.0.1:9",
        "relay 0.0.0.0:9 127.3.2.1:9",
        "relay 127.0.0.1:9 0.0.0.0:9",
        "relay [::]:9 [::1]:9",
        "relay 127.0.0.1:9 [::ffff:127.0.0.1]:9",
        "relay 0.0.0.0:9 localhost:9",
    ] {
        let (code, message) = refused(line);
        assert!(code == 3 && message.contains("this relay itself listens"), "{line}: {code} {message}");
    }
}

#[test]
fn a_capture_file_is_no_device() {
    for line in ["capture gen: null: --count 3", "capture gen: tap:x --count 3", "capture gen: udp:127.0.0.1:9"] {
        let (code, message) = refused(line);
        assert!(code == 2 && message.contains("'./"), "{line}: {code} {message}");
        let name = line.split_whitespace().nth(2).expect("a file");
        assert!(!std::path::Path::new(name).exists(), "{name}");
    }
    let file = std::env::temp_dir().join(format!("waterwheel-usage-{}.pcapng", std::process::id()));
    let output = waterwheel(&format!("capture gen: pcap:{},snap=60 --count 3", file.display()));
    assert!(output.status.success(), "{output:?}");
    std::fs::remove_file(&file).expect("what stands behind pcap: is the file's name");
    let (code, message) = refused(&format!("capture gen: pcap:{},snap=60 --snap 64", file.display()));
    assert!(code == 2 && message.contains("given twice"), "{message}");
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
