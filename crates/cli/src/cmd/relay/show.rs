//! How a relay is shown: its first line, intervals as a table, lines or JSON, connections that have ended, and the total.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use serde::Serialize;
use waterwheel_dev::relay::{Ended, Relay, RelayStats};

use crate::report::json::{Traced, thousandths};
use crate::report::snapshot::{Counters, Holders, Pages, per_second};
use crate::report::table::{self, Weight};
use crate::report::text::{account, held, joined};
use crate::report::{Display, Style, TableLine};
use crate::units::{Target, si};

/// Connections that are told of before the rest is looked at: the interval, signals, the end.
const AT_ONCE: usize = 1024;

/// How the run is shown.
pub(super) struct Report {
    pub(super) display: Display,
    pub(super) started: Instant,
    listen: SocketAddr,
    connect: String,
    /// The counters shown last, and when.
    before: (RelayStats, f64),
    /// Connections that have ended, if they are to be told.
    ended: Option<Receiver<Ended>>,
    /// Failures that were told.
    told: Vec<&'static str>,
}

#[derive(Serialize)]
struct Start<'a> {
    event: &'static str,
    listen: String,
    connect: &'a str,
    io_uring: String,
}

#[derive(Serialize)]
struct Interval {
    event: &'static str,
    seconds: f64,
    /// Bits a second.
    up_bps: u64,
    down_bps: u64,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Serialize)]
struct Total<'a> {
    #[serde(flatten)]
    interval: Interval,
    pages: &'a Pages,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_pages: Option<Traced>,
}

#[derive(Serialize)]
struct Connection {
    event: &'static str,
    client: String,
    server: String,
    bytes_up: u64,
    bytes_down: u64,
    end: &'static str,
    /// Why it could not be connected.
    reason: Option<String>,
}

impl Report {
    pub(super) fn new(display: Display, listen: SocketAddr, connect: &Target, ended: Option<Receiver<Ended>>) -> Self {
        let before = (RelayStats::default(), 0.0);
        let connect = connect.to_string();
        Self { display, started: Instant::now(), listen, connect, before, ended, told: Vec::new() }
    }

    /// The first line: where it listens, once it does.
    pub(super) fn start(&mut self, relay: &Relay) -> io::Result<()> {
        let (listen, connect, io_uring) = (self.listen.to_string(), &self.connect, relay.features().to_string());
        if self.display.style() == Style::Json {
            return self.display.json(0.0, &Start { event: "start", listen, connect, io_uring });
        }
        self.display.put(&format!("relay from {listen} to {connect}; {io_uring}\n"))
    }

    pub(super) fn interval(&mut self, now: &RelayStats) -> io::Result<()> {
        self.failures(now);
        let seconds = self.started.elapsed().as_secs_f64();
        let (before, since) = self.before;
        self.before = (*now, seconds);
        match self.display.style() {
            Style::Json => self.display.json(seconds - since, &interval(&before, now, seconds - since, seconds)),
            Style::Live => self.display.draw(self.table(&before, now, seconds - since, seconds)),
            // Nothing has happened: there is nothing to say.
            Style::Lines if shown(&before) == shown(now) => Ok(()),
            Style::Lines => self.display.put(&line(&before, now, seconds - since, seconds)),
        }
    }

    /// Tells of connections that have ended since: of so many that whoever reads slowly keeps nobody from looking at the rest. Tells whether there may be more.
    pub(super) fn connections(&mut self) -> io::Result<bool> {
        let Some(ended) = &self.ended else { return Ok(false) };
        let (mut text, mut count) = (String::new(), 0);
        for Ended { client, server, bytes_up, bytes_down, duration, end, .. } in ended.try_iter().take(AT_ONCE) {
            count += 1;
            let (seconds, reason) = (duration.as_secs_f64(), end.reason());
            if self.display.style() == Style::Json {
                let (client, server, end) = (client.to_string(), server.to_string(), end.as_str());
                let event = "connection";
                let object = Connection { event, client, server, bytes_up, bytes_down, end, reason };
                self.display.json(seconds, &object)?;
                continue;
            }
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let end = end.as_str();
            let _ = writeln!(
                text,
                "connection {client} to {server}  up {bytes_up}  down {bytes_down}  {seconds:.3} s  {end}{reason}"
            );
        }
        if !text.is_empty() {
            self.display.put(&text)?;
        }
        Ok(count == AT_ONCE)
    }

    /// Tells of the rest, when no more can end.
    pub(super) fn all_connections(&mut self) -> io::Result<()> {
        while self.connections()? {}
        Ok(())
    }

    /// Says why connections fail, once for each reason.
    fn failures(&mut self, now: &RelayStats) {
        let other = now.connect_failed - now.connect_refused - now.connect_timed_out - now.connect_unreachable;
        for (name, n, why) in [
            ("connect_refused", now.connect_refused, "refused: nobody listens there"),
            ("connect_timed_out", now.connect_timed_out, "timed out: nobody answers"),
            ("connect_unreachable", now.connect_unreachable, "unreachable: there is no way there"),
            ("connect_failed", other, "--log-connections says why"),
        ] {
            if n > 0 && !self.told.contains(&name) {
                self.told.push(name);
                let connect = &self.connect;
                self.display
                    .notice(&format!("cannot connect to {connect}: {why} (from now on only counted, as {name})"));
            }
        }
    }

    fn table(&self, before: &RelayStats, now: &RelayStats, dt: f64, seconds: f64) -> Vec<TableLine> {
        let title = format!("relay {} {}", self.listen, self.connect);
        let way = |way: &str, before: u64, now: u64| {
            let bits = si(8.0 * per_second(now - before.min(now), dt));
            TableLine::of(vec![format!("  {way:11}"), format!("{now:>15}"), format!("{bits}bit/s")])
        };
        let heads = [format!("  {:11}", "way"), format!("{:>15}", "bytes"), format!("{:>14}", "bits/s")];
        let other = ends(now).nonzero().into_iter().filter(|(why, _)| *why != "finished").collect::<Vec<_>>();
        let lost = format!("  lost        {}", joined(other.iter().map(|(why, n)| format!("{why} {n}"))));
        vec![
            table::heading(&title, seconds),
            TableLine::of(heads.to_vec()).weighing(Weight::Frame),
            way("up", before.bytes_up, now.bytes_up),
            way("down", before.bytes_down, now.bytes_down),
            format!("  connections open {}, accepted {}, finished {}", now.open, now.accepted, now.finished).into(),
            format!("  blocks      held {}, at most {}; directions stalled {}", now.held, now.held_max, now.stalled)
                .into(),
            TableLine::from(lost).alarming(!other.is_empty()),
        ]
    }

    pub(super) fn total(
        &mut self,
        stats: &RelayStats,
        pages: &Pages,
        holders: Option<&Holders>,
        seconds: f64,
    ) -> io::Result<()> {
        self.failures(stats);
        self.display.end();
        if self.display.style() == Style::Json {
            let interval = interval(&RelayStats::default(), stats, seconds, seconds);
            let interval = Interval { event: "total", ..interval };
            return self.display.json(seconds, &Total { interval, pages, trace_pages: holders.map(Traced::of) });
        }
        self.display.put(&total(stats, pages, holders, seconds))
    }
}

/// What a line of an interval shows.
fn shown(stats: &RelayStats) -> ([u64; 5], Counters) {
    ([stats.bytes_up, stats.bytes_down, stats.open, stats.stalled, stats.held], ends(stats))
}

fn interval(before: &RelayStats, now: &RelayStats, dt: f64, seconds: f64) -> Interval {
    let bps = |before: u64, now: u64| (8.0 * per_second(now.saturating_sub(before), dt)).round() as u64;
    let mut counters = Vec::new();
    now.each(|name, count| counters.push((name, count)));
    Interval {
        event: "interval",
        seconds: thousandths(seconds),
        up_bps: bps(before.bytes_up, now.bytes_up),
        down_bps: bps(before.bytes_down, now.bytes_down),
        counters: Counters(counters),
    }
}

fn line(before: &RelayStats, now: &RelayStats, dt: f64, seconds: f64) -> String {
    let rate = |before: u64, now: u64| si(8.0 * per_second(now.saturating_sub(before), dt));
    let mut line = format!(
        "{seconds:8.1} s  up {}bit/s  down {}bit/s  connections {:6}  stalled {:6}  blocks held {:6}",
        rate(before.bytes_up, now.bytes_up),
        rate(before.bytes_down, now.bytes_down),
        now.open,
        now.stalled,
        now.held,
    );
    for (reason, n) in ends(now).grown(&ends(before)) {
        let _ = write!(line, "  {reason} {n}");
    }
    line + "\n"
}

fn total(stats: &RelayStats, pages: &Pages, holders: Option<&Holders>, seconds: f64) -> String {
    let RelayStats { accepted, bytes_up, bytes_down, sends, zc_sent, zc_copied, enters, held_max, .. } = *stats;
    let rate = |bytes| si(8.0 * per_second(bytes, seconds));
    let digits = bytes_up.max(bytes_down).to_string().len();
    let ends = ends(stats).nonzero().into_iter().map(|(why, n)| format!(", {why} {n}")).collect::<String>();
    let mut lines = vec![
        format!("waterwheel relay   {seconds:.3} s"),
        format!("  up         {bytes_up:digits$} bytes  {}bit/s", rate(bytes_up)),
        format!("  down       {bytes_down:digits$} bytes  {}bit/s", rate(bytes_down)),
        format!("  accepted   {accepted}{ends}"),
        format!(
            "  sends      {sends}; without a copy {}, copied after all {zc_copied}; system calls {enters}",
            zc_sent - zc_copied
        ),
        format!(
            "  stalls     {}; blocks held {held_max} at most; receives that found none {}",
            stats.stalls, stats.starved
        ),
    ];
    if stats.unlogged > 0 {
        lines.push(format!("  not told   {} connections, which ended faster than they could be told", stats.unlogged));
    }
    lines.extend(holders.map(held).unwrap_or_default().iter().map(|line| format!("  held       {line}")));
    lines.push(format!("  pages      {}", account(pages)));
    lines.join("\n") + "\n"
}

/// How connections ended, and what went wrong.
fn ends(stats: &RelayStats) -> Counters {
    Counters(vec![
        ("finished", stats.finished),
        ("reset", stats.reset),
        ("connect_failed", stats.connect_failed),
        ("connect_refused", stats.connect_refused),
        ("connect_timed_out", stats.connect_timed_out),
        ("connect_unreachable", stats.connect_unreachable),
        ("idle_timeout", stats.idle_timeout),
        ("stopped", stats.stopped),
        ("accept_errors", stats.accept_errors),
        ("bytes_dropped", stats.bytes_dropped),
        ("bytes_unacknowledged", stats.bytes_unacknowledged),
    ])
}
