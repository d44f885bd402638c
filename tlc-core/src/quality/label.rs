//! The two questions that confident learning answers: which labels are wrong, and how many.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::answer::{Found, issues};
use super::confident::{Doubts, Joint, Means, Noise, Thresholds};
use super::options::LabelIssueOptions;
use super::rated::{Rated, class_column, fitted};
use super::rows::{Counted, Given};
use crate::error::Result;
use crate::project::Project;
use crate::run::Epochs;

impl Project {
    /// The samples of an epoch whose label is probably wrong: `_rowid`, `issue` (text: `label`), `score` (Float64:
    /// how good the label is), `label` (the given one) and `suggested` (the most probable class), both of the
    /// type of the label column, or Int64 where that holds no such class; lowest score first, of equal ones the lowest row id.
    ///
    /// The schema's metadata says how many rows counted (`rows`), and how many did not for want of a label
    /// (`rows_without_label`) or of probabilities (`rows_without_probabilities`), and of which table the rows are
    /// (`table`), if they name one.
    ///
    /// Reads the labels as [`Self::confusion`] does, and the column of probabilities three times. Memory: what three files
    /// of the epoch take, which are of 64 MiB at most unless more was logged at once; 8 bytes for each pair of classes and 80 for each that is confused; 50 for
    /// each row of the epoch and about 100 for each that is doubted; never the probabilities of the epoch. For
    /// each row and class a few operations.
    ///
    /// # Errors
    /// As [`Self::confusion`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for probabilities that are no lists of
    /// floats, for labels that are texts, and naming the row id, for a label that is the position of no
    /// class and for a row with more or fewer probabilities than others, or more than 10,000; and for rows of several tables.
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
        let mut doubts = doubts.finish();
        doubts.truncate(options.rows_max.unwrap_or(usize::MAX));
        let found = doubts.into_iter().map(|doubt| Found {
            row_id: doubt.row_id,
            score: doubt.score,
            label: Some(doubt.given as u64),
            suggested: Some(doubt.suggested as u64),
        });
        let found: Vec<Found> = found.collect();
        issues(
            "label",
            &found,
            &question.rated.field(),
            question.metadata(counted),
        )
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
    rated: Rated<'a>,
    given: Given,
    epoch: i64,
}

impl<'a> Question<'a> {
    async fn new(
        project: &'a Project,
        epochs: &'a Epochs,
        epoch: i64,
        options: &'a LabelIssueOptions,
    ) -> Result<Self> {
        let label = (options.label.as_str(), options.at.as_deref());
        let mut rated = Rated::new(project, epochs, &options.probabilities, label).await?;
        let given = rated.given(epoch).await?;
        Ok(Self {
            rated,
            given,
            epoch,
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

    async fn pass(
        &mut self,
        row: impl FnMut(&super::confident::Row<'_>) + Send,
    ) -> Result<Counted> {
        self.rated.pass(self.epoch, &mut self.given, row).await
    }

    fn metadata(&self, counted: Counted) -> Vec<(&'static str, String)> {
        let mut metadata = vec![
            ("rows", counted.rows.to_string()),
            ("rows_without_label", counted.without_label.to_string()),
            (
                "rows_without_probabilities",
                counted.without_values.to_string(),
            ),
        ];
        metadata.extend(self.rated.table().map(|table| ("table", table.to_owned())));
        metadata
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
        let field = self.rated.field();
        let classes = |of: fn(&(usize, usize, u64)) -> usize| {
            class_column(&field, pairs.iter().map(|pair| Some(of(pair) as u64)))
        };
        let labels = classes(|(given, _, _)| *given)?;
        let suggested = classes(|(_, class, _)| *class)?;
        let fields = vec![
            fitted(&field, &labels).with_name("label"),
            fitted(&field, &suggested).with_name("suggested"),
            Field::new("count", DataType::Int64, false),
            Field::new("rate", DataType::Float64, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            labels,
            suggested,
            Arc::new(Int64Array::from_iter_values(counts)),
            Arc::new(Float64Array::from_iter_values(pairs.iter().map(rate))),
        ];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}
