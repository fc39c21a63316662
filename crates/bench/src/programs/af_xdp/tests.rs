//! The rig with our forwarder on it. Needs root, and `ip` of iproute2.

use super::*;
use crate::harness::Clock;
use std::time::{Duration, Instant};
use waterwheel_mm::cpu;

/// A rig with our forwarder, if there is root and a second CPU. Without root the test fails by name, or, with `WATERWHEEL_SKIP_ROOT=1`, says that it was left out.
fn rig(test: &str, busy_poll: Option<BusyPoll>) -> Option<(Rig, rig::Road, Station)> {
    let cpus = cpu::allowed_cpus();
    if !rustix::process::geteuid().is_root() || cpus.len() < 2 {
        assert!(
            cpus.len() < 2 || std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
            "the test `{test}` needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
        );
        eprintln!("left out, as it needs root and two CPUs: {test}");
        return None;
    }
    let rig = Rig::set(cpus[1], Clock::new()).expect("a namespace");
    let road = rig.road("test").expect("two veth pairs");
    let params = AfXdpParams { zero_copy: ZeroCopy::Never, busy_poll, ..AfXdpParams::default() };
    let open = || rig.namespace().run(|| open(&road, &params, BURST).map_err(|error| error.to_string()));
    let forwarder = Station::start(cpus[0], || Ok(open()?)).expect("two devices");
    Some((rig, road, forwarder))
}

#[test]
fn what_the_forwarder_sends_arrives_and_every_page_comes_home() {
    for busy_poll in [None, Some(BusyPoll::default())] {
        let Some((rig, road, forwarder)) = rig("what_the_forwarder_sends_arrives_and_every_page_comes_home", busy_poll)
        else {
            return;
        };
        forwarder.forward();
        let deadline = Instant::now() + Duration::from_secs(60);
        // On a busy machine one of the two, the forwarder or who floods it, may not run at all in the time of a reading.
        loop {
            let reading = rig.flood(&road, &forwarder.task).map(|reading| (reading.lap.elements, reading.sent));
            if reading.as_ref().is_ok_and(|(arrived, sent)| *sent >= 0.5 * *arrived as f64) {
                break;
            }
            assert!(Instant::now() < deadline, "{busy_poll:?}: {reading:?}");
        }
        forwarder.rest();
        let (stats, account) = forwarder.close().expect("it did not panic");
        assert_eq!(stats.ports[1].tx.packets, rig.arrived(&road), "none is lost behind it, none comes from elsewhere");
        assert_eq!((stats.ports[0].rx.packets, stats.drops.total()), (stats.ports[1].tx.packets, 0));
        assert!(account.is_whole(), "{account:?}");
    }
}

#[test]
fn one_that_rests_is_no_figure() {
    let Some((rig, road, forwarder)) = rig("one_that_rests_is_no_figure", None) else { return };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let why = rig.flood(&road, &forwarder.task).err();
        if why.as_deref() == Some("nothing arrived at test_far") {
            break;
        }
        // On a busy machine the flood may be over before it can be read.
        assert!(why.is_some() && Instant::now() < deadline, "{why:?}");
    }
    let (_, account) = forwarder.close().expect("it did not panic");
    assert!(account.is_whole(), "{account:?}");
}
