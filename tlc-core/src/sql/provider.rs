//! A snapshot as a table of the engine. What is pushed into it, [`SnapshotExec`] does.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result as EngineResult, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::id::ROWID;
use crate::table::Snapshot;

use super::exec::{Scanned, SnapshotExec};
use super::pinned::Pinned;
use super::rowids::RowIds;
use super::statistics::n_rows;

/// One snapshot, with `_rowid` before the columns of its schema.
pub(super) struct SnapshotTable {
    snapshot: Snapshot,
    schema: SchemaRef,
}

impl SnapshotTable {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let row_id: FieldRef = Arc::new(Field::new(ROWID, DataType::UInt64, false));
        let fields: Vec<FieldRef> = std::iter::once(row_id)
            .chain(snapshot.schema().fields().iter().cloned())
            .collect();
        Self {
            snapshot: snapshot.clone(),
            schema: Arc::new(Schema::new(fields)),
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Reads footers, so that the plan can be cut at row groups and knows what can be pruned. What
    /// cannot be opened here is told when it is read, if it is.
    async fn prepare(&self, session: &dyn Session, filters: &[Expr]) -> EngineResult<()> {
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filters = filters
            .iter()
            .map(|filter| session.create_physical_expr(filter.clone(), &schema))
            .collect::<EngineResult<Vec<_>>>()?;
        let ids = RowIds::passing(&filters);
        let may_hold = |rows: std::ops::Range<u64>| match &ids.list {
            Some(list) => list.range(rows).next().is_some(),
            None => rows.start < ids.range.end && ids.range.start < rows.end,
        };
        self.snapshot.open_files(may_hold).await.ok();
        Ok(())
    }
}

impl fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Pinned::new(&self.snapshot))
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let n = Precision::Exact(self.snapshot.n_rows());
        Some(n_rows(&self.schema, n))
    }

    /// Only so that [`Self::scan`] hears of them: they are settled where the physical plan takes
    /// them, together with those that the engine makes later.
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
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let reads_files = schema.fields().iter().any(|field| field.name() != ROWID);
        if reads_files && limit.is_none() {
            self.prepare(session, filters).await?;
        }
        let parts = self.snapshot.parts(session.config().target_partitions());
        let scanned = Scanned {
            pinned: Pinned::new(&self.snapshot),
            schema,
            parts,
            limit,
        };
        Ok(Arc::new(SnapshotExec::new(scanned)))
    }
}
