//! Turns, failures, ratios: behaviour, whatever the times.

use super::*;
use crate::harness::{Options, Program};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a program with one case gives out.
fn events(runs: usize, body: impl Fn(&mut Group<'_, '_>) -> Result<(), Interrupted> + 'static) -> Vec<Event> {
    let program =
        Program { name: "p", about: "", answers: "", notes: vec![], cases: vec![Case::new("c", "s", 0, body)] };
    let options = Options { quick: true, runs: Some(runs), ..Options::default() };
    let (stop, mut events) = (AtomicBool::new(false), Vec::new());
    let mut output = |event: &Event| events.push(event.clone());
    let _ = program.run(&mut Session::start(&options, &stop, &mut output), None);
    events.retain(|event| !matches!(event, Event::Machine(_) | Event::Note(_)));
    events
}

#[test]
fn a_loop_that_does_nothing_is_no_result() {
    let events = events(1, |group| {
        group.ours("nothing", "", 1, |_| {});
        group.measure()
    });
    assert!(matches!(&events[..], [Event::Absent(absent)] if absent.why.contains("optimised away")), "{events:?}");
}

#[test]
fn who_fails_on_the_way_is_absent_and_the_others_go_on() {
    let events = events(3, |group| {
        let mut left = 4;
        group.fallible(Side::Peer, "dies", "", move |loops| {
            left -= 1;
            let lap = Lap { ticks: 1 << 24, elements: loops };
            if left > 0 { Ok(lap) } else { Err("it died".to_owned()) }
        });
        group.fallible(Side::Ours, "lives", "", |loops| Ok(Lap { ticks: 1 << 24, elements: loops }));
        group.measure()?;
        assert!(group.median_ns("lives").is_some() && group.median_ns("dies").is_none());
        Ok(())
    });
    let [Event::Absent(absent), Event::Row(row)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((absent.implementation.as_str(), absent.why.as_str()), ("dies", "it died"));
    assert_eq!((row.implementation.as_str(), row.runs), ("lives", 3));
}

#[test]
fn contenders_take_turns_there_and_back() {
    let order = Rc::new(RefCell::new(String::new()));
    let seen = order.clone();
    let events = events(3, move |group| {
        for name in ["a", "b"] {
            let order = seen.clone();
            group.fallible(Side::Ours, name, "", move |loops| {
                order.borrow_mut().push_str(name);
                Ok(Lap { ticks: 1 << 24, elements: loops })
            });
        }
        group.measure()
    });
    // Calibration, confirmed; then each run after its warm-up.
    assert_eq!(*order.borrow(), "aabb".to_owned() + "aabb" + "bbaa" + "aabb");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_ratio_is_ours_by_theirs_per_element() {
    let events = events(4, |group| {
        group.fallible(Side::Ours, "ours", "", |_| Ok(Lap { ticks: 1 << 24, elements: 2000 }));
        group.fallible(Side::Peer, "peer", "", |_| Ok(Lap { ticks: 1 << 25, elements: 1000 }));
        group.measure()
    });
    let Some(Event::Ratio(ratio)) = events.last() else { panic!("{events:?}") };
    assert_eq!((ratio.ratio_min, ratio.ratio_median, ratio.ratio_max), (0.25, 0.25, 0.25));
    assert_eq!((ratio.implementation.as_str(), ratio.peer.as_str()), ("ours", "peer"));
}

#[test]
fn an_interrupted_case_gives_nothing_out() {
    let stop = Rc::new(AtomicBool::new(false));
    let options = Options { quick: true, ..Options::default() };
    let mut seen = 0;
    let mut output = |event: &Event| seen += usize::from(matches!(event, Event::Row(_)));
    let at_once = stop.clone();
    let body = move |group: &mut Group<'_, '_>| {
        let stop = at_once.clone();
        group.ours("one", "", 1, move |loops| {
            for i in 0..loops {
                black_box(i);
            }
            stop.store(true, Ordering::Relaxed);
        });
        group.measure()
    };
    let program =
        Program { name: "p", about: "", answers: "", notes: vec![], cases: vec![Case::new("c", "s", 0, body)] };
    assert_eq!(program.run(&mut Session::start(&options, &stop, &mut output), None), Err(Interrupted));
    assert_eq!(seen, 0);
}
