//! The state of a table at a revision: what everything reads from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{Field, SchemaRef};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use roaring::RoaringTreemap;
use tokio::sync::OnceCell;

use super::file::{DataFile, below};
use super::history::Loaded;
use super::scan::{Scan, ScanOptions};
use super::state::{Dropping, Filed, State, span};
use super::{Table, lock};
use crate::alias::Aliases;
use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::{CellsSet, RowIds, RowsAdded};
use crate::id::{ROWID, Revision};
use crate::patch::Patch;
use crate::patch::merge::Changes;
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
    pub(crate) dropped: Arc<RoaringTreemap>,
    pub(crate) files: Arc<Vec<Arc<DataFile>>>,
    pub(crate) aliases: Aliases,
    /// By column id; read when the column first is.
    overlays: BTreeMap<i32, OverlayCell>,
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
        let dropped = &self.resolved.dropped;
        let files = self.resolved.files.iter();
        let rows =
            files.map(|file| file.rows().rows - dropped.range_cardinality(span(file.rows())));
        rows.sum()
    }

    /// An empty patch against this snapshot.
    #[must_use]
    pub fn patch(&self) -> Patch {
        Patch::new(self.revision(), self.schema())
    }

    /// Whether the row is in the table at this revision.
    #[must_use]
    pub fn contains(&self, row_id: u64) -> bool {
        self.resolved.contains(row_id)
    }

    /// Streams the rows in the order of their ids.
    ///
    /// Only the projected columns are read, from only the files that hold the rows asked for; a row
    /// limit stops the reading. Memory is bounded by a batch and a row group, not by the table.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown column. Errors of files
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
    /// [`ErrorKind::NotFound`] for an unknown column; those of files.
    pub async fn column_bytes(&self, columns: &[&str]) -> Result<u64> {
        let mut bytes = 0;
        for column in columns.iter().filter(|column| **column != ROWID) {
            let field = self
                .schema()
                .field(schema::column_index(self.schema(), column)?);
            for file in self.resolved.files.iter() {
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
    /// The state before any revision.
    pub(crate) fn empty(aliases: Aliases) -> Self {
        Self {
            aliases,
            revision: Revision::FIRST,
            state: State::default(),
            dropped: Arc::default(),
            files: Arc::default(),
            overlays: BTreeMap::new(),
        }
    }

    /// Resolves the entries that follow upon this state, oldest first. Reads the bitmaps of rows that
    /// they dropped and restored, no data.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the revision that does not follow.
    pub(crate) async fn followed_by(&self, table: &Table, line: &[Arc<Loaded>]) -> Result<Self> {
        let state = self.fold(table, line)?;
        let known = match line.iter().any(|loaded| loaded.entry.compacted.is_some()) {
            true => 0,
            false => self.state.dropped.len(),
        };
        let mut dropped = match known {
            0 => Arc::default(),
            _ => Arc::clone(&self.dropped),
        };
        for change in state.dropped.iter().skip(known) {
            let rows = Arc::make_mut(&mut dropped);
            match &change.file {
                Dropping::Dropped(file) => *rows |= read_row_ids(table.place(), file).await?,
                Dropping::Restored(file) => *rows -= read_row_ids(table.place(), file).await?,
            }
        }
        let revision = line
            .last()
            .map_or(self.revision, |last| Revision(last.number()));
        self.assemble(table, revision, state, dropped)
    }

    /// The same for one entry whose dropped rows are known. Reads nothing.
    ///
    /// # Errors
    /// As [`Self::followed_by`].
    pub(crate) fn followed_by_own(
        &self,
        table: &Table,
        own: &Arc<Loaded>,
        dropped: Arc<RoaringTreemap>,
    ) -> Result<Self> {
        let state = self.fold(table, std::slice::from_ref(own))?;
        self.assemble(table, Revision(own.number()), state, dropped)
    }

    fn fold(&self, table: &Table, line: &[Arc<Loaded>]) -> Result<State> {
        let mut state = self.state.clone();
        for loaded in line {
            let unfit = |err: Error| {
                let (revision, table) = (loaded.number(), table.name());
                err.context(format!(
                    "revision {revision} of table {table} does not follow from those before it"
                ))
            };
            state.apply(&loaded.entry).map_err(unfit)?;
        }
        Ok(state)
    }

    fn assemble(
        &self,
        table: &Table,
        revision: Revision,
        state: State,
        dropped: Arc<RoaringTreemap>,
    ) -> Result<Self> {
        let files = match Arc::ptr_eq(&state.files, &self.state.files) {
            true => Arc::clone(&self.files),
            false => {
                let files = state
                    .files
                    .iter()
                    .map(|rows| data_file(table, &rows.file, &self.aliases));
                Arc::new(files.collect::<Result<Vec<_>>>()?)
            }
        };
        let overlays = state.edits.iter().map(|(column, edits)| {
            let earlier = self.overlays.get(column).and_then(|cell| cell.known(edits));
            (*column, OverlayCell::new(edits, earlier))
        });
        let overlays = overlays.collect();
        Ok(Self {
            aliases: self.aliases.clone(),
            revision,
            state,
            dropped,
            files,
            overlays,
        })
    }

    /// A state that was folded before, with the ids of all rows dropped by then. What `same`, the
    /// same state in other files, has read already is taken over.
    ///
    /// # Errors
    /// If a file of it cannot be one of the table.
    pub(crate) fn folded(
        table: &Table,
        revision: Revision,
        state: State,
        dropped: RoaringTreemap,
        same: Option<&Self>,
        aliases: Aliases,
    ) -> Result<Self> {
        let mut folded =
            Self::empty(aliases).assemble(table, revision, state, Arc::new(dropped))?;
        for (column, edits) in &folded.state.edits {
            let read = same.and_then(|same| {
                let edits = same.state.edits.get(column)?;
                same.overlays.get(column)?.known(edits)
            });
            let all = same
                .and_then(|same| same.state.edits.get(column))
                .map(Vec::len);
            if let Some((_, overlay)) = read.filter(|(n, _)| Some(*n) == all) {
                let cell = OverlayCell::new(edits, Some((edits.len(), overlay)));
                folded.overlays.insert(*column, cell);
            }
        }
        Ok(folded)
    }

    /// The ids of all rows dropped so far, after some changes to this state.
    pub(crate) fn dropped_after(&self, changes: &Changes) -> Arc<RoaringTreemap> {
        let restored = &changes.added & &*self.dropped;
        if changes.dropped.is_empty() && restored.is_empty() {
            return Arc::clone(&self.dropped);
        }
        Arc::new((&*self.dropped | &changes.dropped) - restored)
    }

    /// The file that holds a row, whether or not the row was dropped.
    pub(crate) fn file_of(&self, row_id: u64) -> Option<usize> {
        self.state.file_of(row_id)
    }

    /// Whether a row is there.
    pub(crate) fn contains(&self, row_id: u64) -> bool {
        self.file_of(row_id).is_some() && !self.dropped.contains(row_id)
    }

    /// All edits of a column as one overlay; `None` if no cell of it was ever set.
    ///
    /// The first call reads the column's edit files at the same time, or those that are newer than
    /// what an earlier snapshot has read; later calls cost nothing. Where files that a checkpoint
    /// folded are gone or damaged, those that the log names are read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a file that is missing or damaged;
    /// those of the store.
    pub(crate) async fn overlay(&self, table: &Table, column: i32) -> Result<Option<Arc<Overlay>>> {
        let (Some(cell), Some(edits)) = (self.overlays.get(&column), self.state.edits.get(&column))
        else {
            return Ok(None);
        };
        let field = self.state.field(column).ok_or_else(|| {
            Error::corrupt(format!(
                "cells are read of a column {column} that the table does not have"
            ))
        })?;
        let read = || async {
            match cell.load(table.place(), edits, field).await {
                Err(err) if err.kind() == ErrorKind::Corrupt => {
                    let by_log = table.edits_by_log(self.revision, column).await?;
                    match by_log == *edits {
                        true => Err(err),
                        false => read_overlay(table.place(), &by_log, field).await,
                    }
                }
                read => read,
            }
        };
        cell.read.get_or_try_init(read).await.cloned()
    }

    /// How many edit files would have to be read for the overlay of a column.
    pub(crate) fn edits_unread(&self, column: i32) -> usize {
        let n_edits = self.state.edits.get(&column).map_or(0, Vec::len);
        match self.overlays.get(&column) {
            Some(cell) if cell.read.initialized() => 0,
            Some(cell) => n_edits - cell.earlier.as_ref().map_or(0, |(known, _)| *known),
            None => n_edits,
        }
    }
}

/// The overlay of one column: nothing, until it is read.
#[derive(Default)]
struct OverlayCell {
    /// The last of the edits that it is made of.
    newest: u64,
    n_edits: usize,
    /// What an earlier snapshot knew: the first so many edits, folded.
    earlier: Option<(usize, Arc<Overlay>)>,
    read: OnceCell<Option<Arc<Overlay>>>,
}

impl OverlayCell {
    fn new(edits: &[Filed<CellsSet>], earlier: Option<(usize, Arc<Overlay>)>) -> Self {
        Self {
            newest: edits.last().map_or(0, |edit| edit.revision),
            n_edits: edits.len(),
            earlier,
            read: OnceCell::new(),
        }
    }

    /// What is read already of `edits`, if these begin with the edits of this cell.
    fn known(&self, edits: &[Filed<CellsSet>]) -> Option<(usize, Arc<Overlay>)> {
        let last = edits.get(self.n_edits.checked_sub(1)?)?;
        if last.revision != self.newest {
            return None;
        }
        match self.read.get() {
            Some(read) => Some((self.n_edits, read.clone()?)),
            None => self.earlier.clone(),
        }
    }

    async fn load(
        &self,
        place: &Place,
        edits: &[Filed<CellsSet>],
        field: &Field,
    ) -> Result<Option<Arc<Overlay>>> {
        let Some((known, earlier)) = &self.earlier else {
            return read_overlay(place, edits, field).await;
        };
        let newer = edits.get(*known..).unwrap_or_default();
        match read_overlay(place, newer, field).await? {
            None => Ok(Some(Arc::clone(earlier))),
            Some(newer) => Ok(Some(Arc::new(earlier.under(&newer)?))),
        }
    }
}

/// Reads edits of one column, folded: the last value of each cell.
pub(super) async fn read_overlay(
    place: &Place,
    edits: &[Filed<CellsSet>],
    field: &Field,
) -> Result<Option<Arc<Overlay>>> {
    let files = edits.iter().map(|edit| &edit.file);
    let chunks = read_edits(place, files, field).await?;
    Ok(Overlay::fold(&chunks)?.map(Arc::new))
}

/// Reads edit files of one column at the same time, in the order given.
pub(crate) async fn read_edits<'a>(
    place: &Place,
    edits: impl Iterator<Item = &'a CellsSet>,
    field: &Field,
) -> Result<Vec<(Vec<u64>, ArrayRef)>> {
    let reads: Vec<_> = edits.map(|edit| read_cells(place, edit)).collect();
    let chunks: Vec<(Vec<u64>, ArrayRef)> = stream::iter(reads)
        .buffered(READS_MAX)
        .try_collect()
        .await?;
    let fitted = chunks
        .into_iter()
        .map(|(ids, values)| Ok((ids, schema::fit(&values, field)?)));
    fitted.collect()
}

/// The file's handle, shared by all snapshots of the table.
fn data_file(table: &Table, rows: &RowsAdded, aliases: &Aliases) -> Result<Arc<DataFile>> {
    let key = format!("{}@{}", rows.file, rows.first_row_id);
    let mut files = lock(&table.inner.files);
    // Another entry may claim something else of the same file.
    if let Some(file) = files.get(&key).filter(|file| file.rows() == rows) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(DataFile::new(table.place(), rows, aliases)?);
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

/// Reads the ids of rows that one revision dropped or restored.
pub(crate) async fn read_row_ids(place: &Place, dropped: &RowIds) -> Result<RoaringTreemap> {
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

/// The bytes of a small file of the table, which must be those that its name says.
pub(super) async fn read_file(place: &Place, name: &str) -> Result<Bytes> {
    let found = store::read(&*place.store, &below(place, name)?).await?;
    let bytes = found.ok_or_else(|| missing(name))?;
    blob::check_name(name, &bytes)?;
    Ok(bytes)
}

/// The error of a file that is named and not there.
pub(super) fn missing(name: &str) -> Error {
    Error::corrupt(format!(
        "{name}, which the log names, is missing; verify tells whether it was lost, or collected with revisions that were given up"
    ))
}
