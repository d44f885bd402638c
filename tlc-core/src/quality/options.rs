//! What is asked with, beside run, stream and epoch.

use crate::questions::{label_setters, rows_setters};

/// The column of the labels, unless it is said otherwise.
pub(super) const LABEL: &str = "label";

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

impl LabelIssueOptions {
    /// Columns `probabilities` and `label`, rows by the rate of noise and by the probability of their label;
    /// all of them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            probabilities: "probabilities".to_owned(),
            label: LABEL.to_owned(),
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
}

label_setters!(LabelIssueOptions);
label_setters!(AreaOptions);
label_setters!(BoxOptions);
rows_setters!(TrendOptions);
rows_setters!(NeighbourOptions);

/// The samples whose areas say what is low: given to an extra class, or named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judges {
    Class(i64),
    Rows(Vec<u64>),
}

/// Where margins and labels are, what is too low, and how many rows are wanted.
///
/// Without more said, the margins are of the first of the columns that
/// [`Project::area_under_margin`](crate::Project::area_under_margin) lists, labels are where they are for
/// [`LabelIssueOptions`], and there is no threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaOptions {
    pub(super) column: Option<String>,
    pub(super) are_probabilities: bool,
    pub(super) label: String,
    pub(super) at: Option<String>,
    pub(super) judges: Option<Judges>,
    pub(super) percentile: f64,
    pub(super) rows_max: Option<usize>,
}

impl AreaOptions {
    /// Margins of whatever the stream has, labels of the column `label`, and all samples.
    #[must_use]
    pub fn new() -> Self {
        Self {
            column: None,
            are_probabilities: false,
            label: LABEL.to_owned(),
            at: None,
            judges: None,
            percentile: 99.0,
            rows_max: None,
        }
    }

    /// The column of the stream that holds margins, as numbers, or lists of logits. Lists that are called
    /// `probabilities` are taken for such.
    #[must_use]
    pub fn column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    /// The column of the stream that holds lists of probabilities.
    #[must_use]
    pub fn probabilities(mut self, column: &str) -> Self {
        self.are_probabilities = true;
        self.column(column)
    }

    /// Says that the samples of this class are threshold samples: in the paper as many as an average class has, drawn by
    /// chance of all samples and given to a class of their own before the training. They are no issues.
    #[must_use]
    pub fn threshold_class(mut self, class: i64) -> Self {
        self.judges = Some(Judges::Class(class));
        self
    }

    /// Says which samples are threshold samples, by their row ids. They are no issues.
    #[must_use]
    pub fn threshold_rows(mut self, row_ids: &[u64]) -> Self {
        self.judges = Some(Judges::Rows(row_ids.to_vec()));
        self
    }

    /// Which percentile of the areas of threshold samples is the threshold: 99, unless it is said.
    #[must_use]
    pub fn percentile(mut self, percentile: f64) -> Self {
        self.percentile = percentile;
        self
    }
}

/// Where losses are, which mean is high, and how many rows are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct TrendOptions {
    pub(super) column: String,
    pub(super) share: f64,
    pub(super) rows_max: Option<usize>,
}

impl TrendOptions {
    /// The column `loss`; issues are of the tenth of the samples with the highest means; all of them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            column: "loss".to_owned(),
            share: 0.1,
            rows_max: None,
        }
    }

    /// The column of the stream that holds the loss.
    #[must_use]
    pub fn column(mut self, column: &str) -> Self {
        column.clone_into(&mut self.column);
        self
    }

    /// The share of the samples, from 0 to 1, whose mean loss counts as high.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }
}

/// Where predicted and true boxes are, and how many rows are wanted.
///
/// Without more said, predicted boxes are the column `predicted_boxes` of the stream, and true ones its column `boxes` or, if
/// it has none, the column `boxes` of the table that the row ids are of, as it was at the revision that the rows name.
/// [`Self::label`] gives that column another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxOptions {
    pub(super) predicted: String,
    pub(super) label: String,
    pub(super) at: Option<String>,
    pub(super) rows_max: Option<usize>,
}

impl BoxOptions {
    /// Columns `predicted_boxes` and `boxes`, and all rows.
    #[must_use]
    pub fn new() -> Self {
        Self {
            predicted: "predicted_boxes".to_owned(),
            label: "boxes".to_owned(),
            at: None,
            rows_max: None,
        }
    }

    /// The column of the stream that holds the predicted boxes.
    #[must_use]
    pub fn predicted(mut self, column: &str) -> Self {
        column.clone_into(&mut self.predicted);
        self
    }
}

/// How far two vectors are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// 1 less the cosine of the angle between them, from 0 to 2. A vector of zeros is 1 away
    /// from all but others of zeros.
    Cosine,
    /// The length of the straight line between them.
    Euclidean,
}

/// Where vectors are, how far they are apart, how many neighbours matter, and how many rows are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourOptions {
    pub(super) column: String,
    pub(super) distance: Option<Distance>,
    pub(super) n: usize,
    pub(super) rows_max: Option<usize>,
}

impl NeighbourOptions {
    /// The column `embedding`, ten neighbours, and all rows; the distance is by the angle for vectors of more than three
    /// values, else the straight one, as in cleanlab.
    #[must_use]
    pub fn new() -> Self {
        Self {
            column: "embedding".to_owned(),
            distance: None,
            n: 10,
            rows_max: None,
        }
    }

    /// The column of the stream that holds the vectors.
    #[must_use]
    pub fn column(mut self, column: &str) -> Self {
        column.clone_into(&mut self.column);
        self
    }

    /// How far vectors are apart.
    #[must_use]
    pub fn distance(mut self, distance: Distance) -> Self {
        self.distance = Some(distance);
        self
    }

    /// How many neighbours of each sample matter. If there are fewer, all do.
    #[must_use]
    pub fn neighbours(mut self, n: usize) -> Self {
        self.n = n;
        self
    }
}
