//! Quantiles of many values, each within one per cent of a value that was there.

use std::collections::BTreeMap;

use arrow::array::Array;

use super::summary::{Seen, floats};
use crate::error::{Error, Result};

/// How far a quantile may be off, as a part of itself.
const ERROR: f64 = 0.01;
/// The bounds of neighbouring buckets are in this proportion.
const GAMMA: f64 = (1.0 + ERROR) / (1.0 - ERROR);
/// What is nearer to 0 counts as 0: what 32-bit floats cannot hold in full precision.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Quantiles of values of any number, in memory that depends on their range alone.
///
/// This is the DDSketch of Masson, Rim and Lee (VLDB 2019) without the collapsing of buckets:
/// values are counted in buckets whose bounds grow by 2 %. A quantile is within 1 % of the value
/// that stands at its rank among all values sorted, for values of a magnitude of 1.2e-38 or more,
/// and what is smaller counts as 0. The smallest and the largest value are exact. Nothing is drawn
/// by chance: the same values give the same quantiles in any order and however they were merged.
///
/// Values in a range of 1 to 1000 need 350 counters; all numbers there are need 80 000, about 2 MB.
/// To add a value takes the logarithm of their number. NaN is counted apart and is part of nothing
/// else; infinities are the smallest and the largest values.
///
/// ```
/// use tlc_core::collect::Quantiles;
///
/// let mut epoch = Quantiles::default();
/// (1..=99).for_each(|loss| epoch.add(f64::from(loss)));
/// let median = epoch.quantile(0.5)?.unwrap_or_default();
/// assert!((49.5..=50.5).contains(&median));
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    seen: Seen,
    /// The counts of negative values, by the bucket of their magnitude.
    below: BTreeMap<Bucket, u64>,
    zeros: u64,
    above: BTreeMap<Bucket, u64>,
}

/// The values in `GAMMA^(i - 1)` to `GAMMA^i`; `i32::MAX` for infinity.
type Bucket = i32;

impl Quantiles {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        if !self.seen.add(value) {
            return;
        }
        if value.abs() < SMALLEST {
            self.zeros += 1;
        } else {
            let side = match value > 0.0 {
                true => &mut self.above,
                false => &mut self.below,
            };
            *side.entry(bucket(value.abs())).or_default() += 1;
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

    /// Adds the values that another one saw.
    pub fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.zeros += other.zeros;
        for (side, more) in [
            (&mut self.below, &other.below),
            (&mut self.above, &other.above),
        ] {
            for (bucket, n) in more {
                *side.entry(*bucket).or_default() += n;
            }
        }
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

    /// The value that a part `q` of all others is below: the one at `floor(q (n - 1))` if all were
    /// sorted and numbered from 0. `None` if there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if `q` is not in 0…1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the number of samples of an epoch is far below 2^53, and a rank is not negative"
    )]
    pub fn quantile(&self, q: f64) -> Result<Option<f64>> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Error::invalid(format!(
                "a quantile is between 0 and 1, not {q}"
            )));
        }
        let Some((min, max)) = self.seen.range else {
            return Ok(None);
        };
        let rank = (q * (self.seen.n - 1) as f64).floor() as u64;
        Ok(Some(match rank {
            0 => min,
            rank if rank == self.seen.n - 1 => max,
            rank => self.at(rank).clamp(min, max),
        }))
    }

    /// About the value at that rank.
    fn at(&self, rank: u64) -> f64 {
        let negative = self
            .below
            .iter()
            .rev()
            .map(|(bucket, n)| (-middle(*bucket), *n));
        let positive = self.above.iter().map(|(bucket, n)| (middle(*bucket), *n));
        let ascending = negative.chain([(0.0, self.zeros)]).chain(positive);
        let mut n_below = 0;
        for (value, n) in ascending {
            n_below += n;
            if n_below > rank {
                return value;
            }
        }
        f64::INFINITY
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the logarithm of the largest float is below 40 000"
)]
fn bucket(magnitude: f64) -> Bucket {
    match magnitude.is_finite() {
        true => (magnitude.ln() / GAMMA.ln()).ceil() as Bucket,
        false => Bucket::MAX,
    }
}

/// The value that is equally far from both bounds of a bucket, as a part of each.
fn middle(bucket: Bucket) -> f64 {
    match bucket {
        Bucket::MAX => f64::INFINITY,
        bucket => GAMMA.powi(bucket - 1) * (1.0 + ERROR),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    const QS: [f64; 7] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0];

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    /// The value at the quantile's rank, by sorting.
    fn sorted(values: &[f64], q: f64) -> Option<f64> {
        let mut values: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        values.sort_by(f64::total_cmp);
        let last = u32::try_from(values.len().checked_sub(1)?).unwrap();
        let rank = (0..=last)
            .rev()
            .find(|rank| f64::from(*rank) <= q * f64::from(last));
        Some(values[usize::try_from(rank.unwrap()).unwrap()])
    }

    #[track_caller]
    fn check(values: &[f64]) {
        let quantiles = of(values);
        for q in QS {
            let (found, exact) = (quantiles.quantile(q).unwrap(), sorted(values, q));
            let (Some(found), Some(exact)) = (found, exact) else {
                assert_eq!(found, exact);
                continue;
            };
            let tolerance = f64::max(exact.abs() * 0.010_000_1, SMALLEST);
            let is_near = found == exact || (found - exact).abs() <= tolerance;
            assert!(is_near, "{q}: {found} for {exact}");
        }
    }

    #[test]
    fn quantiles_are_within_one_per_cent() {
        let inf = f64::INFINITY;
        let many: Vec<f64> = (1..=1000).map(f64::from).collect();
        let tiny: Vec<f64> = many.iter().map(|value| value * 1e-42).collect();
        for values in [
            &[][..],
            &[3.7],
            &[0.0, 0.0, 5.0],
            &[-1.0, -2.0, -3.0, 4.0, 5.0],
            &[-inf, -1.0, 1.0, inf, inf],
            &[f64::MAX, f64::MAX, f64::MIN, 1e-300, 1e300],
            &many,
            &tiny,
        ] {
            check(values);
        }
    }

    #[test]
    fn nan_is_counted_apart() {
        let quantiles = of(&[f64::NAN, 1.0, f64::NAN]);
        assert_eq!((quantiles.n(), quantiles.n_nan()), (1, 2));
        assert_eq!(quantiles.quantile(0.5).unwrap(), Some(1.0));
        assert_eq!(of(&[f64::NAN]).quantile(0.5).unwrap(), None);
    }

    #[test]
    fn the_number_of_counters_depends_on_the_range() {
        let values: Vec<f64> = (0..200_000).map(|i| 1.0 + f64::from(i) / 200.2).collect();
        let n = of(&values).above.len();
        assert!((300..=350).contains(&n), "{n}");
    }

    #[test]
    fn columns_are_added_without_their_nulls_and_bad_requests_are_refused() {
        let mut quantiles = Quantiles::default();
        quantiles
            .add_all(&Float32Array::from(vec![Some(2.0), None]))
            .unwrap();
        assert_eq!(quantiles, of(&[2.0]));
        assert!(quantiles.add_all(&StringArray::from(vec!["a"])).is_err());
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert!(quantiles.quantile(wrong).is_err());
        }
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            5 => -1e3..1e3_f64,
            3 => (-40.0..40.0_f64).prop_map(f64::exp),
            1 => Just(0.0),
            1 => Just(f64::NAN),
        ];
        prop::collection::vec(value, 0..80)
    }

    proptest! {
        #[test]
        fn quantiles_are_near_those_of_the_sorted_values(values in values()) {
            check(&values);
        }

        #[test]
        fn parts_merged_are_the_whole(values in values(), cuts in (0_usize..80, 0_usize..80)) {
            let (low, high) = (cuts.0.min(cuts.1).min(values.len()), cuts.0.max(cuts.1).min(values.len()));
            let [a, b, c] = [&values[..low], &values[low..high], &values[high..]].map(of);
            let merged = |first: &Quantiles, second: &Quantiles| {
                let mut first = first.clone();
                first.merge(second);
                first
            };
            let whole = of(&values);
            prop_assert_eq!(&merged(&merged(&a, &b), &c), &whole);
            prop_assert_eq!(&merged(&a, &merged(&b, &c)), &whole);
            prop_assert_eq!(&merged(&c, &merged(&b, &a)), &whole);
        }
    }
}
