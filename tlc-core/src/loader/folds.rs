//! Folds of a loader's samples: which sample is in which one, and the two parts that each fold makes.
//!
//! The fold of a row is decided by a seed and its row id alone, on every machine and in every version of this
//! library, in the notation of [`super::order`]:
//!
//! ```text
//! fold(row id)        floor(mix(mix(seed) ^ row id) * n / 2^64)    of n folds, from 0
//! ```
//!
//! It is no hash that an order uses, so an order by the same seed says nothing of the folds.

use std::sync::Arc;

use super::random::mix;
use super::samples::Samples;
use crate::error::{Error, Result};

/// How samples fall into folds.
pub(super) struct Folds {
    seed: u64,
    /// How many samples are in each.
    sizes: Arc<[usize]>,
}

impl Folds {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for fewer than two folds, for more than there are samples, and
    /// where a fold has none.
    pub(super) fn new(samples: &Samples, n: usize, seed: u64) -> Result<Self> {
        let n_samples = samples.row_ids.len();
        if n < 2 {
            return Err(Error::invalid(format!(
                "{n} folds leave nothing to train on; take at least 2"
            )));
        }
        if n > n_samples {
            return Err(Error::invalid(format!(
                "{n} folds are more than the {n_samples} samples whose weight is not 0; take fewer"
            )));
        }
        let mut sizes = vec![0; n];
        for row_id in &samples.row_ids {
            if let Some(size) = sizes.get_mut(fold(*row_id, n, seed)) {
                *size += 1;
            }
        }
        if sizes.contains(&0) {
            return Err(Error::invalid(format!(
                "by the seed {seed} one of {n} folds has none of the {n_samples} samples; take fewer folds, or another seed"
            )));
        }
        let sizes = sizes.into();
        Ok(Self { seed, sizes })
    }

    /// The samples of the other folds, and those of this one. `within` is what the samples are a part of, if they are.
    pub(super) fn parts(
        &self,
        samples: &Samples,
        within: Option<&Part>,
        number: usize,
    ) -> (Part, Part) {
        let is_held_out = |at: &usize| {
            let row_id = samples.row_ids.get(*at);
            row_id.is_some_and(|row_id| fold(*row_id, self.sizes.len(), self.seed) == number)
        };
        let all = 0..samples.row_ids.len();
        let (held_out, others): (Vec<_>, Vec<_>) = all.partition(is_held_out);
        let part = |chosen: Vec<usize>, held_out| Part {
            samples: Arc::new(samples.some(&chosen)),
            positions: match within {
                Some(part) => part.positions(&chosen),
                None => chosen,
            },
            held_out,
        };
        let sizes = Arc::clone(&self.sizes);
        (part(others, None), part(held_out, Some((number, sizes))))
    }
}

/// The fold of a row, of `n`.
fn fold(row_id: u64, n: usize, seed: u64) -> usize {
    let bits = mix(mix(seed) ^ row_id);
    // Less than `n`, so nothing is cut off.
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// Some of the samples of a source. 16 bytes for each, and 8 more if they have weights.
pub(super) struct Part {
    pub(super) samples: Arc<Samples>,
    /// For each of them its place among all samples of the source.
    positions: Vec<usize>,
    /// Of a fold that is held out its number, and how many samples each fold has.
    held_out: Option<(usize, Arc<[usize]>)>,
}

impl Part {
    /// The places of some of these samples among all of the source.
    pub(super) fn positions(&self, samples: &[usize]) -> Vec<usize> {
        let positions = samples.iter();
        let positions = positions.filter_map(|sample| self.positions.get(*sample).copied());
        positions.collect()
    }

    /// Of a fold that is held out how many samples each of the folds before it has, and then how many each of all.
    pub(super) fn sizes(&self) -> Option<(&[usize], &[usize])> {
        let (number, sizes) = self.held_out.as_ref()?;
        Some((sizes.get(..*number)?, sizes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::tests::samples;
    use super::*;

    fn rows(row_ids: impl IntoIterator<Item = u64>) -> Samples {
        Samples::unweighted(row_ids.into_iter().collect())
    }

    /// The row ids of each fold, as text.
    fn held_out(samples: &Samples, n: usize, seed: u64) -> Vec<String> {
        let folds = Folds::new(samples, n, seed).unwrap();
        let fold = |number| {
            let (_, part) = folds.parts(samples, None, number);
            let row_ids = part.samples.row_ids.iter();
            row_ids.map(u64::to_string).collect::<Vec<_>>().join(" ")
        };
        (0..n).map(fold).collect()
    }

    #[test]
    fn folds_are_what_they_were_in_every_earlier_version() {
        let check = |n, seed, expected: &[&str]| {
            assert_eq!(held_out(&rows(0..12), n, seed), expected, "{n} by {seed}");
        };
        check(2, 0, &["1 4 5 6 7 11", "0 2 3 8 9 10"]);
        check(3, 0, &["1 4 5", "0 6 7 9 11", "2 3 8 10"]);
        check(3, 42, &["4 7", "0 2 11", "1 3 5 6 8 9 10"]);
    }

    #[test]
    fn folds_are_even() {
        // 12,000 rows in 8 folds: 1,500 each, deviation 36. Row ids that are far apart, and those of every third row.
        for step in [1, 3, 1 << 32] {
            for seed in 0..20 {
                let samples = rows((0..12_000).map(|n| n * step));
                let folds = Folds::new(&samples, 8, seed).unwrap();
                let is_even = |size: &usize| (1_300..1_700).contains(size);
                assert!(folds.sizes.iter().all(is_even), "{:?}", folds.sizes);
            }
        }
    }

    #[test]
    fn what_makes_no_folds_is_said() {
        let check = |n_rows, n, expected: &str| {
            let folds = Folds::new(&rows(0..n_rows), n, 3);
            let message = folds.err().map(|err| err.to_string()).unwrap_or_default();
            assert!(message.contains(expected), "{message}");
        };
        check(10, 0, "0 folds leave nothing to train on");
        check(10, 1, "1 folds leave nothing to train on");
        check(10, 11, "11 folds are more than the 10 samples");
        check(0, 2, "2 folds are more than the 0 samples");
        check(10, usize::MAX, "more than the 10 samples");
        // Each in a fold of its own would be a great chance.
        check(12, 12, "by the seed 3 one of 12 folds has none");
    }

    #[test]
    fn a_part_of_a_part_has_its_places_among_all() {
        let all = rows((0..200).map(|n| n * 5 + 1));
        let (outer, _) = Folds::new(&all, 3, 1).unwrap().parts(&all, None, 0);
        let folds = Folds::new(&outer.samples, 4, 2).unwrap();
        for (part, is_held_out) in (0..4).flat_map(|number| {
            let (others, held_out) = folds.parts(&outer.samples, Some(&outer), number);
            [(others, false), (held_out, true)]
        }) {
            let every: Vec<usize> = (0..part.samples.row_ids.len()).collect();
            let found = part.positions(&every);
            let found: Vec<u64> = found.iter().map(|at| all.row_ids[*at]).collect();
            assert_eq!(found, part.samples.row_ids);
            assert_eq!(part.sizes().is_some(), is_held_out);
            assert!(
                part.samples
                    .row_ids
                    .iter()
                    .all(|id| outer.samples.row_ids.contains(id))
            );
        }
    }

    #[test]
    fn parts_keep_the_weights_of_their_samples() {
        let all = samples("1=1 2=0.5 3=0 4=4 5=8 6=16 7=32 8=64").unwrap();
        let (others, held_out) = Folds::new(&all, 2, 1).unwrap().parts(&all, None, 1);
        for part in [&others, &held_out] {
            let weights = part.samples.weights().unwrap();
            for (row_id, weight) in part.samples.row_ids.iter().zip(weights) {
                let at = all.row_ids.binary_search(row_id).unwrap();
                assert_eq!(all.weights().unwrap()[at], *weight);
            }
            assert_eq!(weights.len(), part.samples.row_ids.len());
        }
        let n_kept = others.samples.row_ids.len() + held_out.samples.row_ids.len();
        assert_eq!(n_kept, 7);
    }

    proptest! {
        #[test]
        fn every_sample_is_held_out_once_and_trained_on_in_all_other_folds(
            row_ids in prop::collection::btree_set(any::<u64>(), 100..200),
            n in 2..6_usize,
            seed in any::<u64>(),
        ) {
            let all = rows(row_ids.iter().copied());
            let folds = Folds::new(&all, n, seed).unwrap();
            let mut held_out = Vec::new();
            for number in 0..n {
                let (train, test) = folds.parts(&all, None, number);
                let mut both = [&train.samples.row_ids[..], &test.samples.row_ids].concat();
                both.sort_unstable();
                prop_assert_eq!(&both, &all.row_ids);
                prop_assert!(train.samples.row_ids.is_sorted() && test.samples.row_ids.is_sorted());
                prop_assert_eq!(folds.sizes[number], test.samples.row_ids.len());
                held_out.extend_from_slice(&test.samples.row_ids);
            }
            held_out.sort_unstable();
            prop_assert_eq!(&held_out, &all.row_ids);
        }
    }
}
