//! What a scan is asked beyond columns and ids: a condition on rows, and a count of what it spared.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{BooleanArray, RecordBatch};

use super::bounds::Containers;
use crate::error::Result;

/// A condition that rows must pass. It is asked about values as the table has them, edits included.
#[derive(Clone)]
pub(crate) struct RowFilter {
    /// What the condition reads, in this order; `_rowid` is one like the others.
    pub(crate) columns: Vec<String>,
    /// Which rows of these columns pass; null is no.
    pub(crate) passes: Arc<Passes>,
    /// What is known now about rows that need not be read: more, perhaps, when asked again.
    pub(crate) pruner: Arc<dyn Fn() -> Pruner + Send + Sync>,
}

type Passes = dyn Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync;
type MayPass = dyn Fn(&Containers) -> Vec<bool> + Send + Sync;

impl fmt::Debug for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFilter")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// Tells from statistics which sets of rows cannot hold one that passes.
pub(crate) struct Pruner {
    /// Columns that must have one of a few values, so that a Bloom filter can tell.
    pub(crate) looked_up: Vec<String>,
    /// For each container whether a row of it may pass.
    pub(crate) may_pass: Box<MayPass>,
}

/// What a scan did and did not do, counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Files of which no row had to be read.
    pub(crate) files_pruned: AtomicU64,
    /// Row groups whose statistics or Bloom filters said that no unedited row passes.
    pub(crate) row_groups_pruned: AtomicU64,
    /// Rows that were wanted and did not have to be read.
    pub(crate) rows_pruned: AtomicU64,
    /// Cells that came from edits.
    pub(crate) cells_overlaid: AtomicU64,
    /// Rows that were read and are dropped.
    pub(crate) rows_dropped: AtomicU64,
    /// Bytes of data files that were read.
    pub(crate) bytes_read: Arc<AtomicU64>,
}

pub(super) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
