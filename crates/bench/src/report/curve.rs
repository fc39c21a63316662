//! Curves over an axis, labelled where they end.

use super::axis::{Axis, Scale};
use super::svg::{self, Style};
use crate::output::figure;
use std::fmt::Write as _;

/// A point, with the fastest and the slowest run where there were runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) range: Option<(f64, f64)>,
}

/// One curve; a single point is only marked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) points: Vec<Point>,
}

/// A line across the whole drawing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// At a height, labelled as a curve is.
    Level { name: String, y: f64 },
    /// At a place of the x axis, labelled at its top.
    At { name: String, x: f64 },
}

/// What is drawn.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: (String, Scale),
    pub(super) y: (String, Scale),
    /// Unit of a second axis to the right, and how many of it one of y is.
    pub(super) right: Option<(String, f64)>,
    pub(super) curves: Vec<Curve>,
    pub(super) marks: Vec<Mark>,
}

const WIDTH: f64 = 980.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 30.0;
/// The frame of the curves.
const FRAME: (f64, f64) = (590.0, 330.0);
/// Where the labels of the curves begin, and how far apart their lines are.
const LABELS: f64 = LEFT + FRAME.0 + 68.0;
const LABEL_LINE: f64 = 14.0;
const LABEL_CHARS: usize = 34;

impl Plot {
    /// The drawing.
    pub(super) fn draw(&self) -> String {
        let levels = self.marks.iter().filter_map(|mark| match mark {
            Mark::Level { y, .. } => Some(*y),
            Mark::At { .. } => None,
        });
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let highest = points().map(|point| point.y).fold(0.0, f64::max);
        let x = Axis::over(&self.x.0, self.x.1, points().map(|point| point.x));
        let y = Axis::over(&self.y.0, self.y.1, points().flat_map(|point| point.heights(highest)).chain(levels));
        let at = |px: f64, py: f64| (LEFT + x.place(px) * FRAME.0, TOP + (1.0 - y.place(py)) * FRAME.1);

        let labels = self.labels(|py| at(0.0, py).1);
        let lowest = labels.last().map_or(0.0, |label| label.y + label.height());
        let height = (TOP + FRAME.1 + 48.0).max(lowest);
        let mut out = svg::open(WIDTH, height, &self.title);
        frame(&mut out, &x, &y);
        if let Some((unit, factor)) = &self.right {
            right_axis(&mut out, &y.scaled(unit, *factor));
        }
        for mark in &self.marks {
            draw_mark(&mut out, mark, &at);
        }
        // The references first, so that they lie behind what was measured.
        let (behind, before): (Vec<_>, Vec<_>) = self.curves.iter().partition(|curve| curve.style.is_reference());
        for curve in behind.into_iter().chain(before) {
            draw_curve(&mut out, curve, &at, self.y.1);
        }
        labels.iter().for_each(|label| label.draw(&mut out));
        out.push_str("</svg>");
        out
    }

    /// The names of curves and levels, each as near to the end of its curve as the others let it be.
    fn labels(&self, height_of: impl Fn(f64) -> f64) -> Vec<Label> {
        let curves = self.curves.iter().filter_map(|curve| {
            Some(Label::new(&curve.name, curve.style, curve.points.len() > 1, height_of(curve.points.last()?.y)))
        });
        let levels = self.marks.iter().filter_map(|mark| match mark {
            Mark::Level { name, y } => Some(Label::new(name, Style::Talk(0), true, height_of(*y))),
            Mark::At { .. } => None,
        });
        let mut labels: Vec<Label> = curves.chain(levels).collect();
        labels.sort_by(|a, b| f64::total_cmp(&a.y, &b.y));
        spread(&mut labels);
        labels
    }
}

impl Point {
    /// What the axis has to show. One run that was held up must not press all curves flat: its line is cut at twice the highest median.
    fn heights(&self, highest: f64) -> [f64; 3] {
        let (low, high) = self.range.unwrap_or((self.y, self.y));
        [low, self.y, high.min(2.0 * highest)]
    }
}

/// The name of a curve, beside the frame.
struct Label {
    lines: Vec<String>,
    style: Style,
    is_line: bool,
    /// Of its first line's middle.
    y: f64,
}

impl Label {
    fn new(name: &str, style: Style, is_line: bool, y: f64) -> Self {
        Self { lines: svg::broken(name, LABEL_CHARS), style, is_line, y }
    }

    fn height(&self) -> f64 {
        self.lines.len() as f64 * LABEL_LINE + 4.0
    }

    fn draw(&self, out: &mut String) {
        if self.is_line {
            let class = format!("curve {}", self.style.class());
            svg::line(out, &class, (LABELS, self.y), (LABELS + 26.0, self.y));
        }
        if !self.style.is_reference() || !self.is_line {
            svg::marker(out, self.style, LABELS + 13.0, self.y, "");
        }
        for (n, line) in self.lines.iter().enumerate() {
            svg::text(out, "name", "start", (LABELS + 32.0, self.y + 4.0 + n as f64 * LABEL_LINE), line);
        }
    }
}

/// Moves labels, sorted by height, apart: down where they overlap, then all that hang out below up again.
fn spread(labels: &mut [Label]) {
    let mut free = TOP;
    for label in labels.iter_mut() {
        label.y = label.y.max(free);
        free = label.y + label.height();
    }
    let mut free = (TOP + FRAME.1 + 10.0).max(TOP + labels.iter().map(Label::height).sum::<f64>());
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(free - label.height());
        free = label.y;
    }
}

fn frame(out: &mut String, x: &Axis, y: &Axis) {
    let (right, bottom) = (LEFT + FRAME.0, TOP + FRAME.1);
    for tick in y.ticks() {
        let height = bottom - y.place(tick) * FRAME.1;
        svg::line(out, "grid", (LEFT, height), (right, height));
        svg::text(out, "tick", "end", (LEFT - 7.0, height + 4.0), &tick_text(tick));
    }
    for tick in x.ticks() {
        let place = LEFT + x.place(tick) * FRAME.0;
        svg::line(out, "grid", (place, TOP), (place, bottom + 4.0));
        svg::text(out, "tick", "middle", (place, bottom + 18.0), &tick_text(tick));
    }
    svg::line(out, "axis", (LEFT, bottom), (right, bottom));
    svg::text(out, "unit", "start", (4.0, TOP - 14.0), &y.label);
    svg::text(out, "unit", "middle", (LEFT + FRAME.0 / 2.0, bottom + 38.0), &x.label);
}

fn right_axis(out: &mut String, y: &Axis) {
    let right = LEFT + FRAME.0;
    for tick in y.ticks() {
        let height = TOP + (1.0 - y.place(tick)) * FRAME.1;
        svg::line(out, "axis", (right, height), (right + 4.0, height));
        svg::text(out, "tick", "start", (right + 8.0, height + 4.0), &tick_text(tick));
    }
    svg::text(out, "unit", "end", (right + 60.0, TOP - 14.0), &y.label);
}

fn draw_mark(out: &mut String, mark: &Mark, at: &impl Fn(f64, f64) -> (f64, f64)) {
    let (right, bottom) = (LEFT + FRAME.0, TOP + FRAME.1);
    match mark {
        Mark::Level { y, .. } => {
            let height = at(0.0, *y).1;
            svg::line(out, "curve talk", (LEFT, height), (right, height));
        }
        Mark::At { name, x } => {
            let place = at(*x, 0.0).0;
            svg::line(out, "curve talk", (place, TOP), (place, bottom));
            svg::text(out, "name", "start", (place + 5.0, TOP + 12.0), name);
        }
    }
}

fn draw_curve(out: &mut String, curve: &Curve, at: &impl Fn(f64, f64) -> (f64, f64), scale: Scale) {
    // A logarithm has no place for zero: such points are left out, and the curve is broken there.
    let shown = |point: &&Point| scale == Scale::Linear || point.y > 0.0;
    let class = curve.style.class();
    if curve.style.is_reference() && curve.points.len() > 1 {
        draw_band(out, curve, at);
    }
    for piece in curve.points.split(|point| !shown(&point)).filter(|piece| piece.len() > 1) {
        let places = piece.iter().map(|point| at(point.x, point.y));
        let places: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(out, r#"<polyline points="{}" class="curve {class}"/>"#, places.join(" "));
    }
    for point in curve.points.iter().filter(shown) {
        let (x, y) = at(point.x, point.y);
        if let Some((low, high)) = point.range.filter(|_| !curve.style.is_reference() || curve.points.len() == 1) {
            svg::line(out, &format!("range {class}"), at(point.x, low), at(point.x, high));
        }
        if !curve.style.is_reference() || curve.points.len() == 1 {
            svg::marker(out, curve.style, x, y, &title(curve, point));
        }
    }
}

/// Where a curve may lie that is not certain.
fn draw_band(out: &mut String, curve: &Curve, at: &impl Fn(f64, f64) -> (f64, f64)) {
    let ends = curve.points.iter().filter_map(|point| Some((point.x, point.range?)));
    let highs: Vec<(f64, f64)> = ends.clone().map(|(x, (_, high))| at(x, high)).collect();
    let lows: Vec<(f64, f64)> = ends.map(|(x, (low, _))| at(x, low)).collect();
    if !highs.is_empty() {
        let around = highs.iter().chain(lows.iter().rev()).map(|(x, y)| format!("{x:.1},{y:.1}"));
        let around: Vec<String> = around.collect();
        let _ = write!(out, r#"<polygon points="{}" class="band {}"/>"#, around.join(" "), curve.style.class());
    }
}

fn title(curve: &Curve, point: &Point) -> String {
    let range = point.range.map(|(low, high)| format!(" ({} .. {})", figure(low), figure(high)));
    format!("{}, {}: {}{}", curve.name, tick_text(point.x), figure(point.y), range.unwrap_or_default())
}

/// A mark's number, without digits that say nothing.
fn tick_text(tick: f64) -> String {
    let tick = (tick * 1e6).round() / 1e6;
    if tick >= 100_000.0 { format!("{}k", tick / 1000.0) } else { format!("{tick}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_and_stay_in_order() {
        for count in 1..40 {
            let mut labels: Vec<Label> = (0..count)
                .map(|n| Label::new("a name that needs two lines, as it is long", Style::Ours(n), true, 340.0))
                .collect();
            spread(&mut labels);
            assert!(labels[0].y >= TOP, "{count}");
            assert!(labels.windows(2).all(|two| two[0].y + two[0].height() <= two[1].y + 1e-9), "{count}");
        }
    }

    #[test]
    fn marks_are_written_without_idle_digits() {
        assert_eq!([0.1 + 0.2, 1000.0, 0.0, 200_000.0].map(tick_text), ["0.3", "1000", "0", "200k"]);
    }
}
