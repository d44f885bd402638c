//! Rows from files of other formats, as streams that a table can be made of.
//!
//! Each function gives an Arrow reader; hand it to
//! [`Project::create_table`](crate::Project::create_table). Memory does not grow with the file.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::format::footer;

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
    let mut file = open(path)?;
    let end = end_of(&mut file).map_err(|err| unreadable(io_error(path, err)))?;
    if !footer::is_bounded(&end) {
        return Err(unreadable(blob::undecodable()));
    }
    let build = || -> Result<ParquetRecordBatchReader> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        Ok(builder.with_batch_size(BATCH_ROWS).build()?)
    };
    let built =
        catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|_panic| Err(blob::undecodable()));
    let reader = Some(built.map_err(unreadable)?);
    Ok(Box::new(Caught {
        schema: reader
            .as_ref()
            .map_or_else(|| Arc::new(Schema::empty()), RecordBatchReader::schema),
        reader,
    }))
}

/// The footer of a Parquet file, with the eight bytes after it; less if it says that it has more.
fn end_of(file: &mut File) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(8)))?;
    file.read_to_end(&mut end)?;
    if let [a, b, c, d, b'P', b'A', b'R', b'1'] = end.as_slice() {
        let footer = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + 8;
        if footer <= length {
            end.clear();
            file.seek(SeekFrom::Start(length - footer))?;
            file.read_to_end(&mut end)?;
        }
    }
    file.rewind()?;
    Ok(end)
}

/// A reader of a foreign file: where its bytes make the decoder panic, that is an error, and the end.
struct Caught {
    reader: Option<ParquetRecordBatchReader>,
    schema: SchemaRef,
}

impl Iterator for Caught {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        match catch_unwind(AssertUnwindSafe(|| reader.next())) {
            Ok(batch) => {
                self.reader = Some(reader);
                batch
            }
            Err(_panic) => Some(Err(ArrowError::ExternalError(
                Box::new(blob::undecodable()),
            ))),
        }
    }
}

impl RecordBatchReader for Caught {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
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
