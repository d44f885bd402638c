//! Rows from files of other formats, as streams that a table can be made of.
//!
//! Each function gives an Arrow reader; hand it to
//! [`Project::create_table`](crate::Project::create_table). Memory does not grow with the file.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, ErrorKind, Result};

/// Rows of a batch that the readers give.
const BATCH_ROWS: usize = 8_192;

/// Rows of a file, with its schema.
pub type Reader = Box<dyn RecordBatchReader + Send>;

/// The rows of a Parquet file on the local disk.
///
/// # Errors
/// [`ErrorKind::NotFound`] or [`ErrorKind::Corrupt`], naming the file.
pub fn parquet(path: &Path) -> Result<Reader> {
    let unreadable = |err: Error| err.context(format!("cannot import {}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(open(path)?)
        .map_err(|err| unreadable(err.into()))?;
    let reader = builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|err| unreadable(err.into()))?;
    Ok(Box::new(reader))
}

/// The rows of a CSV file on the local disk, whose first line names the columns.
///
/// The file is read twice: once to find each column's type over *all* its rows (integer, float,
/// boolean, date, time, else text; a column without a value is text), once for the rows. An empty
/// field is null.
///
/// # Errors
/// [`ErrorKind::NotFound`] or [`ErrorKind::Invalid`], naming the file. A line with another number of
/// fields arrives as an error of the reader.
pub fn csv(path: &Path) -> Result<Reader> {
    let unreadable = |err: Error| err.context(format!("cannot import {}", path.display()));
    let mut file = BufReader::with_capacity(1 << 20, open(path)?);
    let format = Format::default().with_header(true);
    let (schema, _) = format
        .infer_schema(&mut file, None)
        .map_err(|err| unreadable(err.into()))?;
    file.rewind()
        .map_err(|err| unreadable(io_error(path, err)))?;
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Null => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        _ => Arc::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let builder = ReaderBuilder::new(schema)
        .with_header(true)
        .with_batch_size(BATCH_ROWS);
    let reader = builder
        .build_buffered(file)
        .map_err(|err| unreadable(err.into()))?;
    Ok(Box::new(reader))
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|err| io_error(path, err))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(Error::invalid(format!(
            "{} is a folder, not a file",
            path.display()
        ))),
        _ => Ok(file),
    }
}

fn io_error(path: &Path, err: std::io::Error) -> Error {
    let kind = match err.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot read {}", path.display())).with_source(err)
}
