//! Which labels are probably wrong: confident learning over the probabilities that a run logged.
//!
//! They are methods of [`Project`] here. The probabilities of an epoch may be more than fits into memory, so
//! they are read in batches and in passes: two to estimate how many labels are wrong, a third to find which.
//! Labels come from the stream, or from the table that the row ids are of, as for
//! [`Project::confusion`]. A label is the position of its class among the probabilities, from 0;
//! false is 0 and true is 1.
//!
//! What the rules are where data is odd:
//!
//! - A row without a label does not count, nor does one whose probabilities are null, or of which one is null, NaN or
//!   infinite. How many these were is in the metadata of the answer's schema.
//! - Probabilities are taken as they are, also if they do not add up to one.
//! - A row id that was logged more than once in an epoch counts as often.
//! - Rows that are logged while the question is answered do not count.
//!
//! The probabilities should be those of a model that was not trained on these very labels, such as of a
//! validation stream or by cross-validation: a model that has learnt a wrong label by heart is sure of it.
//!
//! Whoever reads the code begins with `confident`, which knows neither Arrow nor storage; `rows` brings columns to it.

mod confident;
mod options;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use futures::TryStreamExt as _;

use self::confident::{Doubt, Doubts, Joint, Means, Noise, Row, Thresholds};
pub use self::options::{IssueRanking, IssueSelection, LabelIssueOptions};
use self::rows::{Counted, Given, Lists, each, not_probabilities};
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::project::Project;
use crate::questions::{Labels, found, plain};
use crate::run::Epochs;

/// How many probabilities are made 64-bit numbers at once.
const BATCH_VALUES: usize = 1 << 20;

/// How many rows that is, if their width is not known; of narrow ones it is eight times as many.
const BATCH_ROWS: usize = 1_024;

impl Project {
    /// The samples of an epoch whose label is probably wrong: `_rowid`, `issue` (text: `label`), `score` (Float64:
    /// how good the label is), `label` (the given one) and `suggested` (the most probable class), both of the
    /// type of the label column; lowest score first, of equal ones the lowest row id.
    ///
    /// The schema's metadata says how many rows counted (`rows`), and how many did not for want of a label
    /// (`rows_without_label`) or of probabilities (`rows_without_probabilities`).
    ///
    /// Reads the labels as [`Self::confusion`] does, and the column of probabilities three times. Memory: what three files
    /// of the epoch take, which are of 64 MiB at most unless more was logged at once; 8 bytes for each pair of classes and 80 for each that is confused; 50 for
    /// each row of the epoch and about 100 for each that is doubted; never the probabilities of the epoch. For
    /// each row and class a few operations.
    ///
    /// # Errors
    /// As [`Self::confusion`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for probabilities that are no lists of
    /// floats, for labels that are texts, and naming the row id, for a label that is the position of no
    /// class and for a row with more or fewer probabilities than others, or more than 10,000.
    pub async fn label_issues(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<LabelIssueOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        let mut question = Question::new(self, &epochs, epoch, &options).await?;
        let (thresholds, noise) = question.noise().await?;
        let mut doubts = Doubts::new(&thresholds, &noise, options.selection, options.ranking);
        let counted = question.pass(|row| doubts.add(row)).await?;
        let mut found = doubts.finish();
        found.truncate(options.rows_max.unwrap_or(usize::MAX));
        question.issues(&found, counted)
    }

    /// How many labels of an epoch are estimated to be wrong, and in which way: `label` (the given class),
    /// `suggested` (what the samples are estimated to be), both of the type of the label column, `count` (Int64) and `rate`
    /// (Float64: the share of the samples with that label); by label and suggestion. The estimates for one label, with
    /// the right ones, add up to the samples that have it. Pairs without a sample are left out; of the options,
    /// selection and ranking do not matter.
    ///
    /// Costs what [`Self::label_issues`] costs, with two passes instead of three.
    ///
    /// # Errors
    /// As [`Self::label_issues`].
    pub async fn label_noise(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<LabelIssueOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        let mut question = Question::new(self, &epochs, epoch, &options).await?;
        let (thresholds, noise) = question.noise().await?;
        question.estimates(&thresholds, &noise, options.rows_max)
    }
}

/// One epoch and its labels.
struct Question<'a> {
    epochs: &'a Epochs,
    epoch: i64,
    probabilities: &'a str,
    batch_rows: usize,
    given: Given,
    /// The column of the labels.
    field: Field,
    n_classes: Option<usize>,
}

impl<'a> Question<'a> {
    async fn new(
        project: &Project,
        epochs: &'a Epochs,
        epoch: i64,
        options: &'a LabelIssueOptions,
    ) -> Result<Self> {
        let probabilities = options.probabilities.as_str();
        found(epochs, probabilities).await?;
        let schema = epochs.schema().await?;
        let data_type = schema.field_with_name(probabilities)?.data_type();
        let batch_rows = match data_type {
            DataType::FixedSizeList(_, n) => {
                let n = usize::try_from(*n).unwrap_or_default();
                (BATCH_VALUES / n.max(1)).clamp(1, 8 * BATCH_ROWS)
            }
            DataType::List(_) | DataType::LargeList(_) => BATCH_ROWS,
            other => return Err(not_probabilities(probabilities, other)),
        };
        let mut labels =
            Labels::new(project, epochs, &options.label, options.at.as_deref()).await?;
        let columns = labels.columns(ROWID);
        let read = epochs.columns(epoch, &columns).await?;
        let values = labels.of(&read).await?;
        let field = labels.field(values.data_type());
        let data_type = plain(values.data_type()).clone();
        Ok(Self {
            epochs,
            epoch,
            probabilities,
            batch_rows,
            given: Given::new(&options.label, read.row_ids, &values)?,
            field: field.with_data_type(data_type),
            n_classes: None,
        })
    }

    /// The first two passes.
    async fn noise(&mut self) -> Result<(Thresholds, Noise)> {
        let mut means = Means::default();
        self.pass(|row| means.add(row)).await?;
        let thresholds = means.finish();
        let mut joint = Joint::new(&thresholds);
        self.pass(|row| joint.add(row)).await?;
        let noise = joint.finish();
        Ok((thresholds, noise))
    }

    /// Hands on every row that counts.
    ///
    /// # Errors
    /// Those of the files, and of rows that cannot be right.
    async fn pass(&mut self, mut row: impl FnMut(&Row<'_>) + Send) -> Result<Counted> {
        self.given.restart();
        let (mut counted, column) = (Counted::default(), self.probabilities);
        let batches = self.epochs.batches(self.epoch, column, self.batch_rows);
        let mut batches = batches.await?;
        while let Some(batch) = batches.try_next().await? {
            let ids = batch.column(0).as_primitive_opt::<UInt64Type>();
            let ids = ids.ok_or_else(|| Error::corrupt("the row ids are no whole numbers"))?;
            let lists = Lists::new(column, batch.column(1))?;
            let (given, n_classes) = (&mut self.given, &mut self.n_classes);
            counted.add(each(ids.values(), &lists, given, n_classes, &mut row)?);
        }
        Ok(counted)
    }

    fn issues(&self, found: &[Doubt], counted: Counted) -> Result<RecordBatch> {
        let fields = vec![
            Field::new(ROWID, DataType::UInt64, false),
            Field::new("issue", DataType::Utf8, false),
            Field::new("score", DataType::Float64, false),
            self.field.clone().with_name("label"),
            self.field.clone().with_name("suggested"),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(
                found.iter().map(|doubt| doubt.row_id),
            )),
            Arc::new(StringArray::from_iter_values(found.iter().map(|_| "label"))),
            Arc::new(Float64Array::from_iter_values(
                found.iter().map(|doubt| doubt.score),
            )),
            self.classes(found.iter().map(|doubt| doubt.given))?,
            self.classes(found.iter().map(|doubt| doubt.suggested))?,
        ];
        let metadata: HashMap<_, _> = [
            ("rows", counted.rows),
            ("rows_without_label", counted.without_label),
            ("rows_without_probabilities", counted.without_probabilities),
        ]
        .map(|(key, count)| (key.to_owned(), count.to_string()))
        .into();
        let schema = Schema::new_with_metadata(fields, metadata);
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }

    #[expect(clippy::cast_precision_loss, reason = "there are less than 2^53 rows")]
    fn estimates(
        &self,
        thresholds: &Thresholds,
        noise: &Noise,
        rows_max: Option<usize>,
    ) -> Result<RecordBatch> {
        let pairs = noise.rows().enumerate().flat_map(|(given, row)| {
            let wrong = row.iter().copied().enumerate();
            wrong.map(move |(class, count)| (given, class, count))
        });
        let pairs = pairs.filter(|(given, class, count)| given != class && *count > 0);
        let pairs: Vec<_> = pairs.take(rows_max.unwrap_or(usize::MAX)).collect();
        let rate = |(given, _, count): &(usize, usize, u64)| {
            *count as f64 / thresholds.count(*given).max(1) as f64
        };
        let counts = pairs.iter().map(|(_, _, count)| count.cast_signed());
        let fields = vec![
            self.field.clone().with_name("label"),
            self.field.clone().with_name("suggested"),
            Field::new("count", DataType::Int64, false),
            Field::new("rate", DataType::Float64, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            self.classes(pairs.iter().map(|(given, _, _)| *given))?,
            self.classes(pairs.iter().map(|(_, class, _)| *class))?,
            Arc::new(Int64Array::from_iter_values(counts)),
            Arc::new(Float64Array::from_iter_values(pairs.iter().map(rate))),
        ];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// Classes in the type of the labels.
    fn classes(&self, classes: impl Iterator<Item = usize>) -> Result<ArrayRef> {
        let classes: ArrayRef = Arc::new(UInt64Array::from_iter_values(classes.map(|n| n as u64)));
        Ok(cast(&classes, self.field.data_type())?)
    }
}
