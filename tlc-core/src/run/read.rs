//! The runs of a project: their names, records and files.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::file::metadata::PageIndexPolicy;

use super::captured;
use super::columns;
use super::frame::End;
use super::items::ItemKind;
use super::logs;
use super::record::{self, Folded, Lasts, RunRecord};
use super::segment::{self, PARQUET, SEGMENT, Stem, Topic};
use crate::alias::Aliases;
use crate::blob;
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, run::Entry};
use crate::id::{Revision, RunName, StreamName};
use crate::log::Log;
use crate::runtime::run_blocking;
use crate::store::{self, Place};
use crate::table::{Checked, VerifyOptions};

/// How many runs or files are read at the same time.
const READS_MAX: usize = 16;

/// The folders of a run that hold metrics and items.
const FOLDERS: [&str; 5] = ["scalars", "samples", "texts", "histograms", "files"];

/// A file of scalars of a run, with the columns of [`scalar_schema`](super::scalar_schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalarFile {
    /// Which beginning of the run all its rows are of: 1, or more in a run that was resumed.
    pub attempt: u32,
    /// Whether it is Parquet. Else it is a segment that grows, or that its writer left.
    pub is_folded: bool,
    /// Whether its rows are in the order of name and step: folded ones are, except those of before version 3 of the format.
    pub is_sorted: bool,
    /// Where it lies in the store.
    pub path: Path,
    /// Its size when it was listed.
    pub bytes: u64,
}

/// A file of sample metrics of one epoch of one stream, with the columns of
/// [`sample_schema`](super::sample_schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFile {
    /// The stream of all its rows.
    pub stream: StreamName,
    /// The epoch of all its rows.
    pub epoch: i64,
    /// Which beginning of the run all its rows are of: 1, or more in a run that was resumed.
    pub attempt: u32,
    /// Whether it is Parquet. Else it is a segment that grows, or that its writer left.
    pub is_folded: bool,
    /// Where it lies in the store.
    pub path: Path,
    /// Its size when it was listed.
    pub bytes: u64,
}

/// A file of metrics by its name.
#[derive(Clone, Debug)]
struct Listed {
    stem: Stem,
    is_folded: bool,
    file: ObjectMeta,
}

/// The runs under one project. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    project: Place,
}

impl Runs {
    pub(crate) fn new(project: Place) -> Self {
        Self { project }
    }

    /// The names of all runs, in order. One listing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn names(&self) -> Result<Vec<RunName>> {
        let runs = self.project.child("runs");
        if let Some(folder) = runs.on_disk()
            && let Some(names) = run_blocking(move || Ok(logs::names(&folder).ok())).await?
        {
            return Ok(names);
        }
        let folders = runs.folders().await?;
        // What is no name of ours was put there by somebody else.
        Ok(folders
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect())
    }

    /// The project that they are of.
    pub(crate) fn project(&self) -> &Place {
        &self.project
    }

    /// The records of all runs, in the order of their names; a folder that no run began in is left out.
    ///
    /// # Errors
    /// As [`Self::records_of`].
    pub(crate) async fn records(&self) -> Result<Vec<Arc<RunRecord>>> {
        self.records_of(&self.names().await?).await
    }

    /// The record of a run: a listing of its log and a read of each entry; while it has not ended
    /// also its heartbeat and its files of scalars.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run; [`ErrorKind::Corrupt`] naming the entry or
    /// file that is damaged; [`ErrorKind::Invalid`] if a newer version wrote it; those of the store.
    pub(crate) async fn read(&self, run: &RunName) -> Result<RunRecord> {
        let folded = self.folded(run).await?;
        self.settle(run, folded).await
    }

    /// The record of a run whose log says `folded`: while it has not ended, as its heartbeat and its files of scalars say.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn settle(&self, run: &RunName, mut folded: Folded) -> Result<RunRecord> {
        let place = self.place(run);
        let heartbeat = match folded.record.finished {
            Some(_) => None,
            None => heartbeat(&place).await?,
        };
        folded.judge(place.env.now(), heartbeat);
        if folded.has_open_writers() {
            let lasts = self
                .scan_lasts(run, std::mem::take(&mut folded.lasts))
                .await?;
            folded.set_last(&lasts);
        }
        expand(&mut folded.record, &self.project.aliases().await?);
        Ok(folded.record)
    }

    /// When a run that has not ended last said that it lives; when it started, if it has not since.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn last_seen(&self, record: &RunRecord) -> Result<Micros> {
        let heartbeat = heartbeat(&self.place(&record.name)).await?;
        Ok(heartbeat.unwrap_or_default().max(record.started))
    }

    /// What the log of a run says, and whether the run goes on. As [`Self::read`], without its files.
    pub(crate) async fn judged(&self, run: &RunName) -> Result<Folded> {
        let mut folded = self.folded(run).await?;
        let place = self.place(run);
        folded.judge(place.env.now(), heartbeat(&place).await?);
        Ok(folded)
    }

    /// What the log of a run says, and nothing else.
    pub(crate) async fn folded(&self, run: &RunName) -> Result<Folded> {
        let place = self.place(run);
        if place.is_disk {
            // In one piece of work; what is wrong with a log that cannot be read so is found out below.
            let mut read = logs::read(&self.project, vec![run.clone()]).await?;
            if let Some(log) = read.pop().flatten() {
                return fold_log(run, &log.entries);
            }
        }
        let log = Log::of(&place);
        let entries = log
            .entries(Revision::FIRST)
            .await
            .map_err(|err| err.context(format!("cannot read run {run}")))?;
        if entries.is_empty() {
            let project = self.project.name();
            return Err(Error::not_found(format!(
                "no run {run} in project {project}"
            )));
        }
        fold_log(run, &entries)
    }

    /// The files of scalars of a run, those of one writer in the order they were written. One listing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn scalar_files(&self, run: &RunName) -> Result<Vec<ScalarFile>> {
        self.named_files(run, "scalars").await
    }

    /// The files of items of a kind, likewise.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn item_files(
        &self,
        run: &RunName,
        kind: ItemKind,
    ) -> Result<Vec<ScalarFile>> {
        self.named_files(run, kind.name()).await
    }

    async fn named_files(&self, run: &RunName, folder: &str) -> Result<Vec<ScalarFile>> {
        let files = self.list(run, folder).await?.into_iter();
        let file = |listed: Listed| ScalarFile {
            attempt: listed.stem.attempt,
            is_folded: listed.is_folded,
            // The names of older files did not say the attempt.
            is_sorted: listed
                .file
                .location
                .as_ref()
                .ends_with(&listed.stem.path(PARQUET)),
            path: listed.file.location,
            bytes: listed.file.size,
        };
        Ok(files.map(file).collect())
    }

    /// The files of sample metrics of a run, those of one epoch and writer in the order they were written. One listing; stream and
    /// epoch are read from the names.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn sample_files(&self, run: &RunName) -> Result<Vec<SampleFile>> {
        self.sample_files_in(run, "samples").await
    }

    /// Those of one stream.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn stream_files(
        &self,
        run: &RunName,
        stream: &StreamName,
    ) -> Result<Vec<SampleFile>> {
        self.sample_files_in(run, &format!("samples/{stream}"))
            .await
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.project.store
    }

    async fn sample_files_in(&self, run: &RunName, folder: &str) -> Result<Vec<SampleFile>> {
        let files = self.list(run, folder).await?.into_iter();
        let file = |listed: Listed| {
            let Topic::Samples(stream, epoch) = listed.stem.topic else {
                return None;
            };
            Some(SampleFile {
                stream,
                epoch,
                attempt: listed.stem.attempt,
                is_folded: listed.is_folded,
                path: listed.file.location,
                bytes: listed.file.size,
            })
        };
        Ok(files.filter_map(file).collect())
    }

    /// All rows of a file of metrics, of a segment those that are whole. One request; the segment may have been folded since it was
    /// listed, which makes it two more.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the file if it is damaged; [`ErrorKind::NotFound`] if it is gone; those of the store.
    pub(crate) async fn rows(&self, path: &Path) -> Result<Vec<RecordBatch>> {
        let store = &*self.project.store;
        let gone = || Error::not_found(format!("{path} is gone"));
        if path.extension() == Some(SEGMENT) {
            if let Some(bytes) = store::read(store, path).await? {
                return segment::read(path.as_ref(), &bytes)?.into_rows();
            }
            let stem = path.as_ref().strip_suffix(SEGMENT).ok_or_else(gone)?;
            let folded = Path::from(format!("{stem}{PARQUET}"));
            let bytes = store::read(store, &folded).await?.ok_or_else(gone)?;
            return columns::decode(bytes)
                .map_err(|err| err.context(format!("cannot read {folded}")));
        }
        let bytes = store::read(store, path).await?.ok_or_else(gone)?;
        columns::decode(bytes).map_err(|err| err.context(format!("cannot read {path}")))
    }

    /// What cannot be read of a run: files and why. Reads its log and, unless that is to be quick, all
    /// its files.
    ///
    /// # Errors
    /// Those of the store; [`ErrorKind::Invalid`] if a newer version wrote it.
    pub(crate) async fn flaws(
        &self,
        run: &RunName,
        options: &VerifyOptions,
    ) -> Result<Vec<(String, String)>> {
        let mut flaws = Vec::new();
        match self.folded(run).await {
            Ok(folded) => {
                let code = folded.record.code.as_ref();
                let flaw = captured::flaw(&self.project, code).await?;
                flaws.extend(flaw.map(|what| ("log".to_owned(), what)));
            }
            // Nothing was begun in that folder.
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(flaws),
            Err(err) if err.kind() == ErrorKind::Corrupt => {
                flaws.push(("log".to_owned(), format!("{err:#}")));
            }
            Err(err) => return Err(err),
        }
        let place = self.place(run);
        for folder in FOLDERS {
            for Listed {
                file, is_folded, ..
            } in self.list(run, folder).await?
            {
                options.tell(Checked { bytes: file.size });
                if options.quick {
                    continue;
                }
                if let Err(err) = readable(&place, is_folded && folder != "scalars", &file).await {
                    if err.kind() != ErrorKind::Corrupt {
                        return Err(err);
                    }
                    let name = file.location.as_ref();
                    let name = name.strip_prefix(place.path.as_ref()).unwrap_or(name);
                    let name = name.trim_start_matches('/').to_owned();
                    flaws.push((name, format!("{err:#}")));
                }
            }
        }
        Ok(flaws)
    }

    pub(crate) fn place(&self, run: &RunName) -> Place {
        self.project.child("runs").child(run.as_str())
    }

    /// The files of metrics in a folder of a run, in the order of their names. Of a segment and the folded file of
    /// the same name it is the latter.
    async fn list(&self, run: &RunName, folder: &str) -> Result<Vec<Listed>> {
        let place = self.place(run);
        let parts = folder.split('/');
        let prefix = parts.fold(place.path.clone(), |path, part| path.join(part));
        let files: Vec<ObjectMeta> = place.store.list(Some(&prefix)).try_collect().await?;
        let listed = |file: ObjectMeta| {
            let path = file.location.as_ref().strip_prefix(place.path.as_ref())?;
            let path = store::decoded(path);
            let (stem, ending) = Stem::parse(&path)?;
            let is_folded = ending == PARQUET;
            (is_folded || ending == SEGMENT).then_some(Listed {
                stem,
                is_folded,
                file,
            })
        };
        let mut files: Vec<Listed> = files.into_iter().filter_map(listed).collect();
        files.sort_by(|a, b| (&a.stem, !a.is_folded).cmp(&(&b.stem, !b.is_folded)));
        files.dedup_by(|later, first| later.stem == first.stem);
        Ok(files)
    }

    /// The segments of attempts before `attempt` whose processes are known to have ended.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn left_segments(&self, run: &RunName, folded: &Folded) -> Result<Vec<Stem>> {
        let mut left = Vec::new();
        for folder in FOLDERS {
            for Listed {
                stem, is_folded, ..
            } in self.list(run, folder).await?
            {
                let writer = folded.writers.get(&stem.writer);
                if !is_folded && writer.is_some_and(|writer| writer.process.is_dead()) {
                    left.push(stem);
                }
            }
        }
        Ok(left)
    }

    /// Adds to `lasts` what the files of scalars say.
    async fn scan_lasts(&self, run: &RunName, mut lasts: Lasts) -> Result<Lasts> {
        let files = self.scalar_files(run).await?;
        let read = files.into_iter().map(|file| async move {
            match self.rows(&file.path).await {
                Ok(rows) => Ok(Some((file, rows))),
                Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
                Err(err) => Err(err),
            }
        });
        let mut files = stream::iter(read).buffered(READS_MAX);
        while let Some(file) = files.try_next().await? {
            let Some((file, rows)) = file else { continue };
            for batch in rows {
                columns::each_scalar(&batch, |name, step, value| {
                    record::keep_last(&mut lasts, name, (file.attempt, step), value);
                })
                .map_err(|err| err.context(format!("cannot read {}", file.path)))?;
            }
        }
        Ok(lasts)
    }
}

/// What the entries of a log say.
///
/// # Errors
/// [`ErrorKind::Corrupt`] naming the entry that is damaged; [`ErrorKind::Invalid`] if a newer version wrote it.
pub(crate) fn fold_log(run: &RunName, entries: &[Bytes]) -> Result<Folded> {
    let decode = |(number, bytes): (usize, &Bytes)| {
        format::decode::<Entry>(&record::what(run, number), bytes)
    };
    let entries = entries.iter().enumerate().map(decode);
    record::fold(run, entries.collect::<Result<_>>()?)
}

/// Puts what tokens stand for into the parameters.
pub(crate) fn expand(record: &mut RunRecord, aliases: &Aliases) {
    for value in record.params.values_mut() {
        if let Cow::Owned(expanded) = aliases.expand(value) {
            *value = expanded;
        }
    }
}

/// Whether a file of a run can be read: of one that may be large the footer, and that all columns lie within the
/// file; of others everything.
async fn readable(place: &Place, is_large: bool, file: &ObjectMeta) -> Result<()> {
    if is_large {
        let mut reader = blob::reader(&place.store, &file.location, file.size);
        blob::open(&mut reader, PageIndexPolicy::Skip).await?;
        return Ok(());
    }
    let Some(bytes) = store::read(&*place.store, &file.location).await? else {
        return Ok(());
    };
    if file.location.extension() == Some(PARQUET) {
        return columns::decode(bytes)?
            .iter()
            .try_for_each(|batch| columns::each_scalar(batch, |_, _, _| ()));
    }
    match segment::read(file.location.as_ref(), &bytes)?.end {
        End::Whole | End::Torn => Ok(()),
        End::Damaged => Err(Error::corrupt(
            "a frame is not what was written; what is before it can be read",
        )),
    }
}

/// When a writer of the run last said that it lives. A heartbeat that cannot be read says nothing.
async fn heartbeat(place: &Place) -> Result<Option<Micros>> {
    let bytes = store::read(&*place.store, &place.path.clone().join("heartbeat")).await?;
    let value = bytes.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    Ok(value.and_then(|value| Micros::from_rfc3339(value.get("time")?.as_str()?)))
}
