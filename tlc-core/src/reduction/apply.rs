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
use super::vectors::{Gathered, Vectors};
use crate::artifact::{ArtifactSource, PutOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Revision, StreamName, TableName};
use crate::project::Project;
use crate::run::{Epochs, Rows, Run, RunOptions, RunRecord};
use crate::runtime::block_on;
use crate::schema::{self, Role};

/// How many rows are logged before storage is waited for.
const ROWS_FLUSH: u64 = 1 << 18;

/// What is reduced, and what that is called.
#[derive(Clone, Default)]
pub struct ReduceOptions {
    column: Option<String>,
    streams: Vec<String>,
    name: Option<String>,
    told: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

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

    /// Reduces this stream; may be called for several.
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
    /// Synchronous, as [`Self::start_run`] is. Reads the column of each epoch once, some thousand rows at a time, and writes 4 bytes for each dimension of a
    /// row; all rows are stored when it returns. The run is marked as failed if anything goes wrong on the way.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run or stream, or no stream has the column; [`ErrorKind::Conflict`] if there is a run of the new
    /// one's name; [`ErrorKind::Invalid`] for vectors of another width than it was fitted on; those of the store.
    pub fn reduce(
        &self,
        run: &str,
        fitted: &Fitted,
        options: impl Into<ReduceOptions>,
    ) -> Result<Reduced> {
        let options = options.into();
        let source = block_on(self.run(run))?;
        let column = options.column.as_deref().or(fitted.column());
        let column = column.ok_or_else(|| {
            Error::invalid("the reduction does not say which column it is for; name one")
        })?;
        let streams = streams(&source, column, &options.streams)?;
        let method = fitted.model.method();
        let name = options.name.clone();
        let name = name.unwrap_or_else(|| format!("{run}-{method}"));
        let started = self.start_run(new_run(&name))?;
        let made = format!("{column}_{method}");
        let job = Job {
            project: self,
            source: &source,
            fitted,
            column,
            made: &made,
            run: &started,
        };
        match job.run(&name, &streams, &options) {
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

fn new_run(name: &str) -> RunOptions {
    let options = RunOptions::new().name(name);
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

/// The streams that are reduced: those that are named, or all that have the column.
fn streams(source: &RunRecord, column: &str, named: &[String]) -> Result<Vec<StreamName>> {
    if !named.is_empty() {
        return named.iter().map(|name| name.parse()).collect();
    }
    let has = source.streams.iter().filter(|stream| {
        let found = stream.schema.index_of(column);
        found.is_ok()
    });
    let found: Vec<StreamName> = has.map(|stream| stream.name.clone()).collect();
    match found.is_empty() {
        false => Ok(found),
        true => {
            let run = &source.name;
            Err(Error::not_found(format!(
                "no stream of run {run} has a column {column:?}"
            )))
        }
    }
}

#[derive(Default)]
struct Counts {
    rows: u64,
    without: u64,
    /// Since storage was waited for.
    waiting: u64,
}

/// One reduction on its way from run to run.
struct Job<'a> {
    project: &'a Project,
    source: &'a RunRecord,
    fitted: &'a Fitted,
    column: &'a str,
    /// The column that is made.
    made: &'a str,
    run: &'a Run,
}

impl Job<'_> {
    /// The model as `NAME@VERSION`, and how many rows there were.
    fn run(
        &self,
        name: &str,
        streams: &[StreamName],
        options: &ReduceOptions,
    ) -> Result<(String, Counts)> {
        let model = self.model(name)?;
        let from = self.source.name.as_str();
        let facts = self.fitted.model.facts();
        let facts = facts
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut params: BTreeMap<&str, &str> = facts.collect();
        params.extend([("source", from), ("model", &model), ("column", self.column)]);
        self.run.params(&params)?;
        let open = |stream: &StreamName| block_on(self.project.epochs(from, stream.as_str()));
        let opened = streams.iter().map(|stream| Ok((stream, open(stream)?)));
        let opened: Vec<(&StreamName, Epochs)> = opened.collect::<Result<_>>()?;
        let n_epochs = opened.iter().map(|(_, epochs)| epochs.numbers().len());
        let (mut n_done, n_epochs) = (0, n_epochs.sum::<usize>() as u64);
        let mut counts = Counts::default();
        for (stream, epochs) in &opened {
            for epoch in epochs.numbers() {
                self.epoch((stream, epoch), epochs, &mut counts)?;
                n_done += 1;
                if let Some(told) = &options.told {
                    told(n_done, n_epochs);
                }
            }
        }
        Ok((model, counts))
    }

    /// The model as `NAME@VERSION`, stored now if it is not yet.
    fn model(&self, name: &str) -> Result<String> {
        if let Some(version) = &self.fitted.version {
            let named = format!("{}@{}", version.artifact().name(), version.number());
            self.run.use_artifact(&named)?;
            return Ok(named);
        }
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
        let columns = [self.column, "table", "revision"];
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
            if counts.waiting >= ROWS_FLUSH {
                self.run.flush()?;
                counts.waiting = 0;
            }
        }
        Ok(())
    }

    /// The column that is made of a batch.
    fn places(&self, batch: &RecordBatch, counts: &mut Counts) -> Result<RecordBatch> {
        let mut gathered = Gathered::new(self.column);
        let has_vector = gathered.add(ids(batch)?, batch.column(1), |_| true)?;
        let reduction = &self.fitted.reduction;
        let places = gathered.finish().map(|vectors| reduction.apply(&vectors));
        let places = places.transpose()?;
        let lists = lists(reduction.n_dimensions(), &has_vector, places.as_ref())?;
        let n_without = lists.null_count() as u64;
        let n_rows = lists.len() as u64;
        counts.without += n_without;
        counts.rows += n_rows - n_without;
        counts.waiting += n_rows;
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
