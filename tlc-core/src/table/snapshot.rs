//! The state of a table at a revision: what everything reads from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use roaring::RoaringTreemap;
use tokio::sync::OnceCell;

use super::file::{DataFile, below};
use super::scan::{Scan, ScanOptions};
use super::state::{Loaded, State};
use super::{Table, lock};
use crate::blob;
use crate::error::{Error, Result};
use crate::format::table::{CellsSet, RowsDropped};
use crate::id::{ROWID, Revision};
use crate::patch::Patch;
use crate::patch::overlay::Overlay;
use crate::schema;
use crate::store::{self, Place};

/// How many edit files are read at the same time.
const READS_MAX: usize = 32;

/// A table at one revision. Never changes; cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    table: Table,
    resolved: Arc<Resolved>,
}

/// A revision with what its reads share: dropped rows, files, and each edited column's overlay.
pub(crate) struct Resolved {
    pub(crate) revision: Revision,
    pub(crate) state: State,
    pub(crate) dropped: RoaringTreemap,
    pub(crate) files: Vec<Arc<DataFile>>,
    /// By column id; read when the column first is.
    overlays: BTreeMap<i32, OnceCell<Option<Arc<Overlay>>>>,
}

impl Snapshot {
    pub(crate) fn new(table: Table, resolved: Arc<Resolved>) -> Self {
        Self { table, resolved }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.resolved.revision
    }

    /// The columns, with their roles in the field metadata; without `_rowid`.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.resolved.state.schema
    }

    /// The number of rows, from metadata alone.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        let rows: u64 = self
            .resolved
            .files
            .iter()
            .map(|file| file.rows().rows)
            .sum();
        rows - self.resolved.dropped.len().min(rows)
    }

    /// An empty patch against this snapshot.
    #[must_use]
    pub fn patch(&self) -> Patch {
        Patch::new(self.revision(), Arc::clone(self.schema()))
    }

    /// Whether the row is in the table at this revision.
    #[must_use]
    pub fn contains(&self, row_id: u64) -> bool {
        self.resolved.file_of(row_id).is_some() && !self.resolved.dropped.contains(row_id)
    }

    /// The ids of all rows, ascending. Reads nothing; costs eight bytes a row.
    #[must_use]
    pub fn row_ids(&self) -> Vec<u64> {
        let dropped = &self.resolved.dropped;
        let ranges = self
            .resolved
            .files
            .iter()
            .map(|file| file.rows().first_row_id..file.rows().first_row_id + file.rows().rows);
        ranges
            .flatten()
            .filter(|row_id| dropped.is_empty() || !dropped.contains(*row_id))
            .collect()
    }

    /// Streams the rows in the order of their ids.
    ///
    /// Only the projected columns are read, from only the files that hold the rows asked for; a row
    /// limit stops the reading. Memory is bounded by a batch and a row group, not by the table.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column. Errors of files
    /// arrive as items of the stream.
    ///
    /// ```
    /// # use tlc_core::{Project, ScanOptions, block_on};
    /// # block_on(async {
    /// # let project = Project::open("memory:///", "zoo").await?;
    /// # if let Ok(table) = project.table("train").await {
    /// let options = ScanOptions::new().columns(["_rowid", "label"]).rows_max(100);
    /// let scan = table.head().await?.scan(options)?;
    /// # }
    /// # Ok::<(), tlc_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn scan(&self, options: impl Into<ScanOptions>) -> Result<Scan> {
        Scan::new(self, &options.into())
    }

    /// Reads a whole scan into one batch. For results that fit in memory.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub async fn read(&self, options: impl Into<ScanOptions> + Send) -> Result<RecordBatch> {
        let scan = self.scan(options)?;
        let schema = Arc::clone(scan.schema());
        let batches: Vec<RecordBatch> = scan.try_collect().await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    /// The bytes that `columns` take in memory, about: uncompressed sizes from the footers.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column; those of files.
    pub async fn column_bytes(&self, columns: &[&str]) -> Result<u64> {
        let mut bytes = 0;
        for column in columns.iter().filter(|column| **column != ROWID) {
            let field = self
                .schema()
                .field(schema::column_index(self.schema(), column)?);
            for file in &self.resolved.files {
                let opened = file.open().await?;
                let position = schema::field_id(field).and_then(|id| opened.columns.get(&id));
                bytes += position.map_or(0, |position| opened.uncompressed(*position));
            }
        }
        Ok(bytes)
    }

    pub(crate) fn resolved(&self) -> &Arc<Resolved> {
        &self.resolved
    }

    pub(crate) fn place(&self) -> &Place {
        self.table.place()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Snapshot({}/{}@{})",
            self.table.project(),
            self.table.name(),
            self.revision()
        )
    }
}

impl Resolved {
    /// Resolves the entries that lead to `revision`. Reads the bitmaps of dropped rows, no data.
    pub(crate) async fn load(
        table: &Table,
        revision: Revision,
        history: &[Arc<Loaded>],
    ) -> Result<Self> {
        let state = State::fold(table.name().as_str(), history)?;
        let mut dropped = RoaringTreemap::new();
        for rows in &state.dropped {
            dropped |= read_dropped(table.place(), rows).await?;
        }
        Self::assemble(table, revision, state, dropped)
    }

    /// Puts together what is known of `revision`. Reads nothing.
    pub(crate) fn assemble(
        table: &Table,
        revision: Revision,
        state: State,
        dropped: RoaringTreemap,
    ) -> Result<Self> {
        let files = state
            .files
            .iter()
            .map(|rows| data_file(table, rows))
            .collect::<Result<Vec<_>>>()?;
        let overlays = state
            .edits
            .keys()
            .map(|column| (*column, OnceCell::new()))
            .collect();
        Ok(Self {
            revision,
            state,
            dropped,
            files,
            overlays,
        })
    }

    /// The file that holds a row, whether or not the row was dropped.
    pub(crate) fn file_of(&self, row_id: u64) -> Option<usize> {
        let after = self
            .files
            .partition_point(|file| file.rows().first_row_id <= row_id);
        let at = after.checked_sub(1)?;
        let rows = self.files.get(at)?.rows();
        (row_id - rows.first_row_id < rows.rows).then_some(at)
    }

    /// All edits of a column as one overlay; `None` if no cell of it was ever set.
    ///
    /// The first call reads the column's edit files at the same time; later ones cost nothing.
    pub(crate) async fn overlay(&self, place: &Place, column: i32) -> Result<Option<Arc<Overlay>>> {
        let (Some(cell), Some(edits)) = (self.overlays.get(&column), self.state.edits.get(&column))
        else {
            return Ok(None);
        };
        let load = || async {
            let field = self
                .state
                .schema
                .fields()
                .iter()
                .find(|field| schema::field_id(field) == Some(column));
            let field = field.ok_or_else(|| {
                Error::corrupt(format!(
                    "cells are set in a column {column} that the table does not have"
                ))
            })?;
            let reads: Vec<_> = edits.iter().map(|edit| read_cells(place, edit)).collect();
            let chunks: Vec<(Vec<u64>, ArrayRef)> = stream::iter(reads)
                .buffered(READS_MAX)
                .try_collect()
                .await?;
            let fitted = chunks
                .into_iter()
                .map(|(ids, values)| Ok((ids, schema::fit(&values, field)?)));
            Ok(Overlay::fold(&fitted.collect::<Result<Vec<_>>>()?)?.map(Arc::new))
        };
        cell.get_or_try_init(load).await.cloned()
    }
}

/// The file's handle, shared by all snapshots of the table.
fn data_file(table: &Table, rows: &crate::format::table::RowsAdded) -> Result<Arc<DataFile>> {
    let key = format!("{}@{}", rows.file, rows.first_row_id);
    let mut files = lock(&table.inner.files);
    if let Some(file) = files.get(&key) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(DataFile::new(table.place(), rows)?);
    files.insert(key, Arc::clone(&file));
    Ok(file)
}

/// Reads the row ids and values that one revision set in one column.
pub(crate) async fn read_cells(place: &Place, cells: &CellsSet) -> Result<(Vec<u64>, ArrayRef)> {
    let bytes = read_file(place, &cells.file).await?;
    let wrong = |err: Error| err.context(format!("cannot read {}", cells.file));
    let batch = blob::decode_small(bytes).map_err(wrong)?;
    let ids = batch
        .column_by_name(ROWID)
        .and_then(|ids| ids.as_any().downcast_ref::<UInt64Array>());
    match (ids, batch.column_by_name(VALUE)) {
        (Some(ids), Some(values))
            if batch.num_rows() as u64 == cells.cells && ids.null_count() == 0 =>
        {
            Ok((ids.values().to_vec(), Arc::clone(values)))
        }
        _ => Err(Error::corrupt(format!(
            "{} does not hold the {} cells that the log says",
            cells.file, cells.cells
        ))),
    }
}

/// The column of an edit file that holds the new values.
pub(crate) const VALUE: &str = "value";

/// Reads the ids of the rows that one revision dropped.
pub(crate) async fn read_dropped(place: &Place, dropped: &RowsDropped) -> Result<RoaringTreemap> {
    let bytes = read_file(place, &dropped.file).await?;
    let rows = RoaringTreemap::deserialize_from(bytes.as_ref()).map_err(|err| {
        Error::corrupt(format!("{} is not a bitmap of row ids", dropped.file)).with_source(err)
    })?;
    if rows.len() != dropped.rows {
        return Err(Error::corrupt(format!(
            "{} has {} row ids, but the log says {}",
            dropped.file,
            rows.len(),
            dropped.rows
        )));
    }
    Ok(rows)
}

async fn read_file(place: &Place, name: &str) -> Result<bytes::Bytes> {
    let found = store::read(&*place.store, &below(place, name)?).await?;
    found.ok_or_else(|| Error::corrupt(format!("{name}, which the log names, is missing")))
}
