//! Vectors of samples as one block of numbers, and how far two of them are apart.

use arrow::array::{ArrayRef, UInt64Array};

use super::super::options::Distance;
use super::super::rows::Lists;
use crate::error::{Error, Result};

/// Vectors of more dimensions than these are compared by their angle, unless it is said otherwise.
const DIMENSIONS_MAX_STRAIGHT: usize = 3;

/// Vectors of one length, each with its row id. Of angles they are scaled to length 1.
#[derive(Debug)]
pub(super) struct Vectors {
    /// Ascending, each once.
    pub(super) row_ids: Vec<u64>,
    pub(super) distance: Distance,
    n_dimensions: usize,
    values: Vec<f64>,
}

impl Vectors {
    /// From row ids in ascending order and their vectors. Of several for a row id the last one counts. How many rows
    /// have none, since it is null or has a value that is null, NaN or infinite.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a column that is no list of floats, and naming the row id for a vector of
    /// another length than others.
    pub(super) fn new(
        column: &str,
        row_ids: &UInt64Array,
        vectors: &ArrayRef,
        distance: Option<Distance>,
    ) -> Result<(Self, u64)> {
        let lists = Lists::new(column, vectors)?;
        let (mut ids, mut values): (Vec<u64>, Vec<f64>) = (Vec::new(), Vec::new());
        let (mut n_without, mut n_dimensions) = (0, None);
        for (row, row_id) in row_ids.values().iter().copied().enumerate() {
            let Some(vector) = lists.of(row) else {
                n_without += 1;
                continue;
            };
            let n = *n_dimensions.get_or_insert(vector.len());
            if vector.len() != n {
                let found = vector.len();
                return Err(Error::invalid(format!(
                    "the vector of row {row_id} has {found} values, and others have {n}"
                )));
            }
            if ids.last() == Some(&row_id) {
                ids.pop();
                values.truncate(ids.len() * n);
            }
            ids.push(row_id);
            values.extend_from_slice(vector);
        }
        let n_dimensions = n_dimensions.unwrap_or(1);
        let by_default = match n_dimensions > DIMENSIONS_MAX_STRAIGHT {
            true => Distance::Cosine,
            false => Distance::Euclidean,
        };
        let distance = distance.unwrap_or(by_default);
        if distance == Distance::Cosine {
            values.chunks_exact_mut(n_dimensions).for_each(to_length_1);
        }
        let vectors = Self {
            row_ids: ids,
            distance,
            n_dimensions,
            values,
        };
        Ok((vectors, n_without))
    }

    pub(super) fn len(&self) -> usize {
        self.row_ids.len()
    }

    /// A vector by its position; an empty one where there is none.
    pub(super) fn vector(&self, at: usize) -> &[f64] {
        let from = at * self.n_dimensions;
        self.values
            .get(from..from + self.n_dimensions)
            .unwrap_or_default()
    }

    #[cfg(feature = "neighbours")]
    pub(super) fn n_dimensions(&self) -> usize {
        self.n_dimensions
    }

    /// All values in 32 bits, vector after vector.
    #[cfg(feature = "neighbours")]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what was logged is in 32 bits, or is rounded to them"
    )]
    pub(super) fn narrow(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }

    /// The vectors in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.n_dimensions)
    }

    /// How far two of the vectors are apart. 0 of equal ones, whatever rounding would make of it.
    pub(super) fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        match self.distance {
            Distance::Cosine => {
                let product = sum(a, b, |a, b| a * b);
                let distance = (1.0 - product).clamp(0.0, 2.0);
                // Zeros have no angle with each other, but are the same.
                if (distance < 1e-9 || product == 0.0) && a == b {
                    0.0
                } else {
                    distance
                }
            }
            Distance::Euclidean => sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
        }
    }
}

/// A vector of zeros has no direction, and stays.
fn to_length_1(vector: &mut [f64]) {
    // Neither large values nor small ones lose their squares.
    let largest = vector
        .iter()
        .fold(0.0_f64, |most, value| most.max(value.abs()));
    if largest == 0.0 {
        return;
    }
    vector.iter_mut().for_each(|value| *value /= largest);
    let length = sum(vector, vector, |a, b| a * b).sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
}

/// The sum over pairs of values, in eight sums at a time.
fn sum(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| of(*a, *b)).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += of(*a, *b);
        }
    }
    sums.iter().sum::<f64>() + rest
}
