//! `tlc sql`: a query in, rows out.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use tlc_core::{ErrorKind, Sql as Engine, block_on};

use super::session::Session;
use crate::error::{Failure, Result};
use crate::output::{Format, Target, count_text};

/// Query tables, runs and their metrics
///
/// A table is PROJECT.TABLE, at a revision PROJECT."TABLE@7". Each project also has runs, params, scalars,
/// samples and revisions; diff('PROJECT/TABLE', 1, 2) is the cells that differ. Rows are written as they come.
/// In JSON, times are RFC 3339 in UTC, binary is base64, and NaN and the infinities are null.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc sql 'SELECT label, count(*) AS n FROM mnist.train GROUP BY label ORDER BY n DESC'
  tlc sql 'SELECT * FROM mnist.\"train@0\" WHERE _rowid < 5' --format json
  tlc sql 'SELECT * FROM mnist.samples' -o samples.parquet
  echo 'SELECT 1 AS one' | tlc sql -")]
pub(super) struct Sql {
    /// The query; - reads it from standard input
    query: String,
    /// How rows are written [default: by FILE's extension, else json with --json, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the rows to this file, in place of one that is there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Sql {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let format = self.format(session);
        if format.is_binary() && self.output.is_none() && session.out.is_terminal() {
            return Err(Failure::usage(
                "a terminal cannot show this format; give a file with -o",
            ));
        }
        let query = self.query()?;
        let root = block_on(session.existing_root())?;
        let engine = block_on(Engine::open(&root))?;
        let mut rows = block_on(engine.query(&query)).map_err(with_names_hint)?;
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

    fn query(&self) -> Result<String> {
        if self.query != "-" {
            return Ok(self.query.clone());
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
}

/// A query that names what is not there deserves to be told what is.
fn with_names_hint(err: tlc_core::Error) -> Failure {
    let is_missing = err.kind() == ErrorKind::NotFound;
    let failure = Failure::from(err);
    if is_missing {
        failure.hint("a table is PROJECT.TABLE or PROJECT.\"TABLE@REV\"; `tlc ls` lists the projects, `tlc ls PROJECT` what each holds")
    } else {
        failure
    }
}
