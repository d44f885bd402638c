//! What a revision changes: cells, elements of cells, rows, columns and their meaning.
//!
//! A [`Patch`] is made against one snapshot, in memory, and commits as one revision. It checks names
//! and types as it is built; that its rows exist is checked when it is committed. How patches read
//! ([`overlay`]), when two changes exclude each other ([`merge`] for rows and cells, [`columns`] for
//! the schema, [`elements`] inside of a cell) are plain functions.
//!
//! Columns are known by their ids, so that a patch survives a renaming. Columns that it adds have
//! negative ids until the revision is made.

pub(crate) mod classes;
pub(crate) mod columns;
pub(crate) mod elements;
pub(crate) mod merge;
pub(crate) mod overlay;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use roaring::RoaringTreemap;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ColumnName, ROWID, Revision};
use crate::schema::{self, Role, field_id, with_field_id};
use elements::ElementEdit;
use overlay::Overlay;
pub use value::Value;

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
    /// The columns of the base.
    base_schema: SchemaRef,
    /// The columns as the patch leaves them.
    schema: SchemaRef,
    /// By column id, as those below.
    cells: BTreeMap<i32, Vec<(Vec<u64>, ArrayRef)>>,
    elements: BTreeMap<i32, Vec<ElementEdit>>,
    /// Classes whose cells become another's: `(from, into)`.
    class_merges: BTreeMap<i32, Vec<(i64, i64)>>,
    appended: Vec<RecordBatch>,
    staged: Vec<StagedFile>,
    dropped: RoaringTreemap,
    added: BTreeMap<i32, ArrayRef>,
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
    pub(crate) fn new(base: Revision, schema: &SchemaRef) -> Self {
        Self {
            base,
            base_schema: Arc::clone(schema),
            schema: Arc::clone(schema),
            cells: BTreeMap::new(),
            elements: BTreeMap::new(),
            class_merges: BTreeMap::new(),
            appended: Vec::new(),
            staged: Vec::new(),
            dropped: RoaringTreemap::new(),
            added: BTreeMap::new(),
        }
    }

    /// Sets one cell. Of two values for a cell the later counts.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column,
    /// [`ErrorKind::Invalid`] for a value that does not fit it.
    pub fn set(&mut self, row_id: u64, column: &str, value: impl Into<Value>) -> Result<()> {
        self.set_column(column, &[row_id], &value.into().0)
    }

    /// Sets cells of one column: `values[i]` in the row `row_ids[i]`.
    ///
    /// # Errors
    /// As [`Self::set`]; also [`ErrorKind::Invalid`] if the lengths differ.
    pub fn set_column(&mut self, column: &str, row_ids: &[u64], values: &ArrayRef) -> Result<()> {
        if row_ids.len() != values.len() {
            let (ids, values) = (row_ids.len(), values.len());
            return Err(Error::invalid(format!(
                "column {column:?} is given {values} values for {ids} row ids"
            )));
        }
        let (id, field) = self.column(column)?;
        let values = schema::fit(values, field)?;
        self.cells
            .entry(id)
            .or_default()
            .push((row_ids.to_vec(), values));
        Ok(())
    }

    /// Sets the cells of every column of `batch` in the rows that its `_rowid` names.
    ///
    /// # Errors
    /// As [`Self::set_column`]; also [`ErrorKind::Invalid`] if there is no
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

    /// Sets one element of a list, such as box 7 of an image; it is appended if the list has no
    /// element of that id. Others may set other elements of the same cell at the same time.
    ///
    /// The column's lists hold structs with a whole-number field `id`, which tells elements apart.
    /// `value` is such a struct; its `id` is replaced by `element`.
    ///
    /// # Errors
    /// As [`Self::set`]; [`ErrorKind::Invalid`] if the column's elements
    /// have no ids.
    pub fn set_element(
        &mut self,
        row_id: u64,
        column: &str,
        element: i64,
        value: impl Into<Value>,
    ) -> Result<()> {
        let (id, field) = self.column(column)?;
        let value = elements::with_id(&value.into().0, element, field)?;
        let edit = ElementEdit {
            row_id,
            element,
            value: Some(value),
        };
        self.elements.entry(id).or_default().push(edit);
        Ok(())
    }

    /// Takes one element out of a list. If it is not there, nothing changes.
    ///
    /// # Errors
    /// As [`Self::set_element`].
    pub fn drop_element(&mut self, row_id: u64, column: &str, element: i64) -> Result<()> {
        let (id, field) = self.column(column)?;
        elements::check(field)?;
        let edit = ElementEdit {
            row_id,
            element,
            value: None,
        };
        self.elements.entry(id).or_default().push(edit);
        Ok(())
    }

    /// Appends rows; they get the next free row ids when the patch is committed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the column that is missing, unknown
    /// or does not fit. Columns that this patch adds are not part of appended rows.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        self.appended
            .push(schema::conform(rows, &self.base_schema)?);
        Ok(())
    }

    /// Drops rows. Their ids are never given again.
    pub fn drop_rows(&mut self, row_ids: &[u64]) {
        self.dropped.extend(row_ids.iter().copied());
    }

    /// Adds a column that has `default` in every row. The default is stored once, not in the rows.
    /// Other values are set with [`Self::set_column`] by the same patch.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if there is a column of that name;
    /// [`ErrorKind::Invalid`] if the name, role or default is impossible.
    pub fn add_column(
        &mut self,
        field: impl Into<FieldRef>,
        default: impl Into<Value>,
    ) -> Result<()> {
        let field = schema::for_column(&field.into())?;
        self.check_free(field.name())?;
        let default = schema::fit(&default.into().0, &field)?;
        let id = self.added.keys().next().map_or(-1, |lowest| lowest - 1);
        let fields = self.schema.fields().iter().cloned();
        let fields: Vec<FieldRef> = fields
            .chain([Arc::new(with_field_id(&field, id))])
            .collect();
        self.schema = Arc::new(Schema::new(fields));
        self.added.insert(id, default);
        Ok(())
    }

    /// Drops a column. Its values stay in earlier revisions, and come back if this one is reverted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column;
    /// [`ErrorKind::Invalid`] if it is the last one.
    pub fn drop_column(&mut self, column: &str) -> Result<()> {
        let (id, _) = self.column(column)?;
        if self.schema.fields().len() == 1 {
            return Err(Error::invalid(format!(
                "{column:?} is the last column; a table needs one"
            )));
        }
        let kept = self
            .schema
            .fields()
            .iter()
            .filter(|field| field_id(field) != Some(id));
        self.schema = Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()));
        self.cells.remove(&id);
        self.elements.remove(&id);
        self.class_merges.remove(&id);
        self.added.remove(&id);
        Ok(())
    }

    /// Gives a column another name. Its history follows it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column,
    /// [`ErrorKind::Conflict`] if the new name is taken,
    /// [`ErrorKind::Invalid`] if it cannot be one.
    pub fn rename_column(&mut self, column: &str, name: &str) -> Result<()> {
        let _checked: ColumnName = name.parse()?;
        self.check_free(name)?;
        self.change_field(column, |field| Ok(field.clone().with_name(name)))
    }

    /// Says what a column means, or with `None` that it is an ordinary one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column,
    /// [`ErrorKind::Invalid`] if its type does not fit the role.
    pub fn set_role(&mut self, column: &str, role: Option<Role>) -> Result<()> {
        self.change_field(column, |field| match role {
            Some(role) => schema::checked_role(schema::with_role(field.clone(), role)),
            None => Ok(schema::without_role(field.clone())),
        })
    }

    /// Gives a class of a label another name. Cells hold its number, and stay as they are.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column or class,
    /// [`ErrorKind::Conflict`] if there is a class of the new name.
    pub fn rename_class(&mut self, column: &str, class: &str, name: &str) -> Result<()> {
        self.change_field(column, |field| classes::renamed(field, class, name))
    }

    /// Adds a class to a label, after the last.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column,
    /// [`ErrorKind::Conflict`] if there is a class of that name.
    pub fn add_class(&mut self, column: &str, name: &str) -> Result<()> {
        self.change_field(column, |field| classes::added(field, name))
    }

    /// Makes one class part of another: its cells become the other's, and its name stands for the
    /// other from now on. Numbers of other classes stay as they are. The column is read when the
    /// patch is committed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column or class,
    /// [`ErrorKind::Invalid`] if both are the same.
    pub fn merge_classes(&mut self, column: &str, class: &str, into: &str) -> Result<()> {
        let (id, field) = self.column(column)?;
        let (from, to) = (
            classes::position(field, class)?,
            classes::position(field, into)?,
        );
        self.change_field(column, |field| classes::merged(field, class, into))?;
        self.class_merges.entry(id).or_default().push((from, to));
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
        let columns = self.schema != self.base_schema || !self.class_merges.is_empty();
        !cells && !rows && self.elements.is_empty() && self.dropped.is_empty() && !columns
    }

    /// The revision that it was made against.
    #[must_use]
    pub fn base(&self) -> Revision {
        self.base
    }

    /// The cells that it sets as whole values, by column id: edits of a column folded into one.
    pub(crate) fn cells(&self) -> Result<BTreeMap<i32, Overlay>> {
        let mut cells = BTreeMap::new();
        for (column, chunks) in &self.cells {
            if let Some(overlay) = Overlay::fold(chunks)? {
                cells.insert(*column, overlay);
            }
        }
        Ok(cells)
    }

    /// The elements that it sets, by column id.
    pub(crate) fn elements(&self) -> &BTreeMap<i32, Vec<ElementEdit>> {
        &self.elements
    }

    /// The classes that become others, by column id.
    pub(crate) fn class_merges(&self) -> &BTreeMap<i32, Vec<(i64, i64)>> {
        &self.class_merges
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

    /// The rows to drop.
    pub(crate) fn dropped(&self) -> &RoaringTreemap {
        &self.dropped
    }

    /// The defaults of the columns to add, by their provisional ids.
    pub(crate) fn added(&self) -> &BTreeMap<i32, ArrayRef> {
        &self.added
    }

    /// The columns of the base.
    pub(crate) fn base_schema(&self) -> &SchemaRef {
        &self.base_schema
    }

    /// The columns as the patch leaves them.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn column(&self, name: &str) -> Result<(i32, &Field)> {
        let schema: &Schema = &self.schema;
        let field = schema.field(schema::column_index(schema, name)?);
        let id =
            field_id(field).ok_or_else(|| Error::corrupt(format!("column {name:?} has no id")))?;
        Ok((id, field))
    }

    fn check_free(&self, name: &str) -> Result<()> {
        match self.schema.field_with_name(name) {
            Err(_) => Ok(()),
            Ok(_) => {
                let message = format!("the table has a column {name:?} already");
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }

    fn change_field(
        &mut self,
        column: &str,
        change: impl FnOnce(&Field) -> Result<Field>,
    ) -> Result<()> {
        let at = schema::column_index(&self.schema, column)?;
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        if let Some(field) = fields.get_mut(at) {
            *field = Arc::new(change(field)?);
        }
        self.schema = Arc::new(Schema::new(fields));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;

    use super::*;
    use crate::error::ErrorKind;

    fn patch() -> Patch {
        let fields = Schema::new(vec![
            schema::label("animal", ["cat", "dog"]),
            schema::weight("weight"),
        ]);
        Patch::new(Revision(4), &schema::for_table(&fields).unwrap())
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
        let set = patch.cells().unwrap().remove(&1).unwrap();
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
        assert_eq!(patch.cells().unwrap().len(), 1);
    }

    #[test]
    fn columns_change_their_name_and_meaning_and_keep_their_id() {
        let mut patch = patch();
        patch.rename_column("animal", "species").unwrap();
        patch.rename_class("species", "dog", "wolf").unwrap();
        patch.add_class("species", "fox").unwrap();
        patch.set(3, "species", "fox").unwrap();
        assert_eq!(patch.cells().unwrap().into_keys().collect::<Vec<_>>(), [1]);
        patch.add_column(schema::text("note"), "").unwrap();
        patch.drop_column("weight").unwrap();
        let columns = patch.schema().fields().iter();
        let columns: Vec<_> = columns
            .map(|field| (field.name().as_str(), field_id(field)))
            .collect();
        assert_eq!(columns, [("species", Some(1)), ("note", Some(-1))]);
        assert_eq!(
            patch.rename_column("note", "species").unwrap_err().kind(),
            ErrorKind::Conflict
        );
        let err = patch.set(1, "weight", 0.0).unwrap_err();
        assert_eq!(
            err.kind(),
            ErrorKind::NotFound,
            "a dropped column takes no values"
        );
        patch.drop_column("note").unwrap();
        assert!(
            patch.drop_column("species").is_err(),
            "the last column stays"
        );
    }

    #[test]
    fn a_role_that_does_not_fit_is_refused() {
        let mut patch = patch();
        assert!(patch.set_role("weight", Some(Role::Image)).is_err());
        patch.set_role("weight", None).unwrap();
        assert!(!patch.is_empty());
        patch.set_role("weight", Some(Role::Weight)).unwrap();
        assert!(patch.is_empty(), "as it was");
    }
}
