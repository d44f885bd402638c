//! What a revision changes: cells set, rows appended, rows dropped, columns added.
//!
//! A [`Patch`] is made against one snapshot, in memory, and commits as one revision. It checks names
//! and types as it is built; that its rows exist is checked when it is committed. How patches read
//! ([`overlay`]) and when two of them exclude each other ([`merge`]) are plain functions.

pub(crate) mod merge;
pub(crate) mod overlay;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    NullArray, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use roaring::RoaringTreemap;

use crate::error::{Error, Result};
use crate::id::{ColumnName, ROWID, Revision};
use crate::schema;
use merge::Changes;
use overlay::Overlay;

/// One value of a cell, of any type; it is cast to the column's where nothing is lost.
///
/// For a label a class's name will do: `"cat"` is stored as the integer of the class `cat`.
#[derive(Clone, Debug)]
pub struct Value(ArrayRef);

impl Value {
    /// No value.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::new(NullArray::new(1)))
    }

    /// The first row of an array, of any type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the array is empty.
    pub fn first_of(values: &ArrayRef) -> Result<Self> {
        match values.len() {
            0 => Err(Error::invalid("an empty array has no value to set")),
            _ => Ok(Self(values.slice(0, 1))),
        }
    }
}

/// A value from a Rust type that has an Arrow array of its own.
macro_rules! value_from {
    ($($rust:ty => $array:ty),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Self(Arc::new(<$array>::from(vec![value])))
            }
        }
    )*};
}

value_from! {
    i32 => Int32Array,
    i64 => Int64Array,
    u64 => UInt64Array,
    f32 => Float32Array,
    f64 => Float64Array,
    bool => BooleanArray,
    &str => StringArray,
    String => StringArray,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::null, Into::into)
    }
}

/// What one revision is to change. Build it with `snapshot.patch()`, commit it with `table.commit()`.
///
/// ```
/// # use tlc_core::{CommitOptions, Project, Value, block_on, schema};
/// # use tlc_core::arrow::array::{Int32Array, RecordBatch, RecordBatchIterator};
/// # use tlc_core::arrow::datatypes::Schema;
/// # use std::sync::Arc;
/// # block_on(async {
/// # let project = Project::open("memory:///", "zoo").await?;
/// # let fields = Arc::new(Schema::new(vec![schema::label("animal", ["cat", "dog"])]));
/// # let rows = RecordBatch::try_new(Arc::clone(&fields), vec![Arc::new(Int32Array::from(vec![0, 0, 1]))])?;
/// # let rows = RecordBatchIterator::new([Ok(rows)], fields);
/// # let table = project.create_table("train", rows, CommitOptions::new("three animals")).await?;
/// let mut patch = table.head().await?.patch();
/// patch.set(1, "animal", "dog")?;
/// patch.drop_rows(&[2]);
/// patch.add_column(schema::weight("weight"), 1.0_f32)?;
/// let committed = table.commit(&patch, "row 1 is a dog, row 2 a blur").await?;
/// assert_eq!((committed.revision.0, committed.cells), (1, 1));
/// # Ok::<(), tlc_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Patch {
    base: Revision,
    schema: SchemaRef,
    cells: BTreeMap<ColumnName, Vec<(Vec<u64>, ArrayRef)>>,
    appended: Vec<RecordBatch>,
    staged: Vec<StagedFile>,
    dropped: RoaringTreemap,
    added: Vec<(FieldRef, ArrayRef)>,
}

/// A data file of rows to append that lies in the table's folder, where no revision names it yet.
#[derive(Clone, Debug)]
pub(crate) struct StagedFile {
    /// Its path from the table's folder.
    pub(crate) file: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Patch {
    /// A patch that changes nothing yet, against the table as it is at `base`.
    pub(crate) fn new(base: Revision, schema: SchemaRef) -> Self {
        Self {
            base,
            schema,
            cells: BTreeMap::new(),
            appended: Vec::new(),
            staged: Vec::new(),
            dropped: RoaringTreemap::new(),
            added: Vec::new(),
        }
    }

    /// Sets one cell. Of two values for a cell the later counts.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a value that does not fit it.
    pub fn set(&mut self, row_id: u64, column: &str, value: impl Into<Value>) -> Result<()> {
        self.set_column(column, &[row_id], &value.into().0)
    }

    /// Sets cells of one column: `values[i]` in the row `row_ids[i]`.
    ///
    /// # Errors
    /// As [`Self::set`]; also [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the lengths differ.
    pub fn set_column(&mut self, column: &str, row_ids: &[u64], values: &ArrayRef) -> Result<()> {
        if row_ids.len() != values.len() {
            let (ids, values) = (row_ids.len(), values.len());
            return Err(Error::invalid(format!(
                "column {column:?} is given {values} values for {ids} row ids"
            )));
        }
        let values = schema::fit(values, self.field(column)?)?;
        self.cells
            .entry(column.parse()?)
            .or_default()
            .push((row_ids.to_vec(), values));
        Ok(())
    }

    /// Sets the cells of every column of `batch` in the rows that its `_rowid` names.
    ///
    /// # Errors
    /// As [`Self::set_column`]; also [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if there is no
    /// `_rowid`, or one that is no row id. The patch is then as before.
    pub fn set_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let ids = batch
            .column_by_name(ROWID)
            .ok_or_else(|| Error::invalid("the batch has no column \"_rowid\""))?;
        let ids = schema::fit(ids, &Field::new(ROWID, DataType::UInt64, false))?;
        let ids = UInt64Array::from(ids.to_data());
        if ids.null_count() > 0 {
            return Err(Error::invalid("a row id of the batch is null"));
        }
        let mut patched = self.clone();
        for (field, values) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if field.name() != ROWID {
                patched.set_column(field.name(), ids.values(), values)?;
            }
        }
        *self = patched;
        Ok(())
    }

    /// Appends rows; they get the next free row ids when the patch is committed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column that is missing, unknown
    /// or does not fit. Columns that this patch adds are not part of appended rows.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        self.appended.push(schema::conform(rows, &self.schema)?);
        Ok(())
    }

    /// Drops rows. Their ids are never given again.
    pub fn drop_rows(&mut self, row_ids: &[u64]) {
        self.dropped.extend(row_ids.iter().copied());
    }

    /// Adds a column that has `default` in every row. The default is stored once, not in the rows.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if there is a column of that name;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the name, role or default is impossible.
    pub fn add_column(
        &mut self,
        field: impl Into<FieldRef>,
        default: impl Into<Value>,
    ) -> Result<()> {
        let field = schema::for_column(&field.into())?;
        if self.field(field.name()).is_ok() {
            let message = format!("the table has a column {:?} already", field.name());
            return Err(Error::new(crate::error::ErrorKind::Conflict, message));
        }
        let default = schema::fit(&default.into().0, &field)?;
        self.added.push((Arc::new(field), default));
        Ok(())
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let cells = self
            .cells
            .values()
            .flatten()
            .any(|(ids, _)| !ids.is_empty());
        let rows = self.appended.iter().any(|batch| batch.num_rows() > 0);
        let rows = rows || !self.staged.is_empty();
        !cells && !rows && self.dropped.is_empty() && self.added.is_empty()
    }

    /// The revision that it was made against.
    #[must_use]
    pub fn base(&self) -> Revision {
        self.base
    }

    /// What it does to rows and cells that were there before: edits of a column folded into one.
    pub(crate) fn changes(&self) -> Result<Changes> {
        let mut cells = BTreeMap::new();
        for (column, chunks) in &self.cells {
            if let Some(overlay) = Overlay::fold(chunks)? {
                cells.insert(column.clone(), overlay);
            }
        }
        let columns_added = self
            .added
            .iter()
            .map(|(field, _)| Ok((field.name().parse()?, Arc::clone(field))));
        Ok(Changes {
            cells,
            dropped: self.dropped.clone(),
            columns_added: columns_added.collect::<Result<_>>()?,
        })
    }

    /// The rows to append, each with the columns of the base.
    pub(crate) fn appended(&self) -> &[RecordBatch] {
        &self.appended
    }

    /// Appends the rows of files that are written already; they come before those of [`Self::append`].
    pub(crate) fn append_staged(&mut self, files: impl IntoIterator<Item = StagedFile>) {
        self.staged.extend(files);
    }

    /// The files of rows to append that are written already.
    pub(crate) fn staged(&self) -> &[StagedFile] {
        &self.staged
    }

    /// The columns to add, each with its default as an array of one.
    pub(crate) fn added(&self) -> &[(FieldRef, ArrayRef)] {
        &self.added
    }

    /// The schema of the base.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn field(&self, column: &str) -> Result<&Field> {
        if let Some((field, _)) = self.added.iter().find(|(field, _)| field.name() == column) {
            return Ok(field);
        }
        let schema: &Schema = &self.schema;
        Ok(schema.field(schema::column_index(schema, column)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn patch() -> Patch {
        let fields = Schema::new(vec![
            schema::label("animal", ["cat", "dog"]),
            schema::weight("weight"),
        ]);
        Patch::new(Revision(4), schema::for_table(&fields).unwrap())
    }

    #[test]
    fn a_new_patch_is_empty_until_something_changes() {
        let mut patch = patch();
        patch.drop_rows(&[]);
        assert!(patch.is_empty());
        patch.set(3, "animal", 1).unwrap();
        assert!(!patch.is_empty());
    }

    #[test]
    fn a_label_takes_the_name_of_a_class() {
        let mut patch = patch();
        patch.set(3, "animal", "dog").unwrap();
        let set = patch
            .changes()
            .unwrap()
            .cells
            .remove(&"animal".parse().unwrap())
            .unwrap();
        assert_eq!(
            set.get(3).unwrap().to_data(),
            Int32Array::from(vec![1]).to_data()
        );
        let err = patch.set(3, "animal", "cow").unwrap_err();
        assert!(
            err.to_string().contains("\"cow\"") && err.to_string().contains("cat, dog"),
            "{err}"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let mut patch = patch();
        assert_eq!(
            patch.set(3, "colour", 1).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            patch.set(3, "animal", 1.5).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(
            patch
                .add_column(schema::weight("weight"), 1.0)
                .unwrap_err()
                .kind(),
            ErrorKind::Conflict
        );
        assert_eq!(
            patch
                .add_column(schema::weight("_rowid"), 1.0)
                .unwrap_err()
                .kind(),
            ErrorKind::Invalid
        );
        assert!(patch.is_empty());
    }

    #[test]
    fn a_batch_with_one_bad_column_sets_nothing() {
        let mut patch = patch();
        let ids: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
        let ones: ArrayRef = Arc::new(Int32Array::from(vec![1, 1]));
        let good = RecordBatch::try_from_iter([
            ("_rowid", Arc::clone(&ids)),
            ("animal", Arc::clone(&ones)),
        ])
        .unwrap();
        let bad = RecordBatch::try_from_iter([
            ("_rowid", ids),
            ("animal", Arc::clone(&ones)),
            ("colour", ones),
        ])
        .unwrap();
        assert_eq!(
            patch.set_batch(&bad).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(patch.is_empty());
        patch.set_batch(&good).unwrap();
        assert_eq!(patch.changes().unwrap().cells.len(), 1);
    }
}
