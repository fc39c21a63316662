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
