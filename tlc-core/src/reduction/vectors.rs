//! Vectors of one width as one block of numbers, and how a column of lists becomes one.

use std::slice::ChunksExact;

use arrow::array::ArrayRef;

use crate::error::{Error, Result};
use crate::quality::Lists;

/// Vectors of one width, one after the other. All numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// From their numbers, vector after vector.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the width is 0, the numbers are not whole vectors, or one is NaN or infinite.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self> {
        if width == 0 || !values.len().is_multiple_of(width) {
            let n = values.len();
            return Err(Error::invalid(format!(
                "{n} numbers are not vectors of {width}"
            )));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, value) = (at / width, values.get(at).copied().unwrap_or_default());
            return Err(Error::invalid(format!("vector {row} has {value} in it")));
        }
        Ok(Self { width, values })
    }

    /// How many numbers each has; at least 1.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All numbers, vector after vector.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// A vector by its position; an empty one where there is none.
    #[must_use]
    pub fn vector(&self, at: usize) -> &[f32] {
        let from = at.saturating_mul(self.width);
        let range = from..from.saturating_add(self.width);
        self.values.get(range).unwrap_or_default()
    }

    /// The vectors in their order.
    pub fn iter(&self) -> ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// Refuses vectors of another width than a reduction was fitted on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) saying both.
    pub fn expect_width(&self, width: usize) -> Result<()> {
        if self.width == width {
            return Ok(());
        }
        let found = self.width;
        Err(Error::invalid(format!(
            "the reduction was fitted on vectors of {width} numbers, and these have {found}"
        )))
    }
}

impl<'a> IntoIterator for &'a Vectors {
    type Item = &'a [f32];
    type IntoIter = ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Vectors that are gathered batch by batch from a column. A row has none whose list is null or empty, or has a number that is null,
/// NaN, infinite or beyond 32 bits.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    column: &'a str,
    width: Option<usize>,
    values: Vec<f32>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(column: &'a str) -> Self {
        Self {
            column,
            width: None,
            values: Vec::new(),
        }
    }

    /// Adds those of a batch whose row is wanted; for each row whether a vector was added.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a column that is no list of floats, and naming the row id for a vector of another
    /// width than those before.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not fit is left out"
    )]
    pub(super) fn add(
        &mut self,
        row_ids: &[u64],
        lists: &ArrayRef,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<Vec<bool>> {
        let (column, found) = (self.column, lists.data_type());
        let lists = Lists::new(column, lists).map_err(|_no_lists| {
            Error::invalid(format!(
                "column {column:?} is {found}, and no list of floats"
            ))
        })?;
        let mut added = Vec::with_capacity(row_ids.len());
        for (row, row_id) in row_ids.iter().copied().enumerate() {
            let vector = lists.of(row).filter(|_| is_wanted(row_id));
            let fits = |value: &f64| (*value as f32).is_finite();
            let vector = vector.filter(|vector| vector.iter().all(fits));
            added.push(vector.is_some());
            let Some(vector) = vector else { continue };
            let width = *self.width.get_or_insert(vector.len());
            if vector.len() != width {
                let found = vector.len();
                return Err(Error::invalid(format!(
                    "the vector of row {row_id} has {found} numbers, and others have {width}"
                )));
            }
            self.values.extend(vector.iter().map(|value| *value as f32));
        }
        Ok(added)
    }

    /// What was gathered; `None` if it is nothing.
    pub(super) fn finish(self) -> Option<Vectors> {
        let (width, values) = (self.width?, self.values);
        Some(Vectors { width, values })
    }
}
