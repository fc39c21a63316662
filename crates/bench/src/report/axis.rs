//! Axes: where a value lies, and which values are marked.

/// How an axis maps values to places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero, in equal steps.
    Linear,
    /// Whole numbers, each a step.
    Whole,
    /// Each power of two is a step.
    Log2,
    /// Each power of ten is a step.
    Log10,
}

impl Scale {
    fn is_logarithmic(self) -> bool {
        matches!(self, Self::Log2 | Self::Log10)
    }
}

/// An axis with its range.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: String,
    scale: Scale,
    low: f64,
    high: f64,
}

/// About so many marks on a linear axis; more crowd it.
const MARKS: f64 = 6.0;

/// Most marks of a logarithmic axis.
const MARKS_MAX: usize = 16;

impl Axis {
    /// An axis on which all `values` lie, its ends rounded outwards to marks. What a logarithm cannot show (zero, less) is left out.
    pub(super) fn over(label: impl Into<String>, scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let shown = |value: &f64| value.is_finite() && (!scale.is_logarithmic() || *value > 0.0);
        let (low, high) =
            values.filter(shown).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low.is_finite() { (low, high) } else { (1.0, 1.0) };
        let (low, high) = match scale {
            Scale::Linear => (0.0, rounded_up(high)),
            Scale::Whole => (low.floor(), high.ceil().max(low.floor() + 1.0)),
            Scale::Log2 => (low.log2().floor().exp2(), high.log2().ceil().exp2().max(2.0 * low)),
            Scale::Log10 => round_decades(low, high),
        };
        Self { label: label.into(), scale, low, high }
    }

    /// Where `value` lies, from 0 at the low end to 1 at the high one; what lies beyond is held at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = if self.scale.is_logarithmic() {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    /// The values to mark.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high - self.low);
                let first = (self.low / step).ceil();
                let count = ((self.high / step + 1e-9).floor() - first) as usize;
                (0..=count).map(|n| (first + n as f64) * step).collect()
            }
            Scale::Whole => thinned((self.low as i64..=self.high as i64).map(|n| n as f64).collect()),
            Scale::Log2 => thinned(powers(2.0, self.low, self.high)),
            Scale::Log10 => {
                let decades = powers(10.0, self.low, self.high);
                if decades.len() > 3 { thinned(decades) } else { one_two_five(self.low, self.high) }
            }
        }
    }

    /// The same range in another unit, of which one of this axis has `factor`.
    pub(super) fn scaled(&self, label: impl Into<String>, factor: f64) -> Self {
        Self { label: label.into(), scale: self.scale, low: self.low * factor, high: self.high * factor }
    }
}

/// 1, 2 or 5 times a power of ten, so that a range gets about [`MARKS`] steps.
fn step(range: f64) -> f64 {
    let rough = range / MARKS;
    let decade = 10f64.powf(rough.log10().floor());
    let lead = [1.0, 2.0, 5.0].into_iter().find(|lead| lead * decade >= rough * 0.999).unwrap_or(10.0);
    lead * decade
}

/// The first mark at or above `high`.
fn rounded_up(high: f64) -> f64 {
    let high = if high > 0.0 { high } else { 1.0 };
    let step = step(high);
    (high / step - 1e-9).ceil() * step
}

/// Ends that are 1, 2 or 5 times a power of ten, with `low` and `high` between them and at least a decade apart.
fn round_decades(low: f64, high: f64) -> (f64, f64) {
    let marks = one_two_five(low / 10.0, high.max(low * 4.0) * 10.0);
    let below = marks.iter().copied().filter(|mark| *mark <= low * 1.0001).fold(marks[0], f64::max);
    let above = marks.iter().copied().find(|mark| *mark >= high * 0.9999).unwrap_or(high);
    let above = marks.iter().copied().find(|mark| *mark >= below * 9.999).unwrap_or(above).max(above);
    (below, above)
}

fn one_two_five(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let marks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|lead| lead * 10f64.powi(decade)));
    marks.filter(|mark| *mark >= low * 0.9999 && *mark <= high * 1.0001).collect()
}

/// The powers of `base` from `low` to `high`.
fn powers(base: f64, low: f64, high: f64) -> Vec<f64> {
    let from = (low.ln() / base.ln() - 1e-9).ceil() as i32;
    let to = (high.ln() / base.ln() + 1e-9).floor() as i32;
    (from..=to).map(|power| base.powi(power)).collect()
}

/// Every second, third ... of them if they are too many.
fn thinned(ticks: Vec<f64>) -> Vec<f64> {
    let every = ticks.len().div_ceil(MARKS_MAX).max(1);
    ticks.into_iter().step_by(every).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Scale; 4] = [Scale::Linear, Scale::Whole, Scale::Log2, Scale::Log10];

    fn over(scale: Scale, values: &[f64]) -> Axis {
        Axis::over("", scale, values.iter().copied())
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_at_a_round_mark() {
        let axis = over(Scale::Linear, &[12.0, 43.7]);
        assert_eq!(axis.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!((axis.place(0.0), axis.place(25.0), axis.place(50.0)), (0.0, 0.5, 1.0));
        assert_eq!(over(Scale::Linear, &[0.03]).ticks().last().map(|tick| (tick * 1000.0).round()), Some(30.0));
    }

    #[test]
    fn every_order_is_marked() {
        assert_eq!(over(Scale::Whole, &[0.0, 3.0]).ticks(), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn powers_of_two_are_equally_far_apart() {
        let axis = over(Scale::Log2, &[1.0, 3.0, 128.0]);
        assert_eq!(axis.ticks(), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
        assert!((axis.place(2.0) - 1.0 / 7.0).abs() < 1e-9 && (axis.place(64.0) - 6.0 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn few_decades_get_marks_between_and_many_do_not() {
        assert_eq!(over(Scale::Log10, &[3.0, 40.0]).ticks(), [2.0, 5.0, 10.0, 20.0, 50.0]);
        let many = over(Scale::Log10, &[0.02, 900.0]).ticks();
        assert_eq!(many.len(), 5, "{many:?}");
    }

    #[test]
    fn marks_lie_on_the_axis_whatever_the_values() {
        let values = [0.0, 0.0004, 0.9, 1.0, 1.5, 7.0, 67.2, 99.0, 1e6];
        for scale in ALL {
            for (&a, &b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                let axis = over(scale, &[a, b]);
                let ticks = axis.ticks();
                assert!((2..=MARKS_MAX).contains(&ticks.len()), "{scale:?} {a} {b}: {ticks:?}");
                assert!(ticks.is_sorted() && axis.low <= ticks[0] * 1.0001, "{scale:?} {a} {b}: {axis:?} {ticks:?}");
                for value in [a, b] {
                    let shown = value > 0.0 || !scale.is_logarithmic();
                    assert!(!shown || (axis.low..=axis.high * 1.0001).contains(&value), "{value}: {axis:?}");
                    assert!((0.0..=1.0).contains(&axis.place(value)));
                }
            }
        }
    }

    #[test]
    fn no_values_at_all_are_an_axis_too() {
        for scale in ALL {
            assert!(over(scale, &[]).ticks().len() >= 2);
            assert!(over(scale, &[f64::NAN, f64::INFINITY]).ticks().len() >= 2);
        }
    }
}
