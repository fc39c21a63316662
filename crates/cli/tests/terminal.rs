//! The live table, at pseudo terminals.
#![cfg(feature = "tui")]

mod common;
#[path = "common/screen.rs"]
mod screen;

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Running, Scratch, run, waterwheel};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use screen::Screen;

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
        self.spawn(&mut waterwheel(line))
    }

    /// The last word may be anything.
    fn start_with(&self, line: &str, last: &str) -> Running {
        self.spawn(waterwheel(line).arg(last))
    }

    fn spawn(&self, command: &mut Command) -> Running {
        let out = Stdio::from(self.theirs.try_clone().expect("a handle"));
        Running(command.stdout(out).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("nobody panicked")).into_owned()
    }

    /// What stands there once this is true of it.
    fn shows(&self, what: &str, (columns, rows): (usize, usize), holds: impl Fn(&Screen) -> bool) -> Screen {
        let screen = |text: &str| Screen::after(text, columns, rows);
        screen(&self.until(what, |text| holds(&screen(text))))
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

/// A terminal that keeps what is wiped from its first row on, as tmux does, does not fill with copies of the table.
#[test]
fn at_another_size_the_table_is_drawn_anew() {
    let terminal = Terminal::new(120, 30);
    let mut running = terminal.start("forward gen: null: --interval 50ms");
    terminal.until("a table", |text| text.contains("Ctrl-C ends"));
    let before = terminal.text().len();
    terminal.resize(40, 30);
    running.signal(Signal::WINCH);
    let text = terminal.until("it is drawn anew, and then in its place", |text| {
        text[before..].split_once("\x1b[1;1H").is_some_and(|(_, text)| text.matches("Ctrl-C ends").count() > 3)
    });
    let (_, anew) = text[before..].split_once("\x1b[1;1H").expect("it is");
    let shown = Screen::after(&format!("\x1b[1;1H{anew}"), 40, 30);
    assert_eq!((shown.wrapped, shown.saved), (0, 0), "no line wraps, and no copy is kept: {anew:?}");
    assert!(shown.row(0).starts_with("waterwheel forward gen: null:"), "{shown}");
    running.signal(Signal::INT);
    assert!(running.wait().success());
    terminal.until("the total", all_free);
}

#[test]
fn what_is_lost_is_seen_on_few_rows() {
    let terminal = Terminal::new(110, 12);
    let line = format!("generate memif:@waterwheel-rows-{},queues=8 --interval 50ms", std::process::id());
    let mut running = terminal.start(&line);
    let shown = terminal.shows("the summary", (110, 12), |shown| shown.has("  all ") && shown.has("  lost "));
    assert!(shown.has("  actions ") && shown.has(" more line") && shown.has("Ctrl-C ends"), "{shown}");
    running.signal(Signal::INT);
    running.wait();
    terminal.until("the total", all_free);
}

#[test]
fn a_narrow_terminal_gets_every_word() {
    let terminal = Terminal::new(50, 40);
    let line = format!("generate memif:@waterwheel-words-{} --interval 50ms", std::process::id());
    let mut running = terminal.start(&line);
    let shown =
        terminal.shows("the mode", (50, 40), |shown| shown.text().contains("not connected: waiting for a server"));
    let rates = shown.text().matches("pps").count();
    assert!(rates > 2 && shown.text().contains("bit/s") && shown.wrapped == 0, "{shown}");
    running.signal(Signal::INT);
    running.wait();
    terminal.until("the total", all_free);
}

#[test]
fn a_wide_name_tears_no_line() {
    let file = Scratch::new("日本日本日本日本日本日本日本日本日本日本.pcapng");
    assert!(run(&format!("generate pcap:{} --count 1000", file.display())).status.success());
    let terminal = Terminal::new(60, 30);
    let mut running = terminal.start(&format!("forward pcap:{},rate=100 null: --interval 50ms", file.display()));
    let shown = terminal.shows("a table", (60, 30), |shown| shown.frames > 2);
    assert_eq!(shown.wrapped, 0, "{shown}");
    running.signal(Signal::INT);
    running.wait();
    terminal.until("the total", all_free);
}

#[test]
fn a_name_moves_no_cursor() {
    let file = Scratch::new("a\n\x1b[31mb\u{202e}c");
    let made = waterwheel("generate --count 1000").arg(spec(&file)).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let terminal = Terminal::new(150, 30);
    let mut running = terminal.start_with("drop --interval 50ms", &format!("{},rate=100", spec(&file)));
    terminal.until("a table", |text| text.matches("Ctrl-C ends").count() > 2);
    running.signal(Signal::INT);
    running.wait();
    let text = terminal.until("the total", all_free);
    assert!(text.contains("a\\n\\u{1b}[31mb\\u{202e}c") && !text.contains("\x1b[31m"), "{text:?}");
    let copied = waterwheel("capture gen:count=5").arg(&file.0).args(["--to", "null:"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&copied.stdout).into_owned();
    assert!(text.contains("captured 5") && !text.contains("\x1b[31m"), "{text:?}");
    let gone = waterwheel("drop").arg(spec(&Scratch::new("a\n\x1b[31mb"))).output().expect("it runs");
    let errors = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(errors.contains("\\u{1b}[31mb") && errors.matches('\n').count() == 1, "{errors:?}");
}

fn spec(file: &Scratch) -> String {
    format!("pcap:{}", file.display())
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
fn in_the_background_there_are_lines() {
    let run = "waterwheel forward gen: null: --interval 20ms --duration 1s 2>&1";
    let front = at_a_terminal(run);
    assert!(front.contains("Ctrl-C ends") && all_free(&front), "{front:?}");
    let back = at_a_terminal(&format!("set -m; {run} & wait $!"));
    assert!(!back.contains("Ctrl-C ends") && back.contains(" s  rx ") && all_free(&back), "lines: {back:?}");
    // It is in a process group of its own, unless it leads the session: to the terminal that is the background, too.
    let timed = at_a_terminal(&format!("timeout 60 {run}; true"));
    assert!(!timed.contains("Ctrl-C ends") && timed.contains(" s  rx ") && all_free(&timed), "lines: {timed:?}");
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
        first.split("\x1b[").any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('F'))
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
