//! The head of the page: a headline, and three pictures that say the most without a word of explanation.

use super::bars::{Bar, Bars, Block, NARROW, Row};
use super::charts::style_of;
use super::svg::{Escaped, Style};
use crate::event::{Event, Machine, Side};
use crate::output::figure;
use crate::summary::{self, Answer};
use std::fmt::Write as _;

/// A picture: what it shows, what to see in it, and its cases with the names that everybody understands.
struct Picture {
    title: &'static str,
    caption: &'static str,
    cases: &'static [(&'static str, &'static str)],
    /// Our contenders, and how they are called here.
    ours: &'static [(&'static str, &'static str)],
    /// What the kernel's code takes for it, in LOCKed increments.
    linux: Option<f64>,
}

const PICTURES: &[Picture] = &[
    Picture {
        title: "A packet's page: out of the pool, written to, and back",
        caption: "Nanoseconds for each page; shorter is better. 64 pages are out at a time.",
        cases: &[("page_pool_simple/64 pages", "one page")],
        ours: &[("frame, put", "Waterwheel"), ("frame, Drop", "the same, by Drop")],
        linux: Some(0.97),
    },
    Picture {
        title: "Many pages out at the same time",
        caption: "Packets that wait in queues hold their pages. A pool should not become slower by it: bars of one colour should be of one length.",
        cases: &[
            ("page_bench02/N=64", "64 pages out"),
            ("page_bench02/N=1024", "1024 pages out"),
            ("page_bench02/N=16384", "16384 pages out"),
        ],
        ours: &[("pool, put", "Waterwheel")],
        linux: None,
    },
    Picture {
        title: "A page goes to another CPU, and comes home",
        caption: "One CPU receives, another one has done with the packet: the page has to find its way back. Here its cache lines travel, which costs more than all the rest.",
        cases: &[
            ("page_pool_cross_cpu/1 returner, batch 1", "one page at a time"),
            ("page_pool_cross_cpu/1 returner, batch 64", "64 pages at a time"),
        ],
        ours: &[("pool, Drop", "Waterwheel")],
        linux: Some(3.8),
    },
];

/// The headline, what a reader must know of the machine, and the pictures.
pub(super) fn write(out: &mut String, machine: &Machine, events: &[Event]) {
    if let Some(first) = summary::answers(events, machine).first().filter(|answer| answer.is_the_first) {
        let _ = writeln!(out, "<p class=\"headline\">{}</p>", headline(first));
    }
    for warning in summary::warnings(events) {
        let _ = writeln!(out, "<p class=\"warning\">{}.</p>", Escaped(&capital(warning)));
    }
    for picture in PICTURES {
        let blocks = blocks(picture, machine, events);
        if !blocks.is_empty() {
            let title = picture.title.to_owned();
            let bars = Bars { title, columns: vec!["ns per page".to_owned()], blocks, width: NARROW }.draw();
            let _ = writeln!(
                out,
                "<section class=\"picture\">\n<h2>{}</h2>\n<figure>{bars}</figure>\n<p>{}</p>\n</section>",
                Escaped(picture.title),
                Escaped(picture.caption)
            );
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn headline(Answer { row, ratios, linux_ns, .. }: &Answer<'_>) -> String {
    let mut text =
        format!("A packet's page takes <b>{} ns</b> out of the pool and back on this machine", figure(row.ns));
    let peers: Vec<String> = ratios
        .iter()
        .map(|ratio| format!("<b>{:.2}</b> of the time that {} takes", ratio.ratio_median, Escaped(&ratio.peer)))
        .collect();
    if !peers.is_empty() {
        let _ = write!(text, ": {}", peers.join(", and "));
    } else if let Some(ns) = linux_ns {
        let _ = write!(text, "; the kernel's own pool would take about {} ns (measured elsewhere)", figure(*ns));
    }
    text + "."
}

/// A block for each case that was run: ours, every peer, and the kernel.
fn blocks(picture: &Picture, machine: &Machine, events: &[Event]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (at, name) in picture.cases {
        let Some((bench, case)) = at.split_once('/') else { continue };
        let bar = |row: &crate::event::Row| {
            let name = match row.side {
                Side::Ours => picture.ours.iter().find(|(ours, _)| *ours == row.implementation)?.1.to_owned(),
                Side::Peer => row.implementation.clone(),
                Side::Baseline => return None,
            };
            let bar = Bar { value: row.ns, range: None, noisy: row.noisy };
            Some(Row { name, style: style_of(row.side, 0), bars: vec![Some(bar)] })
        };
        let mut rows: Vec<Row> = summary::rows(events, bench, case).filter_map(bar).collect();
        if rows.iter().any(|row| row.style == style_of(Side::Ours, 0)) {
            rows.extend(picture.linux.map(|locked| Row {
                name: "Linux (elsewhere)".to_owned(),
                style: Style::Kernel(0),
                bars: vec![Some(Bar { value: locked * machine.locked_ns, range: None, noisy: false })],
            }));
            blocks.push(Block { name: (*name).to_owned(), rows });
        }
    }
    blocks
}
