//! The page of made-up runs.

use super::html;
use crate::event::{Absent, Count, Event, Machine, Note, Ratio, Row, Side};

fn machine() -> Event {
    Event::Machine(Machine {
        cpu: "a <CPU> & more".into(),
        cpus: vec![0, 1],
        tsc_ghz: Some(2.5),
        kernel: "6.18".into(),
        huge_pages: "0 reserved".into(),
        mitigations: vec!["one: \"quoted\"".into()],
        governor: "none visible".into(),
        target: "x86_64".into(),
        version: "0.1.0".into(),
        empty_ns: 0.25,
        locked_ns: 5.03,
    })
}

fn row(bench: &str, series: &str, x: f64, implementation: &str, side: Side) -> Event {
    Event::Row(Row {
        bench: bench.into(),
        case: format!("case {x}"),
        implementation: implementation.into(),
        side,
        series: series.into(),
        x,
        work: "alloc & free".into(),
        ns: 3.0,
        cycles: Some(7.5),
        locked: 0.6,
        min_ns: 0.0,
        median_ns: 3.0,
        max_ns: 1000.0,
        q1_ns: 1.0,
        q3_ns: 1.0,
        runs: 5,
        elements: 1000,
        empty_ns: 0.25,
        noisy: true,
    })
}

fn count(bench: &str, series: &str, x: f64, what: &str, value: f64) -> Event {
    let (case, implementation) = (format!("case {x}"), "pool".into());
    Event::Count(Count {
        bench: bench.into(),
        case,
        implementation,
        series: series.into(),
        x,
        what: what.into(),
        value,
    })
}

/// The page, found to be well-formed.
fn page(events: &[Event]) -> String {
    let page = html("waterwheel bench <&>", events).expect("a machine");
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(&page, options).unwrap_or_else(|error| panic!("{error}: {page}"));
    page
}

fn drawings(page: &str) -> usize {
    page.matches("<svg ").count()
}

#[test]
fn nothing_that_was_run_is_nothing_to_show() {
    assert_eq!(html("", &[]), None);
    let page = page(&[machine()]);
    assert_eq!(drawings(&page), 0);
    assert!(page.contains("Not part of this run: ") && page.contains("Pages outstanding (page_bench02)"), "{page}");
}

#[test]
fn every_text_is_escaped() {
    let (bench, case, peer) = ("b<1>".to_owned(), "\"c\"".to_owned(), "p&q".to_owned());
    let page = page(&[
        machine(),
        row("b<1>", "s<2>", 0.0, "<pool> & \"more\"", Side::Ours),
        count("b<1>", "s<2>", 0.0, "hits < all", 0.5),
        Event::Note(Note { bench: bench.clone(), case: case.clone(), text: "1 < 2 & 3".into() }),
        Event::Absent(Absent {
            bench: bench.clone(),
            case: case.clone(),
            implementation: peer.clone(),
            why: "<none>".into(),
        }),
        Event::Ratio(Ratio {
            bench,
            case,
            implementation: "i".into(),
            peer,
            ratio_median: 0.5,
            ratio_min: 0.4,
            ratio_max: 0.6,
            ratio_q1: 0.45,
            ratio_q3: 0.55,
        }),
    ]);
    assert!(page.contains("1 &lt; 2 &amp; 3") && page.contains("p&amp;q"), "{page}");
}

#[test]
fn orders_are_shown_per_block_and_per_page_beside_the_talk_and_the_kernel() {
    let rows = (0..4).map(|order| row("page_bench01", "order", f64::from(order), "pcp", Side::Ours));
    let page = page(&std::iter::once(machine()).chain(rows).collect::<Vec<_>>());
    assert_eq!(drawings(&page), 2);
    for expected in ["ns per block", "ns per 4 KiB", "talk: order 0, 4.11-rc1", "Linux 6.19, alloc_pages", "TSC cycles"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("(page_bench01)"), "it is part of this run");
}

#[test]
fn too_few_places_make_bars_and_zero_is_drawn() {
    let page = page(&[
        machine(),
        row("page_bench04", "bulk", 1.0, "pool", Side::Ours),
        row("page_bench04", "bulk", 1.0, "mempool", Side::Peer),
        count("pinning", "pinning", 0.0, "zone pinned %", 0.0),
        count("pinning", "pinning", 1.0, "zone pinned %", 0.0),
        count("recycle", "recycle", 0.0, "hits %", 100.0),
        row("recycle", "recycle", 0.0, "pool", Side::Ours),
        row("recycle", "recycle", 0.0, "intel ring", Side::Baseline),
        row("of a later version", "unheard of", 0.0, "pool", Side::Ours),
    ]);
    // The bulk row stands over an axis, as there are figures of others at other places of it.
    assert_eq!(drawings(&page), 4, "{page}");
    assert!(page.contains("hits %") && page.contains("of a later version"));
    assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
}

#[test]
fn without_a_tsc_there_are_no_cycles() {
    let Event::Machine(machine) = machine() else { panic!("a machine") };
    let machine = Event::Machine(Machine { tsc_ghz: None, ..machine });
    let rows = (0..4).map(|order| row("page_bench01", "order", f64::from(order), "pcp", Side::Ours));
    let page = page(&std::iter::once(machine).chain(rows).collect::<Vec<_>>());
    assert!(page.contains("not invariant") && !page.contains(">TSC cycles</text>"), "{page}");
}

/// The headline and the pictures come before everything else, in words that anybody understands.
#[test]
fn the_page_begins_with_a_headline_and_pictures() {
    let (quiet, fine) = (Side::Ours, |event: Event| match event {
        Event::Row(row) => Event::Row(Row { noisy: false, ..row }),
        event => event,
    });
    let at = |bench: &str, case: &str, implementation: &str, side: Side| {
        let Event::Row(row) = row(bench, "s", 0.0, implementation, side) else { panic!("a row") };
        fine(Event::Row(Row { case: case.into(), ..row }))
    };
    let page = page(&[
        machine(),
        at("page_pool_simple", "64 pages", "frame, put", quiet),
        at("page_pool_simple", "64 pages", "rte_pktmbuf", Side::Peer),
        at("page_bench02", "N=64", "pool, put", quiet),
        at("page_bench02", "N=64", "another of ours", quiet),
        at("page_pool_cross_cpu", "1 returner, batch 1", "pool, Drop", quiet),
        Event::Note(Note { bench: String::new(), case: String::new(), text: "this machine is noisy: x".into() }),
        Event::Note(Note { bench: String::new(), case: String::new(), text: "a debug build: y".into() }),
    ]);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    let order = [
        "A packet's page takes <b>3.00 ns</b>",
        "This machine is noisy: x.",
        "A debug build: y.",
        "A packet's page: out of the pool",
        "Many pages out at the same time",
        "A page goes to another CPU",
        "How to read the rest",
        "id=\"page_bench02\"",
        "id=\"targets\"",
        "id=\"machine\"",
        "Not part of this run",
    ];
    assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
    assert_eq!(page.matches("class=\"picture\"").count(), 3);
    assert!(!page[..place("How to read the rest")].contains("another of ours"));
}

/// A bench whose cases did not come one after the other has one section all the same.
#[test]
fn no_title_stands_twice() {
    let page = page(&[
        machine(),
        row("page_bench02", "outstanding", 1.0, "pool", Side::Ours),
        row("page_bench04", "bulk", 1.0, "pool", Side::Ours),
        row("page_bench02", "outstanding", 2.0, "pool", Side::Ours),
    ]);
    assert_eq!(page.matches("id=\"page_bench02\"").count(), 1, "{page}");
}

/// What is noise is marked, and no axis is stretched for it.
#[test]
fn noise_stretches_no_axis() {
    let at = |x: f64, ns: f64, noisy: bool| {
        let Event::Row(row) = row("page_bench02", "outstanding", x, "pool", Side::Ours) else { panic!("a row") };
        Event::Row(Row { median_ns: ns, ns, min_ns: ns, max_ns: ns, noisy, ..row })
    };
    let drawn = |last: f64, noisy: bool| {
        page(&[machine(), at(1.0, 3.0, false), at(2.0, 4.0, false), at(4.0, 5.0, false), at(8.0, last, noisy)])
    };
    assert!(drawn(5e6, false).contains(">1M<"), "an axis that reaches as far as it must");
    let page = drawn(5e6, true);
    assert!(!page.contains(">1M<") && page.contains("class=\"noise\">~<"), "{page}");
}
