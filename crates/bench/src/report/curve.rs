//! Curves over an axis, labelled where they end.

use super::axis::{Axis, Scale};
use super::frame::{Frame, LEFT, TOP, WIDTH};
use super::svg::{self, Style};

/// A point, with the fastest and the slowest run where there were runs; of a reference, from where to where it may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) range: Option<(f64, f64)>,
    /// Its runs do not agree: it is marked, and no axis is stretched for it.
    pub(super) noisy: bool,
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
    Level { name: String, style: Style, y: f64 },
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
    /// Of the frame.
    pub(super) height: f64,
}

/// Where the labels of the curves begin, how far apart their lines are, and how long they may be.
const LABELS: f64 = LEFT + WIDTH + 68.0;
const LABEL_LINE: f64 = 14.0;
const LABEL_CHARS: usize = 34;
/// Width with the labels.
const WHOLE: f64 = 980.0;

impl Plot {
    /// The drawing.
    pub(super) fn draw(&self) -> String {
        let frame = self.frame();
        let labels = self.labels(&frame);
        let lowest = labels.last().map_or(0.0, |label| label.y + label.height());
        let mut out = svg::open(WHOLE, (frame.bottom() + 48.0).max(lowest), &self.title);
        frame.draw_axes(&mut out, self.right.as_ref());
        self.marks.iter().for_each(|mark| frame.draw_mark(&mut out, mark));
        // The references first, so that they lie behind what was measured.
        let (behind, before): (Vec<_>, Vec<_>) = self.curves.iter().partition(|curve| curve.style.is_reference());
        for curve in behind.into_iter().chain(before) {
            frame.draw_curve(&mut out, curve, self.y.1);
        }
        labels.iter().for_each(|label| label.draw(&mut out));
        out.push_str("</svg>");
        out
    }

    fn frame(&self) -> Frame {
        let levels = self.marks.iter().filter_map(|mark| match mark {
            Mark::Level { y, .. } => Some(*y),
            Mark::At { .. } => None,
        });
        let measured = self.curves.iter().filter(|curve| !curve.style.is_reference());
        let is_noise = measured.flat_map(|curve| &curve.points).all(|point| point.noisy);
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let points = || all().filter(|point| is_noise || !point.noisy);
        let highest = points().map(|point| point.y).fold(0.0, f64::max);
        Frame {
            x: Axis::over(&self.x.0, self.x.1, all().map(|point| point.x)),
            y: Axis::over(&self.y.0, self.y.1, points().flat_map(|point| point.heights(highest)).chain(levels)),
            height: self.height,
        }
    }

    /// The names of curves and levels, each as near to the end of its curve as the others let it be.
    fn labels(&self, frame: &Frame) -> Vec<Label> {
        let curves = self.curves.iter().filter_map(|curve| {
            let end = frame.at(0.0, curve.points.last()?.y).1;
            Some(Label::new(&curve.name, curve.style, curve.points.len() > 1, end))
        });
        let levels = self.marks.iter().filter_map(|mark| match mark {
            Mark::Level { name, style, y } => Some(Label::new(name, *style, true, frame.at(0.0, *y).1)),
            Mark::At { .. } => None,
        });
        let mut labels: Vec<Label> = curves.chain(levels).collect();
        labels.sort_by(|a, b| f64::total_cmp(&a.y, &b.y));
        spread(&mut labels, frame.bottom());
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

/// Moves labels, sorted by height, apart: down where they overlap, then all that hang out below `bottom` up again.
fn spread(labels: &mut [Label], bottom: f64) {
    let mut free = TOP;
    for label in labels.iter_mut() {
        label.y = label.y.max(free);
        free = label.y + label.height();
    }
    let mut free = (bottom + 10.0).max(TOP + labels.iter().map(Label::height).sum::<f64>());
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(free - label.height());
        free = label.y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_and_stay_in_order() {
        let name = "a name that needs two lines, as it is long";
        for count in 1..40 {
            let mut labels: Vec<Label> = (0..count).map(|n| Label::new(name, Style::Ours(n), true, 340.0)).collect();
            spread(&mut labels, 360.0);
            assert!(labels[0].y >= TOP, "{count}");
            assert!(labels.windows(2).all(|two| two[0].y + two[0].height() <= two[1].y + 1e-9), "{count}");
        }
    }
}
