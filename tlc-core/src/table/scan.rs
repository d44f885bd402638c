//! Reading rows in order: base files, over them the edits, without the dropped rows.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array,
    new_null_array,
};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::file::{DataFile, Opened};
use super::snapshot::{Resolved, Snapshot};
use crate::alias::Aliases;
use crate::blob::GROUP_ROWS;
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::patch::overlay::Overlay;
use crate::schema::{self, column_index};
use crate::store::Place;

/// Rows of a batch that a scan gives.
pub(crate) const BATCH_ROWS: usize = 8_192;

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

    /// Only part `index` of `count`: together the parts are the whole, in order.
    #[must_use]
    pub fn partition(mut self, index: usize, count: usize) -> Self {
        self.partition = Some((index, count));
        self
    }

    /// Paths as they are stored: with the tokens of aliases in place of what those stand for.
    #[must_use]
    pub fn stored(mut self) -> Self {
        self.is_stored = true;
        self
    }
}

/// The rows of a snapshot, as a stream of batches.
pub struct Scan {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl Scan {
    pub(crate) fn new(snapshot: &Snapshot, options: &ScanOptions) -> Result<Self> {
        let projection = Arc::new(Projection::new(
            snapshot.schema(),
            options.columns.as_deref(),
            match options.is_stored {
                true => Aliases::new(),
                false => snapshot.resolved().aliases.clone(),
            },
        )?);
        let schema = Arc::clone(&projection.schema);
        let pieces = pieces(snapshot.resolved(), options);
        let (resolved, place) = (Arc::clone(snapshot.resolved()), snapshot.place().clone());
        let rows_max = options.rows_max;
        let read = move |piece: Piece| {
            let reading = Reading {
                resolved: Arc::clone(&resolved),
                projection: Arc::clone(&projection),
            };
            let place = place.clone();
            async move { reading.piece(&place, piece, rows_max).await }
        };
        let batches = stream::iter(pieces).then(read).try_flatten().boxed();
        let batches = match rows_max {
            Some(rows_max) => limited(batches, rows_max),
            None => batches,
        };
        Ok(Self { schema, batches })
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
}

/// What the output's columns are, in order.
#[derive(Debug)]
pub(crate) struct Projection {
    pub(crate) schema: SchemaRef,
    columns: Vec<Column>,
    aliases: Aliases,
}

#[derive(Debug)]
enum Column {
    RowId,
    Stored { id: i32, field: FieldRef },
}

impl Projection {
    /// The named columns, or `_rowid` and all; paths in them are expanded by `aliases`.
    pub(crate) fn new(table: &Schema, names: Option<&[String]>, aliases: Aliases) -> Result<Self> {
        let row_id = Arc::new(Field::new(ROWID, DataType::UInt64, false));
        let mut fields = Vec::new();
        match names {
            None => {
                fields.push(row_id);
                fields.extend(table.fields().iter().cloned());
            }
            Some(names) => {
                for name in names {
                    fields.push(match name == ROWID {
                        true => Arc::clone(&row_id),
                        false => Arc::clone(&table.fields()[column_index(table, name)?]),
                    });
                }
            }
        }
        let columns = fields.iter().map(|field| match schema::field_id(field) {
            None if field.name() == ROWID => Ok(Column::RowId),
            None => Err(Error::corrupt(format!(
                "column {:?} has no id",
                field.name()
            ))),
            Some(id) => Ok(Column::Stored {
                id,
                field: Arc::clone(field),
            }),
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            aliases,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The edits of the projected columns, by column id.
    pub(crate) async fn overlays(&self, resolved: &Resolved, place: &Place) -> Result<Overlays> {
        let mut overlays = HashMap::new();
        for column in &self.columns {
            if let Column::Stored { id, .. } = column
                && let Some(overlay) = resolved.overlay(place, *id).await?
            {
                overlays.insert(*id, overlay);
            }
        }
        Ok(overlays)
    }

    /// The file's columns to decode, and where each lands in the decoded batch, by column id.
    pub(crate) fn mask(&self, opened: &Opened) -> (ProjectionMask, HashMap<i32, usize>) {
        let stored = self.columns.iter().filter_map(|column| match column {
            Column::Stored { id, .. } => Some((*opened.columns.get(id)?, *id)),
            Column::RowId => None,
        });
        let mut wanted: Vec<(usize, i32)> = stored.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mask = ProjectionMask::roots(
            opened.metadata.parquet_schema(),
            wanted.iter().map(|(root, _)| *root),
        );
        (
            mask,
            wanted
                .into_iter()
                .enumerate()
                .map(|(at, (_, id))| (id, at))
                .collect(),
        )
    }

    /// Puts a batch together: row ids, decoded columns, defaults, and over them the edits.
    pub(crate) fn assemble(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        defaults: &std::collections::BTreeMap<i32, ArrayRef>,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let Column::Stored { id, field } = column else {
                columns.push(Arc::new(UInt64Array::from(row_ids.to_vec())));
                continue;
            };
            let base = match decoded.column(*id) {
                Some(values) => schema::fit(values, field)?,
                None => repeated(defaults.get(id), field, row_ids.len())?,
            };
            let values = match overlays.get(id) {
                Some(overlay) => overlay.apply(row_ids, &base)?,
                None => base,
            };
            columns.push(self.aliases.expand_array(&values, field)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(row_ids.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

pub(crate) type Overlays = HashMap<i32, Arc<Overlay>>;

/// A batch as a file gives it, and which of its columns is which.
pub(crate) struct Decoded<'a> {
    pub(crate) batch: Option<&'a RecordBatch>,
    pub(crate) columns: &'a HashMap<i32, usize>,
}

impl Decoded<'_> {
    fn column(&self, id: i32) -> Option<&ArrayRef> {
        self.batch?.columns().get(*self.columns.get(&id)?)
    }
}

/// `n_rows` times the default; null without one.
fn repeated(default: Option<&ArrayRef>, field: &Field, n_rows: usize) -> Result<ArrayRef> {
    match default {
        Some(value) if value.is_valid(0) => {
            let first = UInt64Array::from(vec![0; n_rows]);
            schema::fit(&take(value, &first, None)?, field)
        }
        _ => Ok(new_null_array(field.data_type(), n_rows)),
    }
}

/// A range of rows of one file.
#[derive(Clone, Debug)]
struct Piece {
    file: Arc<DataFile>,
    rows: Range<u64>,
}

/// The ranges of files that `options` ask for: by row id, then by partition, cut at row groups.
fn pieces(resolved: &Resolved, options: &ScanOptions) -> Vec<Piece> {
    let groups: u64 = resolved.files.iter().map(|file| n_groups(file)).sum();
    let (first, last) = match options.partition {
        None => (0, groups),
        Some((index, count)) => {
            let (index, count) = (index as u64, (count as u64).max(1));
            (groups * index / count, groups * (index + 1) / count)
        }
    };
    let mut pieces = Vec::new();
    let mut before = 0;
    for file in resolved.files.iter() {
        let own = first.max(before)..last.min(before + n_groups(file));
        before += n_groups(file);
        if own.is_empty() {
            continue;
        }
        let start = before - n_groups(file);
        let group_rows = GROUP_ROWS as u64;
        let mut rows = (own.start - start) * group_rows
            ..((own.end - start) * group_rows).min(file.rows().rows);
        if let Some(ids) = &options.row_ids {
            let first_row_id = file.rows().first_row_id;
            rows.start = rows.start.max(ids.start.saturating_sub(first_row_id));
            rows.end = rows.end.min(ids.end.saturating_sub(first_row_id));
        }
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

/// What the pieces of one scan share.
struct Reading {
    resolved: Arc<Resolved>,
    projection: Arc<Projection>,
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

impl Reading {
    async fn piece(self, place: &Place, piece: Piece, rows_max: Option<u64>) -> Result<Batches> {
        let overlays = self.projection.overlays(&self.resolved, place).await?;
        let first_row_id = piece.file.rows().first_row_id;
        let ids = first_row_id + piece.rows.start..first_row_id + piece.rows.end;
        let has_dropped = self.resolved.dropped.range_cardinality(ids.clone()) > 0;
        let stored = self
            .projection
            .columns
            .iter()
            .any(|column| matches!(column, Column::Stored { .. }));
        if !stored {
            return Ok(self.row_ids_only(ids));
        }
        let opened = piece.file.open().await?;
        let (mask, columns) = self.projection.mask(opened);
        if columns.is_empty() {
            // Only columns that this file is older than: nothing of it is read.
            return Ok(stream::iter(id_batches(ids))
                .map(move |ids| self.finish(&ids, None, &columns, &overlays))
                .boxed());
        }
        let (groups, selection) = select(opened, &piece.rows);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
            piece.file.reader()?,
            opened.metadata.clone(),
        )
        .with_projection(mask)
        .with_row_groups(groups)
        .with_batch_size(BATCH_ROWS);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        if let Some(rows_max) = rows_max.filter(|_| !has_dropped) {
            builder = builder.with_limit(usize::try_from(rows_max).unwrap_or(usize::MAX));
        }
        let (_, batches) = piece.file.decode(builder)?;
        let mut next_id = ids.start;
        let batches = batches.map(move |batch| {
            let batch = batch?;
            let ids: Vec<u64> = (next_id..next_id + batch.num_rows() as u64).collect();
            next_id += batch.num_rows() as u64;
            self.finish(&ids, Some(&batch), &columns, &overlays)
        });
        Ok(batches.boxed())
    }

    fn row_ids_only(self, ids: Range<u64>) -> Batches {
        let none = HashMap::new();
        let overlays = Overlays::new();
        stream::iter(id_batches(ids))
            .map(move |ids| self.finish(&ids, None, &none, &overlays))
            .boxed()
    }

    /// Assembles a batch and leaves the dropped rows out.
    fn finish(
        &self,
        row_ids: &[u64],
        batch: Option<&RecordBatch>,
        columns: &HashMap<i32, usize>,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        let decoded = Decoded { batch, columns };
        let batch =
            self.projection
                .assemble(row_ids, &decoded, &self.resolved.state.defaults, overlays)?;
        let dropped = &self.resolved.dropped;
        match (row_ids.first(), row_ids.last()) {
            (Some(first), Some(last)) if dropped.range_cardinality(*first..=*last) > 0 => {
                let kept: BooleanArray = row_ids
                    .iter()
                    .map(|id| Some(!dropped.contains(*id)))
                    .collect();
                Ok(filter_record_batch(&batch, &kept)?)
            }
            _ => Ok(batch),
        }
    }
}

/// The ids of a range in batches.
fn id_batches(ids: Range<u64>) -> impl Iterator<Item = Vec<u64>> + Send {
    let size = BATCH_ROWS as u64;
    (0..(ids.end - ids.start).div_ceil(size)).map(move |n| {
        let start = ids.start + n * size;
        (start..(start + size).min(ids.end)).collect()
    })
}

/// The row groups that overlap `rows`, and the selection within them unless it is all of them.
fn select(opened: &Opened, rows: &Range<u64>) -> (Vec<usize>, Option<RowSelection>) {
    let mut groups = Vec::new();
    let (mut start, mut selected_from, mut selected_to) = (0, 0, 0);
    for (at, group) in opened.metadata.metadata().row_groups().iter().enumerate() {
        let n_rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let end = start + n_rows;
        if start < rows.end && rows.start < end {
            if groups.is_empty() {
                selected_from = start;
            }
            selected_to = end;
            groups.push(at);
        }
        start = end;
    }
    if selected_from >= rows.start && selected_to <= rows.end {
        return (groups, None);
    }
    let skip = usize::try_from(rows.start.saturating_sub(selected_from)).unwrap_or(0);
    let take =
        usize::try_from(rows.end.min(selected_to) - rows.start.max(selected_from)).unwrap_or(0);
    (
        groups,
        Some(RowSelection::from(vec![
            RowSelector::skip(skip),
            RowSelector::select(take),
        ])),
    )
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
