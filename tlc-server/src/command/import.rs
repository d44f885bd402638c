//! `tlc import`: a file becomes a table.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tlc_core::arrow::array::{RecordBatch, RecordBatchReader};
use tlc_core::arrow::datatypes::SchemaRef;
use tlc_core::arrow::error::ArrowError;
use tlc_core::{CommitOptions, Error, Project, Result as CoreResult, Table, block_on, import};
use url::Url;

use super::session::Session;
use super::spec::TableSpec;
use super::table::{TOOL, commit_text};
use crate::error::{Failure, Result};
use crate::view::CommitView;

/// Work that takes longer shows that it goes on.
const QUIET: Duration = Duration::from_secs(1);

/// What a source can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceFormat {
    /// One Parquet file.
    Parquet,
    /// Comma-separated values; the first line names the columns.
    Csv,
}

/// Make a table from a file
///
/// The file is read as a stream, so it may be larger than memory. With --in-place Parquet files are not copied: the
/// table refers to them, remembers their sizes and footers, and says so when one has changed. A folder stands for
/// all *.parquet files below it, by path; names that begin with . or _ are left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc import train.csv flowers/train
  tlc import --in-place s3://data/big/ flowers/big -m 'the whole lot'
  tlc import --in-place 2024.parquet 2025.parquet flowers/years")]
pub(super) struct Import {
    /// The file; with --in-place also more than one, folders and URLs
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// The table to make, as PROJECT/TABLE
    table: TableSpec,
    /// What the source is [default: by its extension]
    #[arg(long, value_enum)]
    format: Option<SourceFormat>,
    /// Refer to the Parquet files where they are instead of copying them
    #[arg(long)]
    in_place: bool,
    /// Why, for the table's log
    #[arg(short, long)]
    message: Option<String>,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Import {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        if self.table.revision.is_some() {
            return Err(Failure::usage(format!(
                "an import makes a table, and {} names a revision of one",
                self.table
            )));
        }
        let source = self.one_source()?;
        let project = block_on(async {
            Ok::<_, Failure>(session.root().await?.project(self.table.project.as_str())?)
        })?;
        let table = match source {
            None => self.refer(&project)?,
            Some((source, format)) => self.copy(&project, source, format)?,
        };
        let view = block_on(created(&self.table, &table))?;
        session.answer(&view, || commit_text(&view))
    }

    /// The one file to copy and what it is; `None` if files are to stay where they are.
    fn one_source(&self) -> Result<Option<(&str, SourceFormat)>> {
        let of_name = |source: &str| {
            let extension = Path::new(source).extension().and_then(OsStr::to_str);
            match extension.map(str::to_ascii_lowercase).as_deref() {
                Some("parquet" | "pq") => Some(SourceFormat::Parquet),
                Some("csv") => Some(SourceFormat::Csv),
                _ => None,
            }
        };
        let format_of = |source: &String| self.format.or_else(|| of_name(source));
        if self.in_place {
            if self
                .sources
                .iter()
                .any(|source| format_of(source) == Some(SourceFormat::Csv))
            {
                return Err(Failure::usage(
                    "only Parquet can be referred to with --in-place; without it the file is copied in",
                ));
            }
            return Ok(None);
        }
        let [source] = self.sources.as_slice() else {
            return Err(Failure::usage(
                "only one file is copied in by an import; with --in-place a table refers to several",
            ));
        };
        if source.contains("://") {
            return Err(Failure::usage(format!(
                "{source} is a URL; copy it here first, or refer to it with --in-place"
            )));
        }
        match format_of(source) {
            Some(format) => Ok(Some((source, format))),
            None => Err(Failure::usage(format!(
                "the name {source:?} does not say what it is; add --format parquet or --format csv"
            ))),
        }
    }

    fn copy(&self, project: &Project, source: &str, format: SourceFormat) -> Result<Table> {
        let path = Path::new(source);
        let reader = match format {
            SourceFormat::Parquet => import::parquet(path)?,
            SourceFormat::Csv => import::csv(path)?,
        };
        let (reader, bar) = Counted::new(reader, source);
        let made =
            block_on(project.create_table(self.table.table.as_str(), reader, self.options()));
        bar.finish_and_clear();
        made.map_err(|err| self.explain(err))
    }

    fn refer(&self, project: &Project) -> Result<Table> {
        let urls = self.sources.iter().map(|source| source_url(source));
        let urls = urls.collect::<CoreResult<Vec<_>>>()?;
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let name = self.table.table.as_str();
        let made = block_on(project.create_table_in_place(name, &urls, self.options()));
        made.map_err(|err| self.explain(err))
    }

    fn options(&self) -> CommitOptions {
        let message = self
            .message
            .clone()
            .unwrap_or_else(|| match self.sources.as_slice() {
                [first, rest @ ..] if !rest.is_empty() => {
                    format!("import {first} and {} more", rest.len())
                }
                sources => format!("import {}", sources.concat()),
            });
        CommitOptions::new(message).tool(TOOL)
    }

    fn explain(&self, err: Error) -> Failure {
        let is_taken = err.kind() == tlc_core::ErrorKind::Conflict;
        let failure = Failure::from(err);
        if is_taken {
            failure.hint(format!(
                "`tlc table show {}` shows the table of that name; take another name",
                self.table
            ))
        } else {
            failure
        }
    }
}

/// What the first revision of a new table holds.
async fn created(spec: &TableSpec, table: &Table) -> CoreResult<CommitView> {
    let log = table.log().await?;
    let first = log
        .last()
        .ok_or_else(|| Error::corrupt(format!("the table {spec} has no first revision")))?;
    Ok(CommitView {
        table: spec.to_string(),
        revision: first.revision.0,
        branch: first.branch.clone(),
        rows: first.rows_added,
        cells: first.cells,
        bytes: first.bytes,
        row_ids: None,
    })
}

/// A source as a URL; a path is taken from the current folder, and one by an alias stays.
fn source_url(source: &str) -> CoreResult<String> {
    if source.contains("://") || source.starts_with('<') {
        return Ok(source.to_owned());
    }
    let wrong = || Error::invalid(format!("{source:?} is neither a path nor a URL"));
    let path = std::path::absolute(source).map_err(|err| wrong().with_source(err))?;
    Ok(Url::from_file_path(path).map_err(|()| wrong())?.into())
}

/// A reader that shows on a terminal how far it is, once that takes a while.
struct Counted {
    inner: Box<dyn RecordBatchReader + Send>,
    bar: ProgressBar,
}

impl Counted {
    fn new(inner: Box<dyn RecordBatchReader + Send>, source: &str) -> (Self, ProgressBar) {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_message(source.to_owned());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg}: {human_pos} rows in {elapsed}")
        {
            bar.set_style(style);
        }
        (
            Self {
                inner,
                bar: bar.clone(),
            },
            bar,
        )
    }
}

impl Iterator for Counted {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bar.is_hidden() && self.bar.elapsed() > QUIET {
            // Where standard error is no terminal this draws nothing.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let batch = self.inner.next()?;
        if let Ok(batch) = &batch {
            self.bar.inc(batch.num_rows() as u64);
        }
        Some(batch)
    }
}

impl RecordBatchReader for Counted {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_url_and_a_url_stays() {
        assert_eq!(
            source_url("/a b/c.parquet").unwrap(),
            "file:///a%20b/c.parquet"
        );
        assert_eq!(
            source_url("s3://bucket/c.parquet").unwrap(),
            "s3://bucket/c.parquet"
        );
        assert!(source_url("c.parquet").unwrap().ends_with("/c.parquet"));
    }
}
