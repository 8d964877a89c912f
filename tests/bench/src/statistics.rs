//! Numbers out of repeated measurements.

use serde::Serialize;

/// What repeated measurements of one thing gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The least.
    pub(crate) min: f64,
    /// The middle one.
    pub(crate) median: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Sums up; `None` when there was nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values = Vec::from_iter(values);
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { min, median: quantile(&values, 0.5)?, max })
    }

    /// Sums up the quotients of what was measured side by side; `None` when there was nothing to divide by.
    pub(crate) fn of_ratios(pairs: impl IntoIterator<Item = (f64, Option<f64>)>) -> Option<Self> {
        let ratios = pairs.into_iter().filter_map(|(ours, theirs)| theirs.map(|theirs| ours / theirs));
        Self::of(ratios.filter(|ratio| ratio.is_finite()))
    }
}

/// The quantile of sorted values, in between where it falls between two.
pub(crate) fn quantile(sorted: &[f64], quantile: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)? as f64;
    let position = last * quantile;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Some(Summary { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Summary::of([4.0, 1.0]), Some(Summary { min: 1.0, median: 2.5, max: 4.0 }));
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        let rounds = [(30.0, Some(2.0)), (8.0, Some(4.0)), (1.0, None), (1.0, Some(0.0))];
        assert_eq!(Summary::of_ratios(rounds), Some(Summary { min: 2.0, median: 8.5, max: 15.0 }));
        assert_eq!(Summary::of_ratios([(1.0, None)]), None);
    }

    #[test]
    fn quantiles() {
        let values = [0.0, 10.0, 20.0, 30.0, 40.0];
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| quantile(&values, q)), [0.0, 20.0, 39.6, 40.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
