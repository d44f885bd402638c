//! What is folded for each sample over epochs, and quantiles of what came out.

use arrow::array::UInt64Array;

use crate::questions::{Samples, moved};

/// A state for each sample that was met, by row id.
pub(super) struct PerSample<T> {
    samples: Samples,
    states: Vec<T>,
}

impl<T> Default for PerSample<T> {
    fn default() -> Self {
        Self {
            samples: Samples::default(),
            states: Vec::new(),
        }
    }
}

impl<T: Copy + Default> PerSample<T> {
    /// Hands on each row of an epoch, by its position, with the state of its sample. Row ids are ascending; one that is
    /// there more than once has its rows handed on one after the other.
    pub(super) fn add(&mut self, row_ids: &UInt64Array, mut row: impl FnMut(usize, &mut T)) {
        let is_distinct = row_ids.values().is_sorted_by(|a, b| a < b);
        let former = match is_distinct {
            true => self.samples.admit(row_ids),
            false => {
                let mut ids = row_ids.values().to_vec();
                ids.dedup();
                self.samples.admit(&UInt64Array::from(ids))
            }
        };
        if let Some(former) = former {
            self.states = moved(&self.states, &former);
        }
        let ids = self.samples.ids().values().iter();
        let mut known = ids.zip(&mut self.states).peekable();
        for (at, id) in row_ids.values().iter().enumerate() {
            while known.next_if(|(other, _)| *other < id).is_some() {}
            if let Some((_, state)) = known.peek_mut() {
                row(at, state);
            }
        }
    }

    /// The samples by row id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.samples
            .ids()
            .values()
            .iter()
            .copied()
            .zip(&self.states)
    }
}

/// The value that a share of the values is not above, between two of them where it falls between: as `numpy.quantile`
/// gives it. `None` of no values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "there are less than 2^53 values, and a share is from 0 to 1"
)]
pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let at = values.len().checked_sub(1)? as f64 * share.clamp(0.0, 1.0);
    let (below, above) = (at.floor(), at.ceil());
    let (low, high) = (values.get(below as usize)?, values.get(above as usize)?);
    let part = at - below;
    // From the nearer side, so that between equal values there is nothing else.
    Some(match part < 0.5 {
        true => low + (high - low) * part,
        false => high - (high - low) * (1.0 - part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs of row ids; how often each sample was met, and at which position last.
    #[track_caller]
    fn check(epochs: &[&[u64]], expected: &[(u64, (u64, usize))]) {
        let mut samples = PerSample::<(u64, usize)>::default();
        for epoch in epochs {
            samples.add(&UInt64Array::from(epoch.to_vec()), |at, (n, last)| {
                (*n, *last) = (*n + 1, at);
            });
        }
        let found: Vec<_> = samples.iter().map(|(id, state)| (id, *state)).collect();
        assert_eq!(found, expected, "{epochs:?}");
    }

    #[test]
    fn each_row_meets_the_state_of_its_sample_whatever_epochs_have() {
        check(&[&[1, 4], &[1, 4]], &[(1, (2, 0)), (4, (2, 1))]);
        check(
            &[&[4], &[1, 9], &[4]],
            &[(1, (1, 0)), (4, (2, 0)), (9, (1, 1))],
        );
        check(&[&[4, 4, 4, 7], &[7, 7]], &[(4, (3, 2)), (7, (3, 1))]);
        check(&[&[], &[u64::MAX]], &[(u64::MAX, (1, 0))]);
        check(&[], &[]);
    }

    #[test]
    fn quantiles_lie_between_values() {
        let check = |values: &[f64], share: f64, expected: Option<f64>| {
            assert_eq!(
                quantile(values.to_vec(), share),
                expected,
                "{share} of {values:?}"
            );
        };
        check(&[], 0.5, None);
        check(&[7.0], 0.99, Some(7.0));
        check(&[3.0, 1.0, 2.0], 0.5, Some(2.0));
        check(&[4.0, 1.0, 3.0, 2.0], 0.5, Some(2.5));
        check(&[0.0, 100.0], 0.99, Some(99.0));
        check(&[0.0, 10.0, 20.0], 0.25, Some(5.0));
        check(&[1.0, 2.0], 0.0, Some(1.0));
        check(&[1.0, 2.0], 1.0, Some(2.0));
        check(&[0.1, 0.1], 0.3, Some(0.1));
    }
}
