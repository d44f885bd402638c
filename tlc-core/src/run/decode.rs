//! Decoding some columns of files of sample metrics: as one batch in the order of row ids, or as a stream of batches
//! in the order of the files, where they are too large to be in memory at once.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, SchemaRef};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use tokio::sync::mpsc;

use super::columns::by_row_id;
use super::metrics::Winning;
use super::read::Runs;
use crate::blob::{self, FileReader};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::handle;

/// How many files are read at the same time.
const READS_MAX: usize = 16;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 65_536;

/// Batches that are decoded ahead of whoever reads a stream of them.
const BATCHES_AHEAD: usize = 2;

/// The rows of some files together, in ascending order of the row ids that the first of the columns holds;
/// equal ones in the order of the files and of the rows in them.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming a file that cannot be read; those of the store.
pub(super) async fn read_files(
    runs: &Runs,
    files: &[Winning],
    wanted: &SchemaRef,
) -> Result<RecordBatch> {
    let reads = files
        .iter()
        .map(|file| read_file(runs, file, wanted).boxed());
    let reads: Vec<_> = reads.collect();
    let parts: Vec<RecordBatch> = stream::iter(reads)
        .buffered(READS_MAX)
        .try_collect()
        .await?;
    by_row_id(concat_batches(wanted, &parts)?)
}

/// The rows of some files, in the order of the files and of the rows in them, at most `batch_rows` at once. They are
/// decoded in a task of their own, two batches ahead. Of a folded file a row group is in memory; of a segment, and of
/// a file that a later attempt took a part of, all of it, which is bounded by what a segment may have.
///
/// The stream gives the errors of [`read_files`] and ends with them.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the system gives no threads.
pub(super) fn stream_files(
    runs: &Runs,
    files: &[Winning],
    wanted: &SchemaRef,
    batch_rows: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let (send, receive) = mpsc::channel(BATCHES_AHEAD);
    let (runs, files, wanted) = (runs.clone(), files.to_vec(), Arc::clone(wanted));
    let reading = handle()?.spawn(async move {
        for file in &files {
            let sent = send_file(&runs, file, &wanted, batch_rows, &send).await;
            sent.map_err(|err| err.context(format!("cannot read {}", file.file.path)))?;
            // Nobody reads on.
            if send.is_closed() {
                break;
            }
        }
        Ok(())
    });
    let batches = stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|batch| (Ok(batch), receive))
    });
    let ended = reading.map(|ended| {
        ended.unwrap_or_else(|err| {
            Err(Error::new(ErrorKind::Unavailable, "a reading task ended early").with_source(err))
        })
    });
    // What went wrong, if anything did, comes last.
    let ended = stream::once(ended).filter_map(|ended| future::ready(ended.err().map(Err)));
    Ok(batches.chain(ended).boxed())
}

/// Sends the rows of a file, for as long as somebody receives.
async fn send_file(
    runs: &Runs,
    winning: &Winning,
    wanted: &SchemaRef,
    batch_rows: usize,
    send: &mpsc::Sender<RecordBatch>,
) -> Result<()> {
    if !is_decoded(winning) {
        for rows in runs.winning_rows(winning).await? {
            let rows = conform(&rows, wanted)?;
            for first in (0..rows.num_rows()).step_by(batch_rows.max(1)) {
                let part = rows.slice(first, batch_rows.min(rows.num_rows() - first));
                if send.send(part).await.is_err() {
                    return Ok(());
                }
            }
        }
        return Ok(());
    }
    let file = &winning.file;
    let mut reader = blob::reader(runs.store(), &file.path, file.bytes);
    let metadata = blob::open(&mut reader, PageIndexPolicy::Skip).await?;
    let rows = columns_of(reader, metadata, wanted, batch_rows)?;
    // Damaged pages make the decoder panic where an error would do.
    let mut rows = pin!(AssertUnwindSafe(rows).catch_unwind());
    while let Some(batch) = rows.next().await {
        let batch = batch.unwrap_or_else(|_panic| Err(undecodable()))?;
        if send.send(conform(&batch, wanted)?).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the columns of a file can be decoded by themselves.
fn is_decoded(winning: &Winning) -> bool {
    winning.file.is_folded && winning.before_step.is_none()
}

async fn read_file(runs: &Runs, winning: &Winning, wanted: &SchemaRef) -> Result<RecordBatch> {
    let file = &winning.file;
    let decoded = async {
        if !is_decoded(winning) {
            let rows = runs.winning_rows(winning).await?;
            let rows = rows.iter().map(|rows| conform(rows, wanted));
            return Ok(concat_batches(wanted, &rows.collect::<Result<Vec<_>>>()?)?);
        }
        let mut reader = blob::reader(runs.store(), &file.path, file.bytes);
        let metadata = blob::open(&mut reader, PageIndexPolicy::Skip).await?;
        decode(reader, metadata, wanted).await
    };
    let decoded: Result<RecordBatch> = decoded.await;
    decoded.map_err(|err| err.context(format!("cannot read {}", file.path)))
}

async fn decode(
    reader: FileReader,
    metadata: ArrowReaderMetadata,
    wanted: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = columns_of(reader, metadata, wanted, BATCH_ROWS)?;
    let found = Arc::clone(rows.schema());
    // Damaged pages make the decoder panic where an error would do.
    let decode = AssertUnwindSafe(rows.try_collect::<Vec<RecordBatch>>());
    let batches = decode.catch_unwind().await;
    let batches = batches.unwrap_or_else(|_panic| Err(undecodable()))?;
    conform(&concat_batches(&found, &batches)?, wanted)
}

/// The rows of a file, of which only these columns are read.
fn columns_of(
    reader: FileReader,
    metadata: ArrowReaderMetadata,
    wanted: &SchemaRef,
    batch_rows: usize,
) -> Result<ParquetRecordBatchStream<FileReader>> {
    let root = |field: &Arc<Field>| {
        let name = field.name();
        let found = metadata.schema().index_of(name);
        found.map_err(|err| Error::corrupt(format!("it has no column {name:?}")).with_source(err))
    };
    let roots = wanted.fields().iter().map(root);
    let roots = roots.collect::<Result<Vec<_>>>()?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    Ok(
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()?,
    )
}

fn undecodable() -> ParquetError {
    ParquetError::External(Box::new(blob::undecodable()))
}

/// The columns in the order and of the types of `wanted`.
fn conform(read: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        let values = read.column(read.schema().index_of(field.name())?);
        match values.data_type() == field.data_type() {
            true => Ok(Arc::clone(values)),
            false => Ok(cast(values, field.data_type())?),
        }
    };
    let columns = wanted.fields().iter().map(column);
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(wanted), columns)
        .map_err(|err| Error::corrupt("it has no values where there must be some").with_source(err))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray as _, Int32Array, UInt64Array};

    use super::*;
    use crate::id::ROWID;

    #[test]
    fn rows_are_put_in_the_order_of_their_ids_and_equal_ids_stay_as_they_were() {
        let check = |ids: &[u64], expected: &[i32]| {
            let n = i32::try_from(ids.len()).unwrap();
            let ids: ArrayRef = Arc::new(UInt64Array::from(ids.to_vec()));
            let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..n));
            let rows = RecordBatch::try_from_iter([(ROWID, ids), ("x", values)]).unwrap();
            let sorted = by_row_id(rows).unwrap();
            let values = sorted
                .column(1)
                .as_primitive::<arrow::datatypes::Int32Type>();
            assert_eq!(values.values(), expected);
        };
        check(&[], &[]);
        check(&[1, 2, 2, 9], &[0, 1, 2, 3]);
        check(&[9, 2, 2, 1], &[3, 1, 2, 0]);
        check(&[5, 0, 5, 0, 5], &[1, 3, 0, 2, 4]);
    }
}
