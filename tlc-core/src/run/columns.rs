//! The columns of scalars and of sample metrics, and their Parquet files.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, UInt64Type,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::buffer::Scalars;
use super::rows::Rows;
use crate::blob;
use crate::error::{Error, Result};
use crate::format::footer;
use crate::id::{ROWID, Revision, TableName};

/// What all rows of a file share, beside a stream and its name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Labels {
    /// Of sample metrics.
    pub(crate) epoch: i64,
    pub(crate) rank: i32,
    pub(crate) attempt: u32,
}

/// The columns of a file of scalars. Those written before version 3 of the format have no `attempt`.
#[must_use]
pub fn scalar_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("step", DataType::Int64, false),
        Field::new(
            "time",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        Field::new("value", DataType::Float64, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("attempt", DataType::Int32, false),
    ]))
}

/// The columns of a file of sample metrics, those of the stream last. Files written before version 3 of
/// the format have no `rank` and no `attempt`.
#[must_use]
pub fn sample_schema(stream: &Schema) -> SchemaRef {
    let own = [
        Field::new("epoch", DataType::Int64, false),
        Field::new("step", DataType::Int64, false),
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("table", DataType::Utf8, true),
        Field::new("revision", DataType::Int64, true),
        Field::new("rank", DataType::Int32, false),
        Field::new("attempt", DataType::Int32, false),
    ];
    let fields = own
        .into_iter()
        .map(Arc::new)
        .chain(stream.fields().iter().map(Arc::clone));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether sample metrics of these columns can be stored.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a type has no form in Parquet.
pub(crate) fn check_samples(stream: &Schema) -> Result<()> {
    match ArrowWriter::try_new(Vec::new(), sample_schema(stream), None) {
        Ok(_) => Ok(()),
        Err(err) => {
            Err(Error::invalid("Parquet has no form for one of the types").with_source(err))
        }
    }
}

/// Scalars as rows. `names` holds the texts of the numbers of names.
///
/// # Errors
/// None in practice.
pub(crate) fn scalar_batch(
    scalars: &Scalars,
    names: &[Arc<str>],
    labels: &Labels,
) -> Result<RecordBatch> {
    let text = |number: &u32| names.get(*number as usize).map_or("", |name| name);
    let n = scalars.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            scalars.names.iter().map(text),
        )),
        Arc::new(Int64Array::from_iter_values(scalars.steps.iter().copied())),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(scalars.times.iter().copied())
                .with_timezone("UTC"),
        ),
        Arc::new(Float64Array::from_iter_values(
            scalars.values.iter().copied(),
        )),
        Arc::new(Int32Array::from_value(labels.rank, n)),
        Arc::new(Int32Array::from_value(labels.attempt.cast_signed(), n)),
    ];
    Ok(RecordBatch::try_new(scalar_schema(), columns)?)
}

/// Encodes rows as a Parquet file.
///
/// # Errors
/// If Arrow or Parquet refuse, which [`check_samples`] has ruled out.
pub(crate) fn encode(rows: &RecordBatch) -> Result<Bytes> {
    let properties = blob::writer_properties(&rows.schema())?.build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?.into())
}

/// Under which keys the metadata of a segment's Arrow stream say what its row ids are of.
const SOURCE: [&str; 2] = ["table", "revision"];

/// The columns of sample metrics in a segment: what the rows share is not among them.
pub(crate) fn stream_schema(stream: &Schema, source: Option<&(TableName, Revision)>) -> SchemaRef {
    let own = [
        Field::new("step", DataType::Int64, false),
        Field::new(ROWID, DataType::UInt64, false),
    ];
    let fields = own
        .into_iter()
        .map(Arc::new)
        .chain(stream.fields().iter().map(Arc::clone));
    let said = |(table, revision): &(TableName, Revision)| {
        SOURCE
            .into_iter()
            .zip([table.to_string(), revision.to_string()])
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let metadata: HashMap<_, _> = source.map(said).unwrap_or_default();
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        metadata,
    ))
}

/// A batch with the columns of [`stream_schema`].
///
/// # Errors
/// If the columns are not those of `schema`.
pub(crate) fn stream_batch(
    schema: &SchemaRef,
    rows: &Rows,
    columns: &RecordBatch,
) -> Result<RecordBatch> {
    let own: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_value(rows.step, columns.num_rows())),
        Arc::new(rows.row_ids.clone()),
    ];
    let columns = own
        .into_iter()
        .chain(columns.columns().iter().map(Arc::clone))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// What [`stream_batch`] made, with all columns of [`sample_schema`].
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is something else.
pub(crate) fn from_stream(batch: &RecordBatch, labels: &Labels) -> Result<RecordBatch> {
    let wrong = || Error::corrupt("sample metrics have no step and no row id");
    let (n, schema) = (batch.num_rows(), batch.schema());
    let said = |key: &str| schema.metadata().get(key);
    let [table, revision] = SOURCE.map(said);
    let revision = revision.and_then(|revision| revision.parse::<i64>().ok());
    let own: [ArrayRef; 7] = [
        Arc::new(Int64Array::from_value(labels.epoch, n)),
        Arc::clone(batch.column_by_name("step").ok_or_else(wrong)?),
        Arc::clone(batch.column_by_name(ROWID).ok_or_else(wrong)?),
        Arc::new(StringArray::from_iter(std::iter::repeat_n(table, n))),
        Arc::new(Int64Array::from_iter(std::iter::repeat_n(revision, n))),
        Arc::new(Int32Array::from_value(labels.rank, n)),
        Arc::new(Int32Array::from_value(labels.attempt.cast_signed(), n)),
    ];
    let metrics = schema.fields().iter().zip(batch.columns()).skip(2);
    let (fields, metrics): (Vec<_>, Vec<_>) = metrics
        .map(|(field, column)| (Arc::clone(field), Arc::clone(column)))
        .unzip();
    let columns = own.into_iter().chain(metrics).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(n));
    let schema = sample_schema(&Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// The same rows in ascending order of their row ids, equal ones as they are; untouched if they are already.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if they have no row ids.
pub(crate) fn by_row_id(rows: RecordBatch) -> Result<RecordBatch> {
    let wrong = || Error::corrupt("the row ids are no whole numbers");
    let ids = rows.column_by_name(ROWID).ok_or_else(wrong)?;
    let ids = ids.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
    if ids.values().is_sorted() {
        return Ok(rows);
    }
    let mut order: Vec<(u64, u64)> = ids.values().iter().copied().zip(0..).collect();
    order.sort_unstable();
    let order = UInt64Array::from_iter_values(order.into_iter().map(|(_, at)| at));
    Ok(take_record_batch(&rows, &order)?)
}

/// All rows of a Parquet file.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it cannot be read.
pub(crate) fn decode(file: Bytes) -> Result<Vec<RecordBatch>> {
    if !footer::is_bounded(&file) {
        return Err(blob::undecodable());
    }
    let decode = || {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        let unreadable = |err| Error::corrupt("not a readable file of metrics").with_source(err);
        reader.map(|batch| batch.map_err(unreadable)).collect()
    };
    // Damaged pages make the decoder panic where an error would do.
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_panic| Err(blob::undecodable()))
}

/// Hands on name, step and value of each row of scalars.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if these are not its columns.
pub(crate) fn each_scalar(batch: &RecordBatch, mut each: impl FnMut(&str, i64, f64)) -> Result<()> {
    let wrong =
        || Error::corrupt("not a file of scalars: name, step and value are not its columns");
    let column = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
    let names = column("name")?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let steps = column("step")?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(wrong)?;
    let values = column("value")?
        .as_primitive_opt::<Float64Type>()
        .ok_or_else(wrong)?;
    for ((name, step), value) in names.iter().zip(steps).zip(values) {
        if let (Some(name), Some(step), Some(value)) = (name, step, value) {
            each(name, step, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(points: &[(u32, i64, f64)]) -> Scalars {
        let mut scalars = Scalars::default();
        for (name, step, value) in points {
            scalars.push(*name, *step, 5, *value);
        }
        scalars
    }

    fn file(points: &[(u32, i64, f64)]) -> Bytes {
        let names = ["loss".into(), "größe/μ".into()];
        let labels = Labels {
            epoch: 0,
            rank: 3,
            attempt: 2,
        };
        encode(&scalar_batch(&scalars(points), &names, &labels).unwrap()).unwrap()
    }

    /// The scalars of a file, one a line.
    fn found(file: Bytes) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for batch in decode(file)? {
            each_scalar(&batch, |name, step, value| {
                found.push(format!("{name} {step} {value}"))
            })?;
        }
        Ok(found)
    }

    #[test]
    fn scalars_are_read_back_with_nan_and_infinities() {
        let points = [
            (0, -1, f64::NAN),
            (0, i64::MAX, f64::INFINITY),
            (1, 0, -0.0),
        ];
        assert_eq!(
            found(file(&points)).unwrap(),
            [
                "loss -1 NaN",
                "loss 9223372036854775807 inf",
                "größe/μ 0 -0"
            ]
        );
    }

    #[test]
    fn damaged_and_foreign_files_are_corrupt() {
        let whole = file(&[(0, 1, 1.0)]);
        let foreign = encode(&RecordBatch::new_empty(sample_schema(&Schema::empty()))).unwrap();
        let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let other = encode(&RecordBatch::try_from_iter([("name", other)]).unwrap()).unwrap();
        assert!(found(foreign).unwrap().is_empty());
        for bytes in [whole.slice(..whole.len() / 2), Bytes::new(), other] {
            let err = found(bytes).unwrap_err();
            assert_eq!(err.kind(), crate::error::ErrorKind::Corrupt, "{err:?}");
        }
    }

    #[test]
    fn sample_metrics_carry_their_table_and_revision() {
        let rows = Rows::new("train", 2, vec![7, 9])
            .unwrap()
            .step(3)
            .source("t".parse().unwrap(), 4.into());
        let loss: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![0.5, f32::NAN]));
        let columns = RecordBatch::try_from_iter([("loss", loss)]).unwrap();
        let schema = stream_schema(&columns.schema(), rows.source.as_ref());
        let labels = Labels {
            epoch: 2,
            rank: 1,
            attempt: 5,
        };
        let batch = stream_batch(&schema, &rows, &columns).unwrap();
        let batch = from_stream(&batch, &labels).unwrap();
        assert_eq!(batch.schema(), sample_schema(&columns.schema()));
        let cell = |column, row| {
            arrow::util::display::array_value_to_string(batch.column(column), row).unwrap()
        };
        let row = |row| {
            (0..batch.num_columns())
                .map(|column| cell(column, row))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!([row(0), row(1)], ["2 3 7 t 4 1 5 0.5", "2 3 9 t 4 1 5 NaN"]);
    }
}
