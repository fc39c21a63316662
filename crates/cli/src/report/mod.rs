//! What the user sees while packets move: a live table at a terminal, else lines, or JSON; and the total at the end.

pub(crate) mod json;
#[cfg(feature = "tui")]
mod live;
mod patient;
pub(crate) mod snapshot;
#[cfg(feature = "tui")]
mod table;
pub(crate) mod text;

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::signals::Patience;
use patient::Patient;
pub(crate) use snapshot::{Snapshot, Total};

/// Says something to the operator on standard error, where it does not mix with the output.
pub(crate) fn notice(message: &str) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "waterwheel: {message}");
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

/// Shows snapshots as they come.
pub(crate) struct Reporter {
    style: Style,
    out: Patient,
    /// The command, as the title of the table and of the total.
    title: String,
    started: Instant,
    /// The snapshot shown last, and when it was taken.
    before: (Snapshot, Instant),
    #[cfg(feature = "tui")]
    screen: live::Screen,
}

impl Reporter {
    /// For a run that began at `started` with all counters at 0.
    pub(crate) fn new(style: Style, out: Patient, title: impl fmt::Display, started: Instant) -> Self {
        Self {
            style,
            out,
            title: title.to_string(),
            started,
            before: (Snapshot::default(), started),
            #[cfg(feature = "tui")]
            screen: live::Screen::default(),
        }
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows what happened since the interval before.
    pub(crate) fn interval(&mut self, now: Snapshot) -> io::Result<()> {
        let taken = Instant::now();
        let (before, since) = &self.before;
        let dt = taken.duration_since(*since).as_secs_f64();
        let seconds = taken.duration_since(self.started).as_secs_f64();
        match self.style {
            Style::Json => json::interval(&mut self.out, before, &now, dt, seconds)?,
            Style::Lines => self.put(&text::interval(before, &now, dt, seconds))?,
            #[cfg(feature = "tui")]
            Style::Live => {
                let lines = table::table(&self.title, before, &now, dt, seconds);
                self.screen.draw(&mut self.out, &lines)?;
            }
            #[cfg(not(feature = "tui"))]
            Style::Live => self.put(&text::interval(before, &now, dt, seconds))?,
        }
        self.before = (now, taken);
        Ok(())
    }

    /// Says something to the operator without spoiling the table.
    pub(crate) fn notice(&mut self, message: &str) {
        self.clear();
        notice(message);
    }

    /// Shows the end of the run.
    pub(crate) fn total(&mut self, total: &Total) -> io::Result<()> {
        self.clear();
        match self.style {
            Style::Json => json::total(&mut self.out, total),
            Style::Lines | Style::Live => self.put(&text::total(&self.title, total)),
        }
    }

    fn clear(&mut self) {
        #[cfg(feature = "tui")]
        // A terminal that cannot be written to shows that again at the next interval.
        let _ = self.screen.clear(&mut self.out);
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
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
                Device { name: "gen:".into(), state: "up".into(), rx_packets: 1_000_000, ..Device::default() },
                Device {
                    name: "afxdp:eth1:0".into(),
                    mode: "native, copy".into(),
                    state: "up".into(),
                    tx_packets: 1_000_000,
                    ..Device::default()
                },
            ],
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
