//! Medians and spreads.

/// The distribution of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    /// Ends of the middle half.
    pub(crate) q1: f64,
    pub(crate) q3: f64,
}

impl Summary {
    /// Of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&sorted, share);
        Self { min: at(0.0), median: at(0.5), max: at(1.0), q1: at(0.25), q3: at(0.75) }
    }

    /// Whether the middle half is wider than a tenth of the median, and than what a clock can tell apart (a twentieth of a nanosecond).
    pub(crate) fn is_noisy(&self) -> bool {
        self.q3 - self.q1 > (0.1 * self.median).max(0.05)
    }
}

/// The value below which `share` of the sorted samples lie, between neighbours in proportion.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_samples_has_its_median_between_two() {
        let of = Summary::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((of.min, of.q1, of.median, of.q3, of.max), (1.0, 1.75, 2.5, 3.25, 4.0));
        assert!(of.is_noisy() && !Summary::of(&[100.0, 101.0, 99.0, 100.0]).is_noisy());
    }

    #[test]
    fn one_sample_is_all_there_is() {
        assert_eq!(Summary::of(&[7.0]), Summary { min: 7.0, median: 7.0, max: 7.0, q1: 7.0, q3: 7.0 });
    }
}
