//! A reduction applied to the epochs of a run, and logged as a run of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, Float32Array, RecordBatch,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type, Schema};
use futures::TryStreamExt as _;

use super::fit::{BATCH_ROWS, Fitted, ids};
use super::model::FILE;
use super::plan::Plan;
use super::vectors::{Gathered, Vectors};
use crate::artifact::{ArtifactSource, PutOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Revision, StreamName, TableName};
use crate::project::Project;
use crate::run::{Epochs, MODEL, Rows, Run, RunOptions, RunRecord};
use crate::runtime::block_on;
use crate::schema::{self, Role};

/// How many bytes of places are logged before storage is waited for.
const BYTES_FLUSH: usize = 32 << 20;

/// What is reduced, and what that is called.
#[derive(Clone, Default)]
pub struct ReduceOptions {
    pub(super) column: Option<String>,
    pub(super) streams: Vec<String>,
    pub(super) name: Option<String>,
    told: Option<Arc<Told>>,
}

/// Is told how many epochs of how many are done.
type Told = dyn Fn(u64, u64) + Send + Sync;

impl fmt::Debug for ReduceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReduceOptions")
            .field("column", &self.column)
            .field("streams", &self.streams)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ReduceOptions {
    /// The column that the reduction was fitted on, in all streams that have it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reduces this column.
    #[must_use]
    pub fn column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    /// Reduces this stream; may be called for several, of which each counts once.
    #[must_use]
    pub fn stream(mut self, stream: &str) -> Self {
        self.streams.push(stream.to_owned());
        self
    }

    /// Names the run that holds what comes of it, and the artifact of a model that is not stored yet. Otherwise they are called
    /// `<run>-<method>`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Tells how many epochs of how many are done, after each.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.told = Some(Arc::new(told));
        self
    }
}

/// What came of a reduction.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The run that holds it.
    pub run: RunRecord,
    /// The model, as `NAME@VERSION`.
    pub model: String,
    /// The column of all its streams: lists of as many Float32 as there are dimensions; null for a row without a vector.
    pub column: String,
    /// How many rows were reduced.
    pub rows: u64,
    /// How many rows have no vector, since it is null or empty, or not finite.
    pub rows_without_vector: u64,
}

impl Project {
    /// Applies a reduction to every epoch of a run, and logs what comes of it as a new run: streams, epochs and row ids are those of
    /// the source, and the column is called `<column>_<method>`. A model that is not stored yet becomes an artifact of the new run; another is an input of it.
    ///
    /// All that can be wrong with names, columns and widths is found before anything is made. If a process is gone that was about the same reduction, its run goes on,
    /// from the first epoch again.
    ///
    /// Synchronous, as [`Self::start_run`] is. Reads the column of each epoch once, and writes 4 bytes for each dimension of a row; all rows are stored
    /// when it returns. Beside the model it holds at once the vectors of some thousand rows, in the form of the column, in 64 and in 32 bits, and some tens
    /// of MiB that are logged and not stored yet. Of rows that the source's writer has not folded yet it holds the whole file. The run is marked as failed if anything goes wrong on the way.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run or stream, or a named stream or all of them lack the column; [`ErrorKind::Conflict`] if there is a run of the new
    /// one's name that is not this reduction, interrupted, or if somebody else made the newest version of an artifact of that name; [`ErrorKind::Invalid`] for vectors of another width than it was fitted on; those of the store.
    pub fn reduce(
        &self,
        run: &str,
        fitted: &Fitted,
        options: impl Into<ReduceOptions>,
    ) -> Result<Reduced> {
        let options = options.into();
        let plan = block_on(Plan::new(self, run, fitted, &options))?;
        let started = self.start_run(new_run(&plan))?;
        let made = format!("{}_{}", plan.column, fitted.model.method());
        let job = Job {
            project: self,
            plan: &plan,
            fitted,
            made: &made,
            run: &started,
        };
        match job.run(options.told.as_deref()) {
            Ok((model, counts)) => Ok(Reduced {
                run: whole(started.finish()?)?,
                model,
                column: made,
                rows: counts.rows,
                rows_without_vector: counts.without,
            }),
            Err(err) => {
                let reason = format!("{err:#}");
                // What went wrong first is what is told.
                drop(started.fail(&reason));
                Err(err)
            }
        }
    }
}

fn new_run(plan: &Plan) -> RunOptions {
    let options = RunOptions::from(&plan.name).reduces(plan.reduces.clone());
    #[cfg(feature = "system")]
    let options = options.without_system();
    options
}

/// A run of which nothing was lost.
fn whole(record: RunRecord) -> Result<RunRecord> {
    if record.lost.is_none() {
        return Ok(record);
    }
    let (name, lost) = (&record.name, record.lost.sample_rows);
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("storage did not take {lost} rows of run {name}; reduce again under another name"),
    ))
}

#[derive(Default)]
struct Counts {
    rows: u64,
    without: u64,
    /// Logged since storage was waited for.
    bytes_waiting: usize,
}

/// One reduction on its way from run to run.
struct Job<'a> {
    project: &'a Project,
    plan: &'a Plan,
    fitted: &'a Fitted,
    /// The column that is made.
    made: &'a str,
    run: &'a Run,
}

impl Job<'_> {
    /// The model as `NAME@VERSION`, and how many rows there were.
    fn run(&self, told: Option<&Told>) -> Result<(String, Counts)> {
        let model = self.model()?;
        self.run.params(&BTreeMap::from([(MODEL, &model)]))?;
        let from = self.plan.reduces.source.as_str();
        let open = |stream: &StreamName| block_on(self.project.epochs(from, stream.as_str()));
        let opened = self.plan.streams.iter();
        let opened = opened.map(|stream| Ok((stream, open(stream)?)));
        let opened: Vec<(&StreamName, Epochs)> = opened.collect::<Result<_>>()?;
        let n_epochs = opened.iter().map(|(_, epochs)| epochs.numbers().len());
        let (mut n_done, n_epochs) = (0, n_epochs.sum::<usize>() as u64);
        let mut counts = Counts::default();
        for (stream, epochs) in &opened {
            for epoch in epochs.numbers() {
                let done = self.epoch((stream, epoch), epochs, &mut counts);
                done.map_err(|err| {
                    err.context(format!("cannot reduce epoch {epoch} of stream {stream}"))
                })?;
                n_done += 1;
                if let Some(told) = told {
                    told(n_done, n_epochs);
                }
            }
        }
        Ok((model, counts))
    }

    /// The model as `NAME@VERSION`, stored now if it is not yet.
    fn model(&self) -> Result<String> {
        if let Some(stored) = self.fitted.stored_as() {
            self.run.use_artifact(&stored)?;
            return Ok(stored);
        }
        let name = self.plan.name.as_str();
        let source = ArtifactSource::bytes(FILE, self.fitted.model.to_bytes()?);
        let on = self.fitted.model.fact("fitted_on").unwrap_or_default();
        let put =
            self.run
                .put_artifact(name, source, PutOptions::new(format!("fitted on {on}")))?;
        Ok(format!("{name}@{}", put.version))
    }

    fn epoch(
        &self,
        (stream, epoch): (&StreamName, i64),
        epochs: &Epochs,
        counts: &mut Counts,
    ) -> Result<()> {
        let columns = [self.plan.column.as_str(), "table", "revision"];
        let mut batches = block_on(epochs.batches(epoch, &columns, BATCH_ROWS))?;
        while let Some(batch) = block_on(batches.try_next())? {
            let places = self.places(&batch, counts)?;
            for (rows, source) in sources(&batch)? {
                let row_ids = ids(&batch)?.get(rows.clone()).unwrap_or_default();
                let mut logged = Rows::new(stream.as_str(), epoch, row_ids.to_vec())?;
                if let Some((table, revision)) = source {
                    self.run.input_revision(&table, revision);
                    logged = logged.source(table, revision);
                }
                let places = places.slice(rows.start, rows.len());
                self.run.samples(&logged, &places)?;
            }
            if counts.bytes_waiting >= BYTES_FLUSH {
                self.run.flush()?;
                counts.bytes_waiting = 0;
            }
        }
        Ok(())
    }

    /// The column that is made of a batch.
    fn places(&self, batch: &RecordBatch, counts: &mut Counts) -> Result<RecordBatch> {
        let mut gathered = Gathered::new(&self.plan.column);
        let has_vector = gathered.add(ids(batch)?, batch.column(1), |_| true)?;
        let reduction = &self.fitted.reduction;
        let apply = |vectors: Vectors| {
            let fits = vectors.expect_width(reduction.width());
            fits.map_err(|err| err.context("name only the streams that fit the reduction"))?;
            reduction.apply(&vectors)
        };
        let places = gathered.finish().map(apply).transpose()?;
        let lists = lists(reduction.n_dimensions(), &has_vector, places.as_ref())?;
        let n_without = lists.null_count() as u64;
        let n_rows = lists.len() as u64;
        counts.without += n_without;
        counts.rows += n_rows - n_without;
        counts.bytes_waiting += lists.get_array_memory_size();
        let field = schema::tensor(self.made, DataType::Float32, &[reduction.n_dimensions()]);
        let field = schema::with_role(field, Role::Embedding).with_nullable(true);
        let lists: ArrayRef = Arc::new(lists);
        let field = field.with_data_type(lists.data_type().clone());
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(vec![field])),
            vec![lists],
        )?)
    }
}

/// A place for each row that has a vector, null for the others.
fn lists(
    n_dimensions: usize,
    has_vector: &[bool],
    places: Option<&Vectors>,
) -> Result<FixedSizeListArray> {
    let mut given = places.into_iter().flat_map(Vectors::iter);
    let mut values = Vec::with_capacity(has_vector.len() * n_dimensions);
    for has_vector in has_vector {
        match has_vector.then(|| given.next()).flatten() {
            Some(place) => values.extend_from_slice(place),
            None => values.extend(std::iter::repeat_n(0.0, n_dimensions)),
        }
    }
    let tensor = schema::tensor("item", DataType::Float32, &[n_dimensions]);
    let DataType::FixedSizeList(item, length) = tensor.data_type() else {
        return Err(Error::invalid("places cannot be kept as lists"));
    };
    let values = Arc::new(Float32Array::from(values));
    let nulls = NullBuffer::from(has_vector.to_vec());
    let lists = FixedSizeListArray::try_new(Arc::clone(item), *length, values, Some(nulls))?;
    Ok(lists)
}

/// The revision of a table that rows are of, if they say one.
type Source = Option<(TableName, Revision)>;

/// Stretches of rows that are of the same revision of a table, as the last two columns of a batch say.
fn sources(batch: &RecordBatch) -> Result<Vec<(Range<usize>, Source)>> {
    let wrong = || Error::corrupt("table and revision of the rows are of other types");
    let tables = batch.column(2).as_string_opt::<i32>().ok_or_else(wrong)?;
    let revisions = batch.column(3).as_primitive_opt::<Int64Type>();
    let revisions = revisions.ok_or_else(wrong)?;
    let rows: Vec<_> = tables.iter().zip(revisions.iter()).collect();
    let mut start = 0;
    let stretch = |same: &[(Option<&str>, Option<i64>)]| {
        let rows = start..start + same.len();
        start = rows.end;
        let source = match same.first() {
            Some((Some(table), Some(revision))) => {
                Some((table.parse()?, Revision(revision.cast_unsigned())))
            }
            _ => None,
        };
        Ok((rows, source))
    };
    rows.chunk_by(|a, b| a == b).map(stretch).collect()
}
