//! The live table, at pseudo terminals.
#![cfg(feature = "tui")]

mod common;

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Running, waterwheel};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// A terminal, and what was written to it.
struct Terminal {
    ours: Arc<OwnedFd>,
    theirs: File,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn new(columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let theirs = File::options().read(true).write(true).open(name).expect("the terminal opens");
        let (ours, text) = (Arc::new(ours), Arc::new(Mutex::new(Vec::new())));
        let (reader, seen) = (Arc::clone(&ours), Arc::clone(&text));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // The end of a pseudo terminal whose other side is closed is an error.
            while let Ok(n @ 1..) = rustix::io::read(&reader, &mut part) {
                seen.lock().expect("nobody panicked").extend_from_slice(&part[..n]);
            }
        });
        let terminal = Self { ours, theirs, text };
        terminal.resize(columns, rows);
        terminal
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("it takes a size");
    }

    fn start(&self, line: &str) -> Running {
        let out = Stdio::from(self.theirs.try_clone().expect("a handle"));
        Running(waterwheel(line).stdout(out).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("nobody panicked")).into_owned()
    }

    /// What was written once this is true of it.
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = self.text();
            if holds(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{what}: {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether the total stands last, with every page free.
fn all_free(text: &str) -> bool {
    text.lines().any(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        matches!(words[..], ["pages", free, "of", total, "free"] if free == total)
    })
}

#[test]
fn a_terminal_gets_a_table_and_keeps_its_mode() {
    let terminal = Terminal::new(100, 30);
    let before = tcgetattr(terminal.theirs.as_fd()).expect("a mode");
    let mut running = terminal.start("forward gen: null: --interval 50ms");
    terminal.until("a table, redrawn", |text| text.matches("Ctrl-C ends").count() > 2);
    running.signal(Signal::INT);
    assert!(running.wait().success());
    let after = tcgetattr(terminal.theirs.as_fd()).expect("a mode");
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    let text = terminal.until("the total stands last", |text| text.rsplit("\x1b[J").next().is_some_and(all_free));
    let frame = text.split("Ctrl-C ends").nth(1).expect("a table");
    for head in ["packets", "packets/s", "bits/s", "pages held", "mode"] {
        assert!(frame.contains(head), "{head}: {frame:?}");
    }
}

#[test]
fn at_another_size_the_table_is_drawn_anew() {
    let terminal = Terminal::new(120, 30);
    let mut running = terminal.start("forward gen: null: --interval 200ms");
    terminal.until("a table", |text| text.contains("Ctrl-C ends"));
    terminal.resize(40, 30);
    running.signal(Signal::WINCH);
    let text = terminal.until("it is drawn anew", |text| {
        text.split_once("\x1b[2J\x1b[1;1H").is_some_and(|(_, text)| text.matches("\x1b[?2026l").count() > 1)
    });
    let (_, anew) = text.split_once("\x1b[2J\x1b[1;1H").expect("it is");
    for line in anew.split("\r\n") {
        // What stands between an escape and its letter is not shown.
        let mut shown = 0;
        let mut escape = false;
        for c in line.chars() {
            escape = escape || c == '\x1b';
            shown += usize::from(!escape);
            escape = escape && !c.is_ascii_alphabetic();
        }
        assert!(shown <= 40, "{shown}: {line:?}");
    }
    running.signal(Signal::INT);
    assert!(running.wait().success());
    terminal.until("the total", all_free);
}

#[test]
fn what_is_lost_is_red() {
    let terminal = Terminal::new(120, 30);
    let mut running = terminal.start("drop null:size=64 --interval 50ms");
    terminal.until("what a program drops is no loss", |text| text.contains("lost       none"));
    assert!(!terminal.text().contains("\x1b[38;5;9m"), "{:?}", terminal.text());
    running.signal(Signal::INT);
    running.wait();
    // There is no packet in an empty datagram: it is lost.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let mut running = terminal.start(&format!("drop udp:127.0.0.1:{port} --interval 50ms"));
    terminal.until("it listens", |text| text.matches("udp:127.0.0.1").count() > 1);
    socket.send_to(&[], ("127.0.0.1", port)).expect("sent");
    terminal.until("a loss", |text| text.contains("\x1b[38;5;9m  lost       empty 1 "));
    running.signal(Signal::INT);
    running.wait();
    terminal.until("the total", all_free);
}

/// Runs a shell line at a terminal of its own.
fn at_a_terminal(line: &str) -> String {
    let line = line.replace("waterwheel", env!("CARGO_BIN_EXE_waterwheel"));
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output();
    String::from_utf8_lossy(&output.expect("script runs").stdout).into_owned()
}

#[test]
fn in_the_background_nothing_is_drawn() {
    let run = "waterwheel forward gen: null: --interval 20ms --duration 1s 2>&1";
    let front = at_a_terminal(run);
    assert!(front.contains("Ctrl-C ends") && all_free(&front), "{front:?}");
    let back = at_a_terminal(&format!("set -m; {run} & wait $!"));
    assert!(!back.contains("Ctrl-C ends") && all_free(&back), "only the total: {back:?}");
    let plain = at_a_terminal(&format!("{run} --plain"));
    assert!(!plain.contains("Ctrl-C ends") && plain.contains(" s  rx ") && all_free(&plain), "lines: {plain:?}");
}

#[test]
fn a_relay_has_a_table_too() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let terminal = Terminal::new(120, 30);
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let mut running = terminal.start(&format!("relay {listen} 127.0.0.1:{port} --interval 50ms"));
    terminal.until("a table", |text| text.contains("Ctrl-C ends") && text.contains("connections open 0"));
    let client = TcpStream::connect(listen).expect("it listens");
    let text = terminal.until("a connection", |text| text.contains("connections open 1"));
    assert!(text.contains("blocks      held 0"), "{text:?}");
    drop((client, server));
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    terminal.until("the total", all_free);
}

/// A process that another user of the terminal stops and lets go on draws below what was written meanwhile.
#[test]
fn who_was_stopped_does_not_wipe_what_others_wrote() {
    let terminal = Terminal::new(100, 30);
    let mut running = terminal.start("forward gen: null: --interval 50ms");
    terminal.until("a table", |text| text.matches("Ctrl-C ends").count() > 2);
    // It may be stopped just when it is about to write; but not every time.
    let wiped = |n: usize| {
        running.signal(Signal::STOP);
        stopped(&running.0);
        let seen = terminal.text().len();
        running.signal(Signal::CONT);
        let text = terminal.until("it goes on", |text| text[seen..].matches("Ctrl-C ends").count() > n);
        let (first, _) = text[seen..].split_once("Ctrl-C ends").expect("a table");
        first.contains("\x1b[J")
    };
    assert!((0..10).any(|n| !wiped(n)), "what stands there is not wiped: {:?}", terminal.text());
    running.signal(Signal::INT);
    assert!(running.wait().success());
    terminal.until("the total", all_free);
}

/// Waits until a process that was told to has stopped.
fn stopped(child: &Child) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it is there");
        if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
