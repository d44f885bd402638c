//! What is asked with, beside run, stream and epoch.

/// Which rows are taken for wrongly labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssueSelection {
    /// For each pair of classes as many rows as are estimated to be confused so, with the largest
    /// difference between the two probabilities. cleanlab calls it `prune_by_noise_rate`.
    #[default]
    ByNoiseRate,
    /// For each class as many rows as are estimated to be wrong, with the lowest probability of the label:
    /// `prune_by_class`.
    ByClass,
    /// All rows that the model is sure are of another class: `confident_learning`.
    Confident,
}

/// What the score of a label is, and so the order: 0 is worst, 1 is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssueRanking {
    /// The probability of the label.
    #[default]
    SelfConfidence,
    /// How far the probability of the label is above the largest other one, from -1 to 1, brought to 0 to 1.
    /// cleanlab calls it `normalized_margin`.
    Margin,
}

/// Where probabilities and labels are, which rows are wanted, how many, and in which order.
///
/// Without more said, the probabilities are the column `probabilities` of the stream, and the label its column
/// `label` or, if it has none, the column `label` of the table that the row ids are of, as it was at the
/// revision that the rows name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelIssueOptions {
    pub(super) probabilities: String,
    pub(super) label: String,
    pub(super) at: Option<String>,
    pub(super) selection: IssueSelection,
    pub(super) ranking: IssueRanking,
    pub(super) rows_max: Option<usize>,
}

impl Default for LabelIssueOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LabelIssueOptions {
    /// Columns `probabilities` and `label`, rows by the rate of noise and by the probability of their label;
    /// all of them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            probabilities: "probabilities".to_owned(),
            label: "label".to_owned(),
            at: None,
            selection: IssueSelection::default(),
            ranking: IssueRanking::default(),
            rows_max: None,
        }
    }

    /// The column of the stream that holds a probability for each class.
    #[must_use]
    pub fn probabilities(mut self, column: &str) -> Self {
        column.clone_into(&mut self.probabilities);
        self
    }

    /// The column, of the stream or of the table, that holds the labels.
    #[must_use]
    pub fn label(mut self, column: &str) -> Self {
        column.clone_into(&mut self.label);
        self
    }

    /// Takes the labels from the table as it is at `revision`: a number, branch, tag or time, as for
    /// [`Table::resolve`](crate::Table::resolve).
    #[must_use]
    pub fn at(mut self, revision: &str) -> Self {
        self.at = Some(revision.to_owned());
        self
    }

    /// Which rows are taken for wrongly labelled.
    #[must_use]
    pub fn selection(mut self, selection: IssueSelection) -> Self {
        self.selection = selection;
        self
    }

    /// What the score of a label is.
    #[must_use]
    pub fn ranking(mut self, ranking: IssueRanking) -> Self {
        self.ranking = ranking;
        self
    }

    /// At most so many rows: the first ones.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = Some(rows_max);
        self
    }
}

impl From<usize> for LabelIssueOptions {
    fn from(rows_max: usize) -> Self {
        Self::new().rows_max(rows_max)
    }
}
