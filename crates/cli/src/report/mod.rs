//! What the user sees while packets move: a live table at a terminal, else lines, or JSON; and the total at the end.

#[cfg(feature = "tui")]
mod fit;
pub(crate) mod json;
#[cfg(feature = "tui")]
mod live;
mod patient;
pub(crate) mod printable;
pub(crate) mod snapshot;
pub(crate) mod table;
pub(crate) mod text;

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
#[cfg(feature = "tui")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::signals::{Patience, Signals};
use patient::Patient;
use printable::printable;
pub(crate) use snapshot::{Snapshot, Total};
pub(crate) use table::TableLine;

/// Standard error, whose reader may be as slow as that of the output. Until signals are handled, any of them ends who waits for it.
static NOTICES: Mutex<Option<Patient>> = Mutex::new(None);

/// Whoever reads what is said on standard error is waited for as long as `patience` lasts. To be called before anything is said once signals end no process by
/// themselves.
pub(crate) fn wait_for_reader(patience: &Patience) {
    *NOTICES.lock().unwrap_or_else(PoisonError::into_inner) = Some(Patient::new(io::stderr(), Arc::clone(patience)));
}

/// Says something to the operator on standard error, where it does not mix with the output.
pub(crate) fn notice(message: &str) {
    let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    let out = notices.get_or_insert_with(|| Patient::new(io::stderr(), Arc::new(|| true)));
    // Nobody can be told that standard error is closed, or that nobody reads it.
    let _ = out.write_all(format!("waterwheel: {}\n", printable(message)).as_bytes());
}

/// How the statistics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A table redrawn in place.
    Live,
    /// A line for each interval.
    Lines,
    /// An object for each interval.
    Json,
}

/// Where the statistics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    /// Standard output carries packets.
    Stderr,
}

impl Output {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    /// Whoever reads it may be slow, as long as `patience` lasts.
    pub(crate) fn open(self, patience: Patience) -> Patient {
        match self {
            Self::Stdout => Patient::new(io::stdout(), patience),
            Self::Stderr => Patient::new(io::stderr(), patience),
        }
    }
}

impl Style {
    /// The style for what was asked for and what `output` is.
    pub(crate) fn choose(json: bool, plain: bool, output: Output) -> Self {
        if json {
            Self::Json
        } else if !plain && cfg!(feature = "tui") && output.is_terminal() {
            Self::Live
        } else {
            Self::Lines
        }
    }
}

/// What is shown, and where.
pub(crate) struct Display {
    style: Style,
    out: Patient,
    /// Set when this process goes on after it was stopped: others may have written below the table.
    #[cfg(feature = "tui")]
    continued: Arc<AtomicBool>,
    #[cfg(feature = "tui")]
    screen: live::Screen,
}

impl Display {
    pub(crate) fn new(style: Style, out: Patient, signals: &Signals) -> Self {
        let _ = signals;
        Self {
            style,
            out,
            #[cfg(feature = "tui")]
            continued: signals.continued(),
            #[cfg(feature = "tui")]
            screen: live::Screen::default(),
        }
    }

    /// How statistics are shown now. A table only while this process has the terminal: in the background, where a shell or timeout(1) may have put it, there are lines.
    pub(crate) fn style(&self) -> Style {
        #[cfg(feature = "tui")]
        if self.style == Style::Live && !live::in_foreground(&self.out) {
            return Style::Lines;
        }
        self.style
    }

    /// Shows the table, in the place of the one before.
    pub(crate) fn draw(&mut self, lines: Vec<TableLine>) -> io::Result<()> {
        #[cfg(feature = "tui")]
        self.notice_stop();
        #[cfg(feature = "tui")]
        self.screen.draw(&mut self.out, lines)?;
        #[cfg(not(feature = "tui"))]
        lines.iter().try_for_each(|line| writeln!(self.out, "{}", line.text()))?;
        Ok(())
    }

    /// The terminal has another size, or what stands on it is not ours alone any more: the table is drawn anew.
    pub(crate) fn attend(&mut self, signals: &Signals) -> io::Result<()> {
        let resized = signals.resized();
        #[cfg(feature = "tui")]
        if self.notice_stop() || resized {
            return self.screen.redraw(&mut self.out);
        }
        let _ = resized;
        Ok(())
    }

    /// Leaves the table where it is if this process was stopped since. Tells whether it was.
    #[cfg(feature = "tui")]
    fn notice_stop(&mut self) -> bool {
        let stopped = self.continued.swap(false, Ordering::Relaxed);
        if stopped {
            self.screen.forget();
        }
        stopped
    }

    /// Writes text where the table stood; the table comes again below it.
    pub(crate) fn put(&mut self, text: &str) -> io::Result<()> {
        self.clear();
        self.out.write_all(text.as_bytes())?;
        #[cfg(feature = "tui")]
        self.screen.redraw(&mut self.out)?;
        self.out.flush()
    }

    /// Writes an object, of what took `seconds`.
    pub(crate) fn json(&mut self, seconds: f64, object: &impl Serialize) -> io::Result<()> {
        json::line(&mut self.out, seconds, object)
    }

    /// Says something to the operator without spoiling the table.
    pub(crate) fn notice(&mut self, message: &str) {
        self.clear();
        notice(message);
        #[cfg(feature = "tui")]
        // A terminal that cannot be written to shows that again at the next interval.
        let _ = self.screen.redraw(&mut self.out);
    }

    /// Takes the table away for good: what is put next is the end.
    pub(crate) fn end(&mut self) {
        self.clear();
        #[cfg(feature = "tui")]
        self.screen.end();
    }

    fn clear(&mut self) {
        #[cfg(feature = "tui")]
        {
            self.notice_stop();
            let _ = self.screen.clear(&mut self.out);
        }
    }
}

/// Shows snapshots as they come.
pub(crate) struct Reporter {
    pub(crate) display: Display,
    /// The command, as the title of the table and of the total.
    title: String,
    started: Instant,
    /// The snapshot shown last, and when it was taken.
    before: (Snapshot, Instant),
}

impl Reporter {
    /// For a run that began at `started` with all counters at 0.
    pub(crate) fn new(display: Display, title: impl fmt::Display, started: Instant) -> Self {
        let title = printable(&title.to_string()).into_owned();
        Self { display, title, started, before: (Snapshot::default(), started) }
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows what happened since the interval before.
    pub(crate) fn interval(&mut self, mut now: Snapshot) -> io::Result<()> {
        let taken = Instant::now();
        let (before, since) = &self.before;
        let dt = taken.duration_since(*since).as_secs_f64();
        let seconds = taken.duration_since(self.started).as_secs_f64();
        let style = self.display.style();
        if style != Style::Json {
            now.make_printable();
        }
        match style {
            Style::Json => json::interval(&mut self.display.out, before, &now, dt, seconds)?,
            Style::Lines => self.display.put(&text::interval(before, &now, dt, seconds))?,
            Style::Live => self.display.draw(table::table(&self.title, before, &now, dt, seconds))?,
        }
        self.before = (now, taken);
        Ok(())
    }

    /// Says something to the operator without spoiling the table.
    pub(crate) fn notice(&mut self, message: &str) {
        self.display.notice(message);
    }

    /// Shows the end of the run.
    pub(crate) fn total(&mut self, total: &Total) -> io::Result<()> {
        self.display.end();
        match self.display.style {
            Style::Json => json::total(&mut self.display.out, total),
            Style::Lines | Style::Live => {
                let mut total = total.clone();
                total.snapshot.make_printable();
                self.display.put(&text::total(&self.title, &total))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::snapshot::*;

    pub(crate) fn before() -> Snapshot {
        Snapshot {
            rx_packets: 1_000_000,
            tx_packets: 1_000_000,
            rx_bytes: 64_000_000,
            tx_bytes: 64_000_000,
            actions: Actions { redirect: 1_000_000, ..Actions::default() },
            drops: Counters(vec![("tx_ring_full", 0), ("malformed", 0)]),
            pool: Pool { hold: 10, ..Pool::default() },
            dma_maps: 2,
            devices: vec![
                Device { name: "gen:".into(), state: "up", rx_packets: 1_000_000, ..Device::default() },
                Device {
                    name: "afxdp:eth1:0".into(),
                    mode: "native, copy".into(),
                    state: "up",
                    tx_packets: 1_000_000,
                    ..Device::default()
                },
            ],
            capture: None,
        }
    }

    pub(crate) fn now() -> Snapshot {
        let mut now = before();
        now.rx_packets = 3_000_000;
        now.rx_bytes = 192_000_000;
        now.tx_packets = 2_000_000;
        now.tx_bytes = 128_000_000;
        now.actions.redirect = 3_000_000;
        now.drops.0[0].1 = 1_000_000;
        now.pool =
            Pool { alloc_fast: 990, alloc_slow: 1, recycle_cached: 990, hold: 20, inflight: 512, ..Pool::default() };
        now.devices[0].rx_packets = 3_000_000;
        now.devices[0].rx_bytes = 192_000_000;
        now.devices[0].counters = Counters(vec![("rx_ring_full", 7), ("rx_dropped", 0)]);
        now.devices[1].tx_packets = 2_000_000;
        now.devices[1].in_flight = 64;
        now
    }
}
