//! Questions about sample metrics as rows: [`crate::questions`] with arguments in text, and with columns
//! whose types are known before anything was read.
//!
//! So labels and predictions are text, as values are in `diff`, and vectors are lists of 32-bit floats.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::Result;
use crate::id::ROWID;
use crate::project::Project;
use crate::questions::{ClassOptions, Top};

use super::calls::Function;

/// In the metadata of an answer, and the last column of the rows of a call.
const TABLE: &str = "table";

pub(super) static EPOCH_MEANS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        Field::new("epoch", DataType::Int64, false),
        Field::new("mean", DataType::Float64, true),
        Field::new("count", DataType::Int64, false),
    ])
});

pub(super) static TOP_SAMPLES: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("mean", DataType::Float64, true),
        Field::new("count", DataType::Int64, false),
    ])
});

pub(super) static CONFUSION: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        Field::new("label", DataType::Utf8, true),
        Field::new("predicted", DataType::Utf8, true),
        Field::new("count", DataType::Int64, false),
    ])
});

pub(super) static FLIPS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("flips", DataType::Int64, false),
    ])
});

pub(super) static FORGOTTEN: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("forgotten", DataType::Int64, false),
        Field::new("issue", DataType::Utf8, false),
        Field::new("score", DataType::Float64, false),
        Field::new("learnt", DataType::Boolean, false),
        table_field(),
    ])
});

pub(super) static EMBEDDINGS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let vector = DataType::new_list(DataType::Float32, true);
    schema(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("embedding", vector, true),
    ])
});

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// The table that the rows are of, which the library says in the metadata of a schema.
pub(super) fn table_field() -> Field {
    Field::new(TABLE, DataType::Utf8, true)
}

/// The rows of one call; `None` if the arguments are not those of the function.
///
/// # Errors
/// Those of the method of [`Project`] that has the function's name.
pub(super) async fn rows(
    project: &Project,
    run: &str,
    function: Function,
    arguments: &[String],
) -> Result<Option<RecordBatch>> {
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rows = match (function, texts.as_slice()) {
        (Function::EpochMeans, [stream, column]) => {
            project.epoch_means(run, stream, column).await?
        }
        (Function::TopSamples, [stream, column, n, which @ ..]) => {
            let Some(top) = top(n, which) else {
                return Ok(None);
            };
            project.top_samples(&runs(run), stream, column, top).await?
        }
        (Function::Confusion, [stream, epoch, classes @ ..]) => {
            let Ok(epoch) = epoch.parse() else {
                return Ok(None);
            };
            let options = labelled(ClassOptions::new(), classes);
            project.confusion(run, stream, epoch, options).await?
        }
        (Function::Flips, [stream, more @ ..]) => {
            let Some((options, rest)) = limited(more) else {
                return Ok(None);
            };
            let options = match rest {
                [predicted, ..] => options.predicted(predicted),
                [] => options,
            };
            project.flips(run, stream, options).await?
        }
        (Function::Forgotten, [stream, more @ ..]) => {
            let Some((options, rest)) = limited(more) else {
                return Ok(None);
            };
            let options = labelled(options, rest);
            project.forgotten(run, stream, options).await?
        }
        (Function::Embeddings, [stream, epoch, column @ ..]) => {
            let Ok(epoch) = epoch.parse() else {
                return Ok(None);
            };
            let column = column.first().unwrap_or(&"embedding");
            project.embeddings(run, stream, epoch, column).await?
        }
        _ => return Ok(None),
    };
    Ok(Some(rows))
}

/// The runs of `a,b`; none, which stands for all, of `*`.
fn runs(text: &str) -> Vec<&str> {
    match text {
        "*" => Vec::new(),
        names => names.split(',').map(str::trim).collect(),
    }
}

fn top(n: &str, which: &[&str]) -> Option<Top> {
    let n = n.parse().ok()?;
    match which {
        [] | ["highest"] => Some(Top::highest(n)),
        ["lowest"] => Some(Top::lowest(n)),
        _ => None,
    }
}

/// How many rows, if it is said, and what follows.
fn limited<'a, 'b>(arguments: &'a [&'b str]) -> Option<(ClassOptions, &'a [&'b str])> {
    let options = ClassOptions::new();
    match arguments {
        [] => Some((options, &[])),
        ["all", rest @ ..] => Some((options, rest)),
        [n, rest @ ..] => Some((options.rows_max(n.parse().ok()?), rest)),
    }
}

/// Label, prediction and revision, as far as they are said.
fn labelled(options: ClassOptions, arguments: &[&str]) -> ClassOptions {
    let mut arguments = arguments.iter();
    let options = match arguments.next() {
        Some(label) => options.label(label),
        None => options,
    };
    let options = match arguments.next() {
        Some(predicted) => options.predicted(predicted),
        None => options,
    };
    match arguments.next() {
        Some(at) => options.at(at),
        None => options,
    }
}

/// The same rows with the names and types that queries were told, and with the table of the rows if queries were told of one.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a value does not fit its type.
pub(super) fn told(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let mut columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    let last = schema.fields().get(columns.len());
    if last.is_some_and(|field| field.name() == TABLE) {
        let table = rows.schema_ref().metadata().get(TABLE);
        let table = std::iter::repeat_n(table, rows.num_rows());
        columns.push(Arc::new(table.collect::<StringArray>()));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
