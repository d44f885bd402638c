//! In which order an epoch visits its samples: pure functions of row ids, weights, seed and epoch.
//!
//! The orders are part of what a run means, so they are written down as formulas and hold on every
//! machine and in every version of this library. All arithmetic is on `u64`, wrapping:
//!
//! ```text
//! mix(x)              z = x + 0x9E3779B97F4A7C15
//!                     z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
//!                     z = (z ^ (z >> 27)) * 0x94D049BB133111EB
//!                     z ^ (z >> 31)                                (SplitMix64)
//! hash(s, e, x)       mix(mix(mix(s) ^ e) ^ x)                     s: seed, e: epoch
//!
//! sequential          by row id
//! shuffled            by hash(seed, epoch, row id)
//! weighted            draw k = 0, 1, … n-1 takes the first sample, by row id, whose cumulative
//!                     weight exceeds  u(k) * total,  u(k) = (hash(seed, epoch, k) >> 11) / 2^53;
//!                     cumulative weights are f64, added in the order of row ids
//! ```
//!
//! A row's place in a shuffle depends on its own id alone, so adding or dropping rows leaves the
//! others in the same order among themselves.

use crate::error::{Error, Result};

/// How the samples of an epoch are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By row id.
    Sequential,
    /// Every sample once, shuffled anew in each epoch.
    Shuffled { seed: u64 },
    /// As many draws as there are samples, with replacement, in proportion to their weights.
    Weighted { seed: u64 },
}

/// The samples of a table: row ids, ascending, with their weights, all above zero.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Samples {
    pub(super) row_ids: Vec<u64>,
    /// One for each row id; `None` if the table has no weight column.
    pub(super) weights: Option<Vec<f64>>,
}

impl Samples {
    /// Keeps the rows that take part in training: those whose weight is not 0. A null weight is 1.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a weight is negative or not finite.
    pub(super) fn new(rows: impl IntoIterator<Item = (u64, Option<f64>)>) -> Result<Self> {
        let mut kept = Vec::new();
        for (row_id, weight) in rows {
            let weight = weight.unwrap_or(1.0);
            if !weight.is_finite() || weight < 0.0 {
                let message = format!(
                    "the weight of row {row_id} is {weight}; set it to 0 or to a positive number"
                );
                return Err(Error::invalid(message));
            }
            if weight > 0.0 {
                kept.push((row_id, weight));
            }
        }
        kept.sort_unstable_by_key(|(row_id, _)| *row_id);
        let (row_ids, weights) = kept.into_iter().unzip();
        Ok(Self {
            row_ids,
            weights: Some(weights),
        })
    }

    /// All rows of a table without a weight column.
    pub(super) fn unweighted(row_ids: Vec<u64>) -> Self {
        debug_assert!(row_ids.is_sorted(), "snapshots give row ids in order");
        Self {
            row_ids,
            weights: None,
        }
    }
}

/// The samples of one epoch in order, as indices into `samples.row_ids`.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a weighted order without weights.
pub(super) fn indices(order: Order, samples: &Samples, epoch: i64) -> Result<Vec<usize>> {
    // The bits of the number: a negative epoch has an order, too.
    let epoch = epoch.cast_unsigned();
    match (order, &samples.weights) {
        (Order::Sequential, _) => Ok((0..samples.row_ids.len()).collect()),
        (Order::Shuffled { seed }, _) => Ok(shuffled(&samples.row_ids, seed, epoch)),
        (Order::Weighted { seed }, Some(weights)) => Ok(weighted(weights, seed, epoch)),
        (Order::Weighted { .. }, None) => Err(Error::invalid(
            "a weighted order needs a column with the role weight; add one, or shuffle instead",
        )),
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

fn weighted(weights: &[f64], seed: u64, epoch: u64) -> Vec<usize> {
    let mut total = 0.0;
    let mut cumulative = Vec::with_capacity(weights.len());
    for weight in weights {
        total += weight;
        cumulative.push(total);
    }
    let last = weights.len().saturating_sub(1);
    (0..weights.len() as u64)
        .map(|draw| {
            let target = unit(hash(seed, epoch, draw)) * total;
            cumulative.partition_point(|sum| *sum <= target).min(last)
        })
        .collect()
}

/// A number in `[0, 1)` from the upper 53 bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn hash(seed: u64, epoch: u64, x: u64) -> u64 {
    mix(mix(mix(seed) ^ epoch) ^ x)
}

fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str) -> Result<Samples> {
        Samples::new(text.split_whitespace().map(|row| {
            let (row_id, weight) = row.split_once('=').unwrap();
            (row_id.parse().unwrap(), weight.parse().ok())
        }))
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
    fn the_generator_is_splitmix64() {
        // The first outputs for the states 0 and 1234567 that other implementations publish.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
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
        assert_eq!(
            visited(Order::Weighted { seed: 7 }, &weighted, 0),
            "8 11 5 3 11"
        );
        assert_eq!(
            visited(Order::Weighted { seed: 7 }, &weighted, 1),
            "8 8 3 8 8"
        );
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
            for index in indices(Order::Weighted { seed: 3 }, &samples, epoch).unwrap() {
                seen[usize::try_from(samples.row_ids[index]).unwrap()] += 1;
            }
        }
        // 16,000 draws, eight parts.
        for (row_id, expected) in [(0, 2_000_u32), (1, 4_000), (2, 0), (3, 8_000), (4, 2_000)] {
            assert!(seen[row_id].abs_diff(expected) < 250, "{seen:?}");
        }
    }

    #[test]
    fn weights_of_zero_drop_a_row_and_null_counts_as_one() {
        let kept = samples("4=null 2=0 1=0.5 9=-0.0").unwrap();
        assert_eq!(
            kept,
            Samples {
                row_ids: vec![1, 4],
                weights: Some(vec![0.5, 1.0])
            }
        );
    }

    #[test]
    fn a_weight_that_is_none_names_its_row() {
        for bad in ["-1", "NaN", "inf", "-inf"] {
            let err = samples(&format!("1=1 17={bad}")).unwrap_err();
            assert!(err.to_string().contains("row 17"), "{err}");
        }
        assert!(
            indices(
                Order::Weighted { seed: 0 },
                &Samples::unweighted(vec![1]),
                0
            )
            .is_err()
        );
    }

    #[test]
    fn no_samples_make_an_empty_epoch() {
        let none = samples("").unwrap();
        for order in [
            Order::Sequential,
            Order::Shuffled { seed: 1 },
            Order::Weighted { seed: 1 },
        ] {
            assert!(indices(order, &none, 0).unwrap().is_empty());
        }
    }
}
