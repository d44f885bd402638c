//! What a scan counts while it runs, as metrics of the plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder,
};

use crate::table::Counts;

/// The counters of one partition.
pub(super) struct Told {
    baseline: BaselineMetrics,
    counts: Arc<Counts>,
    metrics: [(Counter, Count); 6],
}

type Counter = fn(&Counts) -> &AtomicU64;

impl Told {
    pub(super) fn new(
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
        counts: &Arc<Counts>,
    ) -> Self {
        let metric = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            counts: Arc::clone(counts),
            metrics: [
                (|counts| &counts.files_pruned, metric("files_pruned")),
                (
                    |counts| &counts.row_groups_pruned,
                    metric("row_groups_pruned"),
                ),
                (|counts| &counts.rows_pruned, metric("rows_pruned")),
                (|counts| &counts.rows_dropped, metric("rows_dropped")),
                (|counts| &counts.cells_overlaid, metric("cells_overlaid")),
                (|counts| &counts.bytes_read, metric("bytes_read")),
            ],
        }
    }

    /// After each batch that the scan gives.
    pub(super) fn tell(&self, batch: &RecordBatch) {
        self.baseline.record_output(batch.num_rows());
        self.tell_counts();
    }

    fn tell_counts(&self) {
        for (counter, metric) in &self.metrics {
            let n = counter(&self.counts).swap(0, Ordering::Relaxed);
            metric.add(usize::try_from(n).unwrap_or(usize::MAX));
        }
    }
}

/// Also what was counted after the last batch, or without one.
impl Drop for Told {
    fn drop(&mut self) {
        self.tell_counts();
    }
}
