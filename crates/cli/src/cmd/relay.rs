//! `relay`: TCP connections, passed on in the pages in which their bytes were received.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use waterwheel_dev::relay::{Relay, RelayParams, RelayStats, Send};
use waterwheel_xdp::mm::Users;
use waterwheel_xdp::{Account, Zone};

use crate::args::{self, Sending};
use crate::engine;
use crate::failure::{Class, Failure};
use crate::report::snapshot::{Counters, Holders, Pages, per_second};
use crate::report::text::{account, held, who_has_pages};
use crate::report::{json, notice};
use crate::signals::Signals;
use crate::units::si;

/// Runs until a signal or the duration; then what is under way is sent, and every page accounted for.
pub(crate) fn run(args: &args::Relay) -> Result<(), Failure> {
    let params = params(args);
    params.check().map_err(engine::failure)?;
    let mut signals =
        Signals::take_over().map_err(|error| Failure::new(Class::Other, format!("cannot handle signals: {error}")))?;
    let pages = args.pages.map_or(params.pages_wanted(), |pages| usize::try_from(pages).unwrap_or(usize::MAX));
    let zone = engine::zone(pages, args.huge_pages, args.trace_pages)?;
    let relay = Relay::start(&zone, &params).map_err(engine::failure)?;
    let features = relay.features();
    if !features.buffer_ring || !features.multishot {
        notice(&format!("this kernel has {features}: connections are received from one request at a time"));
    }
    let mut report = Report { json: args.json, started: Instant::now(), before: (RelayStats::default(), 0.0) };
    let shown = report.start(&relay, &params).and_then(|()| watch(args, &zone, &relay, &mut report, &mut signals));
    let seconds = report.started.elapsed().as_secs_f64();
    let holders = Holders::of(&zone); // before the connections end
    let (stats, quarantined) = relay.finish().map_err(engine::failure)?;
    let pages = Account::open(&zone).close(Users::Gone);
    if pages.conflicts > 0 {
        let message = format!("{} pages are held twice: please report this, with the command", pages.conflicts);
        return Err(Failure::new(Class::Leak, message));
    }
    let pages = engine::pages(&pages);
    if quarantined > 0 {
        notice(&format!("{quarantined} pages were still with the network at the end, and were not used again"));
    }
    let shown = shown
        .and_then(|()| report.total(&stats, &pages, holders.as_ref(), seconds))
        .map_err(|error| Failure::output(&error));
    if pages.leaked > 0 {
        let message = format!("pages leaked: {}: please report this, with the command", account(&pages));
        return Err(Failure::new(Class::Leak, message));
    }
    shown
}

fn params(args: &args::Relay) -> RelayParams {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    RelayParams {
        workers: number(args.workers),
        max_connections: number(args.max_connections),
        order: args.order,
        cap: number(args.cap),
        send: match args.send {
            Sending::Auto => Send::Auto,
            Sending::Plain => Send::Plain,
            Sending::Zc => Send::Zc,
        },
        idle_timeout: args.idle_timeout,
        ..RelayParams::new(args.listen, args.connect)
    }
}

/// How often to see whether it still runs, however long the interval of the reports is.
const LOOK: Duration = Duration::from_secs(1);

/// Shows intervals until there is a reason to end.
fn watch(args: &args::Relay, zone: &Zone, relay: &Relay, report: &mut Report, signals: &mut Signals) -> io::Result<()> {
    let never = report.started + Duration::from_secs(100 * 365 * 86400);
    let after = |moment: Instant, duration| moment.checked_add(duration).unwrap_or(never).min(never);
    let deadline = args.duration.map_or(never, |duration| after(report.started, duration));
    let mut next = after(report.started, args.interval);
    loop {
        signals.sleep_until(next.min(deadline).min(Instant::now() + LOOK));
        if signals.who_asked() {
            who_has_pages(Holders::of(zone).as_ref()).iter().for_each(|line| notice(line));
        }
        let now = Instant::now();
        if signals.asked() || relay.is_finished() || now >= deadline {
            return Ok(());
        }
        if now >= next {
            report.interval(&relay.stats())?;
            next = after(next, args.interval).max(now);
        }
    }
}

/// How the run is shown.
struct Report {
    json: bool,
    started: Instant,
    /// The counters shown last, and when.
    before: (RelayStats, f64),
}

#[derive(Serialize)]
struct Start<'a> {
    event: &'static str,
    listen: &'a str,
    connect: &'a str,
    io_uring: &'a str,
}

#[derive(Serialize)]
struct Interval {
    event: &'static str,
    seconds: f64,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Serialize)]
struct Total<'a> {
    event: &'static str,
    seconds: f64,
    #[serde(flatten)]
    counters: Counters,
    pages: &'a Pages,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_pages: Option<json::Traced>,
}

fn counters(stats: &RelayStats) -> Counters {
    let mut all = Vec::new();
    stats.each(|name, count| all.push((name, count)));
    Counters(all)
}

impl Report {
    /// The first line: where it listens, once it does.
    fn start(&mut self, relay: &Relay, params: &RelayParams) -> io::Result<()> {
        let out = &mut io::stdout().lock();
        let (listen, connect) = (relay.listen_address().to_string(), params.connect.to_string());
        let io_uring = relay.features().to_string();
        if self.json {
            return json::line(out, &Start { event: "start", listen: &listen, connect: &connect, io_uring: &io_uring });
        }
        writeln!(out, "relay from {listen} to {connect}; {io_uring}")?;
        out.flush()
    }

    fn interval(&mut self, now: &RelayStats) -> io::Result<()> {
        let out = &mut io::stdout().lock();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            return json::line(out, &Interval { event: "interval", seconds, counters: counters(now) });
        }
        let (before, since) = &self.before;
        let rate = |before: u64, now: u64| si(8.0 * per_second(now.saturating_sub(before), seconds - since));
        write!(
            out,
            "{seconds:8.1} s  up {}bit/s  down {}bit/s  connections {:6}  stalled {:6}  pages held {:6}",
            rate(before.bytes_up, now.bytes_up),
            rate(before.bytes_down, now.bytes_down),
            now.open,
            now.stalled,
            now.held,
        )?;
        for (reason, n) in ends(now).grown(&ends(before)) {
            write!(out, "  {reason} {n}")?;
        }
        writeln!(out)?;
        self.before = (*now, seconds);
        out.flush()
    }

    fn total(&mut self, stats: &RelayStats, pages: &Pages, holders: Option<&Holders>, seconds: f64) -> io::Result<()> {
        let out = &mut io::stdout().lock();
        if self.json {
            let trace_pages = holders.map(json::Traced::of);
            return json::line(out, &Total { event: "total", seconds, counters: counters(stats), pages, trace_pages });
        }
        let RelayStats { accepted, bytes_up, bytes_down, sends, zc_sent, zc_copied, enters, held_max, .. } = *stats;
        let rate = |bytes| si(8.0 * per_second(bytes, seconds));
        let digits = bytes_up.max(bytes_down).to_string().len();
        writeln!(out, "waterwheel relay   {seconds:.3} s")?;
        writeln!(out, "  up         {bytes_up:digits$} bytes  {}bit/s", rate(bytes_up))?;
        writeln!(out, "  down       {bytes_down:digits$} bytes  {}bit/s", rate(bytes_down))?;
        let ends = ends(stats).nonzero().into_iter().map(|(why, n)| format!(", {why} {n}")).collect::<String>();
        writeln!(out, "  accepted   {accepted}{ends}")?;
        writeln!(
            out,
            "  sends      {sends}; without a copy {}, copied after all {zc_copied}; system calls {enters}",
            zc_sent - zc_copied
        )?;
        writeln!(
            out,
            "  stalls     {}; blocks held {held_max} at most; receives that found none {}",
            stats.stalls, stats.starved
        )?;
        for line in holders.map(held).unwrap_or_default() {
            writeln!(out, "  held       {line}")?;
        }
        writeln!(out, "  pages      {}", account(pages))?;
        out.flush()
    }
}

/// How connections ended, and what went wrong.
fn ends(stats: &RelayStats) -> Counters {
    Counters(vec![
        ("finished", stats.finished),
        ("reset", stats.reset),
        ("connect_failed", stats.connect_failed),
        ("idle_timeout", stats.idle_timeout),
        ("stopped", stats.stopped),
        ("accept_errors", stats.accept_errors),
        ("bytes_dropped", stats.bytes_dropped),
        ("bytes_unacknowledged", stats.bytes_unacknowledged),
    ])
}
