//! The scan of a snapshot as a node of the engine's plans.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result as EngineResult, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::{StreamExt as _, TryFutureExt as _};

use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::schema::field_id;
use crate::table::{Counts, Scan, Snapshot, Wanted};

use super::pinned::Pinned;
use super::predicate::{Predicate, is_settled};
use super::rowids::RowIds;
use super::statistics::{n_rows, statistics};
use super::told::Told;

/// A row taken by id costs about as much as this many rows that are read in order.
const TAKE_COST: u64 = 16;

/// The engine's own guess of how many of so many rows pass a filter: one.
const PASS_ONE_OF: u64 = 5;

/// What a scan reads, whatever filters come to it later.
#[derive(Clone)]
pub(super) struct Scanned {
    pub(super) pinned: Pinned,
    /// The columns, in order.
    pub(super) schema: SchemaRef,
    /// The row ids of each partition.
    pub(super) parts: Vec<Range<u64>>,
    pub(super) limit: Option<usize>,
}

/// Reads some columns of one snapshot, in independent partitions, each in the order of row ids.
#[derive(Clone)]
pub(super) struct SnapshotExec {
    scanned: Scanned,
    /// What rows must pass; settled here.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Of all rows, before filters and limit.
    statistics: Arc<Statistics>,
    pruned: Option<Pruned>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What statistics of files rule out before anything runs. Edited rows in them are still read.
#[derive(Clone, Copy, Debug, Default)]
struct Pruned {
    files: usize,
    files_of: usize,
    row_groups: usize,
    row_groups_of: usize,
    rows_left: u64,
}

impl SnapshotExec {
    pub(super) fn new(scanned: Scanned) -> Self {
        let schema = &scanned.schema;
        let by_id = schema
            .index_of(ROWID)
            .map(|at| PhysicalSortExpr::new_default(Arc::new(Column::new(ROWID, at))));
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(
                Arc::clone(schema),
                by_id.ok().map(|by_id| [by_id]),
            ),
            Partitioning::UnknownPartitioning(scanned.parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let statistics = match scanned.pinned.known() {
            Some(snapshot) => statistics(snapshot, schema),
            None => Statistics::new_unknown(schema),
        };
        Self {
            scanned,
            filters: Vec::new(),
            statistics: Arc::new(statistics),
            pruned: None,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub(super) fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    /// The filters that stay the same while a query runs.
    pub(super) fn lasting(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let lasting = self.filters.iter().filter(|filter| !changes(filter));
        lasting.cloned().collect()
    }

    /// The same scan under other filters, not yet begun.
    pub(super) fn with_filters(&self, filters: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        let mut filtered = Self {
            filters,
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        };
        let snapshot = self.scanned.pinned.known();
        filtered.pruned = snapshot.and_then(|snapshot| filtered.pruned(snapshot).ok()?);
        filtered
    }

    fn names(&self) -> Vec<&str> {
        let fields = self.scanned.schema.fields().iter();
        fields.map(|field| field.name().as_str()).collect()
    }

    fn pruned(&self, snapshot: &Snapshot) -> Result<Option<Pruned>> {
        let filters = self.lasting();
        if filters.is_empty() {
            return Ok(None);
        }
        let predicate = Predicate::new(&filters, &self.scanned.schema)?;
        let pruner = predicate.pruner();
        let mut pruned = Pruned::default();
        for containers in snapshot.containers(&predicate.columns())? {
            let Some(containers) = containers else {
                return Ok(None);
            };
            let may_pass = (pruner.may_pass)(&containers);
            let left = containers.rows.iter().zip(&may_pass);
            let left = left.filter(|(_, may_pass)| **may_pass);
            pruned.rows_left += left.map(|(rows, _)| rows.end - rows.start).sum::<u64>();
            pruned.row_groups += may_pass.iter().filter(|may_pass| !**may_pass).count();
            pruned.row_groups_of += may_pass.len();
            pruned.files += usize::from(!may_pass.contains(&true));
            pruned.files_of += 1;
        }
        Ok(Some(pruned))
    }

    /// The rows of one partition. What to read is decided when the first row is asked for: by then
    /// a join may know which rows it wants.
    fn rows(&self, snapshot: &Snapshot, partition: usize, counts: &Arc<Counts>) -> Result<Scan> {
        self.check(snapshot)?;
        // Rows without columns are still counted, by their ids.
        let mut columns: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
        if columns.is_empty() {
            columns.push(ROWID.to_owned());
        }
        let part = self.scanned.parts.get(partition).cloned().unwrap_or(0..0);
        let filter = match self.filters.is_empty() {
            true => None,
            false => Some(Predicate::new(&self.filters, &self.scanned.schema)?.row_filter()),
        };
        let wanted = Wanted {
            columns,
            ids: ids(&RowIds::passing(&self.filters), part, snapshot.n_rows()),
            filter,
            rows_max: self.scanned.limit.map(|limit| limit as u64),
        };
        Scan::of(snapshot, wanted, counts)
    }

    /// A plan that came as bytes must mean the table that is there.
    fn check(&self, snapshot: &Snapshot) -> Result<()> {
        let wrong = self.scanned.schema.fields().iter().find(|field| {
            let own = snapshot.schema().field_with_name(field.name());
            field.name() != ROWID
                && own
                    .ok()
                    .is_none_or(|own| own.data_type() != field.data_type())
        });
        match wrong {
            None => Ok(()),
            Some(field) => Err(Error::invalid(format!(
                "the plan was made for another table: {} has no column {:?} of type {}",
                self.scanned.pinned,
                field.name(),
                field.data_type()
            ))),
        }
    }

    /// The cells of the scan's columns that were set, as the log tells.
    fn n_edits(&self) -> Option<u64> {
        let snapshot = self.scanned.pinned.known()?;
        let fields = self.scanned.schema.fields().iter();
        let ids = fields.filter_map(|field| field_id(field));
        Some(ids.map(|id| snapshot.n_edits(id)).sum())
    }
}

/// The row ids to look at: those that can pass, within the partition's.
fn ids(wanted: &RowIds, part: Range<u64>, n_rows: u64) -> Vec<Range<u64>> {
    match &wanted.list {
        Some(list) if (list.len() as u64).saturating_mul(TAKE_COST) <= n_rows => list
            .range(part)
            .map(|id| *id..id.saturating_add(1))
            .collect(),
        _ => {
            let start = part.start.max(wanted.range.start);
            let own = start..part.end.min(wanted.range.end).max(start);
            vec![own]
        }
    }
}

impl fmt::Debug for SnapshotExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for SnapshotExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().join(", ");
        write!(
            f,
            "SnapshotExec: {}, columns=[{names}]",
            self.scanned.pinned
        )?;
        write!(f, ", partitions={}", self.scanned.parts.len())?;
        if let Some(limit) = self.scanned.limit {
            write!(f, ", limit={limit}")?;
        }
        if let Some(n) = self.n_edits().filter(|n| *n > 0) {
            write!(f, ", cells_set={n}")?;
        }
        let filters: Vec<String> = self.filters.iter().map(ToString::to_string).collect();
        if !filters.is_empty() {
            write!(f, ", predicate=[{}]", filters.join(" AND "))?;
        }
        if let Some(pruned) = &self.pruned {
            write!(f, ", files_pruned={}/{}", pruned.files, pruned.files_of)?;
            let (n, of) = (pruned.row_groups, pruned.row_groups_of);
            write!(f, ", row_groups_pruned={n}/{of}")?;
        }
        Ok(())
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
        let (exec, schema) = (self.clone(), Arc::clone(&self.scanned.schema));
        let counts = Arc::new(Counts::default());
        let told = Told::new(&self.metrics, partition, &counts);
        let open = async move {
            let snapshot = exec.scanned.pinned.open().await?;
            exec.rows(snapshot, partition, &counts)
        };
        let rows = open.try_flatten_stream().boxed().map(move |batch| {
            let batch = with_schema(&batch?, &schema)?;
            told.tell(&batch);
            Ok(batch)
        });
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(
            Arc::clone(&self.scanned.schema),
            rows,
        ))))
    }

    /// For another round of a recursive query. What a join found out in this one is of no use there.
    fn reset_state(self: Arc<Self>) -> EngineResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.with_filters(self.lasting())))
    }

    /// Takes the filters that give each row the same answer each time, and settles them. Under a
    /// limit none is taken: it counts rows before they are filtered.
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
        let is_taken = |filter: &Arc<dyn PhysicalExpr>| {
            self.scanned.limit.is_none() && is_settled(filter, &self.scanned.schema)
        };
        let answers = filters.iter().map(|filter| match is_taken(filter) {
            true => PushedDown::Yes,
            false => PushedDown::No,
        });
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers.collect());
        let taken: Vec<_> = filters.into_iter().filter(is_taken).collect();
        if taken.is_empty() {
            return Ok(answer);
        }
        let filters = [self.filters.clone(), taken].concat();
        Ok(answer.with_updated_node(Arc::new(self.with_filters(filters))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> EngineResult<Arc<Statistics>> {
        let Some(all) = self.statistics.num_rows.get_value().map(|n| *n as u64) else {
            return Ok(Arc::clone(&self.statistics));
        };
        let n_parts = self.scanned.parts.len() as u64;
        let share = match args.partition() {
            Some(_) => all / n_parts.max(1),
            None => all,
        };
        let limit = self.scanned.limit.map_or(u64::MAX, |limit| limit as u64);
        if !self.filters.is_empty() {
            let left = self
                .pruned
                .map_or(share, |pruned| pruned.rows_left.min(share));
            let passing = if self.pruned.is_some() {
                left / PASS_ONE_OF
            } else {
                left
            };
            let n = Precision::Inexact(passing.max(1).min(limit).min(all));
            let known = (*self.statistics).clone().to_inexact();
            let n = n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            return Ok(Arc::new(known.with_num_rows(n)));
        }
        if limit >= all && (args.partition().is_none() || n_parts == 1) {
            return Ok(Arc::clone(&self.statistics));
        }
        let n = match (args.partition(), n_parts) {
            (_, 1) => Precision::Exact(all.min(limit)),
            (None, n) => Precision::Inexact(all.min(limit.saturating_mul(n))),
            (Some(_), _) => Precision::Inexact(share.min(limit)),
        };
        Ok(Arc::new(n_rows(&self.scanned.schema, n)))
    }

    fn fetch(&self) -> Option<usize> {
        self.scanned.limit
    }

    /// The limit counts what passes the filters that were taken before.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut limited = self.with_filters(self.filters.clone());
        limited.scanned.limit = limit;
        Some(Arc::new(limited))
    }
}

/// Whether the engine narrows the filter while the query runs.
fn changes(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let changes = |part: &Arc<dyn PhysicalExpr>| Ok(part.is::<DynamicFilterPhysicalExpr>());
    filter.exists(changes).unwrap_or(true)
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
