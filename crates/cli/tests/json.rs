//! The keys of `--json` are those that docs/json.md says, and no others.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream, UdpSocket};

use common::{Running, next, run, until, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

type Keys = BTreeSet<String>;

/// The keys of each section of the page.
fn documented() -> BTreeMap<String, Keys> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let text = std::fs::read_to_string(page).expect("the page");
    let mut sections = BTreeMap::<String, Keys>::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
            assert!(sections.insert(section.clone(), Keys::new()).is_none(), "{title} stands there twice");
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|line| line.split_once('`')) {
            let keys = sections.get_mut(&section).expect("a key stands in a section");
            assert!(keys.insert(key.to_owned()), "{section}: {key} stands there twice");
        }
    }
    sections
}

/// What was seen of each section.
struct Seen {
    documented: BTreeMap<String, Keys>,
    seen: BTreeMap<String, Keys>,
}

impl Seen {
    /// Keys of `object`, and of those in it, are documented in `section` or in what it builds upon.
    fn look(&mut self, verb: &str, object: &Value) {
        let event = object["event"].as_str().expect("an event");
        let section = format!("{verb}: {event}");
        let known = |name: &str| self.documented.get(name).cloned().unwrap_or_else(|| panic!("no section '{name}'"));
        let every = known("every object");
        let mut allowed = known(&section);
        allowed.extend(every.iter().cloned());
        if event == "total" {
            allowed.extend(known(&format!("{verb}: interval")));
        }
        let keys = object.as_object().expect("an object");
        for key in &every {
            assert!(keys.contains_key(key), "{section}: every object has {key}: {object}");
        }
        for key in keys.keys() {
            assert!(allowed.contains(key), "{section}: {key} is not documented: {object}");
        }
        self.note(&section, keys.keys());
        self.note("every object", keys.keys());
        if event == "total" {
            self.note(&format!("{verb}: interval"), keys.keys());
        }
        keys.iter().for_each(|(key, value)| self.inside(key, value));
    }

    fn inside(&mut self, key: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.inside(key, item)),
            Value::Object(object) => {
                if BY_NAME.contains(&key) {
                    return;
                }
                let allowed =
                    self.documented.get(key).cloned().unwrap_or_else(|| panic!("no section '{key}': {value}"));
                for name in object.keys() {
                    assert!(allowed.contains(name), "{key}: {name} is not documented: {value}");
                }
                self.note(key, object.keys());
                object.iter().for_each(|(key, value)| self.inside(key, value));
            }
            _ => {}
        }
    }

    fn note<'k>(&mut self, section: &str, keys: impl Iterator<Item = &'k String>) {
        self.seen.entry(section.to_owned()).or_default().extend(keys.cloned());
    }

    /// The objects of a run.
    fn run(&mut self, verb: &str, line: &str) {
        let output = run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            self.look(verb, &serde_json::from_str(line).expect(line));
        }
    }
}

/// Objects whose keys are names of things of which there may be any.
const BY_NAME: [&str; 4] = ["drops", "counters", "lost", "events"];

const PACKETS: &str = "forward, drop, tx, generate, capture";

#[test]
fn keys_are_those_of_the_documentation() {
    let mut seen = Seen { documented: documented(), seen: BTreeMap::new() };
    for verb in ["forward gen: null:", "drop gen:", "tx gen:", "generate null:"] {
        seen.run(PACKETS, &format!("{verb} --json --interval 20ms --duration 300ms --trace-pages"));
    }
    let file = common::Scratch::new("keys.pcapng");
    seen.run(PACKETS, &format!("capture gen: {} --json --interval 20ms --duration 300ms", file.display()));
    seen.run(PACKETS, &format!("capture gen: {} --to null: --json --interval 20ms --duration 300ms", file.display()));
    // A device that knows what it lost.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    seen.run(PACKETS, &format!("drop udp:127.0.0.1:{port} --json --interval 20ms --duration 300ms --trace-pages"));
    seen.run("soak", "soak --json --duration 500ms --interval 100ms --threads 1");
    seen.run("devices", "devices --json");
    relay(&mut seen);
    // And nothing is documented that is not there; but where packets go, and what only other machines have, is not ours to see.
    for (section, keys) in &seen.documented {
        let shown = seen.seen.get(section).cloned().unwrap_or_default();
        let missing = keys.difference(&shown).collect::<Vec<_>>();
        assert!(missing.is_empty() || section == "bench", "{section}: documented and never seen: {missing:?}");
    }
}

/// A relay with a connection that holds pages, and one that cannot be made.
fn relay(seen: &mut Seen) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    let line = format!("relay 127.0.0.1:0 {to} --json --interval 20ms --log-connections --trace-pages");
    let mut running = Running::start(&mut waterwheel(&line));
    let mut lines = running.lines();
    let start = next(&mut lines);
    seen.look("relay", &start);
    let client = TcpStream::connect(start["listen"].as_str().expect("an address")).expect("it listens");
    drop((client, server.accept().expect("it connects")));
    until(&mut lines, "a connection ends", |object| {
        seen.look("relay", object);
        object["event"] == "connection"
    });
    let interval = until(&mut lines, "an interval", |object| object["event"] == "interval");
    seen.look("relay", &interval);
    running.signal(Signal::TERM);
    for line in lines {
        seen.look("relay", &serde_json::from_str(&line).expect(&line));
    }
}
