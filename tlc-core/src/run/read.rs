//! The runs of a project: their names, records and files.

use std::borrow::Cow;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;
use object_store::path::Path;
use parquet::file::metadata::PageIndexPolicy;

use super::record::{self, Folded, Lasts, RunRecord};
use super::segment;
use crate::blob;
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, run::Entry};
use crate::id::{Revision, RunName, StreamName};
use crate::log::Log;
use crate::store::{self, Place};
use crate::table::{Checked, VerifyOptions};

/// How many runs or files are read at the same time.
const READS_MAX: usize = 16;

/// A file of scalars of a run: Parquet with the columns of [`scalar_schema`](super::scalar_schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalarFile {
    /// Where it lies in the store.
    pub path: Path,
    /// Its size.
    pub bytes: u64,
}

/// A file of sample metrics of one epoch of one stream: Parquet with the columns of
/// [`sample_schema`](super::sample_schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFile {
    /// The stream of all its rows.
    pub stream: StreamName,
    /// The epoch of all its rows.
    pub epoch: i64,
    /// Where it lies in the store.
    pub path: Path,
    /// Its size.
    pub bytes: u64,
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
        let folders = self.project.child("runs").folders().await?;
        // What is no name of ours was put there by somebody else.
        Ok(folders
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect())
    }

    /// The records of all runs, in the order of their names; a folder that no run began in is left out.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn records(&self) -> Result<Vec<RunRecord>> {
        let names = self.names().await?;
        let records = stream::iter(names.into_iter().map(|name| async move {
            match self.read(&name).await {
                Ok(record) => Ok(Some(record)),
                Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
                Err(err) => Err(err),
            }
        }));
        let records: Vec<Option<RunRecord>> = records.buffered(READS_MAX).try_collect().await?;
        Ok(records.into_iter().flatten().collect())
    }

    /// The record of a run: a listing of its log and a read of each entry; while it has not ended
    /// also its heartbeat and its files of scalars.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run; [`ErrorKind::Corrupt`] naming the entry or
    /// file that is damaged; [`ErrorKind::Invalid`] if a newer version wrote it; those of the store.
    pub(crate) async fn read(&self, run: &RunName) -> Result<RunRecord> {
        let place = self.place(run);
        let mut folded = self.folded(run).await?;
        let heartbeat = match folded.record.finished {
            Some(_) => None,
            None => heartbeat(&place).await?,
        };
        let dead = folded.record.process.is_dead();
        folded.judge(place.env.now(), heartbeat, dead);
        if !folded.open_writers.is_empty() {
            let lasts = self
                .scan_lasts(run, std::mem::take(&mut folded.lasts))
                .await?;
            folded.record.last = lasts
                .into_iter()
                .map(|(name, (_, value))| (name, value))
                .collect();
        }
        let aliases = self.project.aliases().await?;
        for value in folded.record.params.values_mut() {
            if let Cow::Owned(expanded) = aliases.expand(value) {
                *value = expanded;
            }
        }
        Ok(folded.record)
    }

    /// What the log of a run says, and nothing else.
    pub(crate) async fn folded(&self, run: &RunName) -> Result<Folded> {
        let place = self.place(run);
        let log = Log::of(&place);
        let entries = log
            .entries(Revision::FIRST)
            .await
            .map_err(|err| err.context(format!("cannot read run {run}")))?;
        if entries.is_empty() {
            let project = self.project.path.filename().unwrap_or_default();
            return Err(Error::not_found(format!(
                "no run {run} in project {project}"
            )));
        }
        let decode = |(number, bytes): (usize, &Bytes)| {
            format::decode::<Entry>(&record::what(run, number), bytes)
        };
        let entries = entries
            .iter()
            .enumerate()
            .map(decode)
            .collect::<Result<Vec<_>>>()?;
        record::fold(run, &entries)
    }

    /// The files of scalars of a run, those of one writer in the order they were written. One listing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn scalar_files(&self, run: &RunName) -> Result<Vec<ScalarFile>> {
        let files = self.list(run, "scalars").await?.into_iter();
        let files = files.filter(|file| file.location.extension() == Some("parquet"));
        Ok(files
            .map(|file| ScalarFile {
                path: file.location,
                bytes: file.size,
            })
            .collect())
    }

    /// The files of sample metrics of a run, those of one epoch and writer in the order they were written. One listing; stream and
    /// epoch are read from the names.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn sample_files(&self, run: &RunName) -> Result<Vec<SampleFile>> {
        let files = self.list(run, "samples").await?.into_iter();
        let file = |file: ObjectMeta| {
            let mut parts = file.location.as_ref().rsplit('/');
            let (name, stream) = (parts.next()?, parts.next()?);
            let (epoch, stream) = (segment::sample_epoch(name)?, stream.parse().ok()?);
            Some(SampleFile {
                stream,
                epoch,
                path: file.location,
                bytes: file.size,
            })
        };
        Ok(files.filter_map(file).collect())
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
            Ok(_) => {}
            // Nothing was begun in that folder.
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(flaws),
            Err(err) if err.kind() == ErrorKind::Corrupt => {
                flaws.push(("log".to_owned(), format!("{err:#}")));
            }
            Err(err) => return Err(err),
        }
        let place = self.place(run);
        for folder in ["scalars", "samples"] {
            for file in self.list(run, folder).await? {
                options.tell(Checked { bytes: file.size });
                if options.quick || file.location.extension() != Some("parquet") {
                    continue;
                }
                if let Err(err) = readable(&place, folder, &file).await {
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

    async fn list(&self, run: &RunName, folder: &str) -> Result<Vec<ObjectMeta>> {
        let place = self.place(run).child(folder);
        let mut files: Vec<ObjectMeta> = place.store.list(Some(&place.path)).try_collect().await?;
        // The numbers in the names are not padded: a shorter name is an earlier file.
        files.sort_by(|a, b| {
            let key = |file: &ObjectMeta| (file.location.as_ref().len(), file.location.clone());
            key(a).cmp(&key(b))
        });
        Ok(files)
    }

    /// Adds to `lasts` what the files of scalars say.
    async fn scan_lasts(&self, run: &RunName, mut lasts: Lasts) -> Result<Lasts> {
        let files = self.scalar_files(run).await?;
        let store = &*self.project.store;
        let mut files = stream::iter(files.into_iter().map(|file| async move {
            let bytes = store::read(store, &file.path).await?;
            Ok::<_, Error>((file.path, bytes))
        }))
        .buffered(READS_MAX);
        while let Some((path, bytes)) = files.try_next().await? {
            let Some(bytes) = bytes else { continue };
            segment::decode_scalars(bytes, |name, step, value| {
                record::keep_last(&mut lasts, name, step, value)
            })
            .map_err(|err| err.context(format!("cannot read {path}")))?;
        }
        Ok(lasts)
    }
}

/// Whether a file of a run can be read: all of it for scalars; for sample metrics the footer, and that
/// all columns lie within the file.
async fn readable(place: &Place, folder: &str, file: &ObjectMeta) -> Result<()> {
    if folder == "samples" {
        let mut reader = blob::reader(&place.store, &file.location, file.size);
        blob::open(&mut reader, PageIndexPolicy::Skip).await?;
        return Ok(());
    }
    match store::read(&*place.store, &file.location).await? {
        Some(bytes) => segment::decode_scalars(bytes, |_, _, _| ()),
        None => Ok(()),
    }
}

/// When a writer of the run last said that it lives. A heartbeat that cannot be read says nothing.
async fn heartbeat(place: &Place) -> Result<Option<Micros>> {
    let bytes = store::read(&*place.store, &place.path.clone().join("heartbeat")).await?;
    let value = bytes.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    Ok(value.and_then(|value| Micros::from_rfc3339(value.get("time")?.as_str()?)))
}
