//! The engine's filters as a condition that a scan of a table understands.
//!
//! A filter is evaluated on rows as the table has them, so it is settled by the scan. What the engine
//! learns while a query runs (a join's keys, the worst row of a top ten) is looked at anew for each
//! batch, and for each piece of a file that is begun.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result as EngineResult, ScalarValue};
use datafusion::datasource::physical_plan::parquet::BloomFilterStatistics;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, conjunction, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

use crate::error::Result;
use crate::table::{Containers, Pruner, RowFilter};

/// Several filters as one condition over the columns that they read.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    filter: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl Predicate {
    /// The condition that all `filters` over `schema` pass.
    pub(super) fn new(filters: &[Arc<dyn PhysicalExpr>], schema: &Schema) -> EngineResult<Self> {
        let filter = conjunction(filters.iter().cloned());
        let names: HashSet<String> = collect_columns(&filter)
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        let fields = schema.fields().iter();
        let fields: Vec<_> = fields
            .filter(|field| names.contains(field.name()))
            .cloned()
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let filter = reassign_expr_columns(filter, &schema)?;
        Ok(Self { filter, schema })
    }

    /// What the condition reads.
    pub(super) fn columns(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    pub(super) fn row_filter(&self) -> RowFilter {
        let (asked, pruned) = (self.clone(), self.clone());
        RowFilter {
            columns: self.columns(),
            passes: Arc::new(move |batch| asked.passes(batch)),
            pruner: Arc::new(move || pruned.pruner()),
        }
    }

    fn passes(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let passes = self.filter.evaluate(batch)?.into_array(batch.num_rows())?;
        let passes = arrow::compute::cast(&passes, &arrow::datatypes::DataType::Boolean)?;
        Ok(passes.as_boolean().clone())
    }

    /// What the filters, as they stand now, say about sets of rows.
    pub(super) fn pruner(&self) -> Pruner {
        let filter = Arc::clone(&self.filter);
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
        match builder.build(filter) {
            None => Pruner {
                looked_up: Vec::new(),
                may_pass: Box::new(|containers| vec![true; containers.rows.len()]),
            },
            Some(predicate) => Pruner {
                looked_up: predicate.literal_columns(),
                may_pass: Box::new(move |containers| may_pass(&predicate, containers)),
            },
        }
    }
}

/// What the engine cannot decide may pass.
fn may_pass(predicate: &PruningPredicate, containers: &Containers) -> Vec<bool> {
    let n = containers.rows.len();
    let found = predicate.prune(&Known::new(containers));
    found
        .ok()
        .filter(|found| found.len() == n)
        .unwrap_or_else(|| vec![true; n])
}

/// Whether a scan can settle the filter: it gives the same answer each time.
pub(super) fn is_settled(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let is_known = |name: &str| schema.index_of(name).is_ok();
    !is_volatile(filter)
        && collect_columns(filter)
            .iter()
            .all(|column| is_known(column.name()))
}

/// What is known of rows, as the engine asks for it.
struct Known<'a> {
    containers: &'a Containers,
    blooms: BloomFilterStatistics,
}

impl<'a> Known<'a> {
    fn new(containers: &'a Containers) -> Self {
        let mut blooms = BloomFilterStatistics::new();
        let mut names: Vec<_> = containers.blooms.keys().collect();
        names.sort();
        for name in names {
            if let Some(bloom) = containers.blooms.get(name) {
                let (physical, length) = (bloom.physical, bloom.type_length);
                blooms.insert(name, bloom.filter.clone(), physical, length);
            }
        }
        Self { containers, blooms }
    }
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.containers.columns.get(&column.name)?.min.clone()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.containers.columns.get(&column.name)?.max.clone()
    }

    fn num_containers(&self) -> usize {
        self.containers.rows.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let nulls = &self.containers.columns.get(&column.name)?.nulls;
        (nulls.len() == self.num_containers()).then(|| Arc::new(nulls.clone()) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.containers.rows.iter();
        let counts: UInt64Array = rows.map(|rows| Some(rows.end - rows.start)).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        self.blooms.contained(column, values)
    }
}
