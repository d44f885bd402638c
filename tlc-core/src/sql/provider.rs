//! A snapshot as a table of the engine: projection, limit and conditions on `_rowid` reach the files.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result as EngineResult, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, future, stream};

use crate::error::Result;
use crate::id::ROWID;
use crate::table::{ScanOptions, Snapshot};

use super::rowids::RowIds;

/// How many rows are taken by id at one time.
const TAKE_ROWS: usize = 1_024;

/// A row taken by id costs about as much as this many rows that are read in order.
const TAKE_COST: u64 = 16;

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
}

impl fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spelled(&self.snapshot))
    }
}

/// `mnist/train@7`.
fn spelled(snapshot: &Snapshot) -> String {
    let table = snapshot.table();
    format!(
        "{}/{}@{}",
        table.project(),
        table.name(),
        snapshot.revision()
    )
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
        Some(n_rows(
            &self.schema,
            Precision::Exact(self.snapshot.n_rows()),
        ))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let n_partitions = self
            .snapshot
            .scan_partitions(session.config().target_partitions())
            .max(1);
        Ok(Arc::new(SnapshotExec::new(
            self.snapshot.clone(),
            schema,
            limit,
            n_partitions,
        )))
    }
}

fn n_rows(schema: &Schema, n: Precision<u64>) -> Statistics {
    let n = n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    Statistics::new_unknown(schema).with_num_rows(n)
}

/// Reads some columns of one snapshot, in independent partitions, each in the order of row ids.
#[derive(Clone)]
struct SnapshotExec {
    snapshot: Snapshot,
    schema: SchemaRef,
    limit: Option<usize>,
    /// What stands above this scan; it says which rows need not be read.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// What is read, decided once for all partitions, as their parts must fit together.
    wanted: Arc<OnceLock<RowIds>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SnapshotExec {
    fn new(
        snapshot: Snapshot,
        schema: SchemaRef,
        limit: Option<usize>,
        n_partitions: usize,
    ) -> Self {
        let by_id = schema
            .index_of(ROWID)
            .map(|at| PhysicalSortExpr::new_default(Arc::new(Column::new(ROWID, at))));
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(
                Arc::clone(&schema),
                by_id.ok().map(|by_id| [by_id]),
            ),
            Partitioning::UnknownPartitioning(n_partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Self {
            snapshot,
            schema,
            limit,
            filters: Vec::new(),
            wanted: Arc::default(),
            properties: Arc::new(properties),
            metrics,
        }
    }

    /// The same scan under other filters, not yet begun.
    fn with_filters(&self, filters: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        let (wanted, metrics) = (Arc::default(), ExecutionPlanMetricsSet::new());
        Self {
            filters,
            wanted,
            metrics,
            ..self.clone()
        }
    }

    fn n_partitions(&self) -> usize {
        self.properties.partitioning.partition_count()
    }

    fn names(&self) -> Vec<&str> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    }

    /// The rows of one partition. What to read is decided when the first row is asked for: by then
    /// a join may know which rows it wants.
    fn rows(&self, partition: usize) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let wanted = self.wanted.get_or_init(|| RowIds::passing(&self.filters));
        // Rows without columns are still counted, by their ids.
        let names = if self.schema.fields().is_empty() {
            vec![ROWID]
        } else {
            self.names()
        };
        let listed = wanted.list.as_ref().map(|list| {
            let held = list
                .iter()
                .copied()
                .filter(|id| self.snapshot.contains(*id));
            held.collect::<Vec<u64>>()
        });
        if let Some(ids) = listed
            .filter(|ids| (ids.len() as u64).saturating_mul(TAKE_COST) <= self.snapshot.n_rows())
        {
            let mine = if partition == 0 { ids } else { Vec::new() };
            return Ok(taken(self.snapshot.clone(), &mine, &names));
        }
        let options = ScanOptions::new()
            .columns(names)
            .row_ids(wanted.range.clone())
            .partition(partition, self.n_partitions());
        let options = match self.limit {
            Some(limit) => options.rows_max(limit as u64),
            None => options,
        };
        Ok(self.snapshot.scan(options)?.boxed())
    }
}

/// Rows by id, some at a time.
fn taken(
    snapshot: Snapshot,
    ids: &[u64],
    names: &[&str],
) -> BoxStream<'static, Result<RecordBatch>> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let parts: Vec<Vec<u64>> = ids.chunks(TAKE_ROWS).map(<[u64]>::to_vec).collect();
    let take = move |ids: Vec<u64>| {
        let (snapshot, names) = (snapshot.clone(), names.clone());
        async move {
            snapshot
                .take(&ids, &names.iter().map(String::as_str).collect::<Vec<_>>())
                .await
        }
        .boxed()
    };
    stream::iter(parts).then(take).boxed()
}

impl fmt::Debug for SnapshotExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for SnapshotExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SnapshotExec: {}, columns=[{}]",
            spelled(&self.snapshot),
            self.names().join(", ")
        )?;
        write!(f, ", partitions={}", self.n_partitions())?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        let filters: Vec<String> = self.filters.iter().map(ToString::to_string).collect();
        if filters.is_empty() {
            Ok(())
        } else {
            write!(f, ", rows=[{}]", filters.join(" AND "))
        }
    }
}

impl ExecutionPlan for SnapshotExec {
    fn name(&self) -> &'static str {
        "SnapshotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    /// The engine looks here for who wants to hear what a join finds out.
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> EngineResult<TreeNodeRecursion>,
    ) -> EngineResult<TreeNodeRecursion> {
        for filter in &self.filters {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            Ok(self)
        } else {
            internal_err!("a scan of a snapshot has no children")
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> EngineResult<SendableRecordBatchStream> {
        let (exec, schema) = (self.clone(), Arc::clone(&self.schema));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = future::lazy(move |_| {
            exec.rows(partition)
                .unwrap_or_else(|err| stream::iter([Err(err)]).boxed())
        });
        let rows = rows.flatten_stream().map(move |batch| {
            let batch = with_schema(&batch?, &schema)?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))))
    }

    /// For another round of a recursive query. What a join found out in this one is of no use there.
    fn reset_state(self: Arc<Self>) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let lasting = self.filters.iter().filter(|filter| !changes(filter));
        Ok(Arc::new(self.with_filters(lasting.cloned().collect())))
    }

    /// Notes the filters above, and leaves them where they are: they decide what is read, and what
    /// is read still has to pass them.
    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        above: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> EngineResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters: Vec<_> = above
            .parent_filters
            .into_iter()
            .map(|above| above.filter)
            .collect();
        let kept = FilterPushdownPropagation::with_parent_pushdown_result(vec![
            PushedDown::No;
            filters.len()
        ]);
        let filters: Vec<_> = filters.into_iter().filter(names_row_id).collect();
        if filters.is_empty() || self.limit.is_some() {
            return Ok(kept);
        }
        let filters = [self.filters.clone(), filters].concat();
        Ok(kept.with_updated_node(Arc::new(self.with_filters(filters))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> EngineResult<Arc<Statistics>> {
        let all = self.snapshot.n_rows();
        let limit = self.limit.map_or(u64::MAX, |limit| limit as u64);
        let n = match (args.partition(), self.n_partitions()) {
            _ if !self.filters.is_empty() => Precision::Inexact(all.min(limit)),
            (None, 1) | (Some(_), 1) => Precision::Exact(all.min(limit)),
            (None, _) if limit >= all => Precision::Exact(all),
            (None, n) => Precision::Inexact(all.min(limit.saturating_mul(n as u64))),
            (Some(_), n) => Precision::Inexact((all / n as u64).min(limit)),
        };
        Ok(Arc::new(n_rows(&self.schema, n)))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self {
            limit,
            ..self.with_filters(Vec::new())
        }))
    }
}

/// Whether the engine narrows the filter while the query runs.
fn changes(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let changes = |part: &Arc<dyn PhysicalExpr>| Ok(part.is::<DynamicFilterPhysicalExpr>());
    filter.exists(changes).unwrap_or(true)
}

/// Whether a filter says anything about row ids.
fn names_row_id(filter: &Arc<dyn PhysicalExpr>) -> bool {
    collect_columns(filter)
        .iter()
        .any(|column| column.name() == ROWID)
}

/// The batch under the plan's own schema; without columns, only its number of rows.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch
        .columns()
        .iter()
        .take(schema.fields().len())
        .cloned()
        .collect();
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
