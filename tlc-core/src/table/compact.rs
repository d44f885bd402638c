//! Compaction: the rows of a branch in new files, with the edits in them.
//!
//! A compaction replaces what the table was made of up to the revision that it read; what lands
//! meanwhile stays upon the new files, so it never conflicts with an edit. The old files stay where
//! they are, for the revisions before it.
//!
//! Rows keep their ids, and an id is a position in a file. So a dropped row has its place in the new
//! files, but nothing in it: it is a row of nulls, and is listed as left behind.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, RecordBatch, RecordBatchReader, UInt64Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use futures::TryStreamExt as _;
use roaring::RoaringTreemap;

use super::Table;
use super::commit::{ATTEMPTS_MAX, CommitOptions, Committed};
use super::create::write_rows;
use super::history::fork;
use super::rows::runs;
use super::scan::{BATCH_ROWS, Scan, ScanOptions};
use super::snapshot::{Resolved, Snapshot, read_row_ids};
use super::state::{State, span};
use super::write::{Columns, Written, new_entry, next_entry, no_turn, write_row_ids};
use crate::blob::{FILE_BYTES, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::{Compacted, Entry};
use crate::id::ROWID;
use crate::patch::merge::Changes;
use crate::runtime::block_on;

impl Table {
    /// Writes the rows of a branch's head into new files, and makes a revision of them that reads the
    /// same: edits are in their rows, small files are one, and files that were used in place are
    /// copied in.
    ///
    /// What is committed meanwhile stays upon the new files. The values of rows that were dropped are
    /// not in them, nor those of dropped columns: undoing such a drop afterwards is an error, though
    /// the revisions before the compaction still have them. Where there are no edits, no newly
    /// dropped rows and no small files side by side, there is nothing to do, and no revision.
    ///
    /// Reads and writes the whole table, in memory that is bounded by a file and not by the table.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the branch was compacted by another at the same time, was moved to
    /// another line, or got dropped rows back; those of reading and of the store. After any error the
    /// table is as it was.
    pub async fn compact(&self, options: impl Into<CommitOptions> + Send) -> Result<Committed> {
        let options = options.into();
        let read = self.branch(&options.branch).await?;
        if self.is_compact(read.resolved()).await? {
            return Ok(Committed::nothing(&options.branch, read));
        }
        let template = Entry {
            compacted: Some(self.rewritten(&read).await?),
            ..new_entry(&self.place().env, &options)
        };
        for _ in 0..ATTEMPTS_MAX {
            let (position, parent) = self.turn(&options.branch).await?;
            let before = self.snapshot_of(self.resolved(parent.revision).await?);
            self.check_since(&read, &before).await?;
            let position = position.after([parent]);
            let columns = Columns {
                schema: Arc::clone(before.schema()),
                defaults: Default::default(),
            };
            let entry = next_entry(&template, &Written::default(), &columns, &before, position)?;
            let appended = self.append(&entry, &Changes::default(), &before).await?;
            if let Some(committed) = appended {
                return Ok(committed);
            }
            self.refresh().await?;
        }
        Err(no_turn(self))
    }

    /// Whether new files would be no better than those there are.
    async fn is_compact(&self, resolved: &Resolved) -> Result<bool> {
        let state = &resolved.state;
        if !state.edits.is_empty() || is_scattered(state) {
            return Ok(false);
        }
        let left = match &state.left_behind {
            Some(left) if !resolved.dropped.is_empty() => read_row_ids(self.place(), left).await?,
            _ => RoaringTreemap::new(),
        };
        Ok(left == *resolved.dropped)
    }

    /// Writes the rows of a snapshot anew.
    async fn rewritten(&self, read: &Snapshot) -> Result<Compacted> {
        let mut rows = Vec::new();
        for run in runs(&read.resolved().state) {
            let filled = Rows::new(Box::new(Filled::new(read, run.clone())?));
            rows.extend(write_rows(self.place(), filled, read.schema(), run.start).await?);
        }
        Ok(Compacted {
            revision: read.revision().0,
            rows,
            left_behind: write_row_ids(self.place(), &read.resolved().dropped).await?,
        })
    }

    /// What landed after the snapshot that was read must be able to stay upon the new files.
    async fn check_since(&self, read: &Snapshot, head: &Snapshot) -> Result<()> {
        let (from, to) = (read.revision().0, head.revision().0);
        let refused = |why: &str| {
            let table = self.name();
            Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "while table {table} was compacted from revision {from}, {why}; compact it again"
                ),
            ))
        };
        if self.ancestry(|known| fork(known, from, to)).await? != from {
            return refused("its branch was moved to another line");
        }
        for loaded in self.line(from, to).await? {
            if loaded.entry.compacted.is_some() {
                return refused("another compacted it");
            }
            if let Some(restored) = &loaded.entry.rows_restored {
                let restored = read_row_ids(self.place(), restored).await?;
                if !restored.is_disjoint(&read.resolved().dropped) {
                    return refused("dropped rows came back");
                }
            }
        }
        Ok(())
    }
}

/// Whether files that follow each other would be one.
fn is_scattered(state: &State) -> bool {
    state.files.windows(2).any(|pair| match pair {
        [a, b] => {
            let bytes = a.file.bytes.saturating_add(b.file.bytes);
            span(&a.file).end == b.file.first_row_id && bytes < FILE_BYTES as u64 / 2
        }
        _ => false,
    })
}

/// The rows of a range of ids, those that were dropped as nulls.
struct Filled {
    /// `None` when it has ended.
    scan: Option<Scan>,
    schema: SchemaRef,
    dropped: Arc<RoaringTreemap>,
    /// What was read ahead; its first column is `_rowid`.
    pending: Option<RecordBatch>,
    rest: Range<u64>,
}

impl Filled {
    fn new(read: &Snapshot, ids: Range<u64>) -> Result<Self> {
        let names = read.schema().fields().iter().map(|field| field.name());
        let names = std::iter::once(ROWID).chain(names.map(String::as_str));
        let options = ScanOptions::new()
            .columns(names)
            .row_ids(ids.clone())
            .stored();
        Ok(Self {
            scan: Some(read.scan(options)?),
            schema: Arc::clone(read.schema()),
            dropped: Arc::clone(&read.resolved().dropped),
            pending: None,
            rest: ids,
        })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while let (None, Some(scan)) = (&self.pending, &mut self.scan) {
            match block_on(scan.try_next())? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => self.pending = Some(batch),
                None => self.scan = None,
            }
        }
        let Some(batch) = self.pending.take() else {
            return match self.rest.is_empty() {
                true => Ok(None),
                false => self.nulls(self.rest.end).map(Some),
            };
        };
        let ids = batch.column(0).as_primitive::<UInt64Type>();
        let (Some(first), Some(last)) = (ids.values().first(), ids.values().last()) else {
            return Ok(None);
        };
        let (first, last) = (*first, *last);
        if self.rest.start < first {
            self.pending = Some(batch);
            return self.nulls(first).map(Some);
        }
        let ids = self.taken(first..last + 1, batch.num_rows() as u64)?;
        self.spread(&batch, ids).map(Some)
    }

    /// Rows of nulls up to `end`, or a batch of them.
    fn nulls(&mut self, end: u64) -> Result<RecordBatch> {
        let end = end.min(self.rest.start + BATCH_ROWS as u64);
        let ids = self.taken(self.rest.start..end, 0)?;
        let n_rows = usize::try_from(ids.end - ids.start).unwrap_or(BATCH_ROWS);
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| new_null_array(field.data_type(), n_rows));
        Ok(RecordBatch::try_new(
            Arc::clone(&self.schema),
            columns.collect(),
        )?)
    }

    /// Takes ids off the rest, of which `n_there` have rows: all others must have been dropped.
    fn taken(&mut self, ids: Range<u64>, n_there: u64) -> Result<Range<u64>> {
        let n_dropped = self.dropped.range_cardinality(ids.clone());
        let whole = ids.start == self.rest.start
            && ids.end <= self.rest.end
            && n_there + n_dropped == ids.end - ids.start;
        if !whole {
            let (start, end) = (self.rest.start, ids.end);
            return Err(Error::corrupt(format!(
                "rows {start} to {end} are not all read; nothing was changed"
            )));
        }
        self.rest.start = ids.end;
        Ok(ids)
    }

    /// The columns of a batch with each row at the place of its id.
    fn spread(&self, batch: &RecordBatch, ids: Range<u64>) -> Result<RecordBatch> {
        let own = batch.column(0).as_primitive::<UInt64Type>().values();
        let columns = batch.columns().iter().skip(1);
        let columns: Vec<ArrayRef> = if own.len() as u64 == ids.end - ids.start {
            columns.map(Arc::clone).collect()
        } else {
            let at = ids.map(|id| own.binary_search(&id).ok().map(|at| at as u64));
            let at = UInt64Array::from_iter(at);
            columns
                .map(|column| take(column, &at, None))
                .collect::<Result<_, ArrowError>>()?
        };
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Iterator for Filled {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch().transpose()?;
        Some(batch.map_err(|err| ArrowError::ExternalError(Box::new(err))))
    }
}

impl RecordBatchReader for Filled {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
