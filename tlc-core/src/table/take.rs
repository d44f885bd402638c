//! Reading rows by id, in any order, for loaders: only the pages that hold them are decoded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array, new_empty_array};
use arrow::compute::{concat, concat_batches, take, take_record_batch};
use arrow::datatypes::Field;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::file::{DataFile, Opened};
use super::scan::{Decoded, Decoding, Overlays, Projection, runs, select};
use super::snapshot::Snapshot;
use super::state::span;
use crate::error::{Error, Result};
use crate::schema::fit;

/// A row that is looked for costs about as much as this many that are decoded in order.
const WHOLE_COST: u64 = 64;

/// How many files are read at the same time.
const READS_MAX: usize = 8;

impl Snapshot {
    /// Reads rows by id: one row of the answer for each id, in the order asked, repeats included.
    ///
    /// Reads, of each file that holds one of the rows, the pages they are on; a row costs about
    /// 8 KiB of a column, and up to 32 KiB of a dictionary for all rows of a group, however large the table.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column or a row that is
    /// not in the snapshot, naming it.
    pub async fn take(&self, row_ids: &[u64], columns: &[&str]) -> Result<RecordBatch> {
        let names: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let aliases = self.resolved().aliases.clone();
        let projection = Projection::new(self.schema(), Some(&names), aliases)?;
        let mut sorted = row_ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let by_file = self.by_file(&sorted)?;
        let overlays = projection.overlays(self.table(), self.resolved()).await?;
        let parts: Vec<_> = by_file
            .iter()
            .map(|(file, ids)| self.take_from(*file, ids, &projection, &overlays))
            .collect();
        let parts: Vec<RecordBatch> = stream::iter(parts)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        let found = concat_batches(&projection.schema, &parts)?;
        if sorted == row_ids {
            return Ok(found);
        }
        let positions = row_ids
            .iter()
            .filter_map(|id| sorted.binary_search(id).ok())
            .map(|at| at as u64);
        Ok(take_record_batch(
            &found,
            &UInt64Array::from_iter_values(positions),
        )?)
    }

    /// The values of a column of numbers of some rows, ascending: by decoding it whole, where that is no
    /// more work than to look for the rows, or it was done before. Else, or for another type, `None`.
    pub(super) async fn numbers(
        &self,
        column: i32,
        field: &Field,
        row_ids: &[u64],
    ) -> Result<Option<ArrayRef>> {
        let Some(base) = self.base_numbers(column, field, row_ids).await? else {
            return Ok(None);
        };
        Ok(Some(
            match self.resolved().overlay(self.table(), column).await? {
                Some(overlay) => overlay.apply(row_ids, &base)?,
                None => base,
            },
        ))
    }

    /// The same as the files have them, without edits.
    pub(super) async fn base_numbers(
        &self,
        column: i32,
        field: &Field,
        row_ids: &[u64],
    ) -> Result<Option<ArrayRef>> {
        if !field.data_type().is_primitive() {
            return Ok(None);
        }
        if row_ids.is_empty() {
            return Ok(Some(new_empty_array(field.data_type())));
        }
        let mut parts: Vec<ArrayRef> = Vec::new();
        for (file, ids) in self.by_file(row_ids)? {
            let Some(file) = self.resolved().files.get(file) else {
                return Ok(None);
            };
            let is_worth_it = ids.len() as u64 * WHOLE_COST >= file.rows().rows;
            let Some(whole) = self.whole(file, column, field, is_worth_it).await? else {
                return Ok(None);
            };
            let first = file.rows().first_row_id;
            let positions = UInt64Array::from_iter_values(ids.iter().map(|id| id - first));
            parts.push(take(&whole, &positions, None)?);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(Some(concat(&parts)?))
    }

    /// A column of a file as it is there; `None` if it is not kept and not to be decoded either.
    async fn whole(
        &self,
        file: &Arc<DataFile>,
        column: i32,
        field: &Field,
        is_worth_it: bool,
    ) -> Result<Option<ArrayRef>> {
        if let Some(kept) = self.table().recent().get(file, column) {
            return Ok(Some(fit(&kept, field)?));
        }
        // A file in place is asked each time whether it is still the same.
        if !is_worth_it || file.rows().in_place.is_some() {
            return Ok(None);
        }
        let opened = file.open().await?;
        let Some(root) = opened.columns.get(&column) else {
            return Ok(None);
        };
        let mask = ProjectionMask::roots(opened.metadata.parquet_schema(), [*root]);
        let reader = file.reader()?;
        let builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(reader, opened.metadata.clone());
        let (schema, batches) = file.decode(builder.with_projection(mask))?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let whole = concat_batches(&schema, &batches)?;
        if whole.num_rows() as u64 != file.rows().rows {
            return Err(Error::corrupt(format!(
                "{} gave {} of {} rows",
                file.rows().file,
                whole.num_rows(),
                file.rows().rows
            )));
        }
        self.table().recent().put(file, column, whole.column(0));
        Ok(Some(fit(whole.column(0), field)?))
    }

    /// The rows by the file that holds them.
    fn by_file<'a>(&self, sorted: &'a [u64]) -> Result<Vec<(usize, &'a [u64])>> {
        let resolved = self.resolved();
        let missing = |row_id: u64| {
            let (revision, table) = (self.revision(), self.table().name());
            Error::not_found(format!(
                "revision {revision} of table {table} has no row {row_id}"
            ))
        };
        if !resolved.dropped.is_empty()
            && let Some(row_id) = sorted.iter().find(|id| resolved.dropped.contains(**id))
        {
            return Err(missing(*row_id));
        }
        let mut by_file = Vec::new();
        let mut rest = sorted;
        while let Some(first) = rest.first() {
            let at = resolved.file_of(*first).ok_or_else(|| missing(*first))?;
            let file = resolved.state.files.get(at);
            let rows = file.map_or(0..0, |file| span(&file.file));
            let (own, later) = rest.split_at(rest.partition_point(|id| *id < rows.end).max(1));
            by_file.push((at, own));
            rest = later;
        }
        Ok(by_file)
    }

    async fn take_from(
        &self,
        file: usize,
        row_ids: &[u64],
        projection: &Projection,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        let resolved = self.resolved();
        let file = resolved
            .files
            .get(file)
            .ok_or_else(|| Error::corrupt("a file of rows is missing"))?;
        let opened = file.open().await?;
        let decoding = Decoding::new(opened, &[projection]);
        let batch = match decoding.roots.is_empty() {
            true => None,
            false => Some(decode(file, opened, decoding.mask(opened), row_ids).await?),
        };
        let decoded = batch.as_ref().map(|batch| decoding.of(batch));
        let decoded = decoded.unwrap_or_else(Decoded::nothing);
        projection.assemble(row_ids, &decoded, &resolved.state.defaults, overlays)
    }
}

/// Decodes the rows `row_ids`, ascending, of one file.
async fn decode(
    file: &Arc<DataFile>,
    opened: &Opened,
    mask: ProjectionMask,
    row_ids: &[u64],
) -> Result<RecordBatch> {
    let first_row_id = file.rows().first_row_id;
    let rows = runs(row_ids.iter().map(|id| id - first_row_id));
    let (groups, selection) = select(opened.group_rows(), &rows);
    let builder =
        ParquetRecordBatchStreamBuilder::new_with_metadata(file.reader()?, opened.metadata.clone());
    let builder = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_row_selection(selection)
        .with_batch_size(row_ids.len().max(1));
    let (schema, batches) = file.decode(builder)?;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let batch = concat_batches(&schema, &batches)?;
    if batch.num_rows() != row_ids.len() {
        return Err(Error::corrupt(format!(
            "{} gave {} of {} rows",
            file.rows().file,
            batch.num_rows(),
            row_ids.len()
        )));
    }
    Ok(batch)
}
