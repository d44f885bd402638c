//! `tlc check`: queries that must give no rows, as tests of data and of models.

use std::process::ExitCode;

use clap::Args;
use futures::StreamExt as _;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::compute::concat_batches;
use tlc_core::{Result as CoreResult, Sql as Engine, block_on};

use super::session::{Session, view_json};
use super::sql::{given, one_line, with_names_hint};
use crate::error::{Failure, Result};
use crate::output::{count_text, more_text, rows_json, rows_table};
use crate::view::CheckView;

/// The most characters of a query that are shown.
const QUERY_CHARS_MAX: usize = 200;

/// Check that queries give no rows
///
/// A query asks for what must not be: labels that are missing, samples in two splits at once, a run that is worse than
/// the last. The exit code is 1 if any of them gives rows, which are shown; all are asked before that, also when one
/// of them cannot be answered. Rows beyond --rows are counted and not kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc check 'SELECT _rowid FROM mnist.train WHERE label IS NULL'
  tlc check \"SELECT name, scalars['test/accuracy'] FROM mnist.runs WHERE scalars['test/accuracy'] < 0.98\" \\
            'SELECT a._rowid FROM zoo.train a JOIN zoo.test b ON a.image = b.image'
  tlc check --json - < check.sql")]
pub(super) struct Check {
    /// The queries; - reads one from standard input
    #[arg(required = true, value_name = "QUERY")]
    queries: Vec<String>,
    /// How many rows of each are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
}

/// What a check found, and the first rows of it.
struct Checked {
    view: CheckView,
    first: RecordBatch,
}

impl Check {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode> {
        let root = block_on(session.existing_root())?;
        let engine = block_on(Engine::open(&root))?;
        let (mut checked, mut n_failed, mut unanswered) = (Vec::new(), 0, None);
        for query in &self.queries {
            let found = match given(query).and_then(|query| self.ask(&engine, query)) {
                Ok(found) => found,
                Err(failure) => {
                    unanswered.get_or_insert(failure);
                    continue;
                }
            };
            n_failed += u64::from(found.view.rows > 0);
            match session.json {
                true => checked.push(to_json(&found)?),
                false => show(session, &to_text(&found)?)?,
            }
        }
        match session.json {
            true if checked.is_empty() && unanswered.is_some() => {}
            true => show(session, &format!("[{}]\n", checked.join(",")))?,
            false if n_failed > 0 => {
                let n = count_text(self.queries.len() as u64, "check");
                session.note(&format!("{n}, {n_failed} failed"));
            }
            false => {}
        }
        match (unanswered, n_failed) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(ExitCode::SUCCESS),
            (None, _) => Ok(ExitCode::FAILURE),
        }
    }

    /// Counts the rows of a query, and keeps the first of them.
    fn ask(&self, engine: &Engine, query: String) -> Result<Checked> {
        if block_on(engine.writes(&query))? {
            let query = one_line(&query, QUERY_CHARS_MAX);
            return Err(
                Failure::usage(format!("a check only asks, and this writes: {query}"))
                    .hint("`tlc sql` runs statements that write"),
            );
        }
        let mut stream = block_on(engine.query(&query)).map_err(with_names_hint)?;
        let (mut rows, mut first) = (0, Vec::new());
        let mut n_missing = self.rows;
        while let Some(batch) = block_on(stream.next()) {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            let n_shown = n_missing.min(batch.num_rows());
            // A slice of nothing would hold its batch all the same.
            if n_shown > 0 {
                first.push(batch.slice(0, n_shown));
                n_missing -= n_shown;
            }
        }
        let first = concat_batches(stream.schema(), &first).map_err(tlc_core::Error::from)?;
        let view = CheckView { query, rows };
        Ok(Checked { view, first })
    }
}

/// Prints what was found. A reader who has seen enough changes nothing of what a check says.
fn show(session: &Session, text: &str) -> Result<()> {
    match session.out.print(text) {
        Err(_) if session.out.is_closed() => Ok(()),
        printed => Ok(printed?),
    }
}

/// One line, and the first rows below it.
fn to_text(checked: &Checked) -> CoreResult<String> {
    let CheckView { query, rows } = &checked.view;
    let query = one_line(query, QUERY_CHARS_MAX);
    if *rows == 0 {
        return Ok(format!("ok      {query}\n"));
    }
    let n_more = rows.saturating_sub(checked.first.num_rows() as u64);
    let more = more_text(n_more, "more row");
    let (rows, first) = (count_text(*rows, "row"), rows_table(&checked.first)?);
    Ok(format!("FAILED  {query}: {rows}\n\n{first}{more}\n"))
}

/// An object with the rows as its last member, in the order of the columns.
fn to_json(checked: &Checked) -> CoreResult<String> {
    let (view, rows) = (view_json(&checked.view)?, rows_json(&checked.first)?);
    let head = view.strip_suffix('}').unwrap_or(&view);
    let rows = String::from_utf8_lossy(&rows);
    Ok(format!("{head},\"first_rows\":{rows}}}"))
}
