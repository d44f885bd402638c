//! `tlc table fix`: what a query finds wrong with the data, made one revision of the table.

use std::sync::Arc;

use clap::Args;
use futures::TryStreamExt as _;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::compute::{cast, concat_batches};
use tlc_core::arrow::datatypes::{DataType, Schema};
use tlc_core::{
    CommitOptions, Error, IssueAction, ROWID, Result as CoreResult, Snapshot, Sql, block_on,
};

use super::writing::branch_of;
use super::{TOOL, commit_text};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::command::sql::{given, with_names_hint};
use crate::error::{Failure, Result};
use crate::view::CommitView;

/// Act on what a query finds wrong with the samples of a table, as one revision
///
/// The query gives rows with `_rowid` and what the action needs, as label_issues, area_under_margin, loss_trend, near_duplicates, outliers
/// and box_issues do in SQL; what is to stay as it is, it leaves out. Of several rows for one sample the first counts. Where the
/// query gives no rows, no revision is made.
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
    /// Set this column to `score`, which must be from 0 to 1: what is worst weighs least
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
            let patch = match issues.num_rows() {
                0 => head.patch(),
                _ => head.patch_of_issues(&issues, &action)?,
            };
            let options = CommitOptions::new(self.message.clone()).tool(TOOL);
            let committed = table.commit(&patch, options.branch(branch)).await?;
            let view = CommitView::new(self.table.project.as_str(), &committed);
            Ok::<_, Failure>((view, issues.num_rows()))
        })?;
        if n_issues > 0 {
            return session.answer(&view, || commit_text(&view));
        }
        session.note(&format!(
            "nothing to fix: the query gives no rows; the head is still r{}",
            view.revision
        ));
        match session.json {
            true => session.answer(&view, String::new),
            false => Ok(()),
        }
    }
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
