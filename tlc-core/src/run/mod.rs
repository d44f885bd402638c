//! Runs: one execution of a training program, with its parameters, inputs and metrics.
//!
//! Training code is synchronous and needs no runtime: a [`Run`] only pushes to a bounded buffer,
//! and a thread of its own stores. Storage that is slow, full or gone never stops training; what
//! is lost is counted and told. A run is what its log says ([`RunRecord`]), metrics are Parquet
//! files beside it, and a run whose process died reads as interrupted without anyone cleaning up.

mod artifacts;
mod attempts;
mod buffer;
pub(crate) mod captured;
mod columns;
mod decode;
mod ended;
mod entries;
mod epoch;
#[cfg(feature = "tracing")]
mod events;
mod forks;
mod frame;
mod growing;
mod histogram;
mod item_columns;
mod items;
mod lane;
mod lasts;
mod logs;
mod metrics;
mod name;
mod open;
mod pack;
mod packing;
mod params;
mod points;
mod read;
mod record;
mod reduces;
mod rows;
mod segment;
mod segments;
mod shared;
mod spool;
#[cfg(feature = "system")]
mod system;
mod writer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use serde::Serialize;

#[cfg(feature = "sql")]
pub(crate) use self::attempts::winning_named;
pub use self::buffer::{
    ITEM_BYTES_FLUSH, ITEM_BYTES_MAX, Lost, NAME_BYTES_MAX, SAMPLE_BYTES_FLUSH, SAMPLE_BYTES_MAX,
    SCALARS_FLUSH, SCALARS_MAX,
};
pub use self::columns::{sample_schema, scalar_schema};
pub(crate) use self::epoch::{EpochColumns, Epochs};
#[cfg(feature = "tracing")]
pub use self::events::EventLayer;
pub use self::item_columns::item_schema;
pub use self::items::{FILE_BYTES_MAX, ItemKind, TEXT_BYTES_MAX};
#[cfg(feature = "sql")]
pub(crate) use self::metrics::Winning;
pub use self::open::RunOptions;
pub(crate) use self::read::Runs;
pub use self::read::{SampleFile, ScalarFile};
pub use self::record::{Fork, RunCode, RunRecord, RunStatus, SILENCE_MAX, StreamRecord};
pub(crate) use self::reduces::{MODEL, Reduces};
pub use self::rows::Rows;
use self::rows::{Means, Streams, Values};
pub use self::shared::LOG_WAIT_MAX;
use self::shared::{Ask, Shared};
pub(crate) use self::spool::upload_left;
pub use self::writer::{FLUSH_EVERY_MAX, FLUSH_EVERY_MIN, HEARTBEAT_EVERY, WRITE_EVERY};
use crate::alias::Aliases;
use crate::collect::Collector;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::encode_schema;
use crate::format::run::{Event, Outcome};
use crate::id::{Revision, RunName, StreamName, TableName};
use crate::store::Place;
use crate::table::Snapshot;

/// How long leaving a run without finishing it waits for storage.
const DROP_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the run reads; with the snapshot where that is known, whose row ids can be checked.
type Inputs = BTreeMap<(TableName, Revision), Option<Snapshot>>;

/// A run that is being recorded.
///
/// All methods take `&self` and may be called from any thread. [`Self::finish`] says that the run
/// is complete; a run that is dropped without it is marked as failed, with the reason `panicked`
/// if the thread is panicking.
///
/// Metrics are stored every few seconds, when a size is reached, when an epoch of a stream ends,
/// and on [`Self::flush`] and [`Self::finish`]. A killed process loses at most what was logged
/// since.
pub struct Run {
    name: RunName,
    project: Place,
    env: Env,
    aliases: Aliases,
    shared: Arc<Shared>,
    inputs: Mutex<Inputs>,
    streams: Mutex<Streams>,
    means: Mutex<BTreeMap<StreamName, Means>>,
    /// `None` once the run was ended.
    writer: Option<JoinHandle<()>>,
}

impl Run {
    /// Starts a run in `project`, or joins one. Waits until the log says so.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) naming the run if there is one of that
    /// name; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the name cannot name a run; to
    /// join or fork a run that is not there, [`ErrorKind::NotFound`](crate::ErrorKind::NotFound); those of the store.
    pub(crate) fn start(project: &Place, options: RunOptions) -> Result<Self> {
        let shared = Arc::new(Shared::new());
        let (mut begun, writer) = open::spawn(project.clone(), options, Arc::clone(&shared))?;
        let (reduced, params) = (begun.reduced.take(), std::mem::take(&mut begun.params));
        let run = Self {
            name: begun.name,
            project: project.clone(),
            env: project.env.clone(),
            aliases: begun.aliases,
            shared,
            inputs: Mutex::default(),
            streams: Mutex::new(begun.streams),
            means: Mutex::default(),
            writer: Some(writer),
        };
        if let Some(source) = reduced {
            let source = source.to_string();
            run.shared.log_event(Event::Reduced { run: source });
        }
        run.log_params(params);
        Ok(run)
    }

    /// The run's name.
    #[must_use]
    pub fn name(&self) -> &RunName {
        &self.name
    }

    /// Records parameters: any struct or map, flattened to dotted names and text such as
    /// `optimizer.lr`. May be called again; a later value of a name takes the place of an earlier one.
    /// A value that is a path below an alias is stored with its token.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the values have no names.
    pub fn params<T: Serialize + ?Sized>(&self, params: &T) -> Result<()> {
        self.log_params(params::flatten(params)?);
        Ok(())
    }

    pub(crate) fn seed_log(&self) -> SeedLog {
        SeedLog {
            shared: Arc::clone(&self.shared),
            told: Arc::new(Once::new()),
        }
    }

    fn log_params(&self, mut values: BTreeMap<String, String>) {
        for value in values.values_mut() {
            if let Cow::Owned(stored) = self.aliases.shorten(value) {
                *value = stored;
            }
        }
        if !values.is_empty() {
            self.shared.log_event(Event::Params { values });
        }
    }

    /// Records that the run reads a table at a revision. Once is enough; more often changes nothing. From
    /// then on, [`Self::samples`] checks the row ids that are said to be of it.
    ///
    /// # Errors
    /// None for now; storage is heard of from [`Self::flush`] and [`Self::finish`].
    pub fn input(&self, snapshot: &Snapshot) -> Result<()> {
        let (table, revision) = (snapshot.table().name(), snapshot.revision());
        self.input_revision(table, revision);
        lock(&self.inputs).insert((table.clone(), revision), Some(snapshot.clone()));
        Ok(())
    }

    /// Records an input by its name and revision.
    pub(crate) fn input_revision(&self, table: &TableName, revision: Revision) {
        if let Entry::Vacant(input) = lock(&self.inputs).entry((table.clone(), revision)) {
            input.insert(None);
            self.shared.log_event(Event::Input {
                table: table.to_string(),
                revision: revision.0,
            });
        }
    }

    /// Records that the run wrote this revision of a table, such as labels that it corrected. Once is enough; more
    /// often changes nothing.
    pub fn output(&self, snapshot: &Snapshot) {
        self.shared.log_event(Event::Output {
            table: snapshot.table().name().to_string(),
            revision: snapshot.revision().0,
        });
    }

    /// Logs values at a step. Any name and any float are fine, NaN and infinities too.
    ///
    /// Costs a lock and a few stores. If storage is so far behind that the buffer is full, it
    /// waits up to [`LOG_WAIT_MAX`] and then drops the values; the number of what was dropped is
    /// told by [`Self::flush`] and in the [`RunRecord`].
    pub fn log(&self, step: i64, values: &[(&str, f64)]) {
        self.shared.log_scalars(step, self.env.now(), values);
    }

    /// Logs sample metrics: one row of `columns` for each row id of `rows`.
    ///
    /// The first batch of a stream fixes its columns; the order does not matter, and nested
    /// columns are fine. The arrays are shared, not copied. A full buffer is treated as in
    /// [`Self::log`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming both lengths if they differ, or the
    /// column that is not as the stream's first batch had it, or whose name the system keeps, or the row id that is
    /// not in the revision that the rows are said to be of, where that is a known [`input`](Self::input). Nothing of the batch is
    /// logged then, and the run goes on.
    pub fn samples(&self, rows: &Rows, columns: &RecordBatch) -> Result<()> {
        self.check_rows(rows)?;
        let mut streams = lock(&self.streams);
        let (columns, is_new) = streams.accept(rows, columns)?;
        if is_new {
            let (table, revision) = rows.source.clone().unzip();
            self.shared.log_event(Event::Stream {
                name: rows.stream.to_string(),
                schema: encode_schema(&columns.schema())?,
                table: table.map(|table| table.to_string()),
                revision: revision.map(|revision| revision.0),
            });
        }
        drop(streams);
        if columns.num_rows() > 0 {
            self.shared.log_samples(rows.clone(), columns)?;
        }
        Ok(())
    }

    fn check_rows(&self, rows: &Rows) -> Result<()> {
        let Some(source) = &rows.source else {
            return Ok(());
        };
        let snapshot = lock(&self.inputs).get(source).cloned().flatten();
        let Some(snapshot) = snapshot else {
            return Ok(());
        };
        let ids = rows.row_ids.values().iter();
        match ids.into_iter().find(|id| !snapshot.contains(**id)) {
            None => Ok(()),
            Some(id) => {
                let (table, revision) = source;
                Err(Error::invalid(format!(
                    "stream {}: row id {id} is not in {table}@{revision}; log the row ids that the table gives",
                    rows.stream
                )))
            }
        }
    }

    /// Logs what a collector makes of a batch of outputs: sample metrics, and the means of the
    /// columns that the collector names as scalars.
    ///
    /// What the collector gathers over an epoch beside means, such as quantiles, becomes scalars as well.
    /// The mean of a batch is the scalar `<stream>/batch/<scalar>` at the step of `rows`. The mean
    /// over all samples of an epoch is `<stream>/<scalar>` with the epoch as its step, logged when
    /// the next epoch begins, and so far as it is known on [`Self::flush`] and [`Self::finish`].
    ///
    /// # Errors
    /// Those of the collector and of [`Self::samples`].
    pub fn collect(
        &self,
        rows: &Rows,
        collector: &dyn Collector,
        outputs: &RecordBatch,
    ) -> Result<()> {
        let columns = collector.collect(outputs)?;
        self.samples(rows, &columns)?;
        let mut means = lock(&self.means);
        let means = means.entry(rows.stream.clone()).or_default();
        let (batch, ended) = means.add(rows.epoch, (outputs, &columns), collector)?;
        if let Some((epoch, values)) = ended {
            self.log_means(rows.stream.as_str(), epoch, &values);
        }
        self.log_means(&format!("{}/batch", rows.stream), rows.step, &batch);
        Ok(())
    }

    fn log_means(&self, prefix: &str, step: i64, values: &Values) {
        let names: Vec<String> = values
            .iter()
            .map(|(scalar, _)| format!("{prefix}/{scalar}"))
            .collect();
        let values: Vec<(&str, f64)> = names
            .iter()
            .zip(values)
            .map(|(name, (_, value))| (name.as_str(), *value))
            .collect();
        self.log(step, &values);
    }

    fn log_epochs_so_far(&self) {
        for (stream, means) in lock(&self.means).iter_mut() {
            if let Some((epoch, values)) = means.so_far() {
                self.log_means(stream.as_str(), epoch, &values);
            }
        }
    }

    /// Waits until everything that was logged so far is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) saying how much is not stored yet
    /// (it is kept and tried again, and training may go on), and how much was lost since the last flush.
    pub fn flush(&self) -> Result<()> {
        self.log_epochs_so_far();
        let answer = self.shared.ask(Ask::Flush).recv();
        answer.map_err(|_gone| shared::stopped())?.map(|_| ())
    }

    /// Ends the run as completed: stores everything, and gives the record of what it became. Look
    /// at [`RunRecord::warning`] to know whether something had to be dropped on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if storage does not take the end of
    /// the run; it then reads as interrupted.
    pub fn finish(mut self) -> Result<RunRecord> {
        self.end(Outcome::Completed, None)
    }

    /// Ends the run as failed, for `reason`.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn fail(mut self, reason: &str) -> Result<RunRecord> {
        self.end(Outcome::Failed, Some(reason.to_owned()))
    }

    fn end(&mut self, outcome: Outcome, reason: Option<String>) -> Result<RunRecord> {
        self.log_epochs_so_far();
        let answer = self.shared.ask(Ask::Finish(outcome, reason)).recv();
        if let Some(writer) = self.writer.take() {
            writer.join().map_err(|_panic| shared::stopped())?;
        }
        answer
            .map_err(|_gone| shared::stopped())??
            .ok_or_else(shared::stopped)
    }
}

/// Says by which seed the samples of a stream are ordered, once, to a run that somebody else holds.
#[derive(Clone)]
pub(crate) struct SeedLog {
    shared: Arc<Shared>,
    told: Arc<Once>,
}

impl SeedLog {
    pub(crate) fn tell(&self, stream: &StreamName, seed: u64) {
        self.told.call_once(|| {
            let values = BTreeMap::from([(format!("seed.{stream}"), seed.to_string())]);
            self.shared.log_event(Event::Params { values });
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.writer.is_none() {
            return;
        }
        let reason = if std::thread::panicking() {
            "panicked"
        } else {
            "left without finish()"
        };
        self.log_epochs_so_far();
        let answer = self
            .shared
            .ask(Ask::Finish(Outcome::Failed, Some(reason.to_owned())));
        // There is nobody to tell; the log says what can be said.
        drop(answer.recv_timeout(DROP_WAIT_MAX));
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The value, also after a panic elsewhere: every change of it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
