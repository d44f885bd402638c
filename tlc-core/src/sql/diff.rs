//! `diff('<project>/<table>', a, b)`: what differs between two revisions, as rows.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray as _, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as EngineResult, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::id::{ColumnName, ROWID};
use crate::project::Root;
use crate::table::Diff;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(ROWID, DataType::UInt64, true),
        Field::new("column", DataType::Utf8, true),
        Field::new("old", DataType::Utf8, true),
        Field::new("new", DataType::Utf8, true),
        Field::new("change", DataType::Utf8, false),
    ]))
});

/// The table function. Reading its arguments makes no request.
pub(super) struct DiffFunction {
    root: Root,
}

impl DiffFunction {
    pub(super) fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }
}

impl fmt::Debug for DiffFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("diff")
    }
}

impl TableFunctionImpl for DiffFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> EngineResult<Arc<dyn TableProvider>> {
        let usage = || {
            Error::invalid(
                "write diff('<project>/<table>', <revision>, <revision>), such as diff('mnist/train', 0, 1) or diff('mnist/train', 'main', 'cleanup')",
            )
        };
        let texts: Option<Vec<String>> = args.exprs().iter().map(literal).collect();
        let Some([path, from, to]) = texts.as_deref() else {
            return Err(usage().into());
        };
        let (project, table) = path.split_once('/').ok_or_else(usage)?;
        Ok(Arc::new(DiffTable {
            root: self.root.clone(),
            project: project.to_owned(),
            table: table.to_owned(),
            from: from.clone(),
            to: to.clone(),
        }))
    }
}

/// A number or a text that stands in the query itself.
pub(super) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            Some(text.clone())
        }
        Expr::Literal(value, _) if value.data_type().is_integer() && !value.is_null() => {
            Some(value.to_string())
        }
        _ => None,
    }
}

/// One call of the function; the work is done when it is scanned.
#[derive(Debug)]
pub(super) struct DiffTable {
    pub(super) root: Root,
    pub(super) project: String,
    pub(super) table: String,
    pub(super) from: String,
    pub(super) to: String,
}

impl DiffTable {
    async fn rows(&self) -> Result<RecordBatch> {
        let table = self.root.project(&self.project)?.table(&self.table).await?;
        let (from, to) = (
            table.resolve(&self.from).await?,
            table.resolve(&self.to).await?,
        );
        rows(&table.diff(from, to).await?)
    }
}

#[async_trait]
impl TableProvider for DiffTable {
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

/// The cells by column, then rows and columns that came or went.
fn rows(diff: &Diff) -> Result<RecordBatch> {
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
