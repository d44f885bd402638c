//! What a model gave each class, epoch by epoch: lists of numbers in a column of a stream, with the label of each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, UInt64Type};
use futures::TryStreamExt as _;

use super::confident::Row;
use super::rows::{Counted, Given, Lists, each, not_probabilities};
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::project::Project;
use crate::questions::{Labels, found, plain};
use crate::run::Epochs;

/// How many numbers are made 64-bit ones at once.
const BATCH_VALUES: usize = 1 << 20;

/// How many rows that is, if their width is not known; of narrow ones it is eight times as many.
const BATCH_ROWS: usize = 1_024;

/// The lists and the labels of a stream. Holds one batch of lists at a time.
pub(super) struct Rated<'a> {
    epochs: &'a Epochs,
    column: &'a str,
    batch_rows: usize,
    label: &'a str,
    labels: Labels<'a>,
    /// The column of the labels, once some were read.
    field: Option<Field>,
    n_classes: Option<usize>,
}

impl<'a> Rated<'a> {
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming the column if it is not there,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it holds no lists.
    pub(super) async fn new(
        project: &'a Project,
        epochs: &'a Epochs,
        column: &'a str,
        (label, at): (&'a str, Option<&'a str>),
    ) -> Result<Self> {
        found(epochs, column).await?;
        let schema = epochs.schema().await?;
        let batch_rows = match schema.field_with_name(column)?.data_type() {
            DataType::FixedSizeList(_, n) => {
                let n = usize::try_from(*n).unwrap_or_default();
                (BATCH_VALUES / n.max(1)).clamp(1, 8 * BATCH_ROWS)
            }
            DataType::List(_) | DataType::LargeList(_) => BATCH_ROWS,
            other => return Err(not_probabilities(column, other)),
        };
        Ok(Self {
            epochs,
            column,
            batch_rows,
            label,
            labels: Labels::new(project, epochs, label, at)
                .await?
                .of_one_table(),
            field: None,
            n_classes: None,
        })
    }

    /// The labels of an epoch.
    ///
    /// # Errors
    /// Those of [`Labels::of`] and [`Given::new`].
    pub(super) async fn given(&mut self, epoch: i64) -> Result<Given> {
        let columns = self.labels.columns(ROWID);
        let read = self.epochs.columns(epoch, &columns).await?;
        let values = self.labels.of(&read).await?;
        self.field = Some(class_field(&self.labels, &values));
        Given::new(self.label, read.row_ids, &values)
    }

    /// Hands on every row of an epoch that counts.
    ///
    /// # Errors
    /// Those of the files, and of rows that cannot be right.
    pub(super) async fn pass(
        &mut self,
        epoch: i64,
        given: &mut Given,
        mut row: impl FnMut(&Row<'_>) + Send,
    ) -> Result<Counted> {
        given.restart();
        let mut counted = Counted::default();
        let columns = [self.column];
        let batches = self.epochs.batches(epoch, &columns, self.batch_rows);
        let mut batches = batches.await?;
        while let Some(batch) = batches.try_next().await? {
            let ids = batch.column(0).as_primitive_opt::<UInt64Type>();
            let ids = ids.ok_or_else(|| Error::corrupt("the row ids are no whole numbers"))?;
            let lists = Lists::new(self.column, batch.column(1))?;
            let n_classes = &mut self.n_classes;
            counted.add(each(ids.values(), &lists, given, n_classes, &mut row)?);
        }
        Ok(counted)
    }

    /// The column of the labels that were read last.
    pub(super) fn field(&self) -> Field {
        let field = self.field.clone();
        field.unwrap_or_else(|| Field::new(self.label, DataType::Int64, true))
    }

    /// The table that all rows are of, if they name one.
    pub(super) fn table(&self) -> Option<&str> {
        self.labels.table_name()
    }
}

/// The column that labels were from, without a dictionary.
pub(super) fn class_field(labels: &Labels<'_>, values: &ArrayRef) -> Field {
    let field = labels.field(values.data_type());
    field.with_data_type(plain(values.data_type()).clone())
}

/// Classes in the type of the labels, null where there is none; as 64-bit numbers if that type does not hold them all.
///
/// # Errors
/// Those of the cast.
pub(super) fn class_column(
    field: &Field,
    classes: impl Iterator<Item = Option<u64>>,
) -> Result<ArrayRef> {
    let classes: ArrayRef = Arc::new(classes.collect::<UInt64Array>());
    let fitted = cast(&classes, field.data_type())?;
    let again = cast(&fitted, &DataType::UInt64)?;
    match again.as_ref() == classes.as_ref() {
        true => Ok(fitted),
        false => Ok(cast(&classes, &DataType::Int64)?),
    }
}

/// The column of the labels as it is for classes, which may have another type and be null.
pub(super) fn fitted(field: &Field, classes: &ArrayRef) -> Field {
    let field = field.clone().with_nullable(true);
    field.with_data_type(classes.data_type().clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int8Array, Int64Array};

    use super::*;

    #[test]
    fn classes_that_the_type_of_the_labels_does_not_hold_are_wide() {
        let check = |data_type: DataType, classes: &[Option<u64>], expected: ArrayRef| {
            let field = Field::new("label", data_type, false);
            let found = class_column(&field, classes.iter().copied()).unwrap();
            assert_eq!(&found, &expected, "{classes:?}");
            let field = fitted(&field, &found);
            assert_eq!(field.data_type(), expected.data_type());
            assert!(field.is_nullable());
        };
        let small = Int8Array::from(vec![Some(127), None]);
        check(DataType::Int8, &[Some(127), None], Arc::new(small));
        let wide = Int64Array::from(vec![Some(1), Some(128), None]);
        check(DataType::Int8, &[Some(1), Some(128), None], Arc::new(wide));
        let is_so = BooleanArray::from(vec![false, true]);
        check(DataType::Boolean, &[Some(0), Some(1)], Arc::new(is_so));
        let wide = Int64Array::from(vec![1, 2]);
        check(DataType::Boolean, &[Some(1), Some(2)], Arc::new(wide));
    }
}
