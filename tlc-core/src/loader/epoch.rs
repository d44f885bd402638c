//! The batches of one epoch, and the work that makes them.

use std::iter::FusedIterator;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};

use super::Loader;
use super::order::indices;
use super::prefetch::Prefetch;
use super::samples::Samples;
use crate::error::Result;
use crate::run::Rows;

/// One batch of samples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which samples they are. The step counts batches from the first of epoch 0, as if each epoch had
    /// [`Loader::n_batches`]; where folds are held out, as if an epoch had those of all folds, one after the other.
    pub rows: Rows,
    /// The columns, a row a sample. Encoded images are pixels: `arrow.fixed_shape_tensor` of bytes,
    /// height × width × channels.
    pub record: RecordBatch,
}

impl AsRef<Rows> for Batch {
    fn as_ref(&self) -> &Rows {
        &self.rows
    }
}

/// The batches of one epoch. Made by [`Loader::epoch`].
#[derive(Debug)]
#[must_use = "an epoch does nothing for a program that does not iterate over it"]
pub struct Epoch {
    batches: Prefetch<Batch>,
}

impl Epoch {
    pub(super) fn start(loader: Loader, epoch: i64, n_done: usize) -> Self {
        let batches = Batches {
            loader,
            epoch,
            n_done,
            plan: None,
        };
        Self {
            batches: Prefetch::start("tlc-loader", batches),
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

impl FusedIterator for Epoch {}

/// The work of the thread: the batches one after another, the order of the epoch before the first.
struct Batches {
    loader: Loader,
    epoch: i64,
    /// Batches of the epoch that are behind us.
    n_done: usize,
    plan: Option<Plan>,
}

struct Plan {
    /// All of the source, also where the loader has a part of them.
    samples: Arc<Samples>,
    /// Positions among them.
    order: Vec<usize>,
    /// In this epoch.
    n_batches: usize,
    /// The step of the epoch's first batch.
    first_step: i64,
}

impl Batches {
    fn plan(&self) -> Result<Plan> {
        let loader = &self.loader;
        let own = loader.samples()?;
        let order = indices(loader.order, &own, self.epoch)?;
        Ok(Plan {
            samples: loader.source.samples()?,
            n_batches: loader.n_batches_of(order.len())?,
            order: match &loader.part {
                Some(part) => part.positions(&order),
                None => order,
            },
            first_step: loader.first_step(self.epoch)?,
        })
    }

    fn batch(&mut self) -> Result<Option<Batch>> {
        if self.plan.is_none() {
            self.plan = Some(self.plan()?);
        }
        let Some(plan) = &self.plan else {
            return Ok(None);
        };
        let mut batches = plan
            .order
            .chunks(self.loader.batch_size)
            .take(plan.n_batches);
        let Some(indices) = batches.nth(self.n_done) else {
            return Ok(None);
        };
        let record = self.loader.source.batch(&plan.samples, indices)?;
        let row_ids = indices
            .iter()
            .filter_map(|index| plan.samples.row_ids.get(*index).copied());
        let row_ids = UInt64Array::from_iter_values(row_ids);
        let step = plan.first_step.saturating_add(count(self.n_done));
        let rows = self.loader.rows(self.epoch, step, row_ids)?;
        self.n_done += 1;
        Ok(Some(Batch { rows, record }))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
