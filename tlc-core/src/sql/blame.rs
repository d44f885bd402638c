//! `blame('<project>/<table>', column[, revision])`: who gave each cell of a column its value, as rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::table::{Blame, BlameOptions, RevisionRecord, Table};

pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("revision", DataType::Int64, false),
        Field::new("author", DataType::Utf8, false),
        Field::new("time", time, false),
        Field::new("message", DataType::Utf8, false),
    ]))
});

/// The rows of one call.
///
/// # Errors
/// Those of [`Table::blame`] and [`Table::resolve`].
pub(super) async fn rows(table: &Table, column: &str, at: Option<&String>) -> Result<RecordBatch> {
    let mut options = BlameOptions::new();
    if let Some(at) = at {
        options = options.at(table.resolve(at).await?);
    }
    batch(&table.blame(column, options).await?)
}

fn batch(blame: &Blame) -> Result<RecordBatch> {
    let records = blame.revisions.iter().map(|revision| {
        let record = blame.records.get(revision);
        record.ok_or_else(|| Error::corrupt(format!("revision {revision} is unknown")))
    });
    let records = records.collect::<Result<Vec<_>>>()?;
    let texts = |text: fn(&RevisionRecord) -> &str| -> ArrayRef {
        let texts = records.iter().map(|record| text(record));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let times = records.iter().map(|record| record.time.0);
    let revisions = records.iter().map(|record| record.revision.0.cast_signed());
    Ok(RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        vec![
            Arc::new(UInt64Array::from(blame.row_ids.clone())),
            Arc::new(Int64Array::from_iter_values(revisions)),
            texts(|record| &record.author),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            texts(|record| &record.message),
        ],
    )?)
}
