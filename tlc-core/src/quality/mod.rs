//! What is wrong with the data, by what runs logged of their samples: labels, samples that are not learnt, samples that are
//! alike or like no others; and from there to a change of the table.
//!
//! They are methods of [`Project`](crate::Project) here, and functions in SQL:
//!
//! | question | by | rows |
//! |---|---|---|
//! | [`label_issues`](crate::Project::label_issues), [`label_noise`](crate::Project::label_noise) | confident learning over the probabilities of an epoch | `label` |
//! | [`area_under_margin`](crate::Project::area_under_margin) | the mean margin of the logits over epochs | `margin` |
//! | [`loss_trend`](crate::Project::loss_trend) | the slope of the loss over epochs | `loss_trend` |
//! | [`near_duplicates`](crate::Project::near_duplicates), [`outliers`](crate::Project::outliers), [`nearest`](crate::Project::nearest) | distances between the embeddings of an epoch | `near_duplicate`, `outlier` |
//! | [`forgotten`](crate::Project::forgotten) | what was right and became wrong over epochs, or was never right | `forgotten` |
//! | [`box_issues`](crate::Project::box_issues) | the boxes of an epoch, predicted and true | `overlooked`, `swapped`, `badly_located` |
//!
//! All answers but those to `label_noise` and `nearest` have `_rowid`, `issue` and `score`, of which the lowest is worst, and
//! [`Snapshot::patch_of_issues`](crate::Snapshot::patch_of_issues) makes a patch of them. The metadata of their schema says of
//! which table the rows are, if they name one (`table`); in SQL it is the last column.
//!
//! Labels come from the stream, or from the table that the row ids are of, as for
//! [`Project::confusion`](crate::Project::confusion). For lists of probabilities or logits a label is the position of its class among them, from 0;
//! false is 0 and true is 1.
//!
//! What the rules are where data is odd:
//!
//! - A row without a label does not count where labels matter, nor does one whose probabilities, logits, margin, loss or vector are null, NaN or
//!   infinite, or have such a value. How many these were is in the metadata of the answer's schema.
//! - Probabilities are taken as they are, also if they do not add up to one.
//! - A row id that was logged more than once in an epoch counts as often; of its vectors the last one counts.
//! - A sample that an epoch does not have is left alone by it: what is folded over epochs is over the others.
//! - Rows of several tables are refused, in one epoch or over epochs: a row id is then no one sample.
//! - Rows that are logged while the question is answered do not count.
//!
//! For confident learning the probabilities should be those of a model that was not trained on these very labels, such as of a
//! validation stream or by cross-validation ([`Loader::folds`](crate::Loader::folds)): a model that has learnt a wrong label by heart is sure of
//! it. Margins and losses over epochs are those of the stream that is trained on.
//!
//! Whoever reads the code begins with `confident`, `areas`, `lines` and `objects`, which know neither Arrow's columns nor storage; `rows` and `rated` bring
//! columns to them, and the file named after each question asks it.

mod answer;
mod areas;
mod boxes;
mod calibrate;
mod confident;
mod fix;
mod label;
mod lines;
mod margin;
mod neighbours;
mod objects;
mod options;
mod per_sample;
mod rated;
mod rows;
mod trend;

pub use self::fix::IssueAction;
pub use self::options::{
    AreaOptions, BoxOptions, Distance, IssueRanking, IssueSelection, LabelIssueOptions,
    NeighbourOptions, TrendOptions,
};
pub(crate) use self::rows::Lists;
