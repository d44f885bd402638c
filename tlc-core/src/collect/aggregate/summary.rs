//! How many values there are, their mean, and the smallest and largest.

use arrow::array::Array;
use arrow::datatypes::Float64Type;

use crate::collect::columns::{cast, is_number};
use crate::error::{Error, Result};

/// The number of values, their mean, and the smallest and largest, in constant memory.
///
/// The sum is kept with what its roundings lost (Neumaier 1974), so that the mean of a million
/// values is as exact as that of ten. NaN is counted apart and is part of nothing else.
///
/// ```
/// use tlc_core::collect::Summary;
///
/// let mut epoch = Summary::default();
/// epoch.add(1.0);
/// epoch.add(4.0);
/// assert_eq!((epoch.n(), epoch.mean(), epoch.max()), (2, Some(2.5), Some(4.0)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    seen: Seen,
    sum: f64,
    lost: f64,
}

/// How many values there were, and from which to which. NaN is counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) n: u64,
    pub(super) n_nan: u64,
    pub(super) range: Option<(f64, f64)>,
}

impl Seen {
    /// Counts a value; `false` if it is NaN.
    pub(super) fn add(&mut self, value: f64) -> bool {
        if value.is_nan() {
            self.n_nan += 1;
            return false;
        }
        self.n += 1;
        self.widen(value, value);
        true
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.n_nan += other.n_nan;
        if let Some((min, max)) = other.range {
            self.widen(min, max);
        }
    }

    fn widen(&mut self, low: f64, high: f64) {
        let (min, max) = self.range.unwrap_or((low, high));
        self.range = Some((min.min(low), max.max(high)));
    }
}

impl Summary {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        if self.seen.add(value) {
            self.add_to_sum(value);
        }
    }

    /// Adds the values of a column that are not null; true and false are 1 and 0.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if they are no numbers.
    pub fn add_all(&mut self, values: &dyn Array) -> Result<()> {
        for value in floats(values)? {
            self.add(value);
        }
        Ok(())
    }

    /// Adds the values that another summary saw.
    pub fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.add_to_sum(other.sum);
        self.lost += other.lost;
    }

    /// How many values were added, NaN apart.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.seen.n
    }

    /// How many were NaN.
    #[must_use]
    pub fn n_nan(&self) -> u64 {
        self.seen.n_nan
    }

    /// The mean; `None` of nothing. It is infinite or NaN as the sum in 64 bits is.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the number of samples of an epoch is far below 2^53"
    )]
    pub fn mean(&self) -> Option<f64> {
        let sum = match self.sum.is_finite() {
            true => self.sum + self.lost,
            false => self.sum,
        };
        (self.seen.n > 0).then(|| sum / self.seen.n as f64)
    }

    /// The smallest value; `None` of nothing.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.seen.range.map(|(min, _)| min)
    }

    /// The largest value; `None` of nothing.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.seen.range.map(|(_, max)| max)
    }

    fn add_to_sum(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_finite() {
            self.lost += match self.sum.abs() >= value.abs() {
                true => (self.sum - sum) + value,
                false => (value - sum) + self.sum,
            };
        }
        self.sum = sum;
    }
}

/// The values of a column of numbers that are not null.
pub(super) fn floats(values: &dyn Array) -> Result<Vec<f64>> {
    if !is_number(values.data_type()) {
        let found = values.data_type();
        return Err(Error::invalid(format!(
            "values of type {found} are no numbers to add up"
        )));
    }
    let values = cast::<Float64Type>(values, "values")?;
    Ok(values.iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Summary {
        let mut summary = Summary::default();
        values.iter().for_each(|value| summary.add(*value));
        summary
    }

    fn text(summary: &Summary) -> String {
        let Seen { n, n_nan, .. } = summary.seen;
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        let [mean, min, max] = [summary.mean(), summary.min(), summary.max()].map(show);
        format!("{n}+{n_nan} {mean} {min}..{max}")
    }

    #[test]
    fn the_values_are_those_of_the_definitions() {
        let inf = f64::INFINITY;
        for (values, expected) in [
            (&[][..], "0+0 - -..-"),
            (&[2.0], "1+0 2 2..2"),
            (&[3.0, -1.0, 4.0], "3+0 2 -1..4"),
            (&[f64::NAN], "0+1 - -..-"),
            (&[f64::NAN, 1.0, f64::NAN, 2.0], "2+2 1.5 1..2"),
            (&[1.0, inf, 2.0], "3+0 inf 1..inf"),
            (&[inf, -inf, 1.0], "3+0 NaN -inf..inf"),
            (&[1.0, 1e100, 1.0, -1e100], "4+0 0.5 -1e100..1e100"),
        ] {
            let found = text(&of(values)).replace(&format!("{}", 1e100), "1e100");
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn columns_of_any_number_are_added_without_their_nulls() {
        let mut summary = Summary::default();
        summary
            .add_all(&Float32Array::from(vec![Some(0.5), None]))
            .unwrap();
        summary.add_all(&Int64Array::from(vec![4])).unwrap();
        summary
            .add_all(&BooleanArray::from(vec![Some(true), Some(false), None]))
            .unwrap();
        assert_eq!(text(&summary), "4+0 1.375 0..4");
        let err = summary.add_all(&StringArray::from(vec!["a"])).unwrap_err();
        assert!(err.to_string().contains("Utf8"), "{err}");
    }

    proptest! {
        #[test]
        fn parts_merged_are_the_whole(
            values in prop::collection::vec(prop_oneof![9 => -1e6..1e6_f64, 1 => Just(f64::NAN)], 0..60),
            cuts in (0_usize..60, 0_usize..60),
        ) {
            let (low, high) = (cuts.0.min(cuts.1).min(values.len()), cuts.0.max(cuts.1).min(values.len()));
            let [a, b, c] = [&values[..low], &values[low..high], &values[high..]].map(of);
            let merged = |mut first: Summary, second: &Summary| {
                first.merge(second);
                first
            };
            let whole = of(&values);
            for parts in [merged(merged(a, &b), &c), merged(a, &merged(b, &c)), merged(merged(c, &a), &b)] {
                prop_assert_eq!(parts.seen, whole.seen);
                let error = parts.mean().unwrap_or(0.0) - whole.mean().unwrap_or(0.0);
                prop_assert!(error.abs() < 1e-9, "{}", error);
            }
        }
    }
}
