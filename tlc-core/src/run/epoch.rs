//! Reading back what a stream logged, an epoch at a time: some columns in the order of row ids.
//!
//! This is the only place that knows how the sample metrics of an epoch lie in storage. Whoever asks
//! gets row ids in ascending order, the rows of all files of the epoch together; a row id that was
//! logged more than once in an epoch is there as often, in the order of the files and of the rows in
//! them. What was decoded is kept for the next question ([`Decoded`](crate::store::Decoded)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OnceCell;

use super::columns::sample_schema;
use super::decode::{read_files, stream_files};
use super::metrics::Winning;
use super::read::Runs;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ROWID, RunName, StreamName};
use crate::runtime::run_aside;
use crate::store::Place;

/// How many epochs are read at the same time.
const READS_MAX: usize = 16;

/// Under which name the columns of a stream are kept, which no column can have.
const SCHEMA: &str = "";

/// The epochs of one stream of a run, as they were when it was opened.
pub(crate) struct Epochs {
    runs: Runs,
    run: RunName,
    stream: StreamName,
    /// The run's folder.
    place: Place,
    files: BTreeMap<i64, Vec<Winning>>,
    schema: OnceCell<SchemaRef>,
}

/// Some columns of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct EpochColumns {
    /// Ascending. Epochs with the same row ids share one array of them.
    pub(crate) row_ids: UInt64Array,
    /// A row for each row id; the columns in the order they were asked for.
    pub(crate) columns: RecordBatch,
}

impl EpochColumns {
    /// The column at a position of those that were asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there are fewer.
    pub(crate) fn column(&self, at: usize) -> Result<&ArrayRef> {
        let column = self.columns.columns().get(at);
        column.ok_or_else(|| Error::not_found(format!("no column {at} was read")))
    }
}

impl Epochs {
    /// Looks which epochs a stream has. One listing; of a run that was resumed the files are read with which
    /// its attempts began.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the run or the stream, and what there is; those of the store.
    pub(crate) async fn open(runs: &Runs, run: &RunName, stream: &StreamName) -> Result<Self> {
        let place = runs.place(run);
        let listed = runs.stream_files(run, stream).await?;
        let mut files: BTreeMap<i64, Vec<Winning>> = BTreeMap::new();
        for winning in runs.winning(listed).await? {
            files.entry(winning.file.epoch).or_default().push(winning);
        }
        let opened = Self {
            runs: runs.clone(),
            run: run.clone(),
            stream: stream.clone(),
            place,
            files,
            schema: OnceCell::new(),
        };
        if opened.files.is_empty() {
            opened.schema().await?;
        }
        Ok(opened)
    }

    /// The numbers of the epochs, ascending.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.files.keys().copied().collect()
    }

    /// Whether the stream has a column of that name.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub(crate) async fn has(&self, column: &str) -> Result<bool> {
        Ok(self.schema().await?.index_of(column).is_ok())
    }

    /// Some columns of an epoch. Reads and decodes only these columns, and only if they are not kept
    /// from before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the epoch or column, and what there is; [`ErrorKind::Corrupt`]
    /// naming a file that cannot be read; those of the store.
    pub(crate) async fn columns(&self, epoch: i64, columns: &[&str]) -> Result<EpochColumns> {
        let schema = self.schema().await?;
        let position = |name: &&str| {
            schema
                .index_of(name)
                .map_err(|_missing| self.no_column(name, &schema))
        };
        let positions = columns.iter().map(position).collect::<Result<Vec<_>>>()?;
        let files = self.files.get(&epoch).ok_or_else(|| self.no_epoch(epoch))?;
        let named = key(files);
        // What grows may be longer with the next look.
        let is_kept = files.iter().all(|winning| winning.file.is_folded);
        let mut parts = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for name in [ROWID].iter().chain(columns) {
            let kept = || self.place.decoded.get(&named, name);
            match is_kept.then(kept).flatten() {
                Some(kept) => drop(parts.insert(*name, kept)),
                None => drop(missing.insert(*name)),
            }
        }
        if !missing.is_empty() {
            let read = self.read(files, &schema, &missing).await?;
            for name in missing {
                let one = read.project(&[read.schema().index_of(name)?])?;
                let one = match name {
                    ROWID => self.shared(one),
                    _ => one,
                };
                if is_kept {
                    self.place.decoded.put(&named, name, &one);
                }
                parts.insert(name, one);
            }
        }
        let part = |name: &str| parts.get(name).map(|part| Arc::clone(part.column(0)));
        let row_ids = part(ROWID).ok_or_else(|| Error::not_found("no row ids were read"))?;
        let arrays: Vec<ArrayRef> = columns.iter().filter_map(|name| part(name)).collect();
        let fields = positions.iter().zip(&arrays).map(|(at, array)| {
            let field = schema.field(*at).clone();
            field.with_data_type(array.data_type().clone())
        });
        let fields: Vec<Field> = fields.collect();
        Ok(EpochColumns {
            row_ids: row_ids.as_primitive::<UInt64Type>().clone(),
            columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?,
        })
    }

    /// The row ids of an epoch and some columns, in the order of the files and of the rows in them, at most `batch_rows` at
    /// once: for a column of which an epoch does not fit into memory. Nothing is kept, and rows count by the same rule as
    /// for [`Self::columns`].
    ///
    /// # Errors
    /// As [`Self::columns`], those of files from the stream.
    pub(crate) async fn batches(
        &self,
        epoch: i64,
        columns: &[&str],
        batch_rows: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = self.schema().await?;
        let mut fields = vec![schema.field_with_name(ROWID)?.clone()];
        for column in columns {
            let field = schema.field_with_name(column);
            let field = field.map_err(|_missing| self.no_column(column, &schema))?;
            fields.push(field.clone());
        }
        let files = self.files.get(&epoch).ok_or_else(|| self.no_epoch(epoch))?;
        let fields = Arc::new(Schema::new(fields));
        Ok(stream_files(&self.runs, files, &fields, batch_rows))
    }

    /// The same of every epoch, in their order; some are read ahead at the same time.
    pub(crate) fn all<'a>(
        &'a self,
        columns: &'a [&'a str],
    ) -> BoxStream<'a, Result<(i64, EpochColumns)>> {
        let read = |epoch| {
            let read = async move { Ok((epoch, self.columns(epoch, columns).await?)) };
            read.boxed()
        };
        let reads: Vec<_> = self.numbers().into_iter().map(read).collect();
        stream::iter(reads).buffered(READS_MAX).boxed()
    }

    /// The columns of its files. Reads the run's log, unless that was done before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the run or the stream, and what there is; those of the log.
    pub(crate) async fn schema(&self) -> Result<SchemaRef> {
        self.schema
            .get_or_try_init(|| self.read_schema())
            .await
            .cloned()
    }

    async fn read_schema(&self) -> Result<SchemaRef> {
        // A file's name says which run it is of, also if there was another of that name before.
        let first = self.files.values().flatten().next();
        let first = first.map(|winning| winning.file.path.as_ref());
        let decoded = &self.place.decoded;
        if let Some(kept) = first.and_then(|first| decoded.get(first, SCHEMA)) {
            return Ok(kept.schema());
        }
        let record = match self.runs.folded(&self.run).await {
            Ok(folded) => folded.record,
            Err(err) if err.kind() == ErrorKind::NotFound => return Err(self.no_run(err).await?),
            Err(err) => return Err(err),
        };
        let streams = record.streams;
        let Some(found) = streams.iter().find(|found| found.name == self.stream) else {
            let (run, stream) = (&self.run, self.stream.as_str());
            let known = list(streams.iter().map(|stream| stream.name.as_str()));
            return Err(Error::not_found(format!(
                "run {run} has no stream {stream:?}; {known}"
            )));
        };
        let schema = sample_schema(&found.schema);
        if let Some(first) = first {
            let empty = RecordBatch::new_empty(Arc::clone(&schema));
            decoded.put(first, SCHEMA, &empty);
        }
        Ok(schema)
    }

    async fn no_run(&self, err: Error) -> Result<Error> {
        let names = self.runs.names().await?;
        let known = list(names.iter().map(RunName::as_str));
        Ok(Error::not_found(format!("{err}; {known}")))
    }

    /// The error of a column that the stream does not have.
    pub(crate) fn no_column(&self, column: &str, schema: &Schema) -> Error {
        let (run, stream) = (&self.run, &self.stream);
        let own = schema.fields().iter().skip(N_SYSTEM);
        let known = list(own.map(|field| field.name().as_str()));
        Error::not_found(format!(
            "stream {stream} of run {run} has no column {column:?}; {known}"
        ))
    }

    fn no_epoch(&self, epoch: i64) -> Error {
        let (run, stream) = (&self.run, &self.stream);
        let known = match (self.files.first_key_value(), self.files.last_key_value()) {
            (Some((first, _)), Some((last, _))) => {
                let n = self.files.len();
                format!("there are {n}, from {first} to {last}")
            }
            _ => "there is none yet".to_owned(),
        };
        Error::not_found(format!(
            "stream {stream} of run {run} has no epoch {epoch}; {known}"
        ))
    }

    /// Decodes columns of some files, in a task of its own: epochs are decoded at the same time.
    async fn read(
        &self,
        files: &[Winning],
        schema: &Schema,
        columns: &BTreeSet<&str>,
    ) -> Result<RecordBatch> {
        let mut fields = vec![schema.field_with_name(ROWID)?.clone()];
        for name in columns.iter().filter(|name| **name != ROWID) {
            let field = schema.field_with_name(name)?.clone();
            fields.push(match *name {
                // Few names for many rows.
                "table" => field.with_data_type(DataType::Dictionary(
                    Box::new(DataType::Int32),
                    Box::new(DataType::Utf8),
                )),
                _ => field,
            });
        }
        let (wanted, files) = (Arc::new(Schema::new(fields)), files.to_vec());
        let runs = self.runs.clone();
        run_aside(async move { read_files(&runs, &files, &wanted).await }).await
    }

    /// The row ids of an epoch, or the same array that an epoch before it had.
    fn shared(&self, row_ids: RecordBatch) -> RecordBatch {
        let folder = format!("{}/samples/{}", self.place.path, self.stream);
        match self.place.decoded.get(&folder, ROWID) {
            Some(known) if known == row_ids => known,
            _ => {
                self.place.decoded.put(&folder, ROWID, &row_ids);
                row_ids
            }
        }
    }
}

/// The number of columns of a file that are not the stream's own.
const N_SYSTEM: usize = 7;

/// What the files of an epoch are called together.
fn key(files: &[Winning]) -> String {
    let names = files.iter().map(|winning| match winning.before_step {
        None => winning.file.path.to_string(),
        Some(step) => format!("{} before {step}", winning.file.path),
    });
    names.collect::<Vec<_>>().join("\n")
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "there is none yet".to_owned(),
        names => format!("there is {}", names.join(", ")),
    }
}
