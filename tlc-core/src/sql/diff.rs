//! `diff('<project>/<table>', a, b)`: what differs between two revisions, as rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray as _, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;
use crate::id::{ColumnName, ROWID};
use crate::table::{Diff, Table};

pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(ROWID, DataType::UInt64, true),
        Field::new("column", DataType::Utf8, true),
        Field::new("old", DataType::Utf8, true),
        Field::new("new", DataType::Utf8, true),
        Field::new("change", DataType::Utf8, false),
    ]))
});

/// The rows of one call.
///
/// # Errors
/// Those of [`Table::diff`] and [`Table::resolve`].
pub(super) async fn rows(table: &Table, from: &str, to: &str) -> Result<RecordBatch> {
    let (from, to) = (table.resolve(from).await?, table.resolve(to).await?);
    batch(&table.diff(from, to).await?)
}

/// How many rows [`rows`] gives for a difference.
#[expect(clippy::cast_precision_loss, reason = "there are less than 2^53 cells")]
pub(super) fn n_rows(diff: &Diff) -> f64 {
    let cells: usize = diff.cells.iter().map(|cells| cells.row_ids.len()).sum();
    let rows = diff.rows_added.len() + diff.rows_dropped.len();
    let columns =
        diff.columns_added.len() + diff.columns_dropped.len() + diff.columns_changed.len();
    (cells + rows + columns) as f64
}

/// The cells by column, then rows and columns that came or went.
fn batch(diff: &Diff) -> Result<RecordBatch> {
    let mut parts = Vec::with_capacity(diff.cells.len() + 5);
    for cells in &diff.cells {
        let ids = UInt64Array::from(cells.row_ids.clone());
        let column =
            StringArray::from_iter_values(std::iter::repeat_n(cells.column.as_str(), ids.len()));
        parts.push(part(
            Arc::new(ids),
            Arc::new(column),
            texts(&cells.old)?,
            texts(&cells.new)?,
            "cell",
        )?);
    }
    for (ids, change) in [
        (&diff.rows_added, "row added"),
        (&diff.rows_dropped, "row dropped"),
    ] {
        let nothing = nulls(ids.len());
        let ids = Arc::new(UInt64Array::from(ids.clone()));
        parts.push(part(
            ids,
            Arc::clone(&nothing),
            Arc::clone(&nothing),
            nothing,
            change,
        )?);
    }
    let changed = diff.columns_changed.iter().map(|column| column.new.name());
    for (columns, change) in [
        (names(&diff.columns_added), "column added"),
        (names(&diff.columns_dropped), "column dropped"),
        (changed.cloned().collect(), "column changed"),
    ] {
        let (n, nothing) = (columns.len(), nulls(columns.len()));
        let columns = Arc::new(StringArray::from(columns));
        let ids = Arc::new(UInt64Array::new_null(n));
        parts.push(part(ids, columns, Arc::clone(&nothing), nothing, change)?);
    }
    Ok(arrow::compute::concat_batches(&SCHEMA, &parts)?)
}

fn names(columns: &[ColumnName]) -> Vec<String> {
    columns.iter().map(ToString::to_string).collect()
}

fn nulls(n: usize) -> ArrayRef {
    Arc::new(StringArray::new_null(n))
}

fn part(
    ids: ArrayRef,
    column: ArrayRef,
    old: ArrayRef,
    new: ArrayRef,
    change: &str,
) -> Result<RecordBatch> {
    let change = StringArray::from_iter_values(std::iter::repeat_n(change, ids.len()));
    Ok(RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        vec![ids, column, old, new, Arc::new(change)],
    )?)
}

/// Values as text. Bytes are told by their length: nobody reads an image as digits.
fn texts(values: &dyn Array) -> Result<ArrayRef> {
    let mut texts = StringBuilder::new();
    let lengths = match values.data_type() {
        DataType::Binary => Some(
            values
                .as_binary::<i32>()
                .iter()
                .map(|bytes| bytes.map(<[u8]>::len))
                .collect::<Vec<_>>(),
        ),
        DataType::LargeBinary => Some(
            values
                .as_binary::<i64>()
                .iter()
                .map(|bytes| bytes.map(<[u8]>::len))
                .collect(),
        ),
        _ => None,
    };
    let options = FormatOptions::new();
    let format = ArrayFormatter::try_new(values, &options)?;
    for row in 0..values.len() {
        match lengths.as_ref().and_then(|lengths| lengths.get(row)) {
            Some(length) => texts.append_option(length.map(|length| format!("<{length} bytes>"))),
            None if values.is_null(row) => texts.append_null(),
            None => texts.append_value(format.value(row).try_to_string()?),
        }
    }
    Ok(Arc::new(texts.finish()))
}
