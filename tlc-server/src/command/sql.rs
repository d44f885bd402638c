//! `tlc sql`: a query in, rows out; a statement that writes in, one revision out.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use tlc_core::{CommitOptions, ErrorKind, Sql as Engine, block_on};

use super::session::Session;
use super::table::{TOOL, commit_text};
use crate::error::{Failure, Result};
use crate::output::{Format, Target, count_text};
use crate::view::CommitView;

/// The most characters of a statement that become its revision's message.
const MESSAGE_CHARS_MAX: usize = 200;

/// Query tables, runs and their metrics; change the rows of a table
///
/// A table is PROJECT.TABLE, at a revision PROJECT."TABLE@7". Each project also has runs, params, scalars,
/// samples and revisions; diff('PROJECT/TABLE', 1, 2) is the cells that differ. Rows are written as they come.
/// In JSON, times are RFC 3339 in UTC, binary is base64, and NaN and the infinities are null.
///
/// One UPDATE, DELETE or INSERT of a table is one revision of it. A label takes the names of its classes. DELETE
/// without WHERE drops all rows and does not ask: the revisions before it stay as they are. Where nothing changes, no
/// revision is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc sql 'SELECT label, count(*) AS n FROM mnist.train GROUP BY label ORDER BY n DESC'
  tlc sql 'SELECT * FROM mnist.\"train@0\" WHERE _rowid < 5' --format json
  tlc sql 'SELECT * FROM mnist.samples' -o samples.parquet
  echo 'SELECT 1 AS one' | tlc sql -
  tlc sql 'UPDATE mnist.train SET label = 7 WHERE _rowid IN (5, 42)' -m 'two sevens'
  tlc sql 'INSERT INTO mnist.hard SELECT * EXCEPT (_rowid) FROM mnist.train WHERE weight > 2'
  tlc sql 'DELETE FROM mnist.train WHERE weight = 0'")]
pub(super) struct Sql {
    /// The query or statement; - reads it from standard input
    query: String,
    /// How rows are written [default: by FILE's extension, else json with --json, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the rows to this file, in place of one that is there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Why, for the table's log, if rows are changed [default: the statement]
    #[arg(short, long)]
    message: Option<String>,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Sql {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let query = given(&self.query)?;
        let root = block_on(session.existing_root())?;
        let engine = block_on(Engine::open(&root))?;
        match block_on(engine.writes(&query))? {
            true => self.execute(session, &engine, &query),
            false => self.ask(session, &engine, &query),
        }
    }

    /// Runs a statement that writes, and answers what became of it.
    fn execute(&self, session: &Session, engine: &Engine, statement: &str) -> Result<()> {
        if self.format.is_some() || self.output.is_some() {
            return Err(Failure::usage(
                "a statement that writes answers no rows; leave out --format and -o",
            ));
        }
        let message = self.message.clone();
        let message = message.unwrap_or_else(|| one_line(statement, MESSAGE_CHARS_MAX));
        let options = CommitOptions::new(message).tool(TOOL);
        let written = block_on(engine.execute(statement, options)).map_err(with_names_hint)?;
        let view = CommitView::of_statement(&written);
        if view.rows == 0 {
            session.note(&format!(
                "nothing to change: no row matches, or all have the value; the head is still r{}",
                view.revision
            ));
            return if session.json {
                session.answer(&view, String::new)
            } else {
                Ok(())
            };
        }
        session.answer(&view, || written_text(&view))
    }

    /// Runs a query, and writes its rows.
    fn ask(&self, session: &Session, engine: &Engine, query: &str) -> Result<()> {
        if self.message.is_some() || self.author.is_some() {
            return Err(Failure::usage(
                "a query makes no revision; leave out --message and --author",
            ));
        }
        let format = self.format(session);
        if format.is_binary() && self.output.is_none() && session.out.is_terminal() {
            return Err(Failure::usage(
                "a terminal cannot show this format; give a file with -o",
            ));
        }
        let mut rows = block_on(engine.query(query)).map_err(with_names_hint)?;
        let target = match &self.output {
            Some(path) => Target::file(path)?,
            None => session.out.target(),
        };
        let mut writer = format.writer(rows.schema(), target)?;
        let mut n_rows = 0;
        while let Some(batch) = block_on(rows.next()) {
            let batch = batch?;
            n_rows += batch.num_rows() as u64;
            writer.write(&batch)?;
        }
        writer.finish()?;
        if let Some(path) = &self.output {
            session.note(&format!(
                "{} in {}",
                count_text(n_rows, "row"),
                path.display()
            ));
        }
        Ok(())
    }

    fn format(&self, session: &Session) -> Format {
        let of_output = || self.output.as_deref().and_then(Format::of_path);
        self.format.or_else(of_output).unwrap_or(if session.json {
            Format::Json
        } else {
            Format::Table
        })
    }
}

/// A query of the arguments; of `-` what standard input says.
pub(super) fn given(query: &str) -> Result<String> {
    if query != "-" {
        return Ok(query.to_owned());
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage(
            "- reads the query from a pipe, and there is none",
        ));
    }
    let mut query = String::new();
    match stdin.read_to_string(&mut query) {
        Ok(_) => Ok(query),
        Err(err) => Err(
            tlc_core::Error::invalid("the query on standard input cannot be read")
                .with_source(err)
                .into(),
        ),
    }
}

/// A commit in one line, with the ids that new rows got.
fn written_text(view: &CommitView) -> String {
    let text = commit_text(view);
    let text = text.trim_end();
    match view.row_ids {
        None => format!("{text}\n"),
        Some([first, last]) if first == last => format!("{text}, row id {first}\n"),
        Some([first, last]) => format!("{text}, row ids {first} to {last}\n"),
    }
}

/// Text on one line of so many characters, the last of them `…` if it was longer.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > chars_max {
        false => line,
        true => line.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// A query that names what is not there deserves to be told what is.
pub(super) fn with_names_hint(err: tlc_core::Error) -> Failure {
    let is_missing = err.kind() == ErrorKind::NotFound;
    let failure = Failure::from(err);
    if is_missing {
        failure.hint("a table is PROJECT.TABLE or PROJECT.\"TABLE@REV\"; `tlc ls` lists the projects, `tlc ls PROJECT` what each holds")
    } else {
        failure
    }
}
