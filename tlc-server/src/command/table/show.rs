//! `tlc table show`: what a table is, and its first rows.

use clap::Args;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::{Result as CoreResult, ScanOptions, Snapshot, block_on};

use super::refs::{Names, in_brackets};
use crate::command::TableSpec;
use crate::command::session::{Session, view_json};
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable, bytes_text, count_text, more_text, rows_json, rows_table};
use crate::view::{ColumnView, TableView};

/// How many rows are shown.
const ROWS_MAX: u64 = 10;
/// How many classes of a label a person sees in the schema.
const CLASSES_MAX: usize = 10;

/// Show a table's columns, size and first rows
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table show mnist/train
  tlc table show mnist/train@0 --json")]
pub(in crate::command) struct Show {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@REV
    table: TableSpec,
}

impl Show {
    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let (view, first) = block_on(async {
            let snapshot = session.snapshot(&self.table).await?;
            let first = snapshot.read(ScanOptions::new().rows_max(ROWS_MAX)).await?;
            Ok::<_, Failure>((table_view(&self.table, &snapshot).await?, first))
        })?;
        let text = if session.json {
            show_json(&view, &first)?
        } else {
            show_text(&view, &first)?
        };
        Ok(session.out.print(&text)?)
    }
}

async fn table_view(spec: &TableSpec, snapshot: &Snapshot) -> CoreResult<TableView> {
    let log = snapshot.table().log().await?;
    let revision = snapshot.revision();
    let names = Names::of(snapshot.table()).await?;
    Ok(TableView {
        table: format!("{}/{}", spec.project, spec.table),
        revision: revision.0,
        heads: names.heads(revision),
        tags: names.tags(revision),
        rows: snapshot.n_rows(),
        bytes: log
            .iter()
            .filter(|record| record.revision <= revision)
            .map(|record| record.bytes)
            .sum(),
        columns: snapshot
            .schema()
            .fields()
            .iter()
            .map(|field| ColumnView::from(field.as_ref()))
            .collect(),
    })
}

/// The view with the rows as its last member `first_rows`, in the order of the columns.
fn show_json(view: &TableView, first: &RecordBatch) -> CoreResult<String> {
    let view = view_json(view)?;
    let rows = rows_json(first)?;
    let head = view.strip_suffix('}').unwrap_or(&view);
    Ok(format!(
        "{head},\"first_rows\":{}}}\n",
        String::from_utf8_lossy(&rows)
    ))
}

fn show_text(view: &TableView, first: &RecordBatch) -> CoreResult<String> {
    let title = format!(
        "{} r{}{}: {}, {}, {}\n",
        view.table,
        view.revision,
        in_brackets(&view.heads, &view.tags),
        count_text(view.rows, "row"),
        count_text(view.columns.len() as u64, "column"),
        bytes_text(view.bytes)
    );
    let headings = ["column", "type", "role", "classes"].map(|name| (name, Align::Left));
    let mut columns = TextTable::new(headings);
    for column in &view.columns {
        let role = column.role.unwrap_or_default().to_owned();
        columns.row([
            column.name.clone(),
            column.data_type.clone(),
            role,
            classes_text(column),
        ]);
    }
    let rows = rows_table(first)?;
    let n_more = view.rows.saturating_sub(first.num_rows() as u64);
    let more = more_text(n_more, "more row");
    Ok(format!("{title}\n{}\n{rows}{more}", columns.to_text()))
}

fn classes_text(column: &ColumnView) -> String {
    let mut names: Vec<&str> = column
        .classes
        .iter()
        .filter(|class| class.merged_into.is_none())
        .map(|class| class.name.as_str())
        .collect();
    let all = format!("… {} classes", names.len());
    if names.len() > CLASSES_MAX {
        names.truncate(CLASSES_MAX);
        names.push(&all);
    }
    names.join(", ")
}
