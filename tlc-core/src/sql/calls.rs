//! Table functions, `diff('<project>/<table>', …)` and `blame('<project>/<table>', …)`: what they are
//! called with. What they give is in a module for each.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as EngineResult, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::project::Root;

use super::{blame, diff};

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Blame,
    Diff,
}

impl Function {
    pub(super) const ALL: [Self; 2] = [Self::Blame, Self::Diff];

    /// As queries name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blame => "blame",
            Self::Diff => "diff",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Blame => {
                "write blame('<project>/<table>', '<column>') or blame('<project>/<table>', '<column>', <revision>), such as blame('mnist/train', 'label', 3)"
            }
            Self::Diff => {
                "write diff('<project>/<table>', <revision>, <revision>), such as diff('mnist/train', 0, 1) or diff('mnist/train', 'main', 'cleanup')"
            }
        }
    }

    fn schema(self) -> &'static SchemaRef {
        match self {
            Self::Blame => &blame::SCHEMA,
            Self::Diff => &diff::SCHEMA,
        }
    }
}

/// One call: of which function, for which table, and what else it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) function: Function,
    /// `<project>/<table>`, looked up when it is scanned.
    pub(super) table: String,
    pub(super) arguments: Vec<String>,
}

impl Call {
    /// A call with its arguments as they stand in the query.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), saying how it is called.
    fn read(function: Function, arguments: &[Expr]) -> Result<Self> {
        let usage = || Error::invalid(function.usage());
        let texts: Option<Vec<String>> = arguments.iter().map(literal).collect();
        let mut texts = texts.ok_or_else(usage)?.into_iter();
        let call = Self {
            function,
            table: texts.next().ok_or_else(usage)?,
            arguments: texts.collect(),
        };
        let fits = match function {
            Function::Blame => matches!(call.arguments.len(), 1 | 2),
            Function::Diff => call.arguments.len() == 2,
        };
        (fits && call.table.contains('/'))
            .then_some(call)
            .ok_or_else(usage)
    }

    async fn rows(&self, root: &Root) -> Result<RecordBatch> {
        let usage = || Error::invalid(self.function.usage());
        let (project, table) = self.table.split_once('/').ok_or_else(usage)?;
        let table = root.project(project)?.table(table).await?;
        match (self.function, self.arguments.as_slice()) {
            (Function::Blame, [column]) => blame::rows(&table, column, None).await,
            (Function::Blame, [column, at]) => blame::rows(&table, column, Some(at)).await,
            (Function::Diff, [from, to]) => diff::rows(&table, from, to).await,
            _ => Err(usage()),
        }
    }
}

/// A number or a text that stands in the query itself.
fn literal(expr: &Expr) -> Option<String> {
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

/// A function as the engine calls it. Reading its arguments makes no request.
pub(super) struct Callable {
    root: Root,
    function: Function,
}

impl Callable {
    pub(super) fn new(root: &Root, function: Function) -> Self {
        let root = root.clone();
        Self { root, function }
    }
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())
    }
}

impl TableFunctionImpl for Callable {
    fn call_with_args(&self, args: TableFunctionArgs) -> EngineResult<Arc<dyn TableProvider>> {
        let call = Call::read(self.function, args.exprs())?;
        Ok(Arc::new(CallTable::new(&self.root, call)))
    }
}

/// What a call gives; the work is done when it is scanned.
#[derive(Debug)]
pub(super) struct CallTable {
    root: Root,
    call: Call,
}

impl CallTable {
    pub(super) fn new(root: &Root, call: Call) -> Self {
        let root = root.clone();
        Self { root, call }
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }
}

#[async_trait]
impl TableProvider for CallTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.call.function.schema())
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
        let rows = self.call.rows(&self.root).await?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
