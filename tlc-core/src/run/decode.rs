//! Decoding some columns of files of sample metrics: as one batch in the order of row ids, or as a stream of batches
//! in the order of the files, where they are too large to be in memory at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, SchemaRef};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::columns::by_row_id;
use super::metrics::Winning;
use super::read::Runs;
use crate::blob::{self, FileReader};
use crate::error::{Error, Result};
use crate::runtime::run_aside;

/// How many files are read at the same time.
const READS_MAX: usize = 16;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 65_536;

/// How many files are decoded ahead of whoever reads a stream of their rows.
const FILES_AHEAD: usize = 2;

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
        .map(|file| read_file(runs, file, wanted, BATCH_ROWS).boxed());
    let reads: Vec<_> = reads.collect();
    let parts: Vec<Vec<RecordBatch>> = stream::iter(reads)
        .buffered(READS_MAX)
        .try_collect()
        .await?;
    by_row_id(concat_batches(wanted, parts.iter().flatten())?)
}

/// The rows of some files, in the order of the files and of the rows in them, at most `batch_rows` at once. The next two
/// files are decoded meanwhile, each in a task of its own: what a segment may have bounds what is in memory. Batches of a
/// few megabytes cost least, as their memory is used again for the next ones.
///
/// The stream gives the errors of [`read_files`].
pub(super) fn stream_files(
    runs: &Runs,
    files: &[Winning],
    wanted: &SchemaRef,
    batch_rows: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let (runs, files, wanted) = (runs.clone(), files.to_vec(), Arc::clone(wanted));
    let read = move |file: Winning| {
        let (runs, wanted) = (runs.clone(), Arc::clone(&wanted));
        run_aside(async move { read_file(&runs, &file, &wanted, batch_rows.max(1)).await })
    };
    let read = stream::iter(files.into_iter().map(read)).buffered(FILES_AHEAD);
    let batches = |batches: Vec<RecordBatch>| stream::iter(batches).map(Ok);
    read.map_ok(batches).try_flatten().boxed()
}

/// The rows of a file in their order, at most `batch_rows` in a batch.
async fn read_file(
    runs: &Runs,
    winning: &Winning,
    wanted: &SchemaRef,
    batch_rows: usize,
) -> Result<Vec<RecordBatch>> {
    let file = &winning.file;
    let read = async {
        if !file.is_folded || winning.before_step.is_some() {
            let rows = runs.winning_rows(winning).await?;
            let rows = rows.iter().flat_map(|rows| sliced(rows, batch_rows));
            return rows.map(|rows| conform(&rows, wanted)).collect();
        }
        let mut reader = blob::reader(runs.store(), &file.path, file.bytes);
        let metadata = blob::open(&mut reader, PageIndexPolicy::Skip).await?;
        decode(reader, metadata, wanted, batch_rows).await
    };
    let read: Result<Vec<RecordBatch>> = read.await;
    read.map_err(|err| err.context(format!("cannot read {}", file.path)))
}

fn sliced(rows: &RecordBatch, batch_rows: usize) -> impl Iterator<Item = RecordBatch> {
    let n = rows.num_rows();
    let firsts = (0..n).step_by(batch_rows);
    firsts.map(move |first| rows.slice(first, batch_rows.min(n - first)))
}

async fn decode(
    reader: FileReader,
    metadata: ArrowReaderMetadata,
    wanted: &SchemaRef,
    batch_rows: usize,
) -> Result<Vec<RecordBatch>> {
    let root = |field: &Arc<Field>| {
        let name = field.name();
        let found = metadata.schema().index_of(name);
        found.map_err(|err| Error::corrupt(format!("it has no column {name:?}")).with_source(err))
    };
    let roots = wanted.fields().iter().map(root);
    let roots = roots.collect::<Result<Vec<_>>>()?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let rows = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
        .with_projection(mask)
        .with_batch_size(batch_rows)
        .build()?;
    // Damaged pages make the decoder panic where an error would do.
    let decode = AssertUnwindSafe(rows.try_collect::<Vec<RecordBatch>>());
    let batches = decode.catch_unwind().await;
    let batches = batches.unwrap_or_else(|_panic| Err(undecodable()))?;
    batches.iter().map(|rows| conform(rows, wanted)).collect()
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
