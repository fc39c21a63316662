//! The tables at the end of the page: all that a run gave out.

use super::svg::Escaped;
use crate::event::{Absent, Count, Event, Ratio, Row, Side, Target, Verdict};
use crate::output::{figure, limit, spread};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Cells of a line, and the bench in whose table it stands.
type Line<'e> = (&'e str, Vec<String>);

/// Ratios, rows, counts, and what could not be measured.
pub(super) fn write(out: &mut String, events: &[Event]) {
    ratios(out, events);
    let heads = [
        "case",
        "contender",
        "",
        "ns",
        "cycles",
        "LOCKed",
        "min",
        "max",
        "",
        "one element is (as above where nothing is said)",
    ];
    section(out, "rows", "All rows", &heads, &rows(events));
    let counts = of(events, |event| if let Event::Count(count) = event { Some(count_line(count)) } else { None });
    section(out, "counts", "All counts", &["case", "contender", "", "what"], &counts);
    let absents = of(events, |event| if let Event::Absent(absent) = event { Some(absent_line(absent)) } else { None });
    section(out, "absent", "What could not be measured", &["case", "contender", "why"], &absents);
}

/// What was to be reached, and whether it is.
pub(super) fn targets(out: &mut String, events: &[Event]) {
    out.push_str("<h2 id=\"targets\">Targets</h2>\n");
    let targets = of(events, |event| if let Event::Target(target) = event { Some(target) } else { None });
    if targets.is_empty() {
        out.push_str("<p>None of what was run has a target.</p>\n");
        return;
    }
    out.push_str(
        "<p>Lower is better. <b>Reach</b> is the limit that was set before anything was built, and is to be kept; <b>aim</b> is what would be better still. The spread is the \
         middle half of the rounds.</p>\n",
    );
    let (absent, targets): (Vec<&Target>, Vec<&Target>) =
        targets.into_iter().partition(|target| target.verdict == Verdict::Absent);
    let line = |target: &&Target| {
        let Target { work, beside, remarks, verdict, .. } = *target;
        let [value, reach, aim] = [target.value, Some(target.reach), target.aim].map(|value| limit(value, target));
        let (verdict, counted) = (verdict.name().to_owned(), remarks.join("; "));
        vec![work.clone(), beside.clone(), value, spread(target), reach, aim, verdict, counted]
    };
    let rows: Vec<Vec<String>> = targets.iter().map(line).collect();
    let heads = ["work", "beside", "figure", "spread", "reach", "aim", "verdict", "counted"];
    if !rows.is_empty() {
        table(out, &heads, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    if !absent.is_empty() {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} more could not be measured in this run, most of them as a peer is missing: <a href=\"#absent\">why</a>.</p>",
            absent.len()
        );
    }
}

fn of<'e, T>(events: &'e [Event], pick: impl Fn(&'e Event) -> Option<T>) -> Vec<T> {
    events.iter().filter_map(pick).collect()
}

/// All rows; what is done per element is said when it is not what the same contender did before.
fn rows(events: &[Event]) -> Vec<Line<'_>> {
    let mut said: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let line = |row: &'_ Row, work: Option<String>| {
        let cycles = row.cycles.map_or_else(|| "-".to_owned(), figure);
        let whose = match row.side {
            Side::Ours => "",
            Side::Peer => "peer",
            Side::Baseline => "neither",
        };
        let noisy = if row.noisy { "noisy" } else { "" };
        let numbers = [figure(row.ns), cycles, figure(row.locked), figure(row.min_ns), figure(row.max_ns)];
        let names = [row.case.clone(), row.implementation.clone(), whose.to_owned()];
        names.into_iter().chain(numbers).chain([noisy.to_owned(), work.unwrap_or_default()]).collect()
    };
    let mut lines = Vec::new();
    for event in events {
        let Event::Row(row) = event else { continue };
        let before = said.insert((&row.bench, &row.implementation), &row.work);
        let work = (before != Some(&row.work)).then(|| row.work.clone());
        lines.push((row.bench.as_str(), line(row, work)));
    }
    lines
}

fn count_line(count: &Count) -> Line<'_> {
    let Count { case, implementation, what, .. } = count.clone();
    (&count.bench, vec![case, implementation, figure(count.value), what])
}

fn absent_line(absent: &Absent) -> Line<'_> {
    let Absent { case, implementation, why, .. } = absent.clone();
    (&absent.bench, vec![case, implementation, why])
}

/// A table for each bench.
fn section(out: &mut String, id: &str, title: &str, heads: &[&str], lines: &[Line<'_>]) {
    let _ = writeln!(out, "<h2 id=\"{id}\">{title}</h2>");
    if lines.is_empty() {
        out.push_str("<p>None in this run.</p>\n");
    }
    for bench in unique(lines.iter().map(|(bench, _)| *bench)) {
        let _ = writeln!(out, "<h3>{}</h3>", Escaped(bench));
        let mine: Vec<&[String]> =
            lines.iter().filter(|(of, _)| *of == bench).map(|(_, cells)| cells.as_slice()).collect();
        table(out, heads, &mine);
    }
}

/// A rule is drawn where the first column changes.
fn table(out: &mut String, heads: &[&str], rows: &[&[String]]) {
    out.push_str("<div class=\"wide\"><table class=\"rows\"><thead><tr>");
    for (n, head) in heads.iter().enumerate() {
        let is_number = rows.iter().any(|row| is_number(&row[n]));
        let _ = write!(out, "<th{}>{}</th>", if is_number { " class=\"n\"" } else { "" }, Escaped(head));
    }
    out.push_str("</tr></thead><tbody>\n");
    let mut first = "";
    for row in rows {
        out.push_str(if row[0] == first { "<tr>" } else { "<tr class=\"first\">" });
        first = &row[0];
        for cell in *row {
            let class = if is_number(cell) { " class=\"n\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", Escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok()
}

/// A table for each bench, a column for each of its peers.
fn ratios(out: &mut String, events: &[Event]) {
    out.push_str("<h2 id=\"ratios\">Ratios</h2>\n");
    let all = of(events, |event| if let Event::Ratio(ratio) = event { Some(ratio) } else { None });
    if all.is_empty() {
        out.push_str("<p>None in this run: there were no peers.</p>\n");
        return;
    }
    out.push_str(
        "<p>Ours / peer in time per element, median (least .. greatest) of the runs: below 1 ours is faster.</p>\n",
    );
    for bench in unique(all.iter().map(|ratio| ratio.bench.as_str())) {
        let mine: Vec<&Ratio> = all.iter().copied().filter(|ratio| ratio.bench == bench).collect();
        let peers = unique(mine.iter().map(|ratio| ratio.peer.as_str()));
        let heads: Vec<&str> = ["case", "ours"].into_iter().chain(peers.iter().copied()).collect();
        let pairs = unique(mine.iter().map(|ratio| (ratio.case.as_str(), ratio.implementation.as_str())));
        let rows: Vec<Vec<String>> = pairs.into_iter().map(|pair| ratio_cells(&mine, pair, &peers)).collect();
        let _ = writeln!(out, "<h3>{}</h3>", Escaped(bench));
        table(out, &heads, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}

fn ratio_cells(ratios: &[&Ratio], (case, ours): (&str, &str), peers: &[&str]) -> Vec<String> {
    let to = |peer: &&str| {
        let found =
            ratios.iter().find(|ratio| (&*ratio.case, &*ratio.implementation, &*ratio.peer) == (case, ours, *peer));
        found.map_or_else(String::new, |ratio| {
            format!("{:.3} ({:.3} .. {:.3})", ratio.ratio_median, ratio.ratio_min, ratio.ratio_max)
        })
    };
    [case, ours].into_iter().map(str::to_owned).chain(peers.iter().map(to)).collect()
}

/// Each once, in the order in which they first appear.
fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    items.for_each(|item| {
        if !seen.contains(&item) {
            seen.push(item)
        }
    });
    seen
}
