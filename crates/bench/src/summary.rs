//! What a run says in a few lines: the end of the text, and the head of the report.

use crate::event::{Event, Machine, Ratio, Row};

/// What everybody asks first: what is done, `BENCH/CASE`, our contender, and what the kernel's code takes for it in LOCKed increments, measured elsewhere.
const QUESTIONS: &[(&str, &str, &str, Option<f64>)] = &[
    ("a packet's page from the pool and back", "page_pool_simple/64 pages", "frame, put", Some(0.97)),
    ("32 pages with one call, each", "page_bench04/bulk 32", "pool, bulk", None),
    ("the same, 16384 pages out", "page_bench02/N=16384", "pool, put", None),
    ("to another CPU and home, one at a time", "page_pool_cross_cpu/1 returner, batch 1", "pool, Drop", Some(3.8)),
    ("to another CPU and home, 64 at a time", "page_pool_cross_cpu/1 returner, batch 64", "pool, Drop", Some(3.8)),
    ("a packet received and dropped, in memory", "xdp_drop/batch 64", "null:size=64", None),
    ("a packet forwarded, in memory", "xdp_redirect/batch 64", "null:size=64", None),
];

/// The answer to one of the questions.
pub(crate) struct Answer<'e> {
    pub(crate) what: &'static str,
    /// It answers the first question of all.
    pub(crate) is_the_first: bool,
    pub(crate) row: &'e Row,
    pub(crate) ratios: Vec<&'e Ratio>,
    /// What the kernel's code would take here, ns: measured elsewhere, carried over by LOCKed increments.
    pub(crate) linux_ns: Option<f64>,
}

/// The answers that a run has.
pub(crate) fn answers<'e>(events: &'e [Event], machine: &Machine) -> Vec<Answer<'e>> {
    let answer = |&(what, at, ours, locked): &(&'static str, &str, &str, Option<f64>)| {
        let (bench, case) = at.split_once('/')?;
        let row = rows(events, bench, case).find(|row| row.implementation == ours)?;
        let is_mine = |ratio: &&Ratio| {
            (ratio.bench.as_str(), ratio.case.as_str(), ratio.implementation.as_str()) == (bench, case, ours)
        };
        let ratios = events.iter().filter_map(|event| if let Event::Ratio(ratio) = event { Some(ratio) } else { None });
        let linux_ns = locked.map(|locked| locked * machine.locked_ns);
        Some(Answer {
            what,
            is_the_first: at == QUESTIONS[0].1,
            row,
            ratios: ratios.filter(is_mine).collect(),
            linux_ns,
        })
    };
    QUESTIONS.iter().filter_map(answer).collect()
}

/// `BENCH/CASE` of all that the questions and the [pictures](crate::report) are about.
pub(crate) fn cases() -> Vec<String> {
    let more = ["page_bench02/N=64", "page_bench02/N=1024"];
    QUESTIONS.iter().map(|(_, at, ..)| *at).chain(more).map(str::to_owned).collect()
}

/// The rows of a case.
pub(crate) fn rows<'e>(events: &'e [Event], bench: &str, case: &str) -> impl Iterator<Item = &'e Row> {
    events.iter().filter_map(move |event| match event {
        Event::Row(row) if row.bench == bench && row.case == case => Some(row),
        _ => None,
    })
}

/// What a reader must know before any figure: that this machine is noisy, or that the figures are of a debug build.
pub(crate) fn warnings(events: &[Event]) -> impl Iterator<Item = &str> {
    events.iter().filter_map(|event| match event {
        Event::Note(note) if is_warning(&note.text) => Some(note.text.as_str()),
        _ => None,
    })
}

/// Whether a note is one of these.
pub(crate) fn is_warning(note: &str) -> bool {
    note.starts_with(NOISY) || note.starts_with(DEBUG)
}

/// How a note begins that warns of noise.
pub(crate) const NOISY: &str = "this machine is noisy";
/// The same of a debug build.
pub(crate) const DEBUG: &str = "a debug build";
