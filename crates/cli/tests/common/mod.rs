#![allow(dead_code, reason = "not every test uses all of it")]
//! What the tests of the binary share.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary with these arguments.
pub(crate) fn waterwheel(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waterwheel"));
    command.args(line.split_whitespace());
    command
}

/// Runs it to its end.
pub(crate) fn run(line: &str) -> Output {
    waterwheel(line).output().expect("the binary runs")
}

/// Runs it to its end, with `--json`, and gives the objects; the last is the total, with every page free.
pub(crate) fn events(line: &str) -> Vec<Value> {
    let output = run(&format!("{line} --json"));
    assert!(output.status.success(), "{line}: {output:?}");
    parsed(&output.stdout)
}

/// The objects, of which the last is the total, with every page free.
pub(crate) fn parsed(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line)).collect::<Vec<_>>();
    whole(events.last().expect("a total"));
    events
}

/// The total of a run that lost no page.
pub(crate) fn whole(total: &Value) {
    assert_eq!(total["event"], "total", "{total}");
    assert_eq!(total["pages"]["free"], total["pages"]["total"], "{total}");
    for key in ["frozen", "held_by_devices", "held_by_users", "quarantined", "leaked"] {
        assert_eq!(total["pages"][key], 0, "{key}: {total}");
    }
}

/// A running `waterwheel` that does not outlive the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs"))
    }

    /// The lines of its standard output, from here on.
    pub(crate) fn lines(&mut self) -> Lines {
        Lines::of(self.0.stdout.take().expect("piped"))
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for the end, for a minute at most.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process prints, taken from it as it comes: one whose pipe is full waits, and misses what it should have told of.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                // With nobody to hear it the pipe is emptied all the same.
                let _ = sender.send(line.expect("UTF-8"));
            }
        });
        Self(lines)
    }

    /// The rest, when the process has ended.
    pub(crate) fn rest(self) -> String {
        self.0.iter().map(|line| line + "\n").collect()
    }
}

impl Iterator for Lines {
    type Item = String;

    /// The next line; none when the process has ended.
    fn next(&mut self) -> Option<String> {
        match self.0.recv_timeout(Duration::from_secs(60)) {
            Err(RecvTimeoutError::Timeout) => panic!("it says nothing"),
            line => line.ok(),
        }
    }
}

/// The next line, an object.
pub(crate) fn next(lines: &mut Lines) -> Value {
    serde_json::from_str(&lines.next().expect("a line")).expect("JSON")
}

/// The first interval of which this is true.
pub(crate) fn until(lines: &mut Lines, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let interval = next(lines);
        if holds(&interval) {
            return interval;
        }
        assert!(Instant::now() < deadline, "{what}: {interval}");
    }
}

/// A path of this test alone; what is there goes with it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("waterwheel-cli-{}-{n}-{name}", std::process::id())))
    }

    pub(crate) fn display(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Original length and bytes of a packet.
pub(crate) type Packet = (u32, Vec<u8>);

/// Each packet of a capture in this machine's byte order, and at its end: received, dropped.
pub(crate) fn read(file: &Scratch) -> (Vec<Packet>, Option<(u64, u64)>) {
    packets(&std::fs::read(&file.0).expect("a capture"))
}

/// The same, of its bytes.
pub(crate) fn packets(bytes: &[u8]) -> (Vec<Packet>, Option<(u64, u64)>) {
    let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().expect("a word"));
    let (mut packets, mut counts, mut at) = (Vec::new(), None, 0);
    while at + 12 <= bytes.len() {
        let len = word(at + 4) as usize;
        match word(at) {
            6 => packets.push((word(at + 24), bytes[at + 28..at + 28 + word(at + 20) as usize].to_vec())),
            5 => {
                let long = |at: usize| u64::from_ne_bytes(*bytes[at..].first_chunk().expect("a number"));
                // Behind interface, time, and two options of times: two counts, each behind its four bytes.
                counts = (len >= 20 + 24 + 24 + 8).then(|| (long(at + 20 + 24 + 4), long(at + 20 + 24 + 16)));
            }
            _ => {}
        }
        at += len;
    }
    (packets, counts)
}

/// A pipe with a name.
pub(crate) fn pipe(name: &str) -> Scratch {
    let pipe = Scratch::new(name);
    let made = Command::new("mkfifo").arg(&pipe.0).status().expect("mkfifo runs");
    assert!(made.success());
    pipe
}

/// A command on a disk of its own, `{disk}`, of this size.
pub(crate) fn on_a_small_disk(size: &str, line: &str) -> (Command, Scratch) {
    let disk = Scratch::new("disk");
    std::fs::create_dir(&disk.0).expect("a place for it");
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs {0} && exec {1} {2}",
        disk.display(),
        env!("CARGO_BIN_EXE_waterwheel"),
        line.replace("{disk}", disk.0.to_str().expect("UTF-8"))
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    (command, disk)
}

/// Its code, its total, and its last word.
pub(crate) fn outcome(mut running: Running) -> (Option<i32>, Value, String) {
    let stdout = running.0.stdout.take().expect("piped");
    let text = Lines::of(stdout).rest();
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    let code = running.wait().code();
    let total = parsed(text.as_bytes()).pop().expect("a total");
    (code, total, errors.lines().last().unwrap_or_default().to_owned())
}
