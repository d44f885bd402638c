//! Paths that were written before there was an alias for them.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, UInt64Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, UInt64Type};
use futures::TryStreamExt as _;

use super::diff::CellsDiff;
use super::scan::ScanOptions;
use super::snapshot::Snapshot;
use crate::alias::{Aliases, holds_paths};
use crate::error::{Error, Result};
use crate::id::ROWID;

impl Snapshot {
    /// The cells whose paths lie below an alias and are stored without its token: as they are stored,
    /// and as they would be now.
    ///
    /// A patch that sets them to what is `new` changes no value that this reader reads. Costs a scan
    /// of the columns with paths, and memory for the cells found.
    ///
    /// # Errors
    /// Those of [`Self::scan`].
    pub async fn unaliased_paths(&self) -> Result<Vec<CellsDiff>> {
        let fields = self.schema().fields().iter();
        let fields: Vec<&Field> = fields
            .map(AsRef::as_ref)
            .filter(|f| holds_paths(f))
            .collect();
        let aliases = &self.resolved().aliases;
        if aliases.is_empty() || fields.is_empty() {
            return Ok(Vec::new());
        }
        let names = std::iter::once(ROWID).chain(fields.iter().map(|field| field.name().as_str()));
        let mut scan = self.scan(ScanOptions::new().columns(names).stored())?;
        let mut found: Vec<Vec<Cells>> = vec![Vec::new(); fields.len()];
        while let Some(batch) = scan.try_next().await? {
            for (at, (field, found)) in fields.iter().zip(&mut found).enumerate() {
                found.extend(unaliased(&batch, at + 1, field, aliases)?);
            }
        }
        let columns = fields.iter().zip(&found);
        let columns = columns.filter(|(_, cells)| !cells.is_empty());
        columns.map(|(field, cells)| joined(field, cells)).collect()
    }
}

/// Row ids, and for each the value that is stored and the one that would be.
type Cells = (Vec<u64>, ArrayRef, ArrayRef);

/// The cells of one column of a batch that would be stored as something else.
fn unaliased(
    batch: &RecordBatch,
    at: usize,
    field: &Field,
    aliases: &Aliases,
) -> Result<Option<Cells>> {
    let old = batch.column(at);
    let new = aliases.shorten_array(old, field)?;
    if Arc::ptr_eq(old, &new) {
        return Ok(None);
    }
    let row_ids = batch.column(0).as_primitive_opt::<UInt64Type>();
    let row_ids = row_ids.ok_or_else(|| Error::corrupt("a scan of the snapshot lacks row ids"))?;
    let differs = |row: &usize| old.slice(*row, 1).to_data() != new.slice(*row, 1).to_data();
    let rows = (0..batch.num_rows()).filter(differs);
    let rows = UInt64Array::from_iter_values(rows.map(|row| row as u64));
    if rows.is_empty() {
        return Ok(None);
    }
    let ids = take(row_ids, &rows, None)?;
    Ok(Some((
        ids.as_primitive::<UInt64Type>().values().to_vec(),
        take(old, &rows, None)?,
        take(&new, &rows, None)?,
    )))
}

fn joined(field: &Field, cells: &[Cells]) -> Result<CellsDiff> {
    let one = |pick: fn(&Cells) -> &ArrayRef| {
        concat(
            &cells
                .iter()
                .map(|cells| pick(cells).as_ref())
                .collect::<Vec<_>>(),
        )
    };
    Ok(CellsDiff {
        column: field.name().parse()?,
        row_ids: cells
            .iter()
            .flat_map(|(ids, _, _)| ids.iter().copied())
            .collect(),
        old: one(|(_, old, _)| old)?,
        new: one(|(_, _, new)| new)?,
    })
}
