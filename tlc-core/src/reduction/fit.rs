//! From the vectors of an epoch, or from an artifact, to a reduction that can be applied.

use std::collections::BinaryHeap;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use futures::TryStreamExt as _;

use super::model::{FILE, Model, method_of};
use super::vectors::{Gathered, Vectors};
use super::{Reducer, Reduction};
use crate::artifact::ArtifactVersion;
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::project::Project;
use crate::run::{Epochs, RunStatus};

/// How many rows are read at once.
pub(super) const BATCH_ROWS: usize = 8_192;

/// A reduction that can be applied, and the model it works by.
#[derive(Debug)]
pub struct Fitted {
    pub(super) model: Model,
    pub(super) reduction: Box<dyn Reduction>,
    /// The version of an artifact that it was read from.
    pub(super) version: Option<ArtifactVersion>,
}

impl Fitted {
    /// A model at work, by the reducer that made it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if another reducer made it; as [`Reducer::reduction`].
    pub fn new(reducer: &dyn Reducer, model: Model) -> Result<Self> {
        let (name, method) = (reducer.name(), model.method());
        if name != method {
            return Err(Error::invalid(format!(
                "the reduction was fitted by {method:?}, not by {name:?}"
            )));
        }
        Ok(Self {
            reduction: reducer.reduction(&model)?,
            model,
            version: None,
        })
    }

    /// What was learnt.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model at work.
    #[must_use]
    pub fn reduction(&self) -> &dyn Reduction {
        &*self.reduction
    }

    /// The column that it was fitted on.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.model.fact("column")
    }

    /// The version of an artifact that it was read from, as `NAME@VERSION`.
    pub(super) fn stored_as(&self) -> Option<String> {
        let version = self.version.as_ref()?;
        Some(format!(
            "{}@{}",
            version.artifact().name(),
            version.number()
        ))
    }
}

impl Project {
    /// Fits a reduction on a column of vectors of one epoch. Nothing is stored before [`Self::reduce`].
    ///
    /// Of more rows than the reducer wants those are drawn whose row id and the reducer's seed say so: the same ones of the same rows. Reads the
    /// row ids, then the column, and holds the vectors that were drawn, in 4 bytes a number.
    ///
    /// # Errors
    /// As [`Self::embeddings`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if no row has a vector, the vectors differ in width, or the reducer wants no row; as [`Reducer::fit`].
    pub async fn fit_reduction(
        &self,
        (run, stream, epoch): (&str, &str, i64),
        column: &str,
        reducer: &dyn Reducer,
    ) -> Result<Fitted> {
        if reducer.rows_max() == 0 {
            return Err(Error::invalid(
                "a reduction is fitted on no row; allow one at least",
            ));
        }
        let epochs = self.epochs(run, stream).await?;
        let vectors = drawn(&epochs, epoch, column, reducer).await?;
        let vectors = vectors.ok_or_else(|| {
            let message = format!("no row of epoch {epoch} of stream {stream} has a {column:?}");
            Error::invalid(message)
        })?;
        let model = reducer
            .fit(&vectors)?
            .with_fact("column", column)
            .with_fact("fitted_on", format!("{run}/{stream}@{epoch}"))
            .with_fact("rows", vectors.len());
        Fitted::new(reducer, model)
    }

    /// The newest epoch of a stream that is whole, as far as that can be known: to fit a reduction on. Of a run that goes on it is the one before the
    /// newest, if there are two. Reads the run's log, and lists the files of the stream.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming the run or the stream, or if it has no epoch; those of the store.
    pub async fn newest_epoch(&self, run: &str, stream: &str) -> Result<i64> {
        let folded = self.run_files().judged(&run.parse()?).await?;
        let goes_on = folded.record.status == RunStatus::Running;
        let numbers = self.epochs(run, stream).await?.numbers();
        let mut newest_first = numbers.iter().rev().copied();
        let newest = newest_first.next();
        let before = newest_first.next().filter(|_| goes_on);
        before.or(newest).ok_or_else(|| {
            Error::not_found(format!("stream {stream} of run {run} has no epoch yet"))
        })
    }

    /// A reduction that was stored, by its artifact: `baseline-umap`, `baseline-umap@2` or `baseline-umap@best`. One of a method that is not the
    /// library's own is read by the reducer that made it.
    ///
    /// Of an artifact that is something else, at most the header of a file is read. Else the file and the model are held at once: twice its size.
    ///
    /// # Errors
    /// As [`Self::artifact_version`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is no reduction, or of another method; as [`Reducer::reduction`].
    pub async fn load_reduction(&self, text: &str, reducers: &[&dyn Reducer]) -> Result<Fitted> {
        let version = self.artifact_version(text).await?;
        let failed = |err: Error| err.context(format!("{version} cannot be applied"));
        let reducer = known(&version, reducers).await.map_err(failed)?;
        let model = Model::from_bytes(&version.read(FILE).await?).map_err(failed)?;
        let fitted = Fitted::new(reducer, model).map_err(failed)?;
        Ok(Fitted {
            version: Some(version),
            ..fitted
        })
    }
}

/// The reducer that fitted what a version holds, as the header of its file says.
async fn known<'a>(
    version: &ArtifactVersion,
    reducers: &[&'a dyn Reducer],
) -> Result<&'a dyn Reducer> {
    let files = version.files().await?;
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if paths != [FILE] {
        return Err(Error::invalid(format!(
            "it is no reduction, which is one file {FILE}"
        )));
    }
    let method = method_of(&version.tensors(FILE).await?)?;
    let found = reducers.iter().find(|known| known.name() == method);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = reducers.iter().map(|known| known.name()).collect();
        Error::invalid(format!(
            "it was fitted by {method:?}, and known are {}",
            known.join(", ")
        ))
    })
}

/// The vectors of an epoch, or as many of them as the reducer wants.
async fn drawn(
    epochs: &Epochs,
    epoch: i64,
    column: &str,
    reducer: &dyn Reducer,
) -> Result<Option<Vectors>> {
    let row_ids = epochs.columns(epoch, &[ROWID]).await?.row_ids;
    let lot = |row_id: u64| lot(reducer.seed(), row_id);
    let last = match row_ids.len() > reducer.rows_max() {
        true => last_of(
            row_ids.values().iter().map(|id| lot(*id)),
            reducer.rows_max(),
        ),
        false => None,
    };
    let is_drawn = |row_id| last.is_none_or(|last| lot(row_id) <= last);
    let mut gathered = Gathered::new(column);
    let mut batches = epochs.batches(epoch, &[column], BATCH_ROWS).await?;
    while let Some(batch) = batches.try_next().await? {
        gathered.add(ids(&batch)?, batch.column(1), is_drawn)?;
    }
    Ok(gathered.finish())
}

/// The row ids of a batch, which are its first column.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if they are something else.
pub(super) fn ids(batch: &RecordBatch) -> Result<&[u64]> {
    let ids = batch.column(0).as_primitive_opt::<UInt64Type>();
    let ids = ids.ok_or_else(|| Error::corrupt("the row ids are no whole numbers"))?;
    Ok(ids.values())
}

/// Where a row stands when some are drawn.
fn lot(seed: u64, row_id: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&row_id.to_le_bytes());
    let hash = hasher.finalize();
    let first = hash.as_bytes().iter().take(8);
    first.fold(0, |lot, byte| lot << 8 | u64::from(*byte))
}

/// The largest of the `n` smallest lots.
fn last_of(lots: impl Iterator<Item = u64>, n: usize) -> Option<u64> {
    let mut drawn = BinaryHeap::with_capacity(n + 1);
    for lot in lots {
        drawn.push(lot);
        if drawn.len() > n {
            drawn.pop();
        }
    }
    drawn.peek().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_drawn_as_are_wanted_and_a_row_more_changes_few() {
        let drawn = |n_rows: u64, n: usize, seed| -> Vec<u64> {
            let last = last_of((0..n_rows).map(|id| lot(seed, id)), n).unwrap();
            (0..n_rows).filter(|id| lot(seed, *id) <= last).collect()
        };
        let first = drawn(1_000, 100, 7);
        assert_eq!(first.len(), 100);
        assert_eq!(first, drawn(1_000, 100, 7));
        assert_ne!(first, drawn(1_000, 100, 8));
        let later = drawn(1_001, 100, 7);
        let n_same = later.iter().filter(|id| first.contains(id)).count();
        assert!(n_same >= 99, "{n_same}");
        // Spread over all of them.
        let n_low = first.iter().filter(|id| **id < 500).count();
        assert!((30..=70).contains(&n_low), "{n_low}");
    }
}
