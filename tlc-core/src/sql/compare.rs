//! `compare('<project>/<run>', '<run>', …)`: in what runs differ, one row for each thing and each run that is compared with
//! the first, and one for each thing that is not known of a run; and the samples of one stream, by class and one by one.
//!
//! What is rows of its own is asked for by itself: the cells behind a row of kind `data` with `diff`, the samples behind one
//! of kind `samples` with `compare_classes` and `compare_samples`.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray as _, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};

use crate::comparison::{Comparison, Difference, Pair, StreamComparison, TableComparison, Unknown};
use crate::error::Result;
use crate::id::{ROWID, Revision};
use crate::project::Project;

use super::calls::Function;
use super::diff;

pub(super) static COMPARE: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("run", DataType::Utf8, false),
        Field::new("first", DataType::Utf8, true),
        Field::new("other", DataType::Utf8, true),
        Field::new("change", DataType::Float64, true),
    ]))
});

pub(super) static COMPARE_CLASSES: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("label", DataType::Utf8, true),
        Field::new("samples", DataType::Int64, false),
        Field::new("better", DataType::Int64, false),
        Field::new("worse", DataType::Int64, false),
        Field::new("first", DataType::Float64, false),
        Field::new("other", DataType::Float64, false),
    ]))
});

pub(super) static COMPARE_SAMPLES: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("first", DataType::Float64, false),
        Field::new("other", DataType::Float64, false),
    ]))
});

/// The rows of one call; `None` if the arguments are not those of the function.
///
/// # Errors
/// Those of [`Project::compare`], and of [`Project::compare_stream_of`].
pub(super) async fn rows(
    project: &Project,
    run: &str,
    function: Function,
    arguments: &[String],
) -> Result<Option<RecordBatch>> {
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rows = match (function, texts.as_slice()) {
        (Function::Compare, others) => {
            let runs = [&[run], others].concat();
            batch(&Box::pin(project.compare(&runs, 0)).await?)?
        }
        (Function::CompareClasses, [other, stream]) => {
            let found = project.compare_stream_of((run, other), stream, 0).await?;
            found.classes
        }
        (Function::CompareSamples, [other, stream, n @ ..]) => {
            let samples_max = match n {
                [] | ["all"] => Ok(usize::MAX),
                [n, ..] => n.parse(),
            };
            let Ok(samples_max) = samples_max else {
                return Ok(None);
            };
            let found = project.compare_stream_of((run, other), stream, samples_max);
            found.await?.changed
        }
        _ => return Ok(None),
    };
    Ok(Some(rows))
}

/// One thing that differs.
struct Row {
    kind: &'static str,
    name: String,
    run: String,
    first: Option<String>,
    other: Option<String>,
    change: Option<f64>,
}

/// All that differs, run by run.
fn batch(found: &Comparison) -> Result<RecordBatch> {
    let pairs = found.pairs.iter().enumerate();
    let rows = pairs.flat_map(|(at, pair)| {
        let mut rows = values("param", &found.params, (at, pair));
        rows.extend(scalars(&found.scalars, (at, pair)));
        rows.extend(values("environment", &found.environment, (at, pair)));
        rows.extend(code(pair));
        rows.extend(pair.data.iter().map(|table| data(pair, table)));
        rows.extend(pair.streams.iter().filter_map(|found| samples(pair, found)));
        rows
    });
    let rows: Vec<Row> = rows.chain(found.unknown.iter().map(unknown)).collect();
    let given = |text: fn(&Row) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
    };
    let known = |text: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let changes: Float64Array = rows.iter().map(|row| row.change).collect();
    Ok(RecordBatch::try_new(
        Arc::clone(&COMPARE),
        vec![
            given(|row| row.kind),
            given(|row| &row.name),
            given(|row| &row.run),
            known(|row| row.first.as_deref()),
            known(|row| row.other.as_deref()),
            Arc::new(changes),
        ],
    )?)
}

/// What differs between the first run and that of a pair, of what differs between any.
fn values<T: ToString>(
    kind: &'static str,
    differences: &[Difference<T>],
    (at, pair): (usize, &Pair),
) -> Vec<Row> {
    let rows = differences.iter().map(|difference| {
        let value = |run: usize| Some(difference.values.get(run)?.as_ref()?.to_string());
        Row {
            kind,
            name: difference.name.clone(),
            run: pair.run.to_string(),
            first: value(0),
            other: value(at + 1),
            change: None,
        }
    });
    rows.filter(|row| row.first != row.other).collect()
}

/// As [`values`], with by how much they differ. Their texts tell apart what their bits do.
fn scalars(differences: &[Difference<f64>], (at, pair): (usize, &Pair)) -> Vec<Row> {
    let changes = differences.iter().flat_map(|difference| {
        let value = |run: usize| difference.values.get(run).copied().flatten();
        let change = value(0)
            .zip(value(at + 1))
            .map(|(first, other)| other - first);
        let one = std::slice::from_ref(difference);
        let row = values("scalar", one, (at, pair)).into_iter().next();
        row.map(|row| Row { change, ..row })
    });
    changes.collect()
}

/// The commits, and the files that are changed differently on top of them, each with both patches.
fn code(pair: &Pair) -> Vec<Row> {
    let row = |kind, name: &str, first: &Option<String>, other: &Option<String>| Row {
        kind,
        name: name.to_owned(),
        run: pair.run.to_string(),
        first: first.clone(),
        other: other.clone(),
        change: None,
    };
    let commit = row("commit", "commit", &pair.code.first, &pair.code.other);
    let files = pair.code.files.iter();
    let files = files.map(|file| row("code", &file.path, &file.first, &file.other));
    let commit = Some(commit).filter(|row| row.first != row.other);
    commit.into_iter().chain(files).collect()
}

/// What is not known of a run, also of the first.
fn unknown(found: &Unknown) -> Row {
    Row {
        kind: "unknown",
        name: found.what.clone(),
        run: found.run.to_string(),
        first: None,
        other: None,
        change: None,
    }
}

/// The revisions that were read, and how many rows `diff` has between them.
fn data(pair: &Pair, table: &TableComparison) -> Row {
    let number = |revision: Option<Revision>| revision.map(|revision| revision.to_string());
    Row {
        kind: "data",
        name: table.table.to_string(),
        run: pair.run.to_string(),
        first: number(table.first),
        other: number(table.other),
        change: table.diff.as_ref().map(diff::n_rows),
    }
}

/// The means of the measure over all samples that both have, if any of these changed.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 samples"
)]
fn samples(pair: &Pair, found: &StreamComparison) -> Option<Row> {
    let count = |name: &str| -> Option<&[i64]> {
        let column = found.classes.column_by_name(name)?;
        Some(column.as_primitive_opt::<Int64Type>()?.values())
    };
    let (samples, better, worse) = (count("samples")?, count("better")?, count("worse")?);
    let n: i64 = samples.iter().sum();
    if better.iter().chain(worse).sum::<i64>() == 0 {
        return None;
    }
    let mean = |name: &str| {
        let column = found.classes.column_by_name(name)?;
        let means = column.as_primitive_opt::<Float64Type>()?.values();
        let sums = means.iter().zip(samples);
        Some(sums.map(|(mean, n)| mean * *n as f64).sum::<f64>() / n as f64)
    };
    let (first, other) = (mean("first")?, mean("other")?);
    Some(Row {
        kind: "samples",
        name: format!("{}/{}", found.stream, found.measure),
        run: pair.run.to_string(),
        first: Some(first.to_string()),
        other: Some(other.to_string()),
        change: Some(other - first),
    })
}
