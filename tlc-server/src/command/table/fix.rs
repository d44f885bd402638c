//! `tlc table fix`: what a query finds wrong with the data, made one revision of the table.

use std::sync::Arc;

use clap::Args;
use futures::TryStreamExt as _;
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, UInt64Array,
};
use tlc_core::arrow::compute::kernels::cmp;
use tlc_core::arrow::compute::{cast, concat_batches, filter_record_batch, take};
use tlc_core::arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use tlc_core::{
    CommitOptions, Error, IssueAction, ROWID, Result as CoreResult, Snapshot, Sql, block_on, schema,
};

use super::writing::branch_of;
use super::{TOOL, commit_text};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::command::sql::{given, with_names_hint};
use crate::error::{Failure, Result};
use crate::output::count_text;
use crate::view::{CommitView, FixedView};

/// Act on what a query finds wrong with the samples of a table, as one revision
///
/// The query gives rows with `_rowid` and what the action needs, as label_issues, area_under_margin, loss_trend, forgotten, near_duplicates,
/// outliers and box_issues do in SQL; what is to stay as it is, it leaves out. Issues whose column `table` names another table are refused. Of several rows for one sample the first counts. Where the
/// query gives no rows, no revision is made. With --relabel, rows are left out whose value is no longer the one that the column `label` of
/// the issues holds: somebody changed it after it was judged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table fix mnist/train --issues \"SELECT * FROM label_issues('mnist/lenet', 'val', 6, 100)\" --relabel label -m 'as the model has them'
  tlc table fix mnist/train@cleanup --issues \"SELECT * FROM label_issues('mnist/lenet', 'val', 6) WHERE score < 0.1\" --tag doubt -m 'to be looked at'
  tlc table fix mnist/train --issues \"SELECT * FROM outliers('mnist/lenet', 'train', 6)\" --weigh weight -m 'odd ones weigh less' --json")]
pub(in crate::command) struct Fix {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// The query for the issues; - reads it from standard input
    #[arg(long, value_name = "QUERY")]
    issues: String,
    #[command(flatten)]
    action: Action,
    /// Why, for the table's log
    #[arg(short, long)]
    message: String,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

/// What is done about the samples.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// Set this column to `suggested`
    #[arg(long, value_name = "COLUMN")]
    relabel: Option<String>,
    /// Set this column to `score`, or to its rank where that has no bounds: what is worst weighs least; it is added if there is none of that name
    #[arg(long, value_name = "COLUMN")]
    weigh: Option<String>,
    /// Set this column of text to `issue`; it is added if there is none of that name
    #[arg(long, value_name = "COLUMN")]
    tag: Option<String>,
}

impl Action {
    /// The flag, the column that it needs of the issues, and what the library is to do.
    fn read(&self) -> Option<(&'static str, &'static str, IssueAction)> {
        match (&self.relabel, &self.weigh, &self.tag) {
            (Some(column), ..) => {
                let action = IssueAction::Relabel(column.clone());
                Some(("--relabel", "suggested", action))
            }
            (_, Some(column), _) => Some(("--weigh", "score", IssueAction::Weigh(column.clone()))),
            (.., Some(column)) => Some(("--tag", "issue", IssueAction::Tag(column.clone()))),
            (None, None, None) => None,
        }
    }
}

impl Fix {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let Some((flag, needed, action)) = self.action.read() else {
            return Err(Failure::usage("say one of --relabel, --weigh and --tag"));
        };
        let query = given(&self.issues)?;
        let (view, n_issues) = block_on(async {
            let table = session.table(&self.table).await?;
            let branch = branch_of(&table, &self.table).await?;
            let head: Snapshot = table.branch(&branch).await?;
            let sql = Sql::open(&session.existing_root().await?).await?;
            let issues = Box::pin(asked(&sql, &query)).await?;
            check(&issues.schema(), flag, needed)?;
            let issues = with_row_ids(issues)?;
            let (issues, left_out) = match &action {
                IssueAction::Relabel(column) => unchanged(&head, issues, column).await?,
                _ => (issues, 0),
            };
            let patch = match issues.num_rows() {
                0 => head.patch(),
                _ => head.patch_of_issues(&issues, &action)?,
            };
            let options = CommitOptions::new(self.message.clone()).tool(TOOL);
            let committed = table.commit(&patch, options.branch(branch)).await?;
            let commit = CommitView::new(self.table.project.as_str(), &committed);
            let view = FixedView { commit, left_out };
            Ok::<_, Failure>((view, issues.num_rows()))
        })?;
        tell(session, &view, n_issues)
    }
}

/// Prints what was done, and to people what was not.
fn tell(session: &Session, view: &FixedView, n_issues: usize) -> Result<()> {
    if view.left_out > 0 {
        session.note(&format!(
            "{} left out: the label was changed after it was judged\nhint: ask for the issues again by the labels of the newest revision, such as label_issues('PROJECT/RUN', 'STREAM', EPOCH, 'all', 'label', 'probabilities', 'main')",
            count_text(view.left_out, "row")
        ));
    }
    if n_issues > 0 {
        return session.answer(view, || commit_text(&view.commit));
    }
    let why = match view.left_out {
        0 => "the query gives no rows",
        _ => "no row is left",
    };
    session.note(&format!(
        "nothing to fix: {why}; the head is still r{}",
        view.commit.revision
    ));
    match session.json {
        true => session.answer(view, String::new),
        false => Ok(()),
    }
}

/// The issues without those whose row no longer has the value that stands in their `label`, and how many these were. Where there
/// is no label, it is not known what was judged, and the issue stays.
async fn unchanged(
    head: &Snapshot,
    issues: RecordBatch,
    column: &str,
) -> CoreResult<(RecordBatch, u64)> {
    let ids = issues.column_by_name(ROWID);
    let ids = ids.and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
    let (Some(ids), Some(labels)) = (ids, issues.column_by_name("label")) else {
        return Ok((issues, 0));
    };
    let judged = ids.iter().enumerate();
    let judged = judged.filter_map(|(row, id)| labels.is_valid(row).then_some((row, id?)));
    let judged = judged.filter(|(_, row_id)| head.contains(*row_id));
    let (rows, row_ids): (Vec<usize>, Vec<u64>) = judged.unzip();
    let places = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    let given = take(labels, &places, None)?;
    let present = head.take(&row_ids, &[column]).await?;
    let field = present.schema().field(0).clone();
    let [given, present] = [&given, present.column(0)].map(|values| comparable(values, &field));
    let differs = cmp::distinct(&given?, &present?)?;
    let mut stays = vec![true; issues.num_rows()];
    for (row, differs) in rows.iter().zip(differs.values()) {
        if let Some(stays) = stays.get_mut(*row) {
            *stays = !differs;
        }
    }
    let left_out = differs.true_count() as u64;
    let stays = BooleanArray::from(stays);
    Ok((filter_record_batch(&issues, &stays)?, left_out))
}

/// Values as the column holds them; of a column with classes the numbers of those that they stand for by now, whether they
/// are numbers or names.
fn comparable(values: &ArrayRef, field: &Field) -> CoreResult<ArrayRef> {
    let classes = schema::classes(field)?;
    if classes.is_empty() {
        return Ok(cast(values, field.data_type())?);
    }
    let current = |number| i64::try_from(schema::current(&classes, number)).ok();
    if !values.data_type().is_integer() {
        let names = cast(values, &DataType::Utf8)?;
        let number = |name: &str| classes.iter().position(|class| class.name == name);
        let names = names.as_string::<i32>().iter();
        let numbers = names.map(|name| current(number(name?)?));
        return Ok(Arc::new(numbers.collect::<Int64Array>()));
    }
    let numbers = cast(values, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    let numbers = numbers.map(|number| current(usize::try_from(number?).ok()?));
    Ok(Arc::new(numbers.collect::<Int64Array>()))
}

/// All rows of a query.
async fn asked(sql: &Sql, query: &str) -> Result<RecordBatch> {
    let rows = sql.query(query).await.map_err(with_names_hint)?;
    let schema = Arc::clone(rows.schema());
    let rows: CoreResult<Vec<RecordBatch>> = rows.try_collect().await;
    let rows = rows.map_err(with_names_hint)?;
    let all = concat_batches(&schema, &rows);
    Ok(all.map_err(|err| Error::invalid("the issues do not fit together").with_source(err))?)
}

/// The issues with row ids as tables have them: a number that stands in a query is of another type. What is none stays, or becomes null.
fn with_row_ids(issues: RecordBatch) -> CoreResult<RecordBatch> {
    let schema = issues.schema();
    let Some((at, field)) = schema.column_with_name(ROWID) else {
        return Ok(issues);
    };
    if !field.data_type().is_integer() || field.data_type() == &DataType::UInt64 {
        return Ok(issues);
    }
    let named = schema.fields().iter().zip(issues.columns()).enumerate();
    let columns = named.map(|(index, (field, column))| {
        let column = match index == at {
            true => cast(column, &DataType::UInt64)?,
            false => Arc::clone(column),
        };
        Ok((field.name(), column, true))
    });
    let columns: CoreResult<Vec<_>> = columns.collect();
    Ok(RecordBatch::try_from_iter_with_nullable(columns?)?)
}

/// Issues without what is needed are told before anything is done, also if there are none.
fn check(issues: &Schema, flag: &str, needed: &str) -> Result<()> {
    let has = |name: &str| issues.fields().iter().any(|field| field.name() == name);
    let missing = [ROWID, needed].into_iter().find(|name| !has(name));
    let Some(missing) = missing else {
        return Ok(());
    };
    let found: Vec<&str> = issues
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let what = match missing {
        ROWID => "says which rows are meant".to_owned(),
        _ => format!("{flag} needs"),
    };
    Err(Failure::from(Error::invalid(format!(
        "the query for the issues has no column {missing:?}, which {what}; it has {}",
        found.join(", ")
    )))
    .hint("SELECT * FROM label_issues('PROJECT/RUN', 'STREAM', EPOCH) has all of them"))
}
