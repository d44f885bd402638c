//! The columns of items, in segments and in Parquet files.
//!
//! A segment's frame holds them without rank and attempt, which its head says for all rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, Float64Array, Float64Builder, Int32Array, Int64Array,
    ListBuilder, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array, UInt64Builder,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};

use super::columns::Labels;
use super::histogram::Histogram;
use super::items::{Item, ItemKind, What};
use crate::error::{Error, Result};

/// The columns of a file of items.
#[must_use]
pub fn item_schema(kind: ItemKind) -> SchemaRef {
    let mut fields = own_fields(kind);
    fields.push(Field::new("rank", DataType::Int32, false));
    fields.push(Field::new("attempt", DataType::Int32, false));
    Arc::new(Schema::new(fields))
}

fn own_fields(kind: ItemKind) -> Vec<Field> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("step", DataType::Int64, kind == ItemKind::Texts),
        Field::new("time", time, false),
    ];
    let list = |item| DataType::new_list(item, true);
    let count = |name| Field::new(name, DataType::UInt64, false);
    let float = |name| Field::new(name, DataType::Float64, true);
    fields.extend(match kind {
        ItemKind::Texts => vec![count("line"), Field::new("text", DataType::Utf8, false)],
        ItemKind::Histograms => vec![
            Field::new("edges", list(DataType::Float64), false),
            Field::new("counts", list(DataType::UInt64), false),
            count("count"),
            count("nan"),
            count("minus_inf"),
            count("plus_inf"),
            float("min"),
            float("max"),
            float("mean"),
        ],
        ItemKind::Files => vec![
            Field::new("media_type", DataType::Utf8, false),
            Field::new("bytes", DataType::Binary, false),
        ],
    });
    fields
}

/// Items of one kind as rows of a segment.
///
/// # Errors
/// None in practice.
pub(crate) fn batch(kind: ItemKind, items: &[&Item]) -> Result<RecordBatch> {
    let names = items.iter().map(|item| &item.name);
    let times = items.iter().map(|item| item.time);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(Int64Array::from_iter(items.iter().map(|item| item.step))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
    ];
    columns.extend(match kind {
        ItemKind::Texts => texts(items),
        ItemKind::Histograms => histograms(items),
        ItemKind::Files => files(items),
    });
    let schema = Arc::new(Schema::new(own_fields(kind)));
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn texts(items: &[&Item]) -> Vec<ArrayRef> {
    let texts = || {
        items.iter().filter_map(|item| match &item.what {
            What::Text { line, text } => Some((*line, text)),
            _ => None,
        })
    };
    vec![
        Arc::new(UInt64Array::from_iter_values(texts().map(|(line, _)| line))),
        Arc::new(StringArray::from_iter_values(texts().map(|(_, text)| text))),
    ]
}

fn histograms(items: &[&Item]) -> Vec<ArrayRef> {
    let all = || {
        items.iter().filter_map(|item| match &item.what {
            What::Histogram(histogram) => Some(&**histogram),
            _ => None,
        })
    };
    let mut edges = ListBuilder::new(Float64Builder::new());
    let mut counts = ListBuilder::new(UInt64Builder::new());
    for histogram in all() {
        edges.append_value(histogram.edges.iter().copied().map(Some));
        counts.append_value(histogram.counts.iter().copied().map(Some));
    }
    let count = |count: fn(&Histogram) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(all().map(count)))
    };
    let float = |float: fn((f64, f64, f64)) -> f64| -> ArrayRef {
        let floats = all().map(|histogram| histogram.finite.map(float));
        Arc::new(Float64Array::from_iter(floats))
    };
    vec![
        Arc::new(edges.finish()),
        Arc::new(counts.finish()),
        count(|histogram| histogram.count),
        count(|histogram| histogram.nan),
        count(|histogram| histogram.minus_inf),
        count(|histogram| histogram.plus_inf),
        float(|(min, _, _)| min),
        float(|(_, max, _)| max),
        float(|(_, _, mean)| mean),
    ]
}

fn files(items: &[&Item]) -> Vec<ArrayRef> {
    let files = || {
        items.iter().filter_map(|item| match &item.what {
            What::File { media_type, bytes } => Some((media_type, bytes)),
            _ => None,
        })
    };
    let media_types = files().map(|(media_type, _)| media_type);
    vec![
        Arc::new(StringArray::from_iter_values(media_types)),
        Arc::new(BinaryArray::from_iter_values(
            files().map(|(_, bytes)| bytes),
        )),
    ]
}

/// What [`batch`] made, with all columns of [`item_schema`].
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is something else.
pub(crate) fn from_segment(
    kind: ItemKind,
    batch: &RecordBatch,
    labels: &Labels,
) -> Result<RecordBatch> {
    let n = batch.num_rows();
    let own: [ArrayRef; 2] = [
        Arc::new(Int32Array::from_value(labels.rank, n)),
        Arc::new(Int32Array::from_value(labels.attempt.cast_signed(), n)),
    ];
    let columns = batch.columns().iter().map(Arc::clone).chain(own).collect();
    RecordBatch::try_new(item_schema(kind), columns).map_err(|err| {
        let what = format!("the columns are not those of {}", kind.name());
        Error::corrupt(what).with_source(err)
    })
}

/// The same rows by name and step, those without a step first, and else in the order they were logged.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) without a name and a step.
pub(crate) fn by_name(rows: &RecordBatch) -> Result<RecordBatch> {
    let wrong = || Error::corrupt("items have no name and step");
    let column = |name: &str| rows.column_by_name(name).ok_or_else(wrong);
    let names = column("name")?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let steps = column("step")?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(wrong)?;
    let keys = names.iter().zip(steps).zip(0_u64..);
    let mut order: Vec<_> = keys.map(|((name, step), at)| (name, step, at)).collect();
    order.sort_unstable();
    let order = UInt64Array::from_iter_values(order.into_iter().map(|(_, _, at)| at));
    Ok(take_record_batch(rows, &order)?)
}
