//! Reading rows in order: base files, over them the edits, without the dropped rows.
//!
//! A scan is cut into pieces, each some rows of one file, that are read one after the other
//! ([`reading`]). A condition decides which of a piece's rows are read at all ([`prune`]).

mod bounds;
mod filter;
#[cfg(feature = "sql")]
mod parts;
mod passed;
mod projection;
mod prune;
mod ranges;
mod reading;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::file::DataFile;
use super::snapshot::{Resolved, Snapshot};
use crate::alias::Aliases;
use crate::blob::GROUP_ROWS;
use crate::error::Result;
#[cfg(feature = "sql")]
pub(crate) use bounds::{Bounds, Containers};
#[cfg(feature = "sql")]
pub(crate) use filter::{Counts, Pruner, RowFilter};
pub(crate) use projection::{Decoded, Decoding, Overlays, Projection};
use ranges::both;
pub(crate) use ranges::{runs, select, union, without};
pub(crate) use reading::BATCH_ROWS;
#[cfg(feature = "sql")]
use reading::Condition;
use reading::{Batches, Piece, Reading};

/// What to read of a snapshot: every row and column, unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    columns: Option<Vec<String>>,
    rows_max: Option<u64>,
    row_ids: Option<Range<u64>>,
    partition: Option<(usize, usize)>,
    is_stored: bool,
}

impl ScanOptions {
    /// Every row and column.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these columns, in this order; `_rowid` is one like the others.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// At most so many rows: the first ones.
    #[must_use]
    pub fn rows_max(mut self, rows_max: u64) -> Self {
        self.rows_max = Some(rows_max);
        self
    }

    /// Only rows with an id in this range. Files outside it are not opened.
    #[must_use]
    pub fn row_ids(mut self, row_ids: Range<u64>) -> Self {
        self.row_ids = Some(row_ids);
        self
    }

    /// Paths as they are stored: with the tokens of aliases in place of what those stand for.
    #[must_use]
    pub fn stored(mut self) -> Self {
        self.is_stored = true;
        self
    }

    /// Only part `index` of `count`: together the parts are the whole, in order.
    #[must_use]
    pub fn partition(mut self, index: usize, count: usize) -> Self {
        self.partition = Some((index, count));
        self
    }
}

/// The rows of a snapshot, as a stream of batches.
pub struct Scan {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

/// What the SQL layer asks of a scan.
#[cfg(feature = "sql")]
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) columns: Vec<String>,
    /// Row ids, ascending ranges that do not meet.
    pub(crate) ids: Vec<Range<u64>>,
    pub(crate) filter: Option<RowFilter>,
    pub(crate) rows_max: Option<u64>,
}

impl Scan {
    pub(crate) fn new(snapshot: &Snapshot, options: &ScanOptions) -> Result<Self> {
        let ids = options.row_ids.clone().unwrap_or(0..u64::MAX);
        let pieces = pieces(snapshot.resolved(), options.partition, &[ids]);
        let aliases = match options.is_stored {
            true => Aliases::new(),
            false => snapshot.resolved().aliases.clone(),
        };
        let projection = Projection::new(snapshot.schema(), options.columns.as_deref(), aliases)?;
        let reading = Reading {
            resolved: Arc::clone(snapshot.resolved()),
            table: snapshot.table().clone(),
            projection,
            condition: None,
            rows_max: options.rows_max,
            counts: Arc::default(),
        };
        Ok(Self::over(reading, pieces))
    }

    /// Rows of some ids that pass a condition.
    #[cfg(feature = "sql")]
    pub(crate) fn of(snapshot: &Snapshot, wanted: Wanted, counts: &Arc<Counts>) -> Result<Self> {
        let (schema, aliases) = (snapshot.schema(), &snapshot.resolved().aliases);
        let condition = |filter: RowFilter| -> Result<Condition> {
            let projection = Projection::new(schema, Some(&filter.columns), aliases.clone())?;
            Ok(Condition { filter, projection })
        };
        let pieces = pieces(snapshot.resolved(), None, &wanted.ids);
        let reading = Reading {
            resolved: Arc::clone(snapshot.resolved()),
            table: snapshot.table().clone(),
            projection: Projection::new(schema, Some(&wanted.columns), aliases.clone())?,
            condition: wanted.filter.map(condition).transpose()?,
            rows_max: wanted.rows_max,
            counts: Arc::clone(counts),
        };
        Ok(Self::over(reading, pieces))
    }

    fn over(reading: Reading, pieces: Vec<Piece>) -> Self {
        let schema = Arc::clone(&reading.projection.schema);
        let (rows_max, reading) = (reading.rows_max, Arc::new(reading));
        let read = move |piece: Piece| Arc::clone(&reading).piece(piece);
        let batches = stream::iter(pieces).then(read).try_flatten().boxed();
        let batches = match rows_max {
            Some(rows_max) => limited(batches, rows_max),
            None => batches,
        };
        Self { schema, batches }
    }

    /// The schema of the batches: the projected columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Stream for Scan {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Into how many parts a scan can be cut, at most `parts_max`: a part is no smaller than a row
    /// group.
    #[must_use]
    pub fn scan_partitions(&self, parts_max: usize) -> usize {
        let groups: u64 = self
            .resolved()
            .files
            .iter()
            .map(|file| n_groups(file))
            .sum();
        usize::try_from(groups)
            .unwrap_or(usize::MAX)
            .clamp(1, parts_max.max(1))
    }

    /// How many cells of a column were set; one that was set twice counts twice.
    pub(crate) fn n_edits(&self, column: i32) -> u64 {
        let edits = self.resolved().state.edits.get(&column);
        edits.map_or(0, |edits| edits.iter().map(|set| set.file.cells).sum())
    }
}

/// The rows of files that have one of `ids`, of one partition if there are several: these are cut
/// at row groups, as far as they are known without a footer.
fn pieces(
    resolved: &Resolved,
    partition: Option<(usize, usize)>,
    ids: &[Range<u64>],
) -> Vec<Piece> {
    let groups: u64 = resolved.files.iter().map(|file| n_groups(file)).sum();
    let (first, last) = match partition {
        None => (0, groups),
        Some((index, count)) => {
            let (index, count) = (index as u64, (count as u64).max(1));
            (groups * index / count, groups * (index + 1) / count)
        }
    };
    let mut pieces = Vec::new();
    let mut before = 0;
    for file in resolved.files.iter() {
        let start = before;
        before += n_groups(file);
        let own = first.max(start)..last.min(before);
        if own.is_empty() {
            continue;
        }
        let group_rows = GROUP_ROWS as u64;
        let end = ((own.end - start) * group_rows).min(file.rows().rows);
        let first_row_id = file.rows().first_row_id;
        let own = first_row_id + (own.start - start) * group_rows..first_row_id + end;
        let rows: Vec<_> = both(&[own], ids)
            .into_iter()
            .map(|ids| ids.start - first_row_id..ids.end - first_row_id)
            .collect();
        if !rows.is_empty() {
            pieces.push(Piece {
                file: Arc::clone(file),
                rows,
            });
        }
    }
    pieces
}

fn n_groups(file: &DataFile) -> u64 {
    file.rows().rows.div_ceil(GROUP_ROWS as u64)
}

/// The first `rows_max` rows of `batches`; nothing is polled after the last of them.
fn limited(batches: Batches, rows_max: u64) -> Batches {
    let left = usize::try_from(rows_max).unwrap_or(usize::MAX);
    let cut = stream::try_unfold((batches, left), |(mut batches, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = batches.try_next().await? else {
            return Ok(None);
        };
        let batch = if batch.num_rows() > left {
            batch.slice(0, left)
        } else {
            batch
        };
        let left = left - batch.num_rows();
        Ok(Some((batch, (batches, left))))
    });
    cut.boxed()
}
