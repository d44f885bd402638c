//! What questions are asked with, beside run, stream and column.

/// How many samples, and which: `20` are the 20 highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    pub(super) n: usize,
    pub(super) is_lowest: bool,
}

impl Top {
    /// The `n` highest.
    #[must_use]
    pub fn highest(n: usize) -> Self {
        let is_lowest = false;
        Self { n, is_lowest }
    }

    /// The `n` lowest.
    #[must_use]
    pub fn lowest(n: usize) -> Self {
        let is_lowest = true;
        Self { n, is_lowest }
    }
}

impl From<usize> for Top {
    fn from(n: usize) -> Self {
        Self::highest(n)
    }
}

/// How options are told how many rows are wanted: the setter of the field `rows_max`, and a number in their place.
macro_rules! rows_setters {
    ($options:ty) => {
        impl $options {
            /// At most so many rows: the first ones.
            #[must_use]
            pub fn rows_max(mut self, rows_max: usize) -> Self {
                self.rows_max = Some(rows_max);
                self
            }
        }

        impl Default for $options {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<usize> for $options {
            fn from(rows_max: usize) -> Self {
                Self::new().rows_max(rows_max)
            }
        }
    };
}
pub(crate) use rows_setters;

/// The setters of options that say where labels are and how many rows are wanted: of the fields `label`, `at` and
/// `rows_max`.
macro_rules! label_setters {
    ($options:ty) => {
        $crate::questions::rows_setters!($options);

        impl $options {
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
        }
    };
}
pub(crate) use label_setters;

/// Where predictions and labels are, and how many rows are wanted.
///
/// Without more said, the prediction is the column `predicted` of the stream, and the label its column
/// `label` or, if it has none, the column `label` of the table that the row ids are of, as it was at
/// the revision that the rows name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOptions {
    pub(super) predicted: String,
    pub(super) label: String,
    pub(super) at: Option<String>,
    pub(super) rows_max: Option<usize>,
}

impl ClassOptions {
    /// Columns `predicted` and `label`, and all rows.
    #[must_use]
    pub fn new() -> Self {
        Self {
            predicted: "predicted".to_owned(),
            label: "label".to_owned(),
            at: None,
            rows_max: None,
        }
    }

    /// The column of the stream that holds the predictions.
    #[must_use]
    pub fn predicted(mut self, column: &str) -> Self {
        column.clone_into(&mut self.predicted);
        self
    }
}

label_setters!(ClassOptions);
