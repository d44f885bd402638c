//! `blame('<project>/<table>', column[, revision])`: who gave each cell of a column its value, as rows.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result as EngineResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::project::Root;
use crate::table::{Blame, BlameOptions, RevisionRecord};

use super::diff::literal;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("revision", DataType::Int64, false),
        Field::new("author", DataType::Utf8, false),
        Field::new("time", time, false),
        Field::new("message", DataType::Utf8, false),
    ]))
});

/// The table function. Reading its arguments makes no request.
pub(super) struct BlameFunction {
    root: Root,
}

impl BlameFunction {
    pub(super) fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }
}

impl fmt::Debug for BlameFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("blame")
    }
}

impl TableFunctionImpl for BlameFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> EngineResult<Arc<dyn TableProvider>> {
        let usage = || {
            Error::invalid(
                "write blame('<project>/<table>', '<column>') or blame('<project>/<table>', '<column>', <revision>), such as blame('mnist/train', 'label', 3)",
            )
        };
        let texts: Option<Vec<String>> = args.exprs().iter().map(literal).collect();
        let texts = texts.unwrap_or_default();
        let (path, column, revision) = match texts.as_slice() {
            [path, column] => (path, column, None),
            [path, column, revision] => (path, column, Some(revision.clone())),
            _ => return Err(usage().into()),
        };
        let (project, table) = path.split_once('/').ok_or_else(usage)?;
        Ok(Arc::new(BlameTable {
            root: self.root.clone(),
            project: project.to_owned(),
            table: table.to_owned(),
            column: column.clone(),
            revision,
        }))
    }
}

/// One call of the function; the work is done when it is scanned.
#[derive(Debug)]
struct BlameTable {
    root: Root,
    project: String,
    table: String,
    column: String,
    revision: Option<String>,
}

impl BlameTable {
    async fn rows(&self) -> Result<RecordBatch> {
        let table = self.root.project(&self.project)?.table(&self.table).await?;
        let mut options = BlameOptions::new();
        if let Some(revision) = &self.revision {
            options = options.at(table.resolve(revision).await?);
        }
        rows(&table.blame(&self.column, options).await?)
    }
}

#[async_trait]
impl TableProvider for BlameTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let rows = self.rows().await?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}

fn rows(blame: &Blame) -> Result<RecordBatch> {
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
