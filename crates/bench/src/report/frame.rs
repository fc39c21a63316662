//! The frame of a plot: two axes, and what is drawn between them.

use super::axis::{Axis, Scale};
use super::curve::{Curve, Mark, Point};
use super::svg;
use crate::output::figure;
use std::fmt::Write as _;

/// Where it begins, and how wide it is.
pub(super) const LEFT: f64 = 62.0;
pub(super) const TOP: f64 = 30.0;
pub(super) const WIDTH: f64 = 590.0;

/// Axes with their range and place.
pub(super) struct Frame {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) height: f64,
}

impl Frame {
    fn right(&self) -> f64 {
        LEFT + WIDTH
    }

    pub(super) fn bottom(&self) -> f64 {
        TOP + self.height
    }

    /// Where a point lies in the drawing.
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (LEFT + self.x.place(x) * WIDTH, self.bottom() - self.y.place(y) * self.height)
    }

    /// Grid, numbers and units; `right` is the unit of a second axis, and how many of it one of y is.
    pub(super) fn draw_axes(&self, out: &mut String, right: Option<&(String, f64)>) {
        let bottom = self.bottom();
        for tick in self.y.ticks() {
            let height = bottom - self.y.place(tick) * self.height;
            svg::line(out, "grid", (LEFT, height), (self.right(), height));
            svg::text(out, "tick", "end", (LEFT - 7.0, height + 4.0), &tick_text(tick));
        }
        for tick in self.x.ticks() {
            let place = LEFT + self.x.place(tick) * WIDTH;
            svg::line(out, "grid", (place, TOP), (place, bottom + 4.0));
            svg::text(out, "tick", "middle", (place, bottom + 18.0), &tick_text(tick));
        }
        svg::line(out, "axis", (LEFT, bottom), (self.right(), bottom));
        svg::text(out, "unit", "start", (4.0, TOP - 14.0), &self.y.label);
        svg::text(out, "unit", "middle", (LEFT + WIDTH / 2.0, bottom + 38.0), &self.x.label);
        if let Some((unit, factor)) = right {
            self.draw_right_axis(out, &self.y.scaled(unit, *factor));
        }
    }

    fn draw_right_axis(&self, out: &mut String, y: &Axis) {
        let right = self.right();
        for tick in y.ticks() {
            let height = self.bottom() - y.place(tick) * self.height;
            svg::line(out, "axis", (right, height), (right + 4.0, height));
            svg::text(out, "tick", "start", (right + 8.0, height + 4.0), &tick_text(tick));
        }
        svg::text(out, "unit", "end", (right + 60.0, TOP - 14.0), &y.label);
    }

    pub(super) fn draw_mark(&self, out: &mut String, mark: &Mark) {
        match mark {
            Mark::Level { y, style, .. } => {
                let height = self.at(0.0, *y).1;
                svg::line(out, &format!("curve {}", style.class()), (LEFT, height), (self.right(), height));
            }
            Mark::At { name, x } => {
                let place = self.at(*x, 0.0).0;
                svg::line(out, "curve talk", (place, TOP), (place, self.bottom()));
                svg::text(out, "name", "start", (place + 5.0, TOP + 12.0), name);
            }
        }
    }

    pub(super) fn draw_curve(&self, out: &mut String, curve: &Curve, scale: Scale) {
        // A logarithm has no place for zero: such points are left out, and the curve is broken there.
        let shown = |point: &&Point| scale == Scale::Linear || point.y > 0.0;
        let class = curve.style.class();
        let is_single = curve.points.len() == 1;
        if curve.style.is_reference() && !is_single {
            self.draw_band(out, curve);
        }
        for piece in curve.points.split(|point| !shown(&point)).filter(|piece| piece.len() > 1) {
            let places = self.places(piece.iter().map(|point| (point.x, point.y)));
            let _ = write!(out, r#"<polyline points="{places}" class="curve {class}"/>"#);
        }
        for point in curve.points.iter().filter(shown).filter(|_| !curve.style.is_reference() || is_single) {
            if let Some((low, high)) = point.range {
                svg::line(out, &format!("range {class}"), self.at(point.x, low), self.at(point.x, high));
            }
            let (x, y) = self.at(point.x, point.y);
            svg::marker(out, curve.style, x, y, &title(curve, point));
            if point.noisy {
                svg::text(out, "noise", "middle", (x, y - 6.0), "~");
            }
        }
    }

    /// Where a curve may lie that is not certain.
    fn draw_band(&self, out: &mut String, curve: &Curve) {
        let ends = || curve.points.iter().filter_map(|point| Some((point.x, point.range?)));
        let around = ends().map(|(x, (_, high))| (x, high)).chain(ends().rev().map(|(x, (low, _))| (x, low)));
        let (places, class) = (self.places(around), curve.style.class());
        if !places.is_empty() {
            let _ = write!(out, r#"<polygon points="{places}" class="band {class}"/>"#);
        }
    }

    fn places(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let places: Vec<String> = points.map(|(x, y)| self.at(x, y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        places.join(" ")
    }
}

fn title(curve: &Curve, point: &Point) -> String {
    let range = point.range.map(|(low, high)| format!(" ({} .. {})", figure(low), figure(high)));
    let noise = if point.noisy { ", noise" } else { "" };
    format!("{}, {}: {}{}{noise}", curve.name, tick_text(point.x), figure(point.y), range.unwrap_or_default())
}

/// A mark's number, without digits that say nothing.
fn tick_text(tick: f64) -> String {
    match (tick * 1e6).round() / 1e6 {
        tick if tick >= 1e12 => format!("{tick:e}"),
        tick if tick >= 1e9 => format!("{}G", tick / 1e9),
        tick if tick >= 1e6 => format!("{}M", tick / 1e6),
        tick if tick >= 1e5 => format!("{}k", tick / 1e3),
        tick => format!("{tick}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_written_without_idle_digits() {
        let ticks = [0.1 + 0.2, 1000.0, 0.0, 200_000.0, 5e6, 1e18];
        assert_eq!(ticks.map(tick_text), ["0.3", "1000", "0", "200k", "5M", "1e18"]);
    }
}
