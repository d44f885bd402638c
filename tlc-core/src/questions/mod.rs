//! The questions that everyone asks of sample metrics: means over epochs, the worst samples, confusions,
//! predictions that change their mind, embeddings.
//!
//! They are methods of [`Project`] here, and functions in SQL. Plain SQL over `samples` gives the same
//! rows; what is here reads columns by epoch in the order of row ids, keeps them decoded
//! ([`RootOptions::decoded_bytes_max`](crate::RootOptions::decoded_bytes_max)), and works on arrays:
//! where epochs have the same row ids, as is usual, by position.
//!
//! What the rules are where data is odd:
//!
//! - A row id that was logged more than once in an epoch counts as often, in the order in which it was
//!   logged; between files of different writers that order has no meaning.
//! - A sample that an epoch does not have is left alone by it: its mean is over the others, and its
//!   prediction is compared with the one before that it had.
//! - Nulls count nowhere as values. A mean of nothing but nulls is null. A null prediction is neither
//!   equal nor unequal to another, so that it and the one after it make no change.
//! - NaN is a value: a mean with one is NaN, which is above all numbers.
//!
//! Whoever reads the code begins with `means` and `turns`, which fold one epoch after the other; `samples`
//! says how rows of an epoch meet the samples known so far.

mod classes;
mod confusion;
mod forgotten;
mod labels;
mod means;
mod options;
mod samples;
mod tables;
mod top;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt as _;

use self::classes::comparable;
pub(crate) use self::classes::{classes, is_text, plain};
pub(crate) use self::labels::Labels;
pub(crate) use self::means::numbers;
use self::means::{EpochMeans, SampleMeans};
pub use self::options::{ClassOptions, Top};
pub(crate) use self::options::{label_setters, rows_setters};
pub(crate) use self::samples::{Samples, moved};
pub(crate) use self::tables::{OneTable, table_names};
pub(crate) use self::top::best;
use self::turns::Turns;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ROWID, RunName, StreamName};
use crate::project::Project;
use crate::run::{Epochs, Runs};

impl Project {
    /// The mean of a column in each epoch of a stream: `epoch` (Int64), `mean` (Float64, null where the
    /// epoch has nothing but nulls) and `count` (Int64) of the values that are not null; by epoch.
    ///
    /// Numbers are taken as 64-bit floats, true as 1 and false as 0. One listing; reads the column of
    /// each epoch unless it is kept, and holds a few epochs at a time.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the run, stream or column that is not there, and what there is;
    /// [`ErrorKind::Invalid`] for a column that has no mean; [`ErrorKind::Corrupt`] naming a file; those of the store.
    pub async fn epoch_means(&self, run: &str, stream: &str, column: &str) -> Result<RecordBatch> {
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, column).await?;
        let (mut means, columns) = (EpochMeans::default(), [column]);
        let mut all = epochs.all(&columns);
        while let Some((epoch, read)) = all.try_next().await? {
            means.add(epoch, &*numbers(column, read.column(0)?)?);
        }
        means.finish()
    }

    /// The samples whose mean of a column over all epochs is highest, or lowest: `_rowid`, `mean`
    /// (Float64) and `count` (Int64) of the values that are not null; the first is the most extreme,
    /// of equal ones the lowest row id. Samples without a value come last either way.
    ///
    /// Of several `runs`, all rows count alike, once if a run is named twice; none means every run of the project that has such a
    /// column in a stream of that name. Whether their row ids mean the same samples, the caller knows.
    /// Costs what [`Self::epoch_means`] costs, for each run, and 16 bytes for each sample.
    ///
    /// # Errors
    /// As [`Self::epoch_means`].
    pub async fn top_samples(
        &self,
        runs: &[&str],
        stream: &str,
        column: &str,
        top: impl Into<Top> + Send,
    ) -> Result<RecordBatch> {
        let top = top.into();
        let mut means = SampleMeans::default();
        for epochs in self.epochs_of(runs, stream, column).await? {
            let columns = [column];
            let mut all = epochs.all(&columns);
            while let Some((_, read)) = all.try_next().await? {
                means.add(&read.row_ids, &numbers(column, read.column(0)?)?)?;
            }
        }
        means.finish(top.n, top.is_lowest)
    }

    /// How often each label was predicted as what, in one epoch: `label`, `predicted`, both of the
    /// types and with the classes that their columns have, and `count` (Int64); by label and
    /// prediction, nulls last. The counts add up to the rows of the epoch: a row without a label, or
    /// with a row id that the table does not have, has a null one.
    ///
    /// Reads the two columns of the epoch, unless they are kept; for labels of a table also the first
    /// entry of its log and, unless it is kept, the column of the snapshot.
    ///
    /// # Errors
    /// As [`Self::epoch_means`]; also for the epoch, and for a label that is neither in the stream nor
    /// in the table. [`ErrorKind::Invalid`] for a column that holds no classes: whole numbers, texts
    /// and true or false can be classes.
    pub async fn confusion(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<ClassOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, &options.predicted).await?;
        let mut labels = Labels::new(self, &epochs, &options.label, options.at.as_deref()).await?;
        let columns = labels.columns(&options.predicted);
        let read = epochs.columns(epoch, &columns).await?;
        let label = labels.of(&read).await?;
        let field = labels.field(label.data_type());
        let predicted = read
            .columns
            .schema()
            .field(0)
            .clone()
            .with_name("predicted");
        let rows = confusion::count(
            (field.with_name("label"), &classes(&options.label, &label)?),
            (predicted, &classes(&options.predicted, read.column(0)?)?),
        )?;
        Ok(first(&rows, options.rows_max))
    }

    /// The samples whose prediction changed from one epoch to the next, and how often: `_rowid` and
    /// `flips` (Int64); most often first, of equal ones the lowest row id. The next epoch is the next
    /// that has the sample. Of the options, labels do not matter.
    ///
    /// Costs what [`Self::epoch_means`] costs; memory for one prediction of each sample.
    ///
    /// # Errors
    /// As [`Self::epoch_means`]; [`ErrorKind::Invalid`] for a column that holds no classes.
    pub async fn flips(
        &self,
        run: &str,
        stream: &str,
        options: impl Into<ClassOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, &options.predicted).await?;
        let mut turns = Turns::new(turns::flipped);
        let columns = [options.predicted.as_str()];
        let mut all = epochs.all(&columns);
        while let Some((_, read)) = all.try_next().await? {
            turns.add(
                &read.row_ids,
                &classes(&options.predicted, read.column(0)?)?,
            )?;
        }
        flipped(turns, options.rows_max)
    }

    /// The samples that were never learnt, and those that were forgotten (Toneva et al. 2019, "An Empirical Study of Example
    /// Forgetting during Deep Neural Network Learning"): predicted right in one epoch and wrong in the next that has the
    /// sample. `_rowid`, `forgotten` (Int64: how often), `issue` (text: `forgotten`), `score` (Float64: 1 / (1 + how often), and 0 of
    /// what was never learnt) and `learnt` (Boolean: whether it was right in any epoch). What was never learnt comes
    /// first, as the paper takes it for what is forgotten most; then what was forgotten most often; of equal ones the
    /// lowest row id. The schema's metadata says of which table the rows are (`table`), if they name one.
    ///
    /// In the paper a sample is looked at whenever it is in a batch, here once an epoch, by what was logged. Costs what
    /// [`Self::confusion`] costs for each epoch; memory for four bits and a number of each sample.
    ///
    /// # Errors
    /// As [`Self::confusion`]; [`ErrorKind::Invalid`] also if labels and predictions cannot be equal, numbers and texts, and
    /// for rows of several tables.
    pub async fn forgotten(
        &self,
        run: &str,
        stream: &str,
        options: impl Into<ClassOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, &options.predicted).await?;
        let labels = Labels::new(self, &epochs, &options.label, options.at.as_deref()).await?;
        let mut labels = labels.of_one_table();
        let columns = labels.columns(&options.predicted);
        let mut turns = Turns::of_right();
        let mut all = epochs.all(&columns);
        while let Some((_, read)) = all.try_next().await? {
            let label = classes(&options.label, &labels.of(&read).await?)?;
            let predicted = classes(&options.predicted, read.column(0)?)?;
            let (label, predicted) = comparable(&label, &predicted)?;
            let is_correct: ArrayRef = Arc::new(cmp::eq(&label, &predicted)?);
            turns.add(&read.row_ids, &is_correct)?;
        }
        drop(all);
        forgotten::rows(turns, options.rows_max, labels.table_name())
    }

    /// The vectors of one epoch: `_rowid` and the column, as it was logged; by row id.
    ///
    /// Reads the column unless it is kept; the arrays are shared with what is kept.
    ///
    /// # Errors
    /// As [`Self::epoch_means`], also for the epoch; [`ErrorKind::Invalid`] for a column that is no
    /// list of floats.
    pub async fn embeddings(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        column: &str,
    ) -> Result<RecordBatch> {
        let epochs = self.epochs(run, stream).await?;
        let read = epochs.columns(epoch, &[column]).await?;
        let values = read.column(0)?;
        vectors(column, values)?;
        let fields = vec![
            Field::new(ROWID, DataType::UInt64, false),
            read.columns.schema().field(0).clone(),
        ];
        let columns: Vec<ArrayRef> = vec![Arc::new(read.row_ids.clone()), Arc::clone(values)];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// The epochs of a stream of a run.
    ///
    /// # Errors
    /// Those of [`Epochs::open`]; [`ErrorKind::Invalid`] for what can name no run or stream.
    pub(crate) async fn epochs(&self, run: &str, stream: &str) -> Result<Epochs> {
        let runs = Runs::new(self.place().clone());
        let (run, stream): (RunName, StreamName) = (run.parse()?, stream.parse()?);
        Epochs::open(&runs, &run, &stream).await
    }

    /// The stream in each of `runs`, or in all that have it with this column.
    async fn epochs_of(&self, runs: &[&str], stream: &str, column: &str) -> Result<Vec<Epochs>> {
        let mut opened = Vec::new();
        for run in runs.iter().collect::<BTreeSet<_>>() {
            let epochs = self.epochs(run, stream).await?;
            found(&epochs, column).await?;
            opened.push(epochs);
        }
        if !runs.is_empty() {
            return Ok(opened);
        }
        for run in self.runs().await? {
            match self.epochs(run.as_str(), stream).await {
                Ok(epochs) if epochs.has(column).await? => opened.push(epochs),
                Ok(_) => {}
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        match opened.is_empty() {
            false => Ok(opened),
            true => Err(Error::not_found(format!(
                "no run of project {} has a stream {stream:?} with a column {column:?}",
                self.name()
            ))),
        }
    }
}

/// Says at once that a column is not there, also if there is no epoch to look for it in.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the column, and what there is; those of [`Epochs::schema`].
pub(crate) async fn found(epochs: &Epochs, column: &str) -> Result<()> {
    match epochs.has(column).await? {
        true => Ok(()),
        false => Err(epochs.no_column(column, &*epochs.schema().await?)),
    }
}

fn first(rows: &RecordBatch, rows_max: Option<usize>) -> RecordBatch {
    rows.slice(0, rows.num_rows().min(rows_max.unwrap_or(usize::MAX)))
}

/// Says so if a column holds no vectors.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the column if it is no list of floats.
pub(crate) fn vectors(column: &str, values: &ArrayRef) -> Result<()> {
    let item = match values.data_type() {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            Some(item.data_type())
        }
        _ => None,
    };
    if item.is_some_and(DataType::is_floating) {
        return Ok(());
    }
    let found = values.data_type();
    Err(Error::invalid(format!(
        "column {column:?} is {found}, which is no list of floats"
    )))
}

/// The samples that turned at least once.
fn flipped(turns: Turns, rows_max: Option<usize>) -> Result<RecordBatch> {
    let (ids, counts) = turns.finish();
    let rows = ids.values().iter().copied().zip(counts);
    let rows: Vec<(u64, i64)> = rows.filter(|(_, count)| *count > 0).collect();
    let rows = best(rows, rows_max, |a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("flips", DataType::Int64, false),
    ];
    let (ids, counts): (Vec<u64>, Vec<i64>) = rows.into_iter().unzip();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(ids)),
        Arc::new(Int64Array::from(counts)),
    ];
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
