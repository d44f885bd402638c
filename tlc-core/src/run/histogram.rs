//! Histograms of tensors: pure.

/// Bins of a histogram of values that are not all the same.
const BINS: usize = 64;

/// How values are distributed. What is not finite is counted apart, and in no bin.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// One more than bins; empty without finite values.
    pub(crate) edges: Vec<f64>,
    /// The last bin has both its edges, the others the lower one. To the rounding of a float.
    pub(crate) counts: Vec<u64>,
    /// All values.
    pub(crate) count: u64,
    pub(crate) nan: u64,
    pub(crate) minus_inf: u64,
    pub(crate) plus_inf: u64,
    /// Least, greatest and mean of the finite values.
    pub(crate) finite: Option<(f64, f64, f64)>,
}

impl Histogram {
    /// Bins of equal width from the least to the greatest finite value; one bin if these are the same.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the values of a tensor are fewer than 2^53"
    )]
    pub(crate) fn of<V: Copy + Into<f64>>(values: &[V]) -> Self {
        let finite = || {
            values
                .iter()
                .map(|value| (*value).into())
                .filter(|value: &f64| value.is_finite())
        };
        let mut own = Self {
            count: values.len() as u64,
            ..Self::default()
        };
        let (mut n, mut sum) = (0_u64, 0.0);
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            let value: f64 = (*value).into();
            if value.is_finite() {
                n += 1;
                sum += value;
                min = min.min(value);
                max = max.max(value);
            } else if value.is_nan() {
                own.nan += 1;
            } else if value > 0.0 {
                own.plus_inf += 1;
            } else {
                own.minus_inf += 1;
            }
        }
        if n == 0 {
            return own;
        }
        // The sum of large values may be no float where their mean is one.
        let mean = match sum.is_finite() {
            true => sum / n as f64,
            false => finite().map(|value| value / n as f64).sum(),
        };
        own.finite = Some((min, max, mean.clamp(min, max)));
        if min == max {
            (own.edges, own.counts) = (vec![min, max], vec![n]);
            return own;
        }
        own.counts = vec![0; BINS];
        for value in finite() {
            if let Some(count) = own.counts.get_mut(bin(value, min, max)) {
                *count += 1;
            }
        }
        own.edges = (0..=BINS).map(|at| edge(at, min, max)).collect();
        own
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + 8 * (self.edges.len() + self.counts.len())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 64"
)]
fn bin(value: f64, min: f64, max: f64) -> usize {
    let width = max - min;
    let part = match width.is_finite() {
        true => (value - min) / width,
        false => (value / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0),
    };
    ((part * BINS as f64) as usize).min(BINS - 1)
}

#[expect(clippy::cast_precision_loss, reason = "from 0 to 64")]
fn edge(at: usize, min: f64, max: f64) -> f64 {
    match at {
        0 => min,
        BINS => max,
        at => {
            let part = at as f64 / BINS as f64;
            min * (1.0 - part) + max * part
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_fall_into_64_bins_of_equal_width() {
        let values: Vec<f32> = (0..=128_u8).map(f32::from).collect();
        let histogram = Histogram::of(&values);
        assert_eq!(histogram.finite, Some((0.0, 128.0, 64.0)));
        let edges: Vec<f64> = (0..=64_u8).map(|at| f64::from(at) * 2.0).collect();
        assert_eq!(histogram.edges, edges);
        let mut counts = vec![2; 64];
        counts[63] = 3;
        assert_eq!((histogram.counts, histogram.count), (counts, 129));
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let values = [
            f32::NAN,
            1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0,
        ];
        let histogram = Histogram::of(&values);
        let expected = Histogram {
            edges: vec![1.0, 1.0],
            counts: vec![2],
            count: 6,
            nan: 2,
            minus_inf: 1,
            plus_inf: 1,
            finite: Some((1.0, 1.0, 1.0)),
        };
        assert_eq!(histogram, expected);
        let none = Histogram::of::<f64>(&[]);
        assert_eq!(none, Histogram::default());
        let nan = Histogram::of(&[f64::NAN]);
        assert_eq!(
            (nan.count, nan.nan, nan.edges.len(), nan.finite),
            (1, 1, 0, None)
        );
    }

    proptest! {
        #[test]
        fn each_finite_value_is_in_one_bin_whatever_its_size(
            values in prop::collection::vec(any::<f64>(), 0..50),
            more in prop::collection::vec(-1.0..1.0, 0..50),
        ) {
            let values = [values, more, vec![f64::MAX, -f64::MAX, 5e-324, -0.0]].concat();
            for values in [&values[..], &values[..values.len() - 4]] {
                let histogram = Histogram::of(values);
                let finite = values.iter().filter(|value| value.is_finite()).count() as u64;
                prop_assert_eq!(histogram.counts.iter().sum::<u64>(), finite);
                let apart = histogram.nan + histogram.plus_inf + histogram.minus_inf;
                prop_assert_eq!(finite + apart, values.len() as u64);
                prop_assert!(histogram.edges.is_sorted(), "{:?}", histogram.edges);
                prop_assert!(histogram.finite.is_none_or(|(min, max, mean)| min <= mean && mean <= max));
            }
        }
    }
}
