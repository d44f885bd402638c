//! In which order an epoch visits its samples: pure functions of row ids, weights, seed and epoch.
//!
//! The orders are part of what a run means, so they are written down as formulas and hold on every
//! machine and in every version of this library. All arithmetic on `u64` is wrapping, and each operation
//! on `f64` is rounded by itself:
//!
//! ```text
//! mix(x)              z = x + 0x9E3779B97F4A7C15
//!                     z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
//!                     z = (z ^ (z >> 27)) * 0x94D049BB133111EB
//!                     z ^ (z >> 31)                                (SplitMix64)
//! hash(s, e, x)       mix(mix(mix(s) ^ e) ^ x)                     s: seed, e: epoch
//! u(x)                (hash(seed, epoch, x) >> 11) / 2^53          in [0, 1)
//! v(x)                ((hash(seed, epoch, x) >> 11) + 1) / 2^53    in (0, 1]
//! ln(v)               e * ln 2 + 2 * s * (1 + z * (1/3 + z * (1/5 + … + z * (1/23))))
//!                     where v = m * 2^e, 1/√2 < m ≤ √2, s = (m - 1) / (m + 1), z = s * s
//!
//! sequential          by row id
//! shuffled            by hash(seed, epoch, row id)
//! with replacement    draw j = 0, 1, … k-1 takes the first sample, by row id, whose cumulative
//!                     weight exceeds  u(j) * total;  cumulative weights are f64, added in the order
//!                     of row ids
//! without             the first k samples by  -ln(v(row id)) / weight,  equal ones by row id
//! repeat              copies c = 0, 1, … of each sample,  floor(weight) of them, and one more if
//!                     u(row id) < weight - floor(weight);  all of them by
//!                     mix(hash(seed, epoch, row id) ^ c),  equal ones by row id
//! ```
//!
//! `k` is the size that was asked for, or the number of samples; of a fold's loader these are its own. Without replacement these are the keys of
//! Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters
//! 97 (2006): the greatest `v^(1/weight)` first, which is the least `-ln(v) / weight`. It draws one sample after
//! another, each in proportion to the weights of those that are left.
//!
//! But for draws with replacement, a row's place depends on its own id and weight alone, so adding or
//! dropping rows leaves the others in the same order among themselves.

use super::random::{hash, ln, mix, unit};
use super::samples::Samples;
use crate::error::{Error, Result};

/// The most samples of an epoch whose number comes from a size or from weights: one that is larger
/// is a mistake, and its order would fill the memory.
const VISITS_MAX: usize = 1 << 30;

/// How weights decide what an epoch visits. Rows of weight 0 never take part; a null weight is 1.
///
/// The order is the same on every machine and in every version, and the seed and the epoch alone decide
/// it: a job that goes on after a break draws what it would have drawn. A seed by itself means
/// [`Self::WithReplacement`] without a size.
///
/// ```
/// # use std::sync::Arc;
/// # use tlc_core::arrow::array::{ArrayRef, Float32Array, RecordBatch, RecordBatchIterator};
/// # use tlc_core::arrow::datatypes::Schema;
/// # use tlc_core::{CommitOptions, Project, block_on, schema};
/// use tlc_core::Loader;
/// use tlc_core::loader::Weighted;
///
/// # let project = block_on(Project::open("memory:///", "demo"))?;
/// # let weights: ArrayRef = Arc::new(Float32Array::from(vec![0.0, 1.0, 2.5, 4.0]));
/// # let columns = Arc::new(Schema::new(vec![schema::weight("weight")]));
/// # let rows = RecordBatch::try_new(Arc::clone(&columns), vec![weights])?;
/// # let rows = RecordBatchIterator::new([Ok(rows)], columns);
/// # let table = block_on(project.create_table("train", rows, CommitOptions::new("import")))?;
/// // Four rows, of the weights 0, 1, 2.5 and 4.
/// let loader = Loader::new(&block_on(table.head())?);
///
/// let two = loader.clone().weighted(Weighted::WithoutReplacement { seed: 7, size: Some(2) });
/// let batch = two.epoch(0).next().expect("a batch")?;
/// assert_ne!(batch.rows.row_ids.value(0), batch.rows.row_ids.value(1));
///
/// let repeated = loader.weighted(Weighted::Repeat { seed: 7 });
/// let batch = repeated.epoch(0).next().expect("a batch")?;
/// let n_copies = |row_id| batch.rows.row_ids.values().iter().filter(|id| **id == row_id).count();
/// assert_eq!((n_copies(0), n_copies(1), n_copies(3)), (0, 1, 4));
/// assert!(n_copies(2) == 2 || n_copies(2) == 3);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighted {
    /// Each draw takes any sample, in proportion to its weight. An epoch visits some samples more than
    /// once and others not at all.
    WithReplacement {
        /// What decides the draws, with the epoch.
        seed: u64,
        /// How many draws an epoch makes; without a number as many as there are samples.
        size: Option<usize>,
    },
    /// Each draw takes a sample that was not drawn before in this epoch, in proportion to its weight among
    /// those: samples of great weight come early, and none comes twice.
    WithoutReplacement {
        /// What decides the draws, with the epoch.
        seed: u64,
        /// How many draws an epoch makes, at most as many as there are samples; without a number it visits all.
        size: Option<usize>,
    },
    /// A sample of weight 2.5 comes twice in each epoch, and a third time in half of them; all are shuffled.
    /// So epochs differ in length.
    Repeat {
        /// What decides the number of copies and the order, with the epoch.
        seed: u64,
    },
}

impl From<u64> for Weighted {
    fn from(seed: u64) -> Self {
        Self::WithReplacement { seed, size: None }
    }
}

/// How the samples of an epoch are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By row id.
    Sequential,
    /// Every sample once, shuffled anew in each epoch.
    Shuffled { seed: u64 },
    /// What the weights say.
    Weighted(Weighted),
}

impl Order {
    /// What decides it beside the epoch, if anything does.
    pub(super) fn seed(self) -> Option<u64> {
        match self {
            Self::Sequential => None,
            Self::Shuffled { seed }
            | Self::Weighted(
                Weighted::WithReplacement { seed, .. }
                | Weighted::WithoutReplacement { seed, .. }
                | Weighted::Repeat { seed },
            ) => Some(seed),
        }
    }
}

/// The number of samples that an epoch visits. Under [`Weighted::Repeat`], whose epochs differ, it is
/// the most that one can visit.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a weighted order without weights; for a size that
/// the samples do not allow; and if weights ask for too many copies, naming the row of the greatest weight.
pub(super) fn n_visits_max(order: Order, samples: &Samples) -> Result<usize> {
    let n_samples = samples.row_ids.len();
    match order {
        Order::Sequential | Order::Shuffled { .. } => Ok(n_samples),
        Order::Weighted(weighted) => {
            let weights = samples.weights()?;
            match weighted {
                Weighted::WithReplacement { size, .. } => n_draws(size, n_samples),
                Weighted::WithoutReplacement { size, .. } => n_distinct(size, n_samples),
                Weighted::Repeat { .. } => n_copies_max(&samples.row_ids, weights),
            }
        }
    }
}

/// The number of samples that this epoch visits.
///
/// # Errors
/// Those of [`n_visits_max`].
pub(super) fn n_visits(order: Order, samples: &Samples, epoch: i64) -> Result<usize> {
    let n_max = n_visits_max(order, samples)?;
    let Order::Weighted(Weighted::Repeat { seed }) = order else {
        return Ok(n_max);
    };
    let n_copies = samples.row_ids.iter().zip(samples.weights()?);
    let n_copies = n_copies
        .map(|(row_id, weight)| n_copies_of(*weight, hash(seed, epoch.cast_unsigned(), *row_id)));
    // Together they are at most `n_max`, so nothing is cut off here.
    Ok(n_copies.sum::<u64>() as usize)
}

/// The samples of one epoch in order, as indices into `samples.row_ids`; [`n_visits`] of them.
///
/// # Errors
/// Those of [`n_visits_max`], and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if draws with
/// replacement need the sum of weights, and there is none.
pub(super) fn indices(order: Order, samples: &Samples, epoch: i64) -> Result<Vec<usize>> {
    let n = n_visits_max(order, samples)?;
    // The bits of the number: a negative epoch has an order, too.
    let epoch = epoch.cast_unsigned();
    let row_ids = &samples.row_ids;
    match order {
        Order::Sequential => Ok((0..n).collect()),
        Order::Shuffled { seed } => Ok(shuffled(row_ids, seed, epoch)),
        Order::Weighted(weighted) => {
            let weights = samples.weights()?;
            match weighted {
                Weighted::WithReplacement { seed, .. } => drawn(weights, n, seed, epoch),
                Weighted::WithoutReplacement { seed, .. } => {
                    Ok(distinct(row_ids, weights, n, (seed, epoch)))
                }
                Weighted::Repeat { seed } => Ok(repeated(row_ids, weights, seed, epoch)),
            }
        }
    }
}

fn shuffled(row_ids: &[u64], seed: u64, epoch: u64) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = row_ids
        .iter()
        .enumerate()
        .map(|(index, row_id)| (hash(seed, epoch, *row_id), index))
        .collect();
    // Two row ids never share a key: `mix` can be undone, so for one seed and epoch `hash` can, too.
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, index)| index).collect()
}

fn drawn(weights: &[f64], n: usize, seed: u64, epoch: u64) -> Result<Vec<usize>> {
    let mut total = 0.0_f64;
    let mut cumulative = Vec::with_capacity(weights.len());
    for weight in weights {
        total += weight;
        cumulative.push(total);
    }
    if !total.is_finite() {
        return Err(Error::invalid(
            "the weights add up to more than a number can hold; make all of them smaller",
        ));
    }
    let last = weights.len().saturating_sub(1);
    let draw = |draw| {
        let target = unit(hash(seed, epoch, draw)) * total;
        cumulative.partition_point(|sum| *sum <= target).min(last)
    };
    Ok((0..n as u64).map(draw).collect())
}

/// The first `n` samples by the logarithm of their keys. Sorts no more than those.
fn distinct(row_ids: &[u64], weights: &[f64], n: usize, (seed, epoch): (u64, u64)) -> Vec<usize> {
    let mut keyed: Vec<(f64, usize)> = row_ids
        .iter()
        .zip(weights)
        .enumerate()
        // `abs` and not a minus, which would make -0 of 0 and put it before its equals.
        .map(|(index, (row_id, weight))| ((ln(hash(seed, epoch, *row_id)) / weight).abs(), index))
        .collect();
    let by_key = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if n < keyed.len() {
        keyed.select_nth_unstable_by(n, by_key);
        keyed.truncate(n);
    }
    keyed.sort_unstable_by(by_key);
    keyed.into_iter().map(|(_, index)| index).collect()
}

fn repeated(row_ids: &[u64], weights: &[f64], seed: u64, epoch: u64) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = Vec::with_capacity(row_ids.len());
    for (index, (row_id, weight)) in row_ids.iter().zip(weights).enumerate() {
        let bits = hash(seed, epoch, *row_id);
        keyed.extend((0..n_copies_of(*weight, bits)).map(|copy| (mix(bits ^ copy), index)));
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// How often a sample comes: its weight, rounded up or down by chance.
fn n_copies_of(weight: f64, bits: u64) -> u64 {
    let whole = weight.floor();
    (whole as u64).saturating_add(u64::from(unit(bits) < weight - whole))
}

fn n_draws(size: Option<usize>, n_samples: usize) -> Result<usize> {
    match size {
        None => Ok(n_samples),
        Some(size) if size > VISITS_MAX => Err(Error::invalid(format!(
            "an epoch of {size} draws is larger than {VISITS_MAX}"
        ))),
        Some(size) if size > 0 && n_samples == 0 => Err(Error::invalid(format!(
            "{size} draws need a sample, and no row has a weight above 0"
        ))),
        Some(size) => Ok(size),
    }
}

fn n_distinct(size: Option<usize>, n_samples: usize) -> Result<usize> {
    match size {
        Some(size) if size > n_samples => Err(Error::invalid(format!(
            "{size} samples cannot be drawn without replacement from the {n_samples} whose weight is not 0"
        ))),
        size => Ok(size.unwrap_or(n_samples)),
    }
}

fn n_copies_max(row_ids: &[u64], weights: &[f64]) -> Result<usize> {
    // Above 2^64 a weight counts as that many.
    let n_copies = |weight: &f64| weight.ceil() as u64;
    let n_max = weights.iter().map(n_copies).fold(0, u64::saturating_add);
    if n_max <= VISITS_MAX as u64 {
        return Ok(n_max as usize);
    }
    let heaviest = row_ids
        .iter()
        .zip(weights)
        .max_by(|a, b| a.1.total_cmp(b.1));
    let (row_id, weight) = heaviest.unwrap_or((&0, &0.0));
    Err(Error::invalid(format!(
        "to repeat by weight makes an epoch of more than {VISITS_MAX} samples; the greatest weight is that of \
         row {row_id}, {weight:e}"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::samples::tests::samples;
    use super::*;

    /// Draws with replacement.
    fn any_of(seed: u64, size: Option<usize>) -> Order {
        Order::Weighted(Weighted::WithReplacement { seed, size })
    }

    /// Draws without replacement.
    fn each_of(seed: u64, size: Option<usize>) -> Order {
        Order::Weighted(Weighted::WithoutReplacement { seed, size })
    }

    fn copies_of(seed: u64) -> Order {
        Order::Weighted(Weighted::Repeat { seed })
    }

    /// The row ids of an epoch, as text.
    fn visited(order: Order, samples: &Samples, epoch: i64) -> String {
        let indices = indices(order, samples, epoch).unwrap();
        let row_ids: Vec<String> = indices
            .iter()
            .map(|index| samples.row_ids[*index].to_string())
            .collect();
        row_ids.join(" ")
    }

    #[test]
    fn orders_are_what_they_were_in_every_earlier_version() {
        let ten = Samples::unweighted((0..10).collect());
        let check = |order, epoch, expected: &str| {
            assert_eq!(visited(order, &ten, epoch), expected, "{order:?}")
        };
        check(Order::Sequential, 3, "0 1 2 3 4 5 6 7 8 9");
        check(Order::Shuffled { seed: 0 }, 0, "0 9 1 6 3 5 4 2 8 7");
        check(Order::Shuffled { seed: 0 }, 1, "8 3 0 1 5 2 7 4 9 6");
        check(Order::Shuffled { seed: 42 }, 0, "4 3 5 8 0 9 7 6 1 2");
        let weighted = samples("3=1 5=2 8=4 9=0.5 11=1").unwrap();
        let check = |order, epoch, expected: &str| {
            assert_eq!(visited(order, &weighted, epoch), expected, "{order:?}")
        };
        check(any_of(7, None), 0, "8 11 5 3 11");
        check(any_of(7, None), 1, "8 8 3 8 8");
        check(any_of(7, Some(7)), 0, "8 11 5 3 11 3 8");
        check(each_of(7, None), 0, "11 8 5 9 3");
        check(each_of(7, None), -1, "11 5 3 8 9");
        check(each_of(7, Some(3)), 0, "11 8 5");
        let weighted = samples("3=1 5=2.5 8=4 9=0.5 11=0.25").unwrap();
        let check = |epoch, expected: &str| {
            assert_eq!(visited(copies_of(7), &weighted, epoch), expected, "{epoch}")
        };
        check(0, "9 5 5 8 3 8 8 8 5");
        check(1, "3 8 5 8 5 8 8");
        check(i64::MIN, "3 8 5 8 8 5 9 8 5");
    }

    #[test]
    fn a_shuffle_visits_every_sample_once() {
        let samples = Samples::unweighted((0..1_000).map(|n| n * 7 + 3).collect());
        for epoch in [-1, 0, 1, i64::MAX] {
            let mut seen = indices(Order::Shuffled { seed: 9 }, &samples, epoch).unwrap();
            assert_ne!(seen, (0..1_000).collect::<Vec<_>>());
            seen.sort_unstable();
            assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_new_row_leaves_the_others_in_their_order() {
        let order = Order::Shuffled { seed: 5 };
        let before = visited(order, &Samples::unweighted((0..50).collect()), 2);
        let after = visited(order, &Samples::unweighted((0..51).collect()), 2);
        let others: Vec<&str> = after.split(' ').filter(|row_id| *row_id != "50").collect();
        assert_eq!(others.join(" "), before);
    }

    #[test]
    fn a_shuffle_is_even() {
        // How often each of 20 rows comes first in 20,000 epochs: about 1,000 times, deviation 31.
        let samples = Samples::unweighted((0..20).collect());
        let mut first = [0_u32; 20];
        for epoch in 0..20_000 {
            first[indices(Order::Shuffled { seed: 1 }, &samples, epoch).unwrap()[0]] += 1;
        }
        assert!(first.iter().all(|n| (850..1_150).contains(n)), "{first:?}");
    }

    #[test]
    fn weighted_draws_follow_the_weights() {
        let samples = samples("0=1 1=2 2=0 3=4 4=1").unwrap();
        let mut seen = [0_u32; 5];
        for epoch in 0..4_000 {
            for index in indices(any_of(3, None), &samples, epoch).unwrap() {
                seen[usize::try_from(samples.row_ids[index]).unwrap()] += 1;
            }
        }
        // 16,000 draws, eight parts.
        for (row_id, expected) in [(0, 2_000_u32), (1, 4_000), (2, 0), (3, 8_000), (4, 2_000)] {
            assert!(seen[row_id].abs_diff(expected) < 250, "{seen:?}");
        }
    }

    #[test]
    fn draws_without_replacement_follow_the_weights_of_those_left() {
        // Of three samples of the weights 1, 2 and 5, how often each pair comes first, in this order:
        // 1/8 * 2/7, 1/8 * 5/7, 2/8 * 1/6, 2/8 * 5/6, 5/8 * 1/3, 5/8 * 2/3.
        let samples = samples("0=1 1=2 2=5").unwrap();
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        for epoch in 0..60_000 {
            *seen
                .entry(visited(each_of(3, Some(2)), &samples, epoch))
                .or_default() += 1.0;
        }
        let shares = [
            2.0 / 56.0,
            5.0 / 56.0,
            2.0 / 48.0,
            10.0 / 48.0,
            5.0 / 24.0,
            10.0 / 24.0,
        ];
        for (pair, share) in ["0 1", "0 2", "1 0", "1 2", "2 0", "2 1"]
            .iter()
            .zip(shares)
        {
            // Five deviations.
            let expected: f64 = 60_000.0 * share;
            let found = seen.get(*pair).copied().unwrap_or_default();
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{pair}: {expected} {seen:?}"
            );
        }
    }

    #[test]
    fn copies_are_as_many_as_the_weight_in_the_mean() {
        let samples = samples("0=0.1 1=1 2=2.5 3=3.75").unwrap();
        let mut seen = [0.0_f64; 4];
        for epoch in 0..10_000 {
            for index in indices(copies_of(3), &samples, epoch).unwrap() {
                seen[index] += 1.0;
            }
        }
        // The deviation of a sum of 10,000 chances is at most 50.
        for (found, expected) in seen.iter().zip([1_000.0, 10_000.0, 25_000.0, 37_500.0]) {
            assert!((found - expected).abs() < 250.0, "{seen:?}");
        }
        assert_eq!(seen[1], 10_000.0);
    }

    #[test]
    fn copies_are_shuffled_apart() {
        // Of 2,000 copies of four rows about 500 stand beside a copy of the same row.
        let order = visited(
            copies_of(1),
            &samples("0=500 1=500 2=500 3=500").unwrap(),
            0,
        );
        let order: Vec<&str> = order.split(' ').collect();
        let n_pairs = order.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(order.len(), 2_000);
        assert!((400..600).contains(&n_pairs), "{n_pairs}");
    }

    #[test]
    fn what_cannot_be_visited_is_said_by_name() {
        let check = |order, rows: &str, expected: &str| {
            let samples = samples(rows).unwrap();
            let message = indices(order, &samples, 0).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(
            each_of(0, Some(3)),
            "1=1 2=1",
            "3 samples cannot be drawn without replacement from the 2",
        );
        check(any_of(0, Some(2)), "", "2 draws need a sample");
        check(any_of(0, Some(usize::MAX)), "1=1", "larger than 1073741824");
        check(any_of(0, None), "1=1e308 2=1e308", "add up to more");
        check(copies_of(0), "1=1 7=1e300 9=5", "row 7, 1e300");
        check(copies_of(0), "1=6e8 7=7e8", "row 7, 7e8");
        for order in [any_of(0, None), each_of(0, None), copies_of(0)] {
            let message = indices(order, &Samples::unweighted(vec![1]), 0).unwrap_err();
            assert!(message.to_string().contains("the role weight"), "{message}");
            assert!(n_visits_max(order, &Samples::unweighted(vec![1])).is_err());
        }
    }

    #[test]
    fn no_samples_make_an_empty_epoch() {
        let none = samples("").unwrap();
        for order in [
            Order::Sequential,
            Order::Shuffled { seed: 1 },
            any_of(1, None),
            any_of(1, Some(0)),
            each_of(1, None),
            each_of(1, Some(0)),
            copies_of(1),
        ] {
            assert!(indices(order, &none, 0).unwrap().is_empty());
        }
    }

    #[test]
    fn the_least_and_the_greatest_weights_have_an_order() {
        let samples = samples("1=5e-324 2=1e-310 3=1 4=1e308 5=1.7e308 6=3e-308").unwrap();
        for epoch in 0..100 {
            let order = visited(each_of(1, None), &samples, epoch);
            assert_eq!(order.split(' ').nth(2), Some("3"), "{order}");
        }
    }

    /// Up to 40 rows, of ids that are not their positions, with weights of many sizes.
    fn weighted_rows() -> impl Strategy<Value = BTreeMap<u64, f64>> {
        let weight = prop_oneof![Just(0.0), Just(1.0), 0.0..4.0_f64, 0.0..0.01_f64];
        prop::collection::btree_map(0..200_u64, weight, 0..40)
    }

    fn samples_of(rows: &BTreeMap<u64, f64>) -> Samples {
        Samples::new(rows.iter().map(|(row_id, weight)| (*row_id, Some(*weight)))).unwrap()
    }

    /// How often an epoch visits each row.
    fn counts(order: Order, samples: &Samples, epoch: i64) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for index in indices(order, samples, epoch).unwrap() {
            *counts.entry(samples.row_ids[index]).or_default() += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn every_order_visits_what_it_promises(
            rows in weighted_rows(),
            seed in any::<u64>(),
            epoch in any::<i64>(),
            share in 0.0..1.0_f64,
        ) {
            let samples = samples_of(&rows);
            let n = samples.row_ids.len();
            let some = (share * n as f64) as usize;
            let all: BTreeMap<u64, usize> = samples.row_ids.iter().map(|row_id| (*row_id, 1)).collect();
            for order in [Order::Sequential, Order::Shuffled { seed }, each_of(seed, None)] {
                prop_assert_eq!(&counts(order, &samples, epoch), &all);
            }
            for (row_id, n_visits) in counts(each_of(seed, Some(some)), &samples, epoch) {
                prop_assert!(n_visits == 1 && rows[&row_id] > 0.0);
            }
            for row_id in counts(any_of(seed, Some(some * 3)), &samples, epoch).keys() {
                prop_assert!(rows[row_id] > 0.0);
            }
            let copies = counts(copies_of(seed), &samples, epoch);
            for (row_id, weight) in &rows {
                let found = copies.get(row_id).copied().unwrap_or(0) as f64;
                prop_assert!(found == weight.floor() || found == weight.ceil(), "{} of {}", found, weight);
            }
            let sizes = [
                (Order::Sequential, n),
                (Order::Shuffled { seed }, n),
                (any_of(seed, None), n),
                (any_of(seed, Some(some * 3)), some * 3),
                (each_of(seed, None), n),
                (each_of(seed, Some(some)), some),
                (copies_of(seed), copies.values().sum()),
            ];
            for (order, expected) in sizes {
                prop_assert_eq!(indices(order, &samples, epoch).unwrap().len(), expected);
                prop_assert_eq!(n_visits(order, &samples, epoch).unwrap(), expected);
                prop_assert!(n_visits_max(order, &samples).unwrap() >= expected);
            }
        }

        #[test]
        fn the_seed_and_the_epoch_alone_decide(
            rows in weighted_rows(),
            seed in any::<u64>(),
            epochs in prop::collection::vec(-3..3_i64, 1..8),
        ) {
            // Asked for in any order and again, from samples that were made anew.
            let orders = |epoch| {
                [Order::Shuffled { seed }, any_of(seed, None), each_of(seed, None), copies_of(seed)]
                    .map(|order| visited(order, &samples_of(&rows), epoch))
            };
            let first: BTreeMap<i64, _> = (-3..3).map(|epoch| (epoch, orders(epoch))).collect();
            for epoch in epochs {
                prop_assert_eq!(&orders(epoch), &first[&epoch]);
            }
        }

        #[test]
        fn fewer_draws_are_the_first_of_more(rows in weighted_rows(), seed in any::<u64>(), size in 0..40_usize) {
            let samples = samples_of(&rows);
            let size = size.min(samples.row_ids.len());
            for how in [any_of, each_of] {
                let all = indices(how(seed, None), &samples, 0).unwrap();
                prop_assert_eq!(&indices(how(seed, Some(size)), &samples, 0).unwrap(), &all[..size]);
            }
        }

        #[test]
        fn a_row_that_goes_leaves_the_others_in_their_order(
            rows in weighted_rows(),
            seed in any::<u64>(),
            position in any::<prop::sample::Index>(),
        ) {
            prop_assume!(!rows.is_empty());
            let gone = **position.get(&rows.keys().collect::<Vec<_>>());
            let fewer: BTreeMap<u64, f64> = rows
                .iter()
                .filter(|(row_id, _)| **row_id != gone)
                .map(|(row_id, weight)| (*row_id, *weight))
                .collect();
            for order in [Order::Shuffled { seed }, each_of(seed, None), copies_of(seed)] {
                let before = visited(order, &samples_of(&rows), 2);
                let others: Vec<&str> =
                    before.split_whitespace().filter(|row_id| **row_id != gone.to_string()).collect();
                prop_assert_eq!(others.join(" "), visited(order, &samples_of(&fewer), 2));
            }
        }
    }
}
