//! Reading rows by id, in any order, for loaders: only the pages that hold them are decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::file::{DataFile, Opened};
use super::scan::{Decoded, Decoding, Overlays, Projection, runs, select};
use super::snapshot::Snapshot;
use crate::error::{Error, Result};

/// How many files are read at the same time.
const READS_MAX: usize = 8;

impl Snapshot {
    /// Reads rows by id: one row of the answer for each id, in the order asked, repeats included.
    ///
    /// Reads, of each file that holds one of the rows, the pages they are on; a row costs about
    /// 64 KiB of a column, however large the table.
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

    /// The rows by the file that holds them.
    fn by_file(&self, sorted: &[u64]) -> Result<BTreeMap<usize, Vec<u64>>> {
        let mut by_file: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for row_id in sorted {
            let file = self
                .resolved()
                .file_of(*row_id)
                .filter(|_| !self.resolved().dropped.contains(*row_id));
            let missing = || {
                let (revision, table) = (self.revision(), self.table().name());
                Error::not_found(format!(
                    "revision {revision} of table {table} has no row {row_id}"
                ))
            };
            by_file
                .entry(file.ok_or_else(missing)?)
                .or_default()
                .push(*row_id);
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
    mask: parquet::arrow::ProjectionMask,
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
