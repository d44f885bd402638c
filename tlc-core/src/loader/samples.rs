//! Which rows take part in training, and with what weights.

use crate::error::{Error, Result};

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

    /// The samples at these positions, which ascend.
    pub(super) fn some(&self, positions: &[usize]) -> Self {
        debug_assert!(positions.is_sorted(), "samples are in the order of row ids");
        let row_ids = positions
            .iter()
            .filter_map(|at| self.row_ids.get(*at).copied());
        let weights = self.weights.as_ref().map(|weights| {
            let weights = positions.iter().filter_map(|at| weights.get(*at).copied());
            weights.collect()
        });
        Self {
            row_ids: row_ids.collect(),
            weights,
        }
    }

    /// The weight of each sample.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the table has none.
    pub(super) fn weights(&self) -> Result<&[f64]> {
        self.weights.as_deref().ok_or_else(|| {
            Error::invalid(
                "a weighted order needs a column with the role weight; add one, or shuffle instead",
            )
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Samples from text: a row id and its weight, if there is one.
    pub(in crate::loader) fn samples(text: &str) -> Result<Samples> {
        Samples::new(text.split_whitespace().map(|row| {
            let (row_id, weight) = row.split_once('=').unwrap();
            (row_id.parse().unwrap(), weight.parse().ok())
        }))
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
    }
}
