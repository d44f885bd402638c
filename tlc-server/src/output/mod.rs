//! Rows on their way out: tables for people, and formats that programs read.
//!
//! A [`Format`] makes a [`RowWriter`], which takes batch after batch and keeps none, so a result may
//! be larger than memory. [`Target`] is where the bytes go: standard output, or a file that gets its
//! name only when it is whole.
//!
//! How values look as text, in JSON and in CSV alike: times are RFC 3339 in UTC, binary is base64,
//! lists, maps and structs are JSON, integers are exact. JSON has no word for NaN and the infinities,
//! so there they are `null`; CSV, Arrow and Parquet keep them.

mod arrow;
mod csv;
mod json;
mod parquet;
mod table;
mod target;
mod text;

use std::path::Path;

use ::parquet::errors::ParquetError;
use clap::ValueEnum;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::datatypes::SchemaRef;
use tlc_core::arrow::error::ArrowError;
use tlc_core::{Error, ErrorKind, Result};

pub use json::{json_texts, rows_json};
pub use table::{Align, ROWS_SHOWN_MAX, TextTable, rows_table};
pub use target::{Out, Target};
pub use text::{
    Cells, bytes_text, count_text, escaped, exact_text, more_text, number_text, shortened,
    timestamp_text,
};

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table for people; long cells are cut, and at most 1,000 rows are shown.
    Table,
    /// An array of objects, one a row.
    Json,
    /// One object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Arrow IPC: the stream format on standard output, the file format with -o.
    Arrow,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// The format that a file's extension says; `None` if it says none.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "arrow" | "ipc" | "feather" => Some(Self::Arrow),
            "parquet" => Some(Self::Parquet),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }

    /// Whether a terminal cannot show it.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// Begins a result of `schema` in `target`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the format cannot hold the schema.
    pub fn writer(self, schema: &SchemaRef, target: Target) -> Result<Box<dyn RowWriter>> {
        if matches!(self, Self::Json | Self::Jsonl | Self::Parquet) {
            names_differ(schema)?;
        }
        Ok(match self {
            Self::Table => Box::new(table::Writer::new(schema, target)),
            Self::Json => Box::new(json::array_writer(target)),
            Self::Jsonl => Box::new(json::lines_writer(target)),
            Self::Csv => Box::new(csv::Writer::new(schema, target)),
            Self::Arrow => arrow::writer(schema, target)?,
            Self::Parquet => Box::new(parquet::Writer::new(schema, target)?),
        })
    }
}

/// Writes the batches of one result.
pub trait RowWriter: Send {
    /// Writes the rows of a batch, whose schema is that of the result.
    ///
    /// # Errors
    /// Of the target, and if a value cannot be written in the format.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Writes the end, and gives a file its name.
    ///
    /// # Errors
    /// Of the target.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What a failed write of Arrow's or Parquet's writers means: mostly that the target is full or gone.
fn unwritten(err: impl Into<ParquetError>) -> Error {
    match err.into() {
        ParquetError::External(source) => {
            let kind = if is_io(source.as_ref()) {
                ErrorKind::Unavailable
            } else {
                ErrorKind::Invalid
            };
            Error::new(kind, "the result cannot be written").with_source(source)
        }
        err => Error::invalid("the result cannot be written").with_source(err),
    }
}

fn is_io(err: &(dyn std::error::Error + 'static)) -> bool {
    err.is::<std::io::Error>() || matches!(err.downcast_ref(), Some(ArrowError::IoError(..)))
}

/// In a JSON object or a Parquet file the second column of a name would hide the first.
fn names_differ(schema: &SchemaRef) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    match schema
        .fields()
        .iter()
        .find(|field| !names.insert(field.name()))
    {
        Some(twice) => Err(Error::invalid(format!(
            "two columns of the result have the name {:?}; give one another name with AS",
            twice.name()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_the_format() {
        let of = |name: &str| Format::of_path(Path::new(name));
        assert_eq!(of("a/b.parquet"), Some(Format::Parquet));
        assert_eq!(of("b.JSONL"), Some(Format::Jsonl));
        assert_eq!(of("b.xlsx"), None);
        assert_eq!(of("b"), None);
    }
}
