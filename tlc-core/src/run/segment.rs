//! Segments: immutable Parquet files of scalars and of sample metrics, and what their names say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};

use super::buffer::{Group, Scalars};
use super::rows::Rows;
use crate::blob;
use crate::error::{Error, Result};
use crate::format::footer;
use crate::id::{ROWID, StreamName};

/// The columns of a file of scalars.
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
    ]))
}

/// The columns of a file of sample metrics, those of the stream last.
#[must_use]
pub fn sample_schema(stream: &Schema) -> SchemaRef {
    let own = [
        Field::new("epoch", DataType::Int64, false),
        Field::new("step", DataType::Int64, false),
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("table", DataType::Utf8, true),
        Field::new("revision", DataType::Int64, true),
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

/// Encodes scalars as a file. `names` holds the texts of the interned names.
///
/// # Errors
/// If Arrow or Parquet refuse, which they have no reason to.
pub(crate) fn encode_scalars(scalars: &Scalars, names: &[Arc<str>], rank: i32) -> Result<Bytes> {
    let text = |number: &u32| names.get(*number as usize).map_or("", |name| name);
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
        Arc::new(Int32Array::from_value(rank, scalars.len())),
    ];
    let batch = RecordBatch::try_new(scalar_schema(), columns)?;
    let properties = blob::writer_properties(&batch.schema())?.build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}

/// Encodes the sample metrics of one epoch as a file.
///
/// # Errors
/// If Arrow or Parquet refuse, which [`check_samples`] has ruled out.
pub(crate) fn encode_samples(group: &Group) -> Result<Bytes> {
    let Some((_, first)) = group.batches.first() else {
        return Ok(Bytes::new());
    };
    let schema = sample_schema(&first.schema());
    let properties = blob::writer_properties(&schema)?.build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    for (rows, columns) in &group.batches {
        writer.write(&sample_batch(&schema, rows, columns)?)?;
    }
    Ok(writer.into_inner()?.into())
}

fn sample_batch(schema: &SchemaRef, rows: &Rows, columns: &RecordBatch) -> Result<RecordBatch> {
    let n = columns.num_rows();
    let (table, revision) = match &rows.source {
        Some((table, revision)) => (Some(table.as_str()), i64::try_from(revision.0).ok()),
        None => (None, None),
    };
    let own: [ArrayRef; 5] = [
        Arc::new(Int64Array::from_value(rows.epoch, n)),
        Arc::new(Int64Array::from_value(rows.step, n)),
        Arc::new(rows.row_ids.clone()),
        Arc::new(StringArray::from_iter(std::iter::repeat_n(table, n))),
        Arc::new(Int64Array::from_iter(std::iter::repeat_n(revision, n))),
    ];
    let columns = own
        .into_iter()
        .chain(columns.columns().iter().map(Arc::clone))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Reads name, step and value of each row of a file of scalars, and hands them on.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is no such file.
pub(crate) fn decode_scalars(file: Bytes, mut each: impl FnMut(&str, i64, f64)) -> Result<()> {
    if !footer::is_bounded(&file) {
        return Err(blob::undecodable());
    }
    // Damaged pages make the decoder panic where an error would do.
    let decode = AssertUnwindSafe(|| decode_all(file, &mut each));
    catch_unwind(decode).unwrap_or_else(|_panic| Err(blob::undecodable()))
}

fn decode_all(file: Bytes, each: &mut impl FnMut(&str, i64, f64)) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["name", "step", "value"]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch
            .map_err(|err| Error::corrupt("not a readable file of scalars").with_source(err))?;
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
    }
    Ok(())
}

/// The name of a file of scalars in its run.
pub(crate) fn scalar_path(writer: &str, number: u64) -> String {
    format!("scalars/{writer}-{number}.parquet")
}

/// The name of a file of sample metrics in its run.
pub(crate) fn sample_path(stream: &StreamName, epoch: i64, writer: &str, number: u64) -> String {
    format!("samples/{stream}/e{epoch}-{writer}-{number}.parquet")
}

/// The epoch that the name of a file of sample metrics says; `None` if it is not such a name.
pub(crate) fn sample_epoch(file: &str) -> Option<i64> {
    let stem = file.strip_suffix(".parquet")?.strip_prefix('e')?;
    let mut parts = stem.rsplitn(3, '-');
    let (number, writer, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    let is_ours = number.parse::<u64>().is_ok() && !writer.is_empty();
    is_ours.then(|| epoch.parse().ok())?
}

#[cfg(test)]
mod tests {
    use arrow::array::Float32Array;

    use super::*;

    #[test]
    fn names_of_files_say_the_epoch() {
        let stream = "val-2".parse().unwrap();
        for epoch in [0, 7, -1, i64::MIN, i64::MAX] {
            let path = sample_path(&stream, epoch, "00ff", 3);
            assert_eq!(
                sample_epoch(path.rsplit('/').next().unwrap()),
                Some(epoch),
                "{path}"
            );
        }
        for other in [
            "e7.parquet",
            "x7-00ff-3.parquet",
            "e7-00ff-3.json",
            "e7--3.parquet",
            "ex-00ff-3.parquet",
        ] {
            assert_eq!(sample_epoch(other), None, "{other}");
        }
    }

    #[test]
    fn scalars_are_read_back_with_nan_and_infinities() {
        let mut scalars = Scalars::default();
        for (step, value) in [(-1, f64::NAN), (i64::MAX, f64::INFINITY), (0, -0.0)] {
            scalars.names.push(u32::from(step == 0));
            scalars.steps.push(step);
            scalars.times.push(5);
            scalars.values.push(value);
        }
        let file = encode_scalars(&scalars, &["loss".into(), "größe/μ".into()], 3).unwrap();
        let mut found = Vec::new();
        decode_scalars(file, |name, step, value| {
            found.push(format!("{name} {step} {value}"))
        })
        .unwrap();
        assert_eq!(
            found,
            [
                "loss -1 NaN",
                "loss 9223372036854775807 inf",
                "größe/μ 0 -0"
            ]
        );
    }

    #[test]
    fn damaged_and_foreign_files_are_corrupt() {
        let whole = encode_scalars(&Scalars::default(), &[], 0).unwrap();
        let mut foreign =
            ArrowWriter::try_new(Vec::new(), sample_schema(&Schema::empty()), None).unwrap();
        let rows = Rows::new("train", 0, vec![1]).unwrap();
        let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let none = RecordBatch::try_new_with_options(none.schema(), vec![], &options).unwrap();
        foreign
            .write(&sample_batch(&sample_schema(&Schema::empty()), &rows, &none).unwrap())
            .unwrap();
        for bytes in [
            whole.slice(..whole.len() / 2),
            Bytes::new(),
            Bytes::from(foreign.into_inner().unwrap()),
        ] {
            let err = decode_scalars(bytes, |_, _, _| ()).unwrap_err();
            assert_eq!(err.kind(), crate::error::ErrorKind::Corrupt, "{err:?}");
        }
    }

    #[test]
    fn sample_metrics_carry_their_table_and_revision() {
        let rows = Rows::new("train", 2, vec![7, 9])
            .unwrap()
            .step(3)
            .source("t".parse().unwrap(), 4.into());
        let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5, f32::NAN]));
        let columns = RecordBatch::try_from_iter([("loss", loss)]).unwrap();
        let group = Group {
            stream: "train".parse().unwrap(),
            epoch: 2,
            batches: vec![(rows, columns)],
            bytes: 0,
            n_rows: 2,
        };
        let file = encode_samples(&group).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let [batch] = &batches[..] else {
            panic!("{} batches", batches.len())
        };
        let cell = |column, row| {
            arrow::util::display::array_value_to_string(batch.column(column), row).unwrap()
        };
        let row = |row| {
            (0..batch.num_columns())
                .map(|column| cell(column, row))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!([row(0), row(1)], ["2 3 7 t 4 0.5", "2 3 9 t 4 NaN"]);
    }
}
