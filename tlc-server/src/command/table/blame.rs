//! `tlc table blame`: who gave the cells of a column their values.

use std::io::Write as _;
use std::sync::Arc;

use clap::Args;
use tlc_core::arrow::array::{ArrayRef, AsArray as _};
use tlc_core::arrow::datatypes::{Field, UInt64Type};
use tlc_core::{
    Blame as CoreBlame, BlameOptions, Error, Result as CoreResult, Snapshot, Sql, block_on,
};

use super::diff::text;
use super::refs::first_line;
use crate::command::TableSpec;
use crate::command::session::{Session, view_json};
use crate::error::Result;
use crate::output::{Align, Cells, TextTable, count_text, json_texts};
use crate::view::BlamedView;

/// How many cells a person sees, unless told otherwise.
const SHOWN_MAX: usize = 20;
/// How many cells are read together.
const READ_MAX: usize = 1_000;

/// Show which revision gave each cell of a column its value, and who made it
///
/// That is the last revision that set the cell; else the one that added its row, or the column. What came by a merge is
/// blamed on the revision that was merged. In JSON an array of {_rowid, value, revision, author, time, message}.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table blame mnist/train label --rows 1,5,9
  tlc table blame mnist/train@cleanup label --where 'label = 7 AND weight < 1'
  tlc table blame mnist/train label --json")]
pub(in crate::command) struct Blame {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@REV
    table: TableSpec,
    /// The column
    column: String,
    /// Only these rows, by _rowid
    #[arg(
        long,
        value_name = "ROWIDS",
        value_delimiter = ',',
        conflicts_with = "condition"
    )]
    rows: Vec<u64>,
    /// Only the rows for which this holds
    #[arg(long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// How many cells at most [default: 20; with --json, all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// The cells that are shown, of how many.
struct Found {
    snapshot: Snapshot,
    blame: CoreBlame,
    n_cells: usize,
}

impl Blame {
    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let found = block_on(self.find(session))?;
        if session.json {
            self.write_json(session, &found)
        } else {
            Ok(session.out.print(&self.to_text(&found)?)?)
        }
    }

    async fn find(&self, session: &Session) -> Result<Found> {
        let snapshot = session.snapshot(&self.table).await?;
        let mut row_ids = match &self.condition {
            Some(condition) => matching(session, &snapshot, condition).await?,
            None if self.rows.is_empty() => snapshot.row_ids().await?,
            None => self.rows.clone(),
        };
        row_ids.sort_unstable();
        row_ids.dedup();
        let n_cells = row_ids.len();
        let shown_max = if session.json { usize::MAX } else { SHOWN_MAX };
        row_ids.truncate(self.limit.unwrap_or(shown_max));
        let options = BlameOptions::new().at(snapshot.revision()).row_ids(row_ids);
        let blame = snapshot.table().blame(&self.column, options).await?;
        Ok(Found {
            snapshot,
            blame,
            n_cells,
        })
    }

    fn to_text(&self, found: &Found) -> CoreResult<String> {
        let mut table = TextTable::new([
            ("_rowid", Align::Right),
            (self.column.as_str(), Align::Left),
            ("revision", Align::Left),
            ("time", Align::Left),
            ("author", Align::Left),
            ("message", Align::Left),
        ]);
        for part in found.parts() {
            let (field, values) = found.values(part, &self.column)?;
            let cells = Cells::new(&field, &values)?;
            for (row, (row_id, blamed)) in found.blamed(part).enumerate() {
                let blamed = blamed?;
                table.row([
                    row_id.to_string(),
                    cells.text(row),
                    format!("r{}", blamed.revision),
                    blamed.time,
                    blamed.author,
                    first_line(&blamed.message),
                ]);
            }
        }
        let (shown, all) = (table.n_rows(), count_text(found.n_cells as u64, "cell"));
        let footer = if shown == found.n_cells {
            format!("({all})\n")
        } else {
            format!(
                "(the first {shown} of {all}; for more of them use --limit, --rows, --where or --json)\n"
            )
        };
        Ok(table.to_text() + &footer)
    }

    /// Writes the array item by item; values are read a thousand at a time.
    fn write_json(&self, session: &Session, found: &Found) -> Result<()> {
        let mut target = session.out.target();
        let mut before = '[';
        for part in found.parts() {
            let (field, values) = found.values(part, &self.column)?;
            let values = json_texts(&field, &values)?;
            for (row, (row_id, blamed)) in found.blamed(part).enumerate() {
                let view = view_json(&blamed?)?;
                let rest = view.strip_prefix('{').unwrap_or(&view);
                let value = text(&values, row);
                write!(
                    target,
                    "{before}{{\"_rowid\":{row_id},\"value\":{value},{rest}"
                )?;
                before = ',';
            }
        }
        let end = if before == '[' { "[]\n" } else { "]\n" };
        target.write_all(end.as_bytes())?;
        Ok(target.finish()?)
    }
}

impl Found {
    /// The positions of the cells, some at a time.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> {
        let n = self.blame.row_ids.len();
        (0..n)
            .step_by(READ_MAX)
            .map(move |start| (start, n.min(start + READ_MAX)))
    }

    fn values(
        &self,
        (start, end): (usize, usize),
        column: &str,
    ) -> CoreResult<(Arc<Field>, ArrayRef)> {
        let row_ids = &self.blame.row_ids[start..end];
        let rows = block_on(self.snapshot.take(row_ids, &[column]))?;
        let (schema, values) = (rows.schema(), Arc::clone(rows.column(0)));
        Ok((Arc::clone(&schema.fields()[0]), values))
    }

    fn blamed(
        &self,
        (start, end): (usize, usize),
    ) -> impl Iterator<Item = (u64, CoreResult<BlamedView>)> {
        (start..end).map(|at| {
            let (row_id, revision) = (self.blame.row_ids[at], self.blame.revisions[at]);
            let record = self.blame.records.get(&revision);
            let view = record.map(BlamedView::from);
            let view =
                view.ok_or_else(|| Error::corrupt(format!("revision {revision} is unknown")));
            (row_id, view)
        })
    }
}

/// The rows of a snapshot for which a condition holds.
async fn matching(session: &Session, snapshot: &Snapshot, condition: &str) -> Result<Vec<u64>> {
    let table = snapshot.table();
    let (project, name) = (table.project(), table.name());
    let sql = Sql::open(&session.existing_root().await?)
        .await?
        .with_project(project.as_str())?;
    let query = format!(
        "SELECT \"_rowid\" FROM \"{project}\".\"{name}@{}\" AS \"{name}\" WHERE {condition}",
        snapshot.revision()
    );
    let batches = sql.collect(&query).await?;
    let mut row_ids = Vec::new();
    for batch in batches {
        row_ids.extend_from_slice(batch.column(0).as_primitive::<UInt64Type>().values());
    }
    Ok(row_ids)
}
