//! From issues to a patch: what is to become of the samples that were found.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, RecordBatch, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt64Type};

use super::{margin, trend};
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::patch::{Patch, Value};
use crate::questions::{is_text, plain};
use crate::schema;
use crate::table::Snapshot;

/// In the metadata of an answer, or a column of it: the table that the rows are of.
const TABLE: &str = "table";

/// Issues whose scores are no shares.
const UNBOUNDED: [&str; 2] = [margin::ISSUE, trend::ISSUE];

/// What is done to the samples of an answer, in a column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueAction {
    /// The column takes the suggestion.
    Relabel(String),
    /// The column takes the score, so that what is worst weighs least. Where a score is not from 0 to 1, and for margins and
    /// trends of losses, which have no bounds, it takes the share of the samples that score lower: 0 for what is worst. Of a group of
    /// near-duplicates, rows with a column `group`, the sample that the group is named after keeps its weight. The column is added
    /// if the table has none of that name, 1 everywhere else.
    Weigh(String),
    /// The column, of text, takes the name of the issue. It is added if the table has none of that name, null
    /// everywhere else.
    Tag(String),
}

impl Snapshot {
    /// A patch that does what `action` says to the samples of an answer, such as one of
    /// [`Project::label_issues`](crate::Project::label_issues): rows with `_rowid`, and `suggested`, `score` or `issue`. Of several
    /// rows for one sample the first counts. Makes no request, and commits nothing.
    ///
    /// The snapshot should be of the revision that the labels were judged by, so that a cell that somebody edited since is a conflict when the patch is
    /// committed, and is not overwritten: a patch of a newer snapshot is taken for one that knew of the edit.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming what is not there: a column of the answer or of the table, or a row of the table;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the row id, for a suggestion that is null or not a class of the column and for a score that is no number and is to be a weight, for
    /// a tag column that holds no text, and, naming both tables, for an answer about the rows of another table: one that says so in the metadata of its
    /// schema or in a column of text `table`.
    ///
    /// ```no_run
    /// # use tlc_core::{IssueAction, Project, block_on};
    /// # block_on(async {
    /// # let project = Project::open("memory:///", "zoo").await?;
    /// let issues = project.label_issues("first", "val", 6, 100).await?;
    /// let table = project.table("train").await?;
    /// let read = table.at(4).await?; // as the run read it
    /// let patch = read.patch_of_issues(&issues, &IssueAction::Relabel("label".into()))?;
    /// table.commit(&patch, "labels as the model has them").await?;
    /// # Ok::<(), tlc_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn patch_of_issues(&self, issues: &RecordBatch, action: &IssueAction) -> Result<Patch> {
        let own = self.table().name().as_str();
        if let Some(other) = other_table(issues, own)? {
            return Err(Error::invalid(format!(
                "these issues are of table {other}, and not of {own}; if the row ids are the same, leave out their \"table\""
            )));
        }
        let rows = Issues::new(issues)?;
        if let Some(row_id) = rows.row_ids.iter().find(|row_id| !self.contains(**row_id)) {
            let revision = self.revision();
            return Err(Error::not_found(format!(
                "table {own}@{revision} has no row {row_id}"
            )));
        }
        let mut patch = self.patch();
        match action {
            IssueAction::Relabel(column) => relabel(&mut patch, &rows, column, self.schema())?,
            IssueAction::Weigh(column) => {
                weigh(&mut patch, &rows.without_kept()?, column, self.schema())?;
            }
            IssueAction::Tag(column) => tag(&mut patch, &rows, column, self.schema())?,
        }
        Ok(patch)
    }
}

/// A table that the rows are said to be of and that is not this one.
fn other_table(issues: &RecordBatch, own: &str) -> Result<Option<String>> {
    let said = issues.schema_ref().metadata().get(TABLE);
    let said = said.filter(|table| *table != own).cloned();
    let column = issues.column_by_name(TABLE);
    let column = column.filter(|column| is_text(plain(column.data_type())));
    let Some(column) = column.filter(|_| said.is_none()) else {
        return Ok(said);
    };
    let names = cast(column, &DataType::Utf8)?;
    let mut names = names.as_string::<i32>().iter().flatten();
    Ok(names.find(|name| *name != own).map(str::to_owned))
}

/// The first row of each sample.
struct Issues<'a> {
    answer: &'a RecordBatch,
    row_ids: Vec<u64>,
    /// Where they are in the answer.
    rows: UInt64Array,
}

impl<'a> Issues<'a> {
    fn new(answer: &'a RecordBatch) -> Result<Self> {
        let ids = column(answer, ROWID)?;
        let ids = ids.as_primitive_opt::<UInt64Type>();
        let ids = ids.filter(|ids| ids.null_count() == 0).ok_or_else(|| {
            Error::invalid("column \"_rowid\" of the issues holds what is no row id")
        })?;
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        for (row, id) in (0..).zip(ids.values()) {
            first.entry(*id).or_insert(row);
        }
        let (row_ids, rows): (Vec<u64>, Vec<u64>) = first.into_iter().unzip();
        Ok(Self {
            answer,
            row_ids,
            rows: UInt64Array::from(rows),
        })
    }

    /// The values of a column in the rows that count.
    fn values(&self, name: &str) -> Result<ArrayRef> {
        Ok(take(column(self.answer, name)?, &self.rows, None)?)
    }

    /// The row id of the first row that something is true of.
    fn first(&self, is: impl Fn(usize) -> bool) -> Option<u64> {
        let mut rows = self.row_ids.iter().enumerate();
        rows.find(|(at, _)| is(*at)).map(|(_, row_id)| *row_id)
    }

    /// The same without the rows that are named after their group.
    fn without_kept(self) -> Result<Self> {
        if self.answer.column_by_name("group").is_none() {
            return Ok(self);
        }
        let groups = cast(&self.values("group")?, &DataType::UInt64)?;
        let groups = groups.as_primitive::<UInt64Type>().iter();
        let rows = self.row_ids.iter().zip(self.rows.values()).zip(groups);
        let rows = rows.filter(|((row_id, _), group)| *group != Some(**row_id));
        let (row_ids, rows): (Vec<u64>, Vec<u64>) = rows.map(|((id, row), _)| (*id, *row)).unzip();
        Ok(Self {
            answer: self.answer,
            row_ids,
            rows: UInt64Array::from(rows),
        })
    }

    /// The scores as weights.
    fn weights(&self) -> Result<ArrayRef> {
        let scores = cast(&self.values("score")?, &DataType::Float64)?;
        let values: &Float64Array = scores.as_primitive::<Float64Type>();
        if let Some(row_id) = self.first(|at| values.is_null(at) || values.value(at).is_nan()) {
            return Err(Error::invalid(format!(
                "the score of row {row_id} is no number, and cannot be its weight"
            )));
        }
        let are_weights = values
            .values()
            .iter()
            .all(|score| (0.0..=1.0).contains(score));
        match are_weights && !self.are_unbounded()? {
            true => Ok(scores),
            false => Ok(Arc::new(Float64Array::from(ranks(values.values())))),
        }
    }

    /// Whether these are issues whose scores have no bounds, whatever they are here.
    fn are_unbounded(&self) -> Result<bool> {
        if self.answer.column_by_name("issue").is_none() {
            return Ok(false);
        }
        let names = cast(&self.values("issue")?, &DataType::Utf8)?;
        let names = names.as_string::<i32>().iter().flatten();
        Ok(names.into_iter().any(|name| UNBOUNDED.contains(&name)))
    }
}

/// For each value the share of the values that are lower.
#[expect(clippy::cast_precision_loss, reason = "there are less than 2^53 rows")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = |value: &f64| sorted.partition_point(|other| other < value) as f64;
    let n = values.len().max(1) as f64;
    values.iter().map(|value| rank(value) / n).collect()
}

fn column<'a>(answer: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    answer.column_by_name(name).ok_or_else(|| {
        let schema = answer.schema();
        let known: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let known = known.join(", ");
        Error::not_found(format!(
            "the issues have no column {name:?}; there is {known}"
        ))
    })
}

fn relabel(patch: &mut Patch, rows: &Issues<'_>, column: &str, table: &Schema) -> Result<()> {
    let suggested = rows.values("suggested")?;
    if let Some(row_id) = rows.first(|at| suggested.is_null(at)) {
        return Err(Error::invalid(format!(
            "nothing is suggested for row {row_id}"
        )));
    }
    let field = table.field(schema::column_index(table, column)?);
    let classes = schema::classes(field)?;
    if classes.is_empty() || !suggested.data_type().is_integer() {
        return patch.set_column(column, &rows.row_ids, &suggested);
    }
    let numbers = cast(&suggested, &DataType::UInt64)?;
    let numbers = numbers.as_primitive::<UInt64Type>();
    let class = |at: usize| {
        let number = numbers.is_valid(at).then(|| numbers.value(at));
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number < classes.len())
    };
    if let Some(row_id) = rows.first(|at| class(at).is_none()) {
        let n = classes.len();
        return Err(Error::invalid(format!(
            "what is suggested for row {row_id} is none of the {n} classes of column {column:?}"
        )));
    }
    // What a class became part of stands for it.
    let current = |at| class(at).map(|number| schema::current(&classes, number) as u64);
    let numbers: UInt64Array = (0..rows.row_ids.len()).map(current).collect();
    patch.set_column(column, &rows.row_ids, &(Arc::new(numbers) as ArrayRef))
}

fn weigh(patch: &mut Patch, rows: &Issues<'_>, column: &str, table: &Schema) -> Result<()> {
    let weights = rows.weights()?;
    if table.field_with_name(column).is_err() {
        patch.add_column(schema::weight(column), 1.0)?;
    }
    patch.set_column(column, &rows.row_ids, &weights)
}

fn tag(patch: &mut Patch, rows: &Issues<'_>, column: &str, table: &Schema) -> Result<()> {
    let issues = cast(&rows.values("issue")?, &DataType::Utf8)?;
    match table.field_with_name(column) {
        Err(_missing) => {
            let field = Field::new(column, DataType::Utf8, true);
            patch.add_column(field, Value::null())?;
        }
        Ok(field) => {
            let found = field.data_type();
            if !is_text(found) {
                return Err(Error::invalid(format!(
                    "column {column:?} is {found}, and holds no text"
                )));
            }
        }
    }
    patch.set_column(column, &rows.row_ids, &issues)
}
