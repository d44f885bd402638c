//! Tables of queries by name, as plans carry them: which project and table, never where the root is.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as EngineResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};
use crate::id::{ProjectName, Revision, TableName};
use crate::project::Root;

use super::calls::{Call, CallTable, Function};
use super::provider::SnapshotTable;
use super::runs::{self, Records};

/// A table that a query can read, and all that says which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Snapshot {
        project: ProjectName,
        table: TableName,
        revision: Revision,
    },
    Records {
        project: ProjectName,
        kind: Records,
    },
    Call(Call),
}

impl Named {
    /// What `provider` is, if it is one of ours.
    pub(super) fn of(provider: &dyn TableProvider) -> Option<Self> {
        if let Some(table) = provider.downcast_ref::<SnapshotTable>() {
            let snapshot = table.snapshot();
            return Some(Self::Snapshot {
                project: snapshot.table().project().clone(),
                table: snapshot.table().name().clone(),
                revision: snapshot.revision(),
            });
        }
        if let Some(table) = provider.downcast_ref::<CallTable>() {
            return Some(Self::Call(table.call().clone()));
        }
        if let Some(table) = provider.downcast_ref::<NamedTable>() {
            return Some(table.named.clone());
        }
        let (project, kind) = runs::named(provider)?;
        Some(Self::Records { project, kind })
    }

    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Snapshot {
                project,
                table,
                revision,
            } => {
                json!({"project": project.as_str(), "table": table.as_str(), "revision": revision.0})
            }
            Self::Records { project, kind } => {
                json!({"project": project.as_str(), "records": kind.name()})
            }
            Self::Call(call) => {
                json!({"call": call.function.name(), "of": call.of, "with": call.arguments})
            }
        }
    }

    /// Reads what [`Self::to_json`] wrote; names are checked as they enter.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is something else.
    pub(super) fn from_json(json: &Json) -> Result<Self> {
        let text = |key: &str| json.get(key).and_then(Json::as_str);
        if let (Some(function), Some(of)) = (text("call"), text("of")) {
            return call(function, of, json.get("with")).ok_or_else(wrong);
        }
        let project = text("project").ok_or_else(wrong)?;
        if let (Some(table), Some(revision)) =
            (text("table"), json.get("revision").and_then(Json::as_u64))
        {
            return Ok(Self::Snapshot {
                project: project.parse()?,
                table: table.parse()?,
                revision: Revision(revision),
            });
        }
        let kind = text("records").and_then(Records::named);
        Ok(Self::Records {
            kind: kind.ok_or_else(wrong)?,
            project: project.parse()?,
        })
    }

    async fn open(&self, root: &Root) -> Result<Arc<dyn TableProvider>> {
        Ok(match self {
            Self::Snapshot {
                project,
                table,
                revision,
            } => {
                let table = root
                    .project(project.as_str())?
                    .table(table.as_str())
                    .await?;
                Arc::new(SnapshotTable::new(&table.at(*revision).await?))
            }
            Self::Records { project, kind } => {
                runs::provider(root.project(project.as_str())?, *kind).await?
            }
            Self::Call(call) => Arc::new(CallTable::new(root, call.clone())),
        })
    }
}

fn call(function: &str, of: &str, arguments: Option<&Json>) -> Option<Named> {
    let texts = arguments?.as_array()?.iter().map(Json::as_str);
    Some(Named::Call(Call {
        function: Function::named(function)?,
        of: of.to_owned(),
        arguments: texts
            .map(|text| text.map(str::to_owned))
            .collect::<Option<_>>()?,
    }))
}

pub(super) fn wrong() -> Error {
    Error::invalid("the bytes are not those of a plan over tables of a root")
}

/// A table of a plan that came as bytes. It is opened when it is scanned: reading a plan makes no
/// request.
pub(super) struct NamedTable {
    root: Root,
    named: Named,
    schema: SchemaRef,
}

impl NamedTable {
    pub(super) fn new(root: &Root, named: Named, schema: SchemaRef) -> Self {
        Self {
            root: root.clone(),
            named,
            schema,
        }
    }

    /// The table, if it still has the columns that the plan was made for.
    async fn open(&self) -> Result<Arc<dyn TableProvider>> {
        let found = self.named.open(&self.root).await?;
        let columns = |schema: &SchemaRef| -> Vec<_> {
            let fields = schema.fields().iter();
            fields
                .map(|field| (field.name().clone(), field.data_type().clone()))
                .collect()
        };
        if columns(&found.schema()) == columns(&self.schema) {
            return Ok(found);
        }
        Err(Error::invalid(format!(
            "the plan was made for other columns than {:?} has here",
            self.named
        )))
    }
}

impl fmt::Debug for NamedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.named.fmt(f)
    }
}

#[async_trait]
impl TableProvider for NamedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters are passed on, to save reading; none is settled here.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let table = self.open().await?;
        table.scan(session, projection, filters, limit).await
    }
}
