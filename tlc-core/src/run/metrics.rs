//! The metrics of a run that count: of all its files, those rows that no later attempt took the place of.

use arrow::array::RecordBatch;
use futures::future::try_join;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::attempts::{Starts, before_step, first_step, winning_named};
use super::items::ItemKind;
use super::read::{Runs, SampleFile, ScalarFile};
use crate::error::Result;
use crate::id::{RunName, StreamName};

/// How many files are read at the same time.
const READS_MAX: usize = 16;

/// A file of sample metrics, of which all rows count, or those before a step.
#[derive(Clone, Debug)]
pub(crate) struct Winning {
    pub(crate) file: SampleFile,
    pub(crate) before_step: Option<i64>,
}

impl Runs {
    /// The scalars of a run that count, first those that it took over as a fork. Reads all its files of scalars, and its first entry.
    ///
    /// # Errors
    /// Those of [`Self::rows`] and [`Self::inherited`].
    pub(crate) async fn scalars(&self, run: &RunName) -> Result<Vec<RecordBatch>> {
        let (files, inherited) =
            try_join(self.scalar_files(run), self.inherited(run).boxed()).await?;
        self.winning_rows_of(files, inherited).await
    }

    /// The items of a kind of a run that count. Reads all its files of them.
    ///
    /// # Errors
    /// Those of [`Self::rows`].
    pub(crate) async fn items(&self, run: &RunName, kind: ItemKind) -> Result<Vec<RecordBatch>> {
        let files = self.item_files(run, kind).await?;
        self.winning_rows_of(files, Vec::new()).await
    }

    /// Of the rows of these files and those that were taken over the ones that count.
    async fn winning_rows_of(
        &self,
        files: Vec<ScalarFile>,
        inherited: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        let all_count = inherited.is_empty() && files.iter().all(|file| file.attempt == 1);
        let reads = files
            .into_iter()
            .map(|file| async move { self.rows(&file.path).await });
        let rows: Vec<Vec<RecordBatch>> = stream::iter(reads)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        let rows = [inherited, rows.concat()].concat();
        match all_count {
            true => Ok(rows),
            false => winning_named(&rows),
        }
    }

    /// The sample metrics of an epoch of a stream that count, file by file.
    ///
    /// # Errors
    /// As [`Self::scalars`].
    pub(crate) async fn samples(
        &self,
        run: &RunName,
        stream: &StreamName,
        epoch: i64,
    ) -> Result<Vec<RecordBatch>> {
        let files = self.stream_files(run, stream).await?;
        let winning = self.winning(files).await?;
        let of_epoch = winning
            .into_iter()
            .filter(|winning| winning.file.epoch == epoch);
        let reads = of_epoch.map(|winning| async move { self.winning_rows(&winning).await });
        let rows: Vec<Vec<RecordBatch>> = stream::iter(reads)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        Ok(rows.concat())
    }

    /// Of all files of sample metrics of a run, or of some of its streams, those that count. Reads files only
    /// of a run that was resumed: those of the epochs that attempts began with.
    ///
    /// # Errors
    /// As [`Self::scalars`].
    pub(crate) async fn winning(&self, files: Vec<SampleFile>) -> Result<Vec<Winning>> {
        let whole = |file| Winning {
            file,
            before_step: None,
        };
        if files.iter().all(|file| file.attempt == 1) {
            return Ok(files.into_iter().map(whole).collect());
        }
        let mut winning = Vec::with_capacity(files.len());
        let by_stream = |a: &SampleFile, b: &SampleFile| a.stream == b.stream;
        for files in files.chunk_by(by_stream) {
            let starts = self.starts(files).await?;
            for file in files {
                let kept = match starts.end(file.attempt) {
                    None => Some(whole(file.clone())),
                    Some((epoch, _)) if file.epoch < epoch => Some(whole(file.clone())),
                    Some((epoch, step)) if file.epoch == epoch => Some(Winning {
                        file: file.clone(),
                        before_step: Some(step),
                    }),
                    Some(_) => None,
                };
                winning.extend(kept);
            }
        }
        Ok(winning)
    }

    /// The first epoch and step of each attempt but the first, in the files of one stream.
    async fn starts(&self, files: &[SampleFile]) -> Result<Starts<(i64, i64)>> {
        let mut epochs: Starts<i64> = Starts::default();
        let later = || files.iter().filter(|file| file.attempt > 1);
        for file in later() {
            epochs.add(file.attempt, file.epoch);
        }
        let mut starts = Starts::default();
        for file in later().filter(|file| epochs.start(file.attempt) == Some(file.epoch)) {
            if let Some(step) = first_step(&self.rows(&file.path).await?)? {
                starts.add(file.attempt, (file.epoch, step));
            }
        }
        Ok(starts)
    }

    /// The rows of a file that count.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub(crate) async fn winning_rows(&self, winning: &Winning) -> Result<Vec<RecordBatch>> {
        let rows = self.rows(&winning.file.path).await?;
        match winning.before_step {
            Some(step) => before_step(&rows, step),
            None => Ok(rows),
        }
    }
}
