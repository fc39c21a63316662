//! Bars: a row for each contender, a column for each kind of figure.

use super::axis::{Axis, Scale};
use super::svg::{self, Style};
use crate::output::figure;
use std::fmt::Write as _;

/// One bar, with the fastest and the slowest run where there were runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    pub(super) value: f64,
    pub(super) range: Option<(f64, f64)>,
    /// Its runs do not agree: it is marked, and no axis is stretched for it.
    pub(super) noisy: bool,
}

/// A contender's bars, one for each column or none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) bars: Vec<Option<Bar>>,
}

/// Rows under one heading, such as a case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
}

/// What is drawn.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    /// The unit of each column.
    pub(super) columns: Vec<String>,
    pub(super) blocks: Vec<Block>,
    /// Of the whole.
    pub(super) width: f64,
}

/// Of a drawing that has the page to itself, and of one that a telephone shows without making it smaller.
pub(super) const WIDTH: f64 = 980.0;
pub(super) const NARROW: f64 = 400.0;
const LINE: f64 = 14.0;
/// Between columns.
const GAP: f64 = 22.0;
/// Room for the numbers, in a column of their own to the right of the bars.
const NUMBER: f64 = 84.0;
/// About how wide a character of a name is.
const CHAR: f64 = 6.9;

impl Bars {
    /// The drawing.
    pub(super) fn draw(&self) -> String {
        let rows = || self.blocks.iter().flat_map(|block| &block.rows);
        let headings = self.blocks.iter().map(|block| block.name.chars().count());
        let longest = rows().map(|row| row.name.chars().count() + 3).chain(headings).max().unwrap_or(0);
        let columns = self.columns.len().max(1) as f64;
        let most = if columns > 2.0 { 230.0 } else { (0.4 * self.width).max(150.0) };
        let names = (longest as f64 * CHAR + 12.0).clamp(150.0, most);
        let width = (self.width - names) / columns - GAP;
        let axes: Vec<Axis> = (0..self.columns.len())
            .map(|n| {
                let all = || rows().filter_map(move |row| row.bars.get(n).copied().flatten());
                let measured = rows().filter(|row| !row.style.is_reference());
                let is_noise = measured.filter_map(|row| row.bars.get(n).copied().flatten()).all(|bar| bar.noisy);
                let bars = || all().filter(move |bar| is_noise || !bar.noisy);
                let highest = bars().map(|bar| bar.value).fold(0.0, f64::max);
                // One run that was held up must not press all bars flat: its whisker is cut.
                let ends =
                    bars().map(|bar| bar.range.map_or(bar.value, |(_, high)| high.clamp(bar.value, 1.5 * highest)));
                Axis::over(&self.columns[n], Scale::Linear, ends)
            })
            .collect();

        let heads: Vec<Vec<String>> =
            self.columns.iter().map(|column| svg::broken(column, (width / CHAR) as usize)).collect();
        let top = heads.iter().map(Vec::len).max().unwrap_or(1) as f64 * LINE + 12.0;

        let mut drawn = String::new();
        let mut y = top;
        for block in &self.blocks {
            let says_more = block.rows.iter().any(|row| row.name != block.name);
            if says_more {
                svg::text(&mut drawn, "block", "start", (0.0, y + 12.0), &block.name);
                y += LINE + 6.0;
            }
            for row in &block.rows {
                let lines = svg::broken(&row.name, ((names - 24.0) / CHAR) as usize);
                for (n, line) in lines.iter().enumerate() {
                    svg::text(&mut drawn, "name", "start", (14.0, y + 11.0 + n as f64 * LINE), line);
                }
                for (n, axis) in axes.iter().enumerate() {
                    let left = names + n as f64 * (width + GAP);
                    match row.bars.get(n).copied().flatten() {
                        Some(bar) => draw_bar(&mut drawn, row, bar, axis, (left, y), width - NUMBER),
                        None => svg::text(&mut drawn, "tick", "start", (left + 5.0, y + 11.0), "-"),
                    }
                }
                y += lines.len().max(1) as f64 * LINE + 5.0;
            }
            y += 8.0;
        }
        let mut out = svg::open(self.width, y, &self.title);
        for (n, head) in heads.iter().enumerate() {
            let left = names + n as f64 * (width + GAP);
            for (line, text) in head.iter().enumerate() {
                svg::text(&mut out, "unit", "start", (left, 12.0 + line as f64 * LINE), text);
            }
            svg::line(&mut out, "axis", (left, top - 4.0), (left, y - 6.0));
        }
        out.push_str(&drawn);
        out.push_str("</svg>");
        out
    }
}

fn draw_bar(out: &mut String, row: &Row, bar: Bar, axis: &Axis, (x, y): (f64, f64), width: f64) {
    let length = axis.place(bar.value) * width;
    let class = format!("{}{}", row.style.class(), if bar.noisy { " faint" } else { "" });
    let _ = write!(
        out,
        r#"<rect x="{x:.1}" y="{:.1}" width="{length:.1}" height="12" class="bar {class}"><title>{}</title></rect>"#,
        y + 1.0,
        svg::Escaped(&format!("{}: {}", row.name, figure(bar.value))),
    );
    if let Some((low, high)) = bar.range {
        let (low, high) = (axis.place(low) * width, axis.place(high) * width);
        let middle = y + 7.0;
        svg::line(out, "whisker", (x + low, middle), (x + high, middle));
        for at in [low, high] {
            svg::line(out, "whisker", (x + at, middle - 3.0), (x + at, middle + 3.0));
        }
    }
    // Of a reference the range is all that is known; of a measurement the median is what counts.
    let number = match bar.range.filter(|(low, high)| row.style.is_reference() && high > low) {
        Some((low, high)) => format!("{} .. {}", figure(low), figure(high)),
        None => format!("{}{}", if bar.noisy { "~" } else { "" }, figure(bar.value)),
    };
    svg::text(out, "number", "end", (x + width + NUMBER - 4.0, y + 11.0), &number);
}
