//! `relay`: TCP connections, passed on in the pages in which their bytes were received.

mod itself;
mod show;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use waterwheel_dev::relay::{Ended, Relay, RelayParams, Send};
use waterwheel_xdp::mm::Users;
use waterwheel_xdp::{Account, Zone};

use crate::args::{self, Sending};
use crate::engine;
use crate::failure::{Class, Failure};
use crate::report::snapshot::Holders;
use crate::report::text::{account, who_has_pages};
use crate::report::{Display, Output, Style, notice, wait_for_reader};
use crate::signals::{Signals, Waker};
use crate::units::Target;
use show::Report;

/// Runs until a signal or the duration; then what is under way is sent, and every page accounted for.
pub(crate) fn run(args: &args::Relay) -> Result<(), Failure> {
    let addresses = match &args.connect {
        Target::Address(address) => vec![*address],
        Target::Name(name) => look_up(name).map_err(|why| Failure::new(Class::Device, why))?,
    };
    let addresses = itself::elsewhere(args.listen, addresses).ok_or_else(|| {
        let connect = &args.connect;
        let message = format!(
            "{connect} leads to where this relay itself listens: each connection would make another one; name the server"
        );
        Failure::new(Class::Config, message)
    })?;
    let (params, ended) = params(args, addresses[0]);
    params.check().map_err(engine::failure)?;
    let no_signals = |error| Failure::new(Class::Other, format!("cannot handle signals: {error}"));
    let mut signals = Signals::take_over_for_relay().map_err(no_signals)?;
    let patience = signals.patience(args.duration);
    wait_for_reader(&patience);
    let lookups = match &args.connect {
        Target::Address(_) => None,
        Target::Name(name) => {
            Some(Lookups::start(name, args.listen, signals.waker(), addresses.clone()).map_err(no_signals)?)
        }
    };
    let pages = args.pages.map_or(params.pages_wanted(), |pages| usize::try_from(pages).unwrap_or(usize::MAX));
    let zone = engine::zone(pages, args.huge_pages, args.trace_pages)?;
    let relay = Relay::start(&zone, &params).map_err(engine::failure)?;
    relay.connect_to(addresses);
    let features = relay.features();
    if !features.buffer_ring || !features.multishot {
        notice(&format!("this kernel has {features}: connections are received from one request at a time"));
    }
    let style = Style::choose(args.json, args.plain, Output::Stdout);
    let display = Display::new(style, Output::Stdout.open(patience), &signals);
    let mut report = Report::new(display, relay.listen_address(), &args.connect, ended);
    let running = Running { args, zone: &zone, relay: &relay, lookups };
    let shown = report.start(&relay).and_then(|()| running.watch(&mut report, &mut signals));
    let seconds = report.started.elapsed().as_secs_f64();
    let holders = Holders::of(&zone); // before the connections end
    relay.stop();
    let mut shown = shown.map(|()| false);
    while !relay.is_finished() {
        shown = shown.and_then(|_| report.connections());
        if !matches!(shown, Ok(true)) {
            signals.sleep_until(Instant::now() + LOOK_AT_LOG);
        }
    }
    let (stats, quarantined) = relay.finish().map_err(engine::failure)?;
    let pages = Account::open(&zone).close(Users::Gone);
    if pages.conflicts > 0 {
        let message = format!("{} pages are held twice: please report this, with the command", pages.conflicts);
        return Err(Failure::new(Class::Leak, message));
    }
    let pages = engine::pages(&pages);
    if quarantined > 0 {
        report
            .display
            .notice(&format!("{quarantined} pages were still with the network at the end, and were not used again"));
    }
    let shown = shown
        .and_then(|_| report.all_connections())
        .and_then(|()| report.total(&stats, &pages, holders.as_ref(), seconds))
        .map_err(|error| Failure::output(&error));
    if pages.leaked > 0 {
        let message = format!("pages leaked: {}: please report this, with the command", account(&pages));
        return Err(Failure::new(Class::Leak, message));
    }
    shown
}

/// Connections that may have ended since they were last told of: what is more is counted, and not told.
const LOG: usize = 1 << 16;

/// What the relay is made of, and, if they are to be told, the connections that have ended.
fn params(args: &args::Relay, connect: SocketAddr) -> (RelayParams, Option<Receiver<Ended>>) {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (log, ended) = args.log_connections.then(|| mpsc::sync_channel(LOG)).unzip();
    let params = RelayParams {
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
        log,
        ..RelayParams::new(args.listen, connect)
    };
    (params, ended)
}

/// How often to see whether it still runs, however long the interval of the reports is; and whether connections have ended.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_AT_LOG: Duration = Duration::from_millis(100);

/// What runs meanwhile.
struct Running<'a> {
    args: &'a args::Relay,
    zone: &'a Zone,
    relay: &'a Relay,
    lookups: Option<Lookups>,
}

impl Running<'_> {
    /// Shows intervals until there is a reason to end.
    fn watch(mut self, report: &mut Report, signals: &mut Signals) -> io::Result<()> {
        let never = report.started + Duration::from_secs(100 * 365 * 86400);
        let after = |moment: Instant, duration| moment.checked_add(duration).unwrap_or(never).min(never);
        let deadline = self.args.duration.map_or(never, |duration| after(report.started, duration));
        let mut next = after(report.started, self.args.interval);
        let look = if self.args.log_connections { LOOK_AT_LOG } else { LOOK };
        let mut more = false;
        loop {
            if !more {
                signals.sleep_until(next.min(deadline).min(Instant::now() + look));
            }
            report.display.attend(signals)?;
            if signals.who_asked() {
                who_has_pages(Holders::of(self.zone).as_ref()).iter().for_each(|line| report.display.notice(line));
            }
            self.look_up(report, signals.hung_up());
            more = report.connections()?;
            let now = Instant::now();
            if signals.asked() || self.relay.is_finished() || now >= deadline {
                return Ok(());
            }
            if now >= next {
                report.interval(&self.relay.stats())?;
                next = after(next, self.args.interval).max(now);
            }
        }
    }

    /// Connects to where the server's name leads now; `asked`: it is looked up at once.
    fn look_up(&mut self, report: &mut Report, asked: bool) {
        let Some(lookups) = &mut self.lookups else {
            if asked {
                report.display.notice("SIGHUP: it goes on; there is no name to look up again, and SIGTERM ends it");
            }
            return;
        };
        if asked {
            report.display.notice(&format!("SIGHUP: {} is looked up again", self.args.connect));
            lookups.ask();
        }
        for message in lookups.news(|addresses| self.relay.connect_to(addresses)) {
            report.display.notice(&message);
        }
    }
}

/// How often a name is looked up again.
const LOOK_UP: Duration = Duration::from_secs(30);

/// Looks a name up now and then, and when it is asked to, on a thread of its own: an answer may take long.
struct Lookups {
    name: String,
    ask: Sender<()>,
    answers: Receiver<Result<Vec<SocketAddr>, String>>,
    /// Where it led last.
    addresses: Vec<SocketAddr>,
    /// What was said of a failure.
    failed: bool,
}

impl Lookups {
    fn start(name: &str, listen: SocketAddr, waker: &Waker, addresses: Vec<SocketAddr>) -> io::Result<Self> {
        let (ask, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (waker, looked_up) = (waker.try_clone()?, name.to_owned());
        let work = move || {
            while asked.recv_timeout(LOOK_UP) != Err(RecvTimeoutError::Disconnected) {
                let elsewhere = |addresses| {
                    itself::elsewhere(listen, addresses)
                        .ok_or_else(|| format!("{looked_up} leads to where this relay itself listens"))
                };
                if answer.send(look_up(&looked_up).and_then(elsewhere)).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        thread::Builder::new().name("look-up".to_owned()).spawn(work)?;
        Ok(Self { name: name.to_owned(), ask, answers, addresses, failed: false })
    }

    fn ask(&self) {
        // It ends with us, not before.
        let _ = self.ask.send(());
    }

    /// What there is to say; a name that leads elsewhere goes to `moved`.
    fn news(&mut self, mut moved: impl FnMut(Vec<SocketAddr>)) -> Vec<String> {
        let mut said = Vec::new();
        for answer in self.answers.try_iter() {
            match answer {
                Err(why) if !self.failed => {
                    said.push(format!("{why}; connections go to {} meanwhile", listed(&self.addresses)));
                    self.failed = true;
                }
                Err(_) => {}
                Ok(addresses) => {
                    self.failed = false;
                    // Servers of many addresses give them in another order each time.
                    let sorted = |addresses: &[SocketAddr]| {
                        let mut all = addresses.to_vec();
                        all.sort_unstable();
                        all
                    };
                    if sorted(&addresses) != sorted(&self.addresses) {
                        said.push(format!("{} is {} now", self.name, listed(&addresses)));
                    }
                    self.addresses.clone_from(&addresses);
                    moved(addresses);
                }
            }
        }
        said
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Where a name and a port lead; at least to one address.
fn look_up(name: &str) -> Result<Vec<SocketAddr>, String> {
    let mut all = Vec::new();
    for address in name.to_socket_addrs().map_err(|error| format!("cannot find the host of {name}: {error}"))? {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    if all.is_empty() { Err(format!("cannot find the host of {name}: it has no address")) } else { Ok(all) }
}
