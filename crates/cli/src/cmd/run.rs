//! Runs a plan from start to total: what `forward`, `drop`, `tx`, `generate` and `capture` have in common.

use std::time::{Duration, Instant};

use waterwheel_xdp::DropReason;

use crate::config::Plan;
use crate::engine::{Engine, Outcome, warnings};
use crate::failure::{Class, Failure};
use crate::preflight;
use crate::report::snapshot::Capture;
use crate::report::text::{account, who_has_pages};
use crate::report::{Display, Reporter, Total, notice, wait_for_reader};
use crate::signals::Signals;

/// Runs until a signal, the duration, or the end of the packets; then drains and accounts.
pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    for warning in preflight::check(plan)? {
        notice(&warning);
    }
    let no_signals = |error| Failure::new(Class::Other, format!("cannot handle signals: {error}"));
    // Before any device is open, so that no signal can end the process without closing it.
    let mut signals = Signals::take_over().map_err(no_signals)?;
    let patience = signals.patience(plan.duration);
    wait_for_reader(&patience);
    let mut engine = Engine::start(plan, signals.waker(), &patience)?;
    let out = plan.output.open(patience);
    let mut reporter = Reporter::new(Display::new(plan.style, out, &signals), &plan.title, engine.started());

    let shown = watch(plan, &mut engine, &mut reporter, &mut signals);
    engine.notices().iter().for_each(|message| reporter.notice(message));
    let seconds = reporter.elapsed().as_secs_f64();
    let asked = signals.asked();
    let holders = engine.holders(); // before the devices give theirs back
    engine.stop();
    let Outcome { snapshot, pages, conflicts, panicked, failed, stalled } = engine.finish();
    let unsent = snapshot.drops.get(DropReason::Unsent.as_str());

    // The devices are closed and the pages counted, whatever became of the output.
    let total = Total { seconds, snapshot, pages, holders };
    let shown = shown.and_then(|()| reporter.total(&total)).map_err(|error| Failure::output(&error));
    for (_, warning) in warnings(&total.snapshot) {
        notice(&warning);
    }
    for pool in &stalled {
        let way_out = if pool.sampling.is_none() { " (--trace-pages)" } else { "" };
        notice(&format!("{pool}{way_out}"));
    }
    if panicked > 0 {
        let who = if panicked == 1 { "a worker".to_owned() } else { format!("{panicked} workers") };
        let message = format!("{who} panicked (see above): please report this, with the command");
        return Err(Failure::new(Class::Panicked, message));
    }
    if conflicts > 0 {
        let message = format!("{conflicts} pages are held twice: please report this, with the command");
        return Err(Failure::new(Class::Leak, message));
    }
    if pages.leaked > 0 {
        let message = format!("pages leaked: {}: please report this, with the command", account(&pages));
        return Err(Failure::new(Class::Leak, message));
    }
    shown?;
    // Whoever asked for the end got it, with what was left; but what was taken is to be written.
    match failed.iter().find(|failed| !had_enough(failed)) {
        Some(failed) if unsent > 0 => {
            return Err(Failure::new(Class::Device, format!("{unsent} packets could not be written: {failed}")));
        }
        Some(failed) if !asked => {
            return Err(Failure::new(Class::Device, format!("a device failed while it ran: {failed}")));
        }
        _ => {}
    }
    let Some(Capture { reason: Some(reason), missed, .. }) = &total.snapshot.capture else { return Ok(()) };
    if had_enough(reason) || (asked && *missed == 0) {
        return Ok(());
    }
    let message = if *missed == 0 {
        format!("the capture failed: {reason}")
    } else {
        format!("{missed} packets were not captured: {reason}")
    };
    Err(Failure::new(Class::Device, message))
}

/// Whether the packets went to standard output, and whoever read them has had enough and left. That ends well.
fn had_enough(failed: &str) -> bool {
    failed.strip_prefix("pcap:-: ").unwrap_or(failed).starts_with("-: cannot write: Broken pipe")
}

/// How often devices are looked at, however long the interval of the reports is.
const LOOK: Duration = Duration::from_millis(250);

/// Shows intervals until there is a reason to end.
fn watch(plan: &Plan, engine: &mut Engine, reporter: &mut Reporter, signals: &mut Signals) -> std::io::Result<()> {
    let started = engine.started();
    // A moment beyond what the clock can name is never.
    let never = started + Duration::from_secs(100 * 365 * 86400);
    let after = |moment: Instant, duration: Duration| moment.checked_add(duration).unwrap_or(never).min(never);
    let deadline = plan.duration.map_or(never, |duration| after(started, duration));
    let (mut next, mut look) = (after(started, plan.interval), after(started, LOOK));
    loop {
        for message in engine.notices() {
            reporter.notice(&message);
        }
        signals.sleep_until(next.min(look).min(deadline));
        reporter.display.attend(signals)?;
        if signals.who_asked() {
            who_has_pages(engine.holders().as_ref()).iter().for_each(|line| reporter.notice(line));
        }
        let now = Instant::now();
        if signals.asked() || engine.is_finished() || now >= deadline {
            return Ok(());
        }
        if now >= next {
            reporter.interval(engine.snapshot())?;
            // Intervals that were missed, as when the process was stopped, are not made up for.
            next = after(next, plan.interval).max(now);
        } else if now >= look {
            engine.snapshot();
        } else {
            continue;
        }
        look = after(now, LOOK);
    }
}
