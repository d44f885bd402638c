//! What differs between two revisions: cells, rows, columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, UInt64Array};
use arrow::compute::take;

use super::Table;
use super::snapshot::{Snapshot, read_cells};
use super::state::history;
use crate::error::Result;
use crate::id::{ColumnName, Revision};
use crate::schema::field_id;

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
}

/// The cells of one column that differ.
#[derive(Clone, Debug)]
pub struct CellsDiff {
    /// The column.
    pub column: ColumnName,
    /// The rows, ascending.
    pub row_ids: Vec<u64>,
    /// One value a row: as `from` has it.
    pub old: ArrayRef,
    /// One value a row: as `to` has it.
    pub new: ArrayRef,
}

impl Table {
    /// What changed from one revision to the other; `from` may be the later one.
    ///
    /// Only cells that a revision between the two set are read and compared, and a cell that was set
    /// back is no difference. Columns added between the two are named; their cells are not listed.
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
        let touched = self.touched(from.min(to), from.max(to)).await?;
        let mut cells = Vec::new();
        for (column, row_ids) in touched {
            let in_both = |id: &u64| old.contains(*id) && new.contains(*id);
            let row_ids: Vec<u64> = row_ids.into_iter().filter(in_both).collect();
            let name = |snapshot: &Snapshot| {
                let field = snapshot
                    .schema()
                    .fields()
                    .iter()
                    .find(|field| field_id(field) == Some(column));
                field.map(|field| field.name().clone())
            };
            if let (Some(before), Some(after)) = (name(&old), name(&new)) {
                let before = old.take(&row_ids, &[&before]).await?;
                let values = new.take(&row_ids, &[&after]).await?;
                cells.extend(different(
                    after.parse()?,
                    &row_ids,
                    before.column(0),
                    values.column(0),
                )?);
            }
        }
        cells.sort_by(|a, b| a.column.cmp(&b.column));
        Ok(Diff {
            cells,
            rows_added: rows_missing(&new, &old),
            rows_dropped: rows_missing(&old, &new),
            columns_added: columns_missing(&new, &old)?,
            columns_dropped: columns_missing(&old, &new)?,
        })
    }

    /// The cells set by the revisions after `low` up to `high`: rows by column id.
    async fn touched(&self, low: Revision, high: Revision) -> Result<BTreeMap<i32, BTreeSet<u64>>> {
        let mut touched: BTreeMap<i32, BTreeSet<u64>> = BTreeMap::new();
        let entries = self.refresh().await?;
        for loaded in history(self.name().as_str(), &entries, high)? {
            if loaded.entry.revision > low.0 {
                for set in &loaded.entry.cells_set {
                    let (ids, _) = read_cells(self.place(), set).await?;
                    touched.entry(set.column).or_default().extend(ids);
                }
            }
        }
        Ok(touched)
    }
}

/// The rows whose values differ; nothing if none do.
fn different(
    column: ColumnName,
    row_ids: &[u64],
    old: &ArrayRef,
    new: &ArrayRef,
) -> Result<Option<CellsDiff>> {
    let differs = |at: &usize| old.slice(*at, 1).to_data() != new.slice(*at, 1).to_data();
    let positions: Vec<u64> = (0..row_ids.len())
        .filter(differs)
        .map(|at| at as u64)
        .collect();
    if positions.is_empty() {
        return Ok(None);
    }
    let positions = UInt64Array::from(positions);
    let ids = take(&UInt64Array::from(row_ids.to_vec()), &positions, None)?;
    let ids = UInt64Array::from(ids.to_data());
    Ok(Some(CellsDiff {
        column,
        row_ids: ids.values().to_vec(),
        old: take(old, &positions, None)?,
        new: take(new, &positions, None)?,
    }))
}

/// The rows of `snapshot` that `other` does not have.
fn rows_missing(snapshot: &Snapshot, other: &Snapshot) -> Vec<u64> {
    if Arc::ptr_eq(snapshot.resolved(), other.resolved()) {
        return Vec::new();
    }
    snapshot
        .row_ids()
        .into_iter()
        .filter(|row_id| !other.contains(*row_id))
        .collect()
}

fn columns_missing(snapshot: &Snapshot, other: &Snapshot) -> Result<Vec<ColumnName>> {
    let has = |id: Option<i32>| {
        other
            .schema()
            .fields()
            .iter()
            .any(|field| field_id(field) == id)
    };
    let missing = snapshot
        .schema()
        .fields()
        .iter()
        .filter(|field| !has(field_id(field)));
    missing.map(|field| field.name().parse()).collect()
}
