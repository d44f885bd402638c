//! Reading one piece of a file: what is left of it is decoded, overlaid, and asked the condition.
//!
//! Where the condition reads little of what is wanted, its columns are decoded first and the others
//! only for rows that pass; else all at once.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter as LateFilter};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::filter::{Counts, RowFilter, count};
use super::passed::{Passed, lock};
use super::projection::{Decoded, Decoding, Overlays, Projection};
use super::ranges::{Rows, select};
use crate::error::Result;
use crate::table::Table;
use crate::table::file::{DataFile, Opened};
use crate::table::snapshot::Resolved;

/// Rows of a batch that a scan gives, at most.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Bytes of a batch, about, at which it has fewer rows.
const BATCH_BYTES: u64 = 8 << 20;

pub(super) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// Rows of one file: positions in it.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<DataFile>,
    pub(super) rows: Vec<Range<u64>>,
}

/// What the pieces of one scan share.
pub(super) struct Reading {
    pub(super) resolved: Arc<Resolved>,
    pub(super) table: Table,
    pub(super) projection: Projection,
    pub(super) condition: Option<Condition>,
    pub(super) rows_max: Option<u64>,
    pub(super) counts: Arc<Counts>,
}

/// A filter, and the columns that it reads.
pub(super) struct Condition {
    pub(super) filter: RowFilter,
    pub(super) projection: Projection,
}

impl Condition {
    /// Which of the rows pass.
    pub(super) fn passes(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        resolved: &Resolved,
        overlays: &Overlays,
    ) -> Result<BooleanArray> {
        let defaults = &resolved.state.defaults;
        let batch = self
            .projection
            .assemble(row_ids, decoded, defaults, overlays)?;
        (self.filter.passes)(&batch)
    }
}

impl Reading {
    /// Reads what the condition leaves of a piece.
    pub(super) async fn piece(self: Arc<Self>, piece: Piece) -> Result<Batches> {
        let read = self.condition.iter().map(|condition| &condition.projection);
        let read: Vec<&Projection> = read.chain([&self.projection]).collect();
        let mut overlays = Overlays::new();
        for projection in &read {
            overlays.extend(projection.overlays(&self.table, &self.resolved).await?);
        }
        // Also where no column of it is read: the log may claim more rows than it has.
        let opened = piece.file.open().await?;
        if read
            .iter()
            .all(|projection| projection.stored().next().is_none())
        {
            return Ok(self.undecoded(&piece, piece.rows.clone(), overlays));
        }
        let rows = match &self.condition {
            Some(condition) => self.pruned(&piece, opened, condition, &overlays).await?,
            None => piece.rows.clone(),
        };
        let decoding = Decoding::new(opened, &read);
        if rows.is_empty() || decoding.roots.is_empty() {
            return Ok(self.undecoded(&piece, rows, overlays));
        }
        let own = Decoding::new(opened, &[&self.projection]);
        if let Some(condition) = &self.condition {
            let first = Decoding::new(opened, &[&condition.projection]);
            if is_worth_it(opened, &first, &own) {
                return self.in_two_steps(&piece, opened, rows, overlays, (first, own));
            }
        }
        self.in_one_step(&piece, opened, rows, overlays, decoding)
    }

    /// Rows of which no column is in the file.
    fn undecoded(
        self: Arc<Self>,
        piece: &Piece,
        rows: Vec<Range<u64>>,
        overlays: Overlays,
    ) -> Batches {
        let rows = Rows::new(ids(piece.file.rows().first_row_id, rows));
        let batches = stream::try_unfold((self, rows, overlays), move |mut state| async move {
            let (reading, rows, overlays) = (&state.0, &mut state.1, &state.2);
            let ids = rows.next_rows(BATCH_ROWS);
            if ids.is_empty() {
                return Ok(None);
            }
            let batch = reading.finish(&ids, &Decoded::nothing(), overlays)?;
            Ok(Some((batch, state)))
        });
        batches.boxed()
    }

    fn in_one_step(
        self: Arc<Self>,
        piece: &Piece,
        opened: &Opened,
        rows: Vec<Range<u64>>,
        overlays: Overlays,
        decoding: Decoding,
    ) -> Result<Batches> {
        let first = piece.file.rows().first_row_id;
        let mut builder = self.builder(piece, opened, &rows, &decoding)?;
        if let Some(rows_max) = self.rows_max.filter(|_| self.gives_all(first, &rows)) {
            builder = builder.with_limit(usize::try_from(rows_max).unwrap_or(usize::MAX));
        }
        let (_, batches) = piece.file.decode(builder)?;
        let mut rows = Rows::new(ids(first, rows));
        let batches = batches.map(move |batch| {
            let batch = batch?;
            let ids = rows.next_rows(batch.num_rows());
            self.finish(&ids, &decoding.of(&batch), &overlays)
        });
        Ok(batches.boxed())
    }

    /// The condition's columns first, for all rows; its own only for those that pass.
    fn in_two_steps(
        self: Arc<Self>,
        piece: &Piece,
        opened: &Opened,
        rows: Vec<Range<u64>>,
        overlays: Overlays,
        (first, own): (Decoding, Decoding),
    ) -> Result<Batches> {
        let passed = Arc::new(Mutex::new(Passed::default()));
        let builder = self.builder(piece, opened, &rows, &own)?;
        let (mask, first_row_id) = (first.mask(opened), piece.file.rows().first_row_id);
        let (reading, overlays) = (Arc::clone(&self), Arc::new(overlays));
        let (step, shared) = (Arc::clone(&passed), Arc::clone(&overlays));
        let mut rows = Rows::new(ids(first_row_id, rows));
        let ask = move |batch: RecordBatch| {
            let ids = rows.next_rows(batch.num_rows());
            let verdict = reading.verdict(&ids, &first.of(&batch), &shared);
            lock(&step).note(&ids, verdict)
        };
        let late = LateFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, ask))]);
        let (_, batches) = piece.file.decode(builder.with_row_filter(late))?;
        let batches = batches.map(move |batch| {
            // The condition's own error says more than that of the reader which it stopped.
            let (ids, batch) = lock(&passed).take(batch)?;
            self.assembled(&ids, &own.of(&batch), &overlays)
        });
        Ok(batches.boxed())
    }

    fn builder(
        &self,
        piece: &Piece,
        opened: &Opened,
        rows: &[Range<u64>],
        decoding: &Decoding,
    ) -> Result<ParquetRecordBatchStreamBuilder<crate::blob::FileReader>> {
        let (groups, selection) = select(opened.group_rows(), rows);
        let is_all = selection.iter().all(|part| !part.skip);
        let reader = piece.file.reader()?.counting(&self.counts.bytes_read);
        let builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(reader, opened.metadata.clone())
                .with_projection(decoding.mask(opened))
                .with_row_groups(groups)
                .with_batch_size(batch_rows(opened, decoding));
        Ok(if is_all {
            builder
        } else {
            builder.with_row_selection(selection)
        })
    }

    /// Whether each of the rows becomes one of the output.
    fn gives_all(&self, first: u64, rows: &[Range<u64>]) -> bool {
        let dropped = &self.resolved.dropped;
        let has_dropped =
            |rows: &Range<u64>| dropped.range_cardinality(first + rows.start..first + rows.end) > 0;
        self.condition.is_none() && (dropped.is_empty() || !rows.iter().any(has_dropped))
    }

    /// Leaves out what is dropped or does not pass, and puts the rest together.
    fn finish(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        let Some(kept) = self.verdict(row_ids, decoded, overlays)? else {
            return self.assembled(row_ids, decoded, overlays);
        };
        let (ids, batch) = sifted(row_ids, decoded, &kept)?;
        self.assembled(&ids, &decoded.with(batch.as_ref()), overlays)
    }

    fn assembled(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        for id in self.projection.stored() {
            if let Some(overlay) = overlays.get(&id) {
                count(&self.counts.cells_overlaid, overlay.n_set(row_ids));
            }
        }
        let defaults = &self.resolved.state.defaults;
        self.projection
            .assemble(row_ids, decoded, defaults, overlays)
    }

    /// Which rows are in the table and pass; `None` if all are and do. A dropped row is not asked:
    /// it could have a value that the condition has no answer for.
    fn verdict(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        overlays: &Overlays,
    ) -> Result<Option<BooleanArray>> {
        let alive = self.alive(row_ids);
        let Some(condition) = &self.condition else {
            return Ok(alive);
        };
        let Some(alive) = alive else {
            let passes = condition.passes(row_ids, decoded, &self.resolved, overlays)?;
            return Ok(Some(passes));
        };
        let (ids, batch) = sifted(row_ids, decoded, &alive)?;
        let decoded = decoded.with(batch.as_ref());
        let passes = condition.passes(&ids, &decoded, &self.resolved, overlays)?;
        let mut answers = passes.iter().map(|passes| passes == Some(true));
        let mut kept = BooleanBufferBuilder::new(row_ids.len());
        for alive in alive.values() {
            kept.append(alive && answers.next().unwrap_or(false));
        }
        Ok(Some(BooleanArray::new(kept.finish(), None)))
    }

    /// Which rows are not dropped; `None` if none is.
    fn alive(&self, row_ids: &[u64]) -> Option<BooleanArray> {
        let dropped = &self.resolved.dropped;
        let (first, last) = (*row_ids.first()?, *row_ids.last()?);
        if dropped.is_empty() || dropped.range_cardinality(first..=last) == 0 {
            return None;
        }
        let alive: Vec<bool> = row_ids.iter().map(|id| !dropped.contains(*id)).collect();
        let n_dropped = alive.iter().filter(|alive| !**alive).count() as u64;
        count(&self.counts.rows_dropped, n_dropped);
        (n_dropped > 0).then(|| alive.into())
    }
}

/// Row ids in place of positions in a file, whose first row is `first`.
fn ids(first: u64, rows: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let shifted = rows
        .into_iter()
        .map(|rows| first + rows.start..first + rows.end);
    shifted.collect()
}

/// The rows that are kept: their ids, and what was decoded of them.
fn sifted(
    row_ids: &[u64],
    decoded: &Decoded<'_>,
    kept: &BooleanArray,
) -> Result<(Vec<u64>, Option<RecordBatch>)> {
    let ids = row_ids.iter().zip(kept.iter());
    let ids = ids
        .filter(|(_, kept)| *kept == Some(true))
        .map(|(id, _)| *id);
    let batch = decoded.batch.map(|batch| filter_record_batch(batch, kept));
    Ok((ids.collect(), batch.transpose()?))
}

/// Whether to decode the condition's columns by themselves first: when they are the smaller part.
fn is_worth_it(opened: &Opened, first: &Decoding, own: &Decoding) -> bool {
    let rest = own.roots.iter().filter(|root| !first.roots.contains(root));
    let rest: u64 = rest.map(|root| opened.uncompressed(*root)).sum();
    let first: u64 = first
        .roots
        .iter()
        .map(|root| opened.uncompressed(*root))
        .sum();
    rest > first && first > 0
}

/// Rows of a batch, so that wide rows are not many.
fn batch_rows(opened: &Opened, decoding: &Decoding) -> usize {
    let bytes: u64 = decoding
        .roots
        .iter()
        .map(|root| opened.uncompressed(*root))
        .sum();
    let n_rows = opened.group_rows().sum::<u64>().max(1);
    let rows = BATCH_BYTES / (bytes / n_rows).max(1);
    usize::try_from(rows)
        .unwrap_or(BATCH_ROWS)
        .clamp(1, BATCH_ROWS)
}
