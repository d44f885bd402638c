//! What differs between two revisions: cells, rows, columns.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::FieldRef;

use super::Table;
use super::rows::rows_between;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::id::{ColumnName, Revision};
use crate::patch::columns::find;
use crate::patch::merge::Changes;

/// The difference of two revisions of one table.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Cells of rows that both have, whose values differ; by column name.
    pub cells: Vec<CellsDiff>,
    /// Rows that only the later one has, ascending.
    pub rows_added: Vec<u64>,
    /// Rows that only the earlier one has, ascending.
    pub rows_dropped: Vec<u64>,
    /// Columns that only the later one has.
    pub columns_added: Vec<ColumnName>,
    /// Columns that only the earlier one has.
    pub columns_dropped: Vec<ColumnName>,
    /// Columns that both have, with another name, role or classes.
    pub columns_changed: Vec<ColumnDiff>,
}

/// The cells of one column that differ.
#[derive(Clone, Debug)]
pub struct CellsDiff {
    /// The column, by its later name.
    pub column: ColumnName,
    /// The rows, ascending.
    pub row_ids: Vec<u64>,
    /// One value a row: as `from` has it.
    pub old: ArrayRef,
    /// One value a row: as `to` has it.
    pub new: ArrayRef,
}

/// A column whose name, role or classes differ.
#[derive(Clone, Debug)]
pub struct ColumnDiff {
    /// As the earlier one has it.
    pub old: FieldRef,
    /// As the later one has it.
    pub new: FieldRef,
}

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
            && self.rows_added.is_empty()
            && self.rows_dropped.is_empty()
            && self.columns_added.is_empty()
            && self.columns_dropped.is_empty()
            && self.columns_changed.is_empty()
    }
}

impl Table {
    /// What changed from one revision to the other, of whatever branches; `from` may be the later one.
    ///
    /// Only cells that a revision between the two set are read and compared, and a cell that was set
    /// back is no difference. Columns that only one has are named; their cells are not listed.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub async fn diff(
        &self,
        from: impl Into<Revision> + Send,
        to: impl Into<Revision> + Send,
    ) -> Result<Diff> {
        let (from, to) = (from.into(), to.into());
        let (old, new) = (self.at(from).await?, self.at(to).await?);
        let (mut cells, added, dropped) = match self.compared(&old, &new).await? {
            Some(cells) => {
                let (added, dropped) = rows_between(&old, &new).await?;
                (cells, added, dropped)
            }
            None => {
                let changes = self.changes(&old, &new).await?;
                let cells = self.cells_changed(&old, &new, &changes).await?;
                (cells, changes.added, changes.dropped)
            }
        };
        cells.sort_by(|a, b| a.column.cmp(&b.column));
        Ok(Diff {
            cells,
            rows_added: added.iter().collect(),
            rows_dropped: dropped.iter().collect(),
            columns_added: columns_missing(&new, &old)?,
            columns_dropped: columns_missing(&old, &new)?,
            columns_changed: columns_changed(&old, &new),
        })
    }

    /// Of the cells that changes set, those whose values differ.
    async fn cells_changed(
        &self,
        old: &Snapshot,
        new: &Snapshot,
        changes: &Changes,
    ) -> Result<Vec<CellsDiff>> {
        let mut cells = Vec::new();
        for (column, overlay) in &changes.cells {
            let state = |snapshot: &Snapshot| snapshot.resolved().state.field(*column).cloned();
            let (Some(_), Some(field)) = (state(old), state(new)) else {
                continue;
            };
            let Some(after) = overlay.filtered(|row_id| old.contains(row_id))? else {
                continue;
            };
            if let Some(before) = self.values(old, *column, after.row_ids()).await? {
                let name = field.name().parse()?;
                let found = different(name, after.row_ids(), before.values(), after.values())?;
                let aliases = &new.resolved().aliases;
                if let Some(cells_diff) = found {
                    cells.push(CellsDiff {
                        old: aliases.expand_array(&cells_diff.old, &field)?,
                        new: aliases.expand_array(&cells_diff.new, &field)?,
                        ..cells_diff
                    });
                }
            }
        }
        Ok(cells)
    }
}

/// The rows whose values differ; nothing if none do. Nulls are the same, and so are NaNs.
pub(super) fn different(
    column: ColumnName,
    row_ids: &[u64],
    old: &ArrayRef,
    new: &ArrayRef,
) -> Result<Option<CellsDiff>> {
    let differs = differing(old, new);
    if differs.true_count() == 0 {
        return Ok(None);
    }
    let ids = differs.values().set_indices();
    let ids = ids.filter_map(|at| row_ids.get(at).copied());
    Ok(Some(CellsDiff {
        column,
        row_ids: ids.collect(),
        old: filter(old, &differs)?,
        new: filter(new, &differs)?,
    }))
}

/// Whether each value is another.
fn differing(old: &ArrayRef, new: &ArrayRef) -> BooleanArray {
    if let Ok(differs) = distinct(old, new) {
        return differs;
    }
    // Nested values have an order, and some others are compared by what they hold.
    let order = make_comparator(old, new, SortOptions::default());
    let differs = |at| match &order {
        Ok(order) => order(at, at).is_ne(),
        Err(_) => old.slice(at, 1).to_data() != new.slice(at, 1).to_data(),
    };
    BooleanArray::new(BooleanBuffer::collect_bool(old.len(), differs), None)
}

fn columns_missing(snapshot: &Snapshot, other: &Snapshot) -> Result<Vec<ColumnName>> {
    let fields = snapshot.schema().fields().iter();
    let missing = fields.filter(|field| find(other.schema(), field).is_none());
    missing.map(|field| field.name().parse()).collect()
}

fn columns_changed(old: &Snapshot, new: &Snapshot) -> Vec<ColumnDiff> {
    let fields = new.schema().fields().iter();
    let pairs = fields.filter_map(|new| Some((find(old.schema(), new)?, new)));
    pairs
        .filter(|(old, new)| old != new)
        .map(|(old, new)| ColumnDiff {
            old: Arc::clone(old),
            new: Arc::clone(new),
        })
        .collect()
}
