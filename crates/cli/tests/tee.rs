//! Captures beside traffic that goes on (`capture --to`): what a capture does not take is counted, and keeps no packet from going on.

mod common;

use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{Lines, Running, Scratch, events, on_a_small_disk, outcome, packets, parsed, pipe, read, run, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

fn count(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key}: {object}"))
}

/// Every packet that came went on, and was captured, or is known not to have been.
fn adds_up(total: &Value) {
    let (came, capture) = (count(total, "rx_packets"), &total["capture"]);
    assert_eq!(came, count(total, "tx_packets"), "{total}");
    assert_eq!(came, count(capture, "captured") + count(capture, "missed") + count(capture, "unwanted"), "{total}");
}

/// The first object of which this is true; notices come the same way.
fn until(lines: &mut Lines, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    let objects = lines.map(|line| serde_json::from_str::<Value>(&line)).filter_map(Result::ok);
    let in_time = objects.inspect(|object| assert!(Instant::now() < deadline, "{what}: {object}"));
    in_time.into_iter().find(|object| holds(object)).unwrap_or_else(|| panic!("it ends before {what}"))
}

/// One whose packets go into a pipe, as the command line says, and whose statistics go to standard error.
fn into_a_pipe(line: &str) -> (Running, std::process::ChildStdout, Lines) {
    let mut running = Running::start(&mut waterwheel(&format!("{line} --json --interval 20ms")));
    let lines = Lines::of(running.0.stderr.take().expect("piped"));
    let packets = running.0.stdout.take().expect("piped");
    (running, packets, lines)
}

/// The total, and what was said.
fn rest(lines: Lines) -> (Value, Vec<String>) {
    let text = lines.rest();
    let (objects, said): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('{'));
    let total = parsed(objects.join("\n").as_bytes()).pop().expect("a total");
    (total, said.into_iter().map(str::to_owned).collect())
}

#[test]
fn copies_are_captured_while_packets_go_on() {
    let (file, on) = (Scratch::new("copy.pcapng"), Scratch::new("on.pcapng"));
    let line = format!("capture gen:count=1000 {} --to pcap:{}", file.display(), on.display());
    let total = events(&line).pop().expect("a total");
    adds_up(&total);
    assert_eq!((count(&total, "rx_packets"), count(&total["capture"], "captured")), (1000, 1000), "{total}");
    assert_eq!(total["capture"]["name"], file.display().to_string(), "{total}");
    let ((copies, counts), (went_on, _)) = (read(&file), read(&on));
    assert!(copies.len() == 1000 && copies == went_on);
    assert_eq!(counts, Some((1000, 0)));

    // Only some are captured; all go on, also when there are as many as there were to be.
    let line = format!("capture gen:count=1000,dport=53-54 {} --filter port=53 --to null:", file.display());
    let total = events(&line).pop().expect("a total");
    adds_up(&total);
    assert_eq!((count(&total, "tx_packets"), count(&total["capture"], "unwanted")), (1000, 500), "{total}");
    assert_eq!(read(&file).0.len(), 500);
    let text = String::from_utf8(run(&line).stdout).expect("UTF-8");
    let capture = format!("\n  capture    {}  captured 500, missed 0, unwanted 500\n", file.display());
    assert!(text.contains(&capture), "{text}");
    events(&format!("capture gen: {} --count 7 --to null:", file.display()));
    assert_eq!(read(&file).0.len(), 7);
}

/// Also when what was taken was to be written at the end only.
#[test]
fn a_full_disk_ends_the_capture_and_not_the_traffic() {
    for (options, least) in [("", 1), ("--flush full", 0)] {
        let line = format!("capture gen:count=3000,size=1000 {{disk}}/x.pcapng --to null: {options} --json");
        for size in ["64k", "1m"] {
            let (mut command, _disk) = on_a_small_disk(size, &line);
            let (code, total, word) = outcome(Running::start(&mut command));
            assert_eq!(code, Some(5), "{word}");
            adds_up(&total);
            let capture = &total["capture"];
            assert!(count(capture, "captured") >= least && count(capture, "missed") > 0, "{total}");
            assert_eq!((count(&total, "tx_packets"), &capture["state"]), (3000, &"failed".into()), "{total}");
            let said = format!("{} packets were not captured", count(capture, "missed"));
            assert!(word.contains(&said) && word.contains("x.pcapng: cannot write: No space left"), "{word}");
            assert_eq!((&total["devices"][1]["state"], count(&total["drops"], "device_down")), (&"up".into(), 0));
        }
    }
}

/// It is told once, at once, and of the capture. Whoever asks for the end is told, too.
#[test]
fn a_full_disk_is_told_while_packets_go_on() {
    let line = "capture gen:rate=1k,size=1000 {disk}/x.pcapng --to null: --json --interval 20ms";
    let (mut command, _disk) = on_a_small_disk("64k", line);
    let mut running = Running::start(&mut command);
    let mut said = Lines::of(running.0.stderr.take().expect("piped"));
    let mut lines = running.lines(); // and so they are read
    let is_it = |line: &String| line.contains("No space left");
    let told = said.find(is_it).expect("it is told");
    assert!(
        told.starts_with("waterwheel: capture ") && told.contains("x.pcapng: cannot write: No space left"),
        "{told}"
    );
    let failed = until(&mut lines, "it has failed", |object| object["capture"]["state"] == "failed");
    until(&mut lines, "packets go on", |object| count(object, "tx_packets") > count(&failed, "tx_packets") + 100);
    running.signal(Signal::INT);
    adds_up(&rest(lines).0);
    assert_eq!(running.wait().code(), Some(5));
    let said = said.rest();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("packets were not captured") && last.contains("No space left"), "{said}");
    assert_eq!(said.matches("No space left").count(), 1, "it was told before: {said}");
    assert!(!said.contains("null:") && !said.contains("too slow"), "{said}");
}

#[test]
fn whoever_has_enough_of_a_capture_leaves_and_packets_go_on() {
    let (mut running, mut reader, mut lines) = into_a_pipe("capture gen:rate=1k - --to null:");
    reader.read_exact(&mut [0; 3000]).expect("packets");
    drop(reader);
    let failed = until(&mut lines, "it has failed", |object| object["capture"]["state"] == "failed");
    until(&mut lines, "packets go on", |object| count(object, "tx_packets") > count(&failed, "tx_packets") + 100);
    running.signal(Signal::INT);
    let (total, _) = rest(lines);
    assert_eq!(running.wait().code(), Some(0), "{total}");
    adds_up(&total);
    assert!(count(&total["capture"], "captured") > 0 && count(&total["capture"], "missed") > 100, "{total}");
    assert_eq!(count(&total["drops"], "device_down"), 0, "{total}");
}

/// Only of standard output it is known that its reader may have enough.
#[test]
fn a_named_pipe_that_its_reader_leaves_is_a_capture_that_failed() {
    let pipe = pipe("left");
    let mut running = Running::start(&mut waterwheel(&format!(
        "capture gen:rate=1k {} --to null: --json --interval 20ms",
        pipe.display()
    )));
    let mut lines = running.lines();
    File::open(&pipe.0).expect("it opens").read_exact(&mut [0; 300]).expect("packets");
    until(&mut lines, "it has failed", |object| object["capture"]["state"] == "failed");
    running.signal(Signal::INT);
    adds_up(&rest(lines).0);
    assert_eq!(running.wait().code(), Some(5));
}

/// That a reader is slow is another word than that the capture has failed.
#[test]
fn a_capture_that_fails_after_it_was_slow_is_told_twice() {
    let pipe = pipe("slow");
    let mut running = Running::start(&mut waterwheel(&format!(
        "capture gen:rate=100k {} --to null: --json --interval 20ms",
        pipe.display()
    )));
    let mut lines = running.lines();
    let mut said = Lines::of(running.0.stderr.take().expect("piped"));
    let reader = File::open(&pipe.0).expect("it opens");
    assert!(said.find(|line| line.contains("too slow")).is_some());
    drop(reader);
    assert!(said.find(|line| line.contains("are not captured any more")).is_some());
    until(&mut lines, "it has failed", |object| object["capture"]["state"] == "failed");
    running.signal(Signal::INT);
    adds_up(&rest(lines).0);
    assert_eq!(running.wait().code(), Some(5));
}

/// A connection that breaks is no reader who has had enough, whatever the capture is written to.
#[test]
fn a_target_that_is_lost_is_told_beside_a_capture_on_standard_output() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let (mut running, mut reader, lines) = into_a_pipe(&format!("capture gen:rate=1k - --to tcp:{to}"));
    let reader = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    drop(server.accept().expect("it connects"));
    let (total, said) = rest(lines);
    assert_eq!(running.wait().code(), Some(5), "{said:?}");
    assert_eq!(
        (&total["devices"][1]["state"], &total["capture"]["state"]),
        (&"failed".into(), &"up".into()),
        "{total}"
    );
    assert!(said.last().is_some_and(|word| word.contains(&to.to_string())), "{said:?}");
    reader.join().expect("no panic").expect("it can be read");
}

/// Whoever does not read keeps nobody; what did not get in stands in the capture's own counts.
#[test]
fn a_pipe_that_is_not_read_misses_copies_and_packets_go_on() {
    let on = Scratch::new("on.pcapng");
    let line = format!("capture gen:rate=50k,count=250k - --to pcap:{}", on.display());
    let (mut running, mut reader, mut lines) = into_a_pipe(&line);
    until(&mut lines, "copies are missed", |object| count(&object["capture"], "missed") > 0);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("it can be read");
    let (total, said) = rest(lines);
    assert_eq!(running.wait().code(), Some(0), "{said:?}");
    adds_up(&total);
    let ((packets, counts), missed) = (packets(&bytes), count(&total["capture"], "missed"));
    let came = count(&total, "rx_packets");
    assert_eq!(came, 250_000, "{total}");
    assert_eq!(packets.len() as u64, count(&total["capture"], "captured"), "{total}");
    assert_eq!(counts, Some((came, missed)), "{total}");
    assert_eq!(read(&on).1, Some((came, 0)), "what went on is complete");
    let warning =
        format!("waterwheel: capture -: {missed} packets were not captured: whoever reads the capture is too slow");
    assert!(said.contains(&warning), "{said:?}");
}
