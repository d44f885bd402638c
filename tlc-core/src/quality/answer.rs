//! What is answered: rows that [`Snapshot::patch_of_issues`](crate::Snapshot::patch_of_issues) takes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::rated::{class_column, fitted};
use crate::error::Result;
use crate::id::ROWID;

/// A sample that something is wrong with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) row_id: u64,
    pub(super) score: f64,
    pub(super) label: Option<u64>,
    pub(super) suggested: Option<u64>,
}

/// `_rowid`, `issue` and `score` of some rows, and more columns.
///
/// # Errors
/// Those of Arrow, for columns of other lengths.
pub(super) fn rows(
    issues: ArrayRef,
    row_ids: &[u64],
    scores: &[f64],
    more: Vec<(Field, ArrayRef)>,
    metadata: Vec<(&'static str, String)>,
) -> Result<RecordBatch> {
    let mut fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("issue", DataType::Utf8, false),
        Field::new("score", DataType::Float64, false),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(row_ids.to_vec())),
        issues,
        Arc::new(Float64Array::from(scores.to_vec())),
    ];
    for (field, column) in more {
        fields.push(field);
        columns.push(column);
    }
    let metadata = metadata.into_iter();
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let schema = Schema::new_with_metadata(fields, metadata.collect());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// The name of one issue for so many rows.
pub(super) fn named(issue: &str, n: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(issue, n)))
}

/// The same with `label` and `suggested`, of the type of the label column if that holds them.
///
/// # Errors
/// As [`rows`].
pub(super) fn issues(
    issue: &str,
    found: &[Found],
    field: &Field,
    metadata: Vec<(&'static str, String)>,
) -> Result<RecordBatch> {
    let ids: Vec<u64> = found.iter().map(|found| found.row_id).collect();
    let scores: Vec<f64> = found.iter().map(|found| found.score).collect();
    let labels = class_column(field, found.iter().map(|found| found.label))?;
    let suggested = class_column(field, found.iter().map(|found| found.suggested))?;
    let more = vec![
        (fitted(field, &labels).with_name("label"), labels),
        (fitted(field, &suggested).with_name("suggested"), suggested),
    ];
    rows(named(issue, found.len()), &ids, &scores, more, metadata)
}
