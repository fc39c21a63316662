//! What is planted is found; what is not is not.

use super::crew::Crew;
use super::fabric::{self, Books};
use super::stage::{Actor, Stage};
use super::{Broken, Error, Options, Plant, Report, Violation, run};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use waterwheel_mm::{Zone, ZoneParams};

fn soak(seed: u64, millis: u64, plant: Plant) -> Result<Report, Error> {
    let (duration, interval) = (Some(Duration::from_millis(millis)), Duration::from_secs(1));
    run(&Options { duration, seed, threads: 2, interval, plant }, &AtomicBool::new(false), &mut |_| {})
}

/// The violation that a run ends with, long before its time is over.
fn violation(seed: u64, plant: Plant) -> Violation {
    match soak(seed, 20_000, plant) {
        Err(Error::Violation(violation)) => *violation,
        other => panic!("it was not found: {other:?}"),
    }
}

#[test]
fn a_run_without_a_fault_ends_with_all_pages_free() {
    let total = soak(3, 500, Plant::Nothing).unwrap();
    assert!(total.pages.is_whole(), "{:?}", total.pages);
    assert!(total.checks > 0 && total.packets > 0);
}

#[test]
fn one_flipped_bit_is_found() {
    let found = violation(11, Plant::Corruption(20));
    let Broken::Bytes { zone, page, expected, found: byte, packet, .. } = &found.broken else { panic!("{found}") };
    // Where the bit lies in what says which packet it is, another packet's bytes are expected.
    let is_known = !packet.contains("cannot be read");
    assert!(*zone < 2 && *page < 7168 && (!is_known || (expected ^ byte).count_ones() == 1), "{found}");
    let text = found.to_string();
    assert!(text.starts_with(&format!("corrupt packet: page {page} of zone {zone}: byte ")), "{text}");
    assert!(
        found.step > 0 && text.contains("; seed 11, worker ") && text.ends_with(&format!(", step {}", found.step)),
        "{text}"
    );
}

#[test]
fn a_page_that_somebody_keeps_is_found() {
    let found = violation(12, Plant::Leak(1000));
    let Broken::Pages { account, .. } = &found.broken else { panic!("{found}") };
    assert!(account.leaked > 0 && account.conflicts == 0 && found.broken.is_leak(), "{found}");
    let text = found.to_string();
    assert!(text.starts_with("pages leaked: zone ") && text.contains("; seed 12, conductor, step "), "{text}");
}

#[test]
fn it_ends_when_it_is_asked_to() {
    let options =
        Options { duration: None, seed: 1, threads: 1, interval: Duration::from_secs(1), plant: Plant::Nothing };
    let total = run(&options, &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert!(total.pages.is_whole());
    assert!(matches!(
        run(&Options { threads: 0, ..options }, &AtomicBool::new(true), &mut |_| {}),
        Err(Error::Threads(0))
    ));
}

/// The others stand still, and its devices give nothing: it must not be waited for.
#[test]
fn a_worker_dies_though_nothing_comes() {
    let zone = |node| Zone::new(&ZoneParams { node: Some(node), ..ZoneParams::pages(4096) }).unwrap();
    let stage = Arc::new(Stage::new(5, Plant::Nothing, [zone(0), zone(1)], Vec::new()));
    stage.hush(true);
    let actor = Actor::new(&stage, "conductor".to_owned());
    let (mut dice, mut books) = (actor.dice(0), Books::default());
    let crew = Mutex::new(Crew::new(Actor::new(&stage, "worker 0".to_owned())));
    for _ in 0..8 {
        let mut crews = [crew.lock().unwrap()];
        fabric::open(&actor, &mut dice, &mut crews).unwrap();
        crews[0].die();
        assert!(crews[0].died.is_some());
        fabric::close(&actor, &mut crews, &mut books);
    }
    assert!(stage.violation().is_none(), "{:?}", stage.violation());
}
