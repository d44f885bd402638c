//! From a snapshot to batches for training, without any ML framework.
//!
//! [`Loader`] says what is read and in which order; [`Loader::epoch`] gives the batches of one
//! epoch, prepared on a thread of their own while the caller trains, with their images decoded on all
//! cores. Each [`Batch`] carries the ids of its rows, which is what lets metrics of single samples find
//! their way back to the table. [`Loader::epoch_from`] begins where an interrupted job ended, and
//! [`Loader::folds`] cross-validates: every row is predicted by a model that was not trained on it.
//!
//! Rows whose weight is 0 take no part; [`Weighted`] says what other weights can do. Encoded images
//! come out as pixels, and so do those that lie elsewhere, whose path or URL a cell holds. An adapter turns
//! the Arrow batch into tensors; a program without a framework uses it as it is.

mod epoch;
mod fetch;
mod folds;
mod image;
mod order;
mod pixels;
mod prefetch;
mod random;
mod samples;
mod source;

use std::fmt;
use std::sync::Arc;

use arrow::array::UInt64Array;

pub use self::epoch::{Batch, Epoch};
use self::folds::{Folds, Part};
use self::order::Order;
pub use self::order::Weighted;
use self::samples::Samples;
use self::source::Source;
use crate::error::{Error, Result};
use crate::id::StreamName;
use crate::run::{Rows, Run, SeedLog};
use crate::table::Snapshot;

/// What a loader keeps in memory unless told otherwise: 1 GiB.
const CACHE_BYTES_MAX: u64 = 1 << 30;

/// The samples of a snapshot, in batches, in the order that was asked for.
///
/// Without further calls: all columns, batches of 32, by row id, every row whose weight is not 0.
/// The columns are read once and kept in memory if they are estimated to fit the bound of
/// [`Self::cache_bytes_max`], and so are decoded images; otherwise each batch is read from storage.
/// Nothing is read before the first epoch, [`Self::n_samples`] or [`Self::n_batches`].
///
/// ```
/// # use std::sync::Arc;
/// # use tlc_core::arrow::array::{Float32Array, RecordBatch, RecordBatchIterator};
/// # use tlc_core::{CommitOptions, Project, block_on};
/// use tlc_core::Loader;
///
/// # let project = block_on(Project::open("memory:///", "demo"))?;
/// # let x = Arc::new(Float32Array::from_iter_values((0..10).map(|n| n as f32)));
/// # let rows = RecordBatch::try_from_iter([("x", x as _)])?;
/// # let schema = rows.schema();
/// # let rows = RecordBatchIterator::new([Ok(rows)], schema);
/// # let table = block_on(project.create_table("train", rows, CommitOptions::new("import")))?;
/// let loader = Loader::new(&block_on(table.head())?).columns(["x"])?.batch_size(4).shuffle(7);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch) {
///         let batch = batch?;
///         assert_eq!(batch.record.num_rows(), batch.rows.row_ids.len());
///     }
/// }
/// assert_eq!(loader.n_batches()?, 3);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    source: Arc<Source>,
    /// Which of the source's samples; `None` for all.
    part: Option<Arc<Part>>,
    order: Order,
    batch_size: usize,
    drop_last: bool,
    stream: Option<StreamName>,
    /// The run that is told the seed.
    seeds: Option<SeedLog>,
}

impl Loader {
    /// A loader of all columns of a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let fields = snapshot.schema().fields().iter().cloned().collect();
        Self {
            source: Arc::new(Source::new(snapshot, fields, CACHE_BYTES_MAX)),
            part: None,
            order: Order::Sequential,
            batch_size: 32,
            drop_last: false,
            stream: None,
            seeds: None,
        }
    }

    /// Reads these columns only, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming a column that the snapshot lacks.
    pub fn columns<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        self.source = Arc::new(self.source.with_columns(names)?);
        Ok(self)
    }

    /// The number of samples in a batch. The last one of an epoch may be smaller.
    #[must_use]
    pub fn batch_size(mut self, n_samples: usize) -> Self {
        self.batch_size = n_samples;
        self
    }

    /// Visits every sample once an epoch, in an order that `seed` and the epoch decide.
    ///
    /// The order is the same on every machine and in every version, and a row added to the table
    /// leaves the others in their order.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.order = Order::Shuffled { seed };
        self
    }

    /// Lets the weights decide what an epoch visits: a seed alone draws samples with replacement, in
    /// proportion to their weights, as many as there are. [`Weighted`] has the other ways.
    ///
    /// A snapshot without a weight column makes the epoch's first batch an error, and so does a
    /// size that its samples do not allow.
    #[must_use]
    pub fn weighted(mut self, how: impl Into<Weighted>) -> Self {
        self.order = Order::Weighted(how.into());
        self
    }

    /// Leaves out the last batch of an epoch if it is smaller than the others.
    #[must_use]
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// How many bytes of rows and pixels may stay in memory; 0 reads every batch from storage.
    #[must_use]
    pub fn cache_bytes_max(mut self, bytes: u64) -> Self {
        self.source = Arc::new(self.source.with_cache(bytes));
        self
    }

    /// Loads for a run: records the snapshot as an input of it, names the batches' stream, and when the first epoch starts records the
    /// seed of a shuffled or weighted order as the parameter `seed.<stream>`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `stream` is not a good name; those of
    /// [`Run::input`].
    pub fn run(mut self, run: &Run, stream: &str) -> Result<Self> {
        self.stream = Some(stream.parse()?);
        run.input(&self.source.snapshot)?;
        self.seeds = Some(run.seed_log());
        Ok(self)
    }

    /// Cuts the samples into `n` folds, to predict each by a model that was not trained on it (cross-validation): for
    /// each fold a loader of all others, to train on, and one of the fold that is held out.
    ///
    /// The seed and its row id alone decide the fold of a row, so it stays in it whatever is edited, appended or
    /// dropped. Folds are of nearly the same size: of 60,000 rows in three, one has 20,000, give or take some hundred.
    /// Rows whose weight is 0 are in none.
    ///
    /// The loaders have what this one has, and share what it keeps in memory: a table is read, and its images are decoded,
    /// once for all folds, unless columns or the bound of the cache are set anew. The one to train on
    /// has the order of this one; the other visits each of its rows once, by row id, and leaves out no last batch.
    ///
    /// Log the predictions into one stream and one epoch, for all folds the same: every row is in it once, which is what
    /// [`Project::label_issues`](crate::Project::label_issues) asks for, and the scalars of the epoch are over all rows. The
    /// steps of the held-out batches count on from fold to fold, so an interrupted run can go on with a later fold. The
    /// trainings of the folds each begin at epoch 0; log them, if at all, into a stream for each.
    ///
    /// What makes it honest is up to the program: a model of its own for each fold, with fresh weights, and no rows that come in
    /// groups, such as frames of one film, which fall into different folds and give each other away.
    ///
    /// The first call reads the weights, if there are any; the loaders of a fold take 16 bytes for each sample, or 24 if there
    /// are weights.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for fewer than two folds, for more than there are samples, and if
    /// by chance a fold has none, which happens with a few samples for each; otherwise those of reading.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tlc_core::arrow::array::{Float32Array, RecordBatch, RecordBatchIterator};
    /// # use tlc_core::{CommitOptions, Project, block_on};
    /// use tlc_core::Loader;
    ///
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let x = Arc::new(Float32Array::from_iter_values((0..90).map(|n| n as f32)));
    /// # let rows = RecordBatch::try_from_iter([("x", x as _)])?;
    /// # let schema = rows.schema();
    /// # let rows = RecordBatchIterator::new([Ok(rows)], schema);
    /// # let table = block_on(project.create_table("train", rows, CommitOptions::new("import")))?;
    /// # let snapshot = block_on(table.head())?;
    /// let run = project.start_run("held-out")?;
    /// let mut n_predicted = 0;
    /// for (train, held_out) in Loader::new(&snapshot).shuffle(7).folds(3, 7)? {
    ///     // A new model, trained on the other folds.
    ///     for batch in train.epoch(0) {
    ///         let _rows = batch?.record;
    ///     }
    ///     // What it says of the rows that it has never seen: all folds in epoch 0.
    ///     for batch in held_out.run(&run, "held_out")?.epoch(0) {
    ///         n_predicted += batch?.record.num_rows(); // here with Run::samples or Run::collect
    ///     }
    /// }
    /// assert_eq!(n_predicted, 90);
    /// # run.finish()?;
    /// # Ok::<(), tlc_core::Error>(())
    /// ```
    pub fn folds(
        &self,
        n: usize,
        seed: u64,
    ) -> Result<impl ExactSizeIterator<Item = (Self, Self)> + use<>> {
        let (loader, samples) = (self.clone(), self.samples()?);
        let folds = Folds::new(&samples, n, seed)?;
        Ok((0..n).map(move |number| {
            let (others, held_out) = folds.parts(&samples, loader.part.as_deref(), number);
            let train = Self {
                part: Some(Arc::new(others)),
                ..loader.clone()
            };
            let held_out = Self {
                part: Some(Arc::new(held_out)),
                order: Order::Sequential,
                drop_last: false,
                ..loader.clone()
            };
            (train, held_out)
        }))
    }

    /// The number of samples an epoch visits: the rows whose weight is not 0, or the size that was asked
    /// for. Under [`Weighted::Repeat`] the most that one can visit.
    ///
    /// The first call reads the weights, if there are any.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the row whose weight is negative or
    /// not finite, or too great to repeat it so often; for a weighted order without weights, and a size
    /// that the samples do not allow; those of reading.
    pub fn n_samples(&self) -> Result<usize> {
        let samples = self.samples()?;
        order::n_visits_max(self.order, &samples)
    }

    /// The number of batches in an epoch. Under [`Weighted::Repeat`], whose epochs differ, the most that one
    /// can have. Costs what [`Self::n_samples`] costs.
    ///
    /// # Errors
    /// Those of [`Self::n_samples`], and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the
    /// size of a batch is 0.
    pub fn n_batches(&self) -> Result<usize> {
        self.n_batches_of(self.n_samples()?)
    }

    /// The number of batches in this epoch: for every order exactly what [`Self::epoch`] gives. Costs
    /// what [`Self::n_samples`] costs, and under [`Weighted::Repeat`] some nanoseconds a sample.
    ///
    /// # Errors
    /// Those of [`Self::n_batches`].
    pub fn n_batches_in(&self, epoch: i64) -> Result<usize> {
        let samples = self.samples()?;
        self.n_batches_of(order::n_visits(self.order, &samples, epoch)?)
    }

    /// The samples that this loader chooses from.
    fn samples(&self) -> Result<Arc<Samples>> {
        match &self.part {
            Some(part) => Ok(Arc::clone(&part.samples)),
            None => self.source.samples(),
        }
    }

    /// The step of an epoch's first batch: the epochs before have as many as this one at most. An epoch of a fold that is
    /// held out is that of all folds, one after the other.
    fn first_step(&self, epoch: i64) -> Result<i64> {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let Some((before, all)) = self.part.as_ref().and_then(|part| part.sizes()) else {
            return Ok(epoch.saturating_mul(count(self.n_batches()?)));
        };
        let n_batches = |sizes: &[usize]| -> Result<usize> {
            sizes.iter().map(|size| self.n_batches_of(*size)).sum()
        };
        let first = epoch.saturating_mul(count(n_batches(all)?));
        Ok(first.saturating_add(count(n_batches(before)?)))
    }

    fn n_batches_of(&self, n_visits: usize) -> Result<usize> {
        if self.batch_size == 0 {
            return Err(Error::invalid(
                "a batch of 0 samples never ends an epoch; use a batch size of at least 1",
            ));
        }
        Ok(if self.drop_last {
            n_visits / self.batch_size
        } else {
            n_visits.div_ceil(self.batch_size)
        })
    }

    /// Starts an epoch: its batches are prepared from now on, at most three ahead of the caller.
    ///
    /// An error is an item, and the last one. An epoch may be dropped before its end. A model that is
    /// slower than the loader waits for the first batch only, and not even for that if the epoch is
    /// started before the one before it ends.
    pub fn epoch(&self, epoch: i64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// Starts an epoch after its first `n_done` batches, for a job that goes on after a break: the same
    /// batches that [`Self::epoch`] gives after them, with the same steps. Those before are neither read nor
    /// decoded. Beyond the end of the epoch there are none.
    ///
    /// Seed, size of the batches and snapshot must be those of the job that was interrupted.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tlc_core::arrow::array::{Float32Array, RecordBatch, RecordBatchIterator};
    /// # use tlc_core::{CommitOptions, Project, block_on};
    /// use tlc_core::Loader;
    ///
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let x = Arc::new(Float32Array::from_iter_values((0..10).map(|n| n as f32)));
    /// # let rows = RecordBatch::try_from_iter([("x", x as _)])?;
    /// # let schema = rows.schema();
    /// # let rows = RecordBatchIterator::new([Ok(rows)], schema);
    /// # let table = block_on(project.create_table("train", rows, CommitOptions::new("import")))?;
    /// let loader = Loader::new(&block_on(table.head())?).batch_size(4).shuffle(7);
    /// let whole: Vec<_> = loader.epoch(5).collect::<Result<_, _>>()?;
    /// let rest: Vec<_> = loader.epoch_from(5, 1).collect::<Result<_, _>>()?;
    /// assert_eq!(rest.len(), 2);
    /// assert_eq!(rest[0].rows, whole[1].rows);
    /// # Ok::<(), tlc_core::Error>(())
    /// ```
    pub fn epoch_from(&self, epoch: i64, n_done: usize) -> Epoch {
        if let (Some(seeds), Some(stream), Some(seed)) =
            (&self.seeds, &self.stream, self.order.seed())
        {
            seeds.tell(stream, seed);
        }
        Epoch::start(self.clone(), epoch, n_done)
    }

    fn rows(&self, epoch: i64, step: i64, row_ids: UInt64Array) -> Result<Rows> {
        let snapshot = &self.source.snapshot;
        let stream = self.stream.as_ref().map_or("train", StreamName::as_str);
        let rows = Rows::new(stream, epoch, row_ids)?.step(step);
        Ok(rows.source(snapshot.table().name().clone(), snapshot.revision()))
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("table", self.source.snapshot.table().name())
            .field("revision", &self.source.snapshot.revision())
            .field("order", &self.order)
            .field("batch_size", &self.batch_size)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
