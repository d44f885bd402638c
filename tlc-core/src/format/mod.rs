//! What lies in storage: the records of log entries, and the version they say they have.
//!
//! `docs/format.md` is normative; this module follows it. Only here are records serialised: the
//! rest of the library converts. A record of a newer version than [`VERSION`] is refused before
//! anything else of it is read, and a record of our version with an unknown field is not ours.

pub(crate) mod aliases;
pub(crate) mod checkpoint;
pub(crate) mod run;
pub(crate) mod store;
pub(crate) mod table;

use std::io::Cursor;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The version of the format that this library writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 2;

/// Reads a record of any version up to [`VERSION`].
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is of a newer version; [`ErrorKind::Corrupt`] if it is no record.
/// Both name `what`.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let corrupt = |err: serde_json::Error| {
        Error::corrupt(format!("{what} is not a log entry")).with_source(err)
    };
    let Versioned { format } = serde_json::from_slice(bytes).map_err(corrupt)?;
    if format > VERSION {
        let message = format!(
            "{what} has format version {format}; this library knows versions up to {VERSION}, so use a newer one"
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    serde_json::from_slice(bytes).map_err(corrupt)
}

/// Writes a record as JSON that people can read.
///
/// # Errors
/// None in practice: records hold only what JSON can say.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Bytes> {
    match serde_json::to_vec(record) {
        Ok(bytes) => Ok(bytes.into()),
        Err(err) => Err(Error::invalid("the log entry cannot be written as JSON").with_source(err)),
    }
}

/// A schema in Arrow's own form: the base64 of an IPC stream without batches.
///
/// # Errors
/// If Arrow cannot write the schema.
pub(crate) fn encode_schema(schema: &Schema) -> Result<String> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(STANDARD.encode(writer.into_inner()?))
}

/// Reads what [`encode_schema`] wrote.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is not that.
pub(crate) fn decode_schema(text: &str) -> Result<SchemaRef> {
    let wrong = || Error::corrupt("a schema is not an Arrow stream");
    let decode = || ipc_reader(text).map(|stream| stream.schema());
    catch_unwind(decode).unwrap_or_else(|_panic| Err(wrong()))
}

/// One value of any type: the base64 of an IPC stream of one row.
///
/// # Errors
/// If Arrow cannot write the type.
pub(crate) fn encode_value(value: &ArrayRef) -> Result<String> {
    let field = Field::new("value", value.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&RecordBatch::try_new(schema, vec![Arc::clone(value)])?)?;
    writer.finish()?;
    Ok(STANDARD.encode(writer.into_inner()?))
}

/// Reads what [`encode_value`] wrote.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is not that.
pub(crate) fn decode_value(text: &str) -> Result<ArrayRef> {
    let wrong = || Error::corrupt("a default value is not one row of an Arrow stream");
    // Damaged lengths make Arrow's decoder panic where an error would do.
    let decode = || ipc_reader(text).map(|mut stream| stream.next());
    let batch = catch_unwind(decode).unwrap_or_else(|_panic| Err(wrong()))?;
    let batch = batch
        .ok_or_else(wrong)?
        .map_err(|err| wrong().with_source(err))?;
    match batch.columns() {
        [value] if value.len() == 1 => Ok(Arc::clone(value)),
        _ => Err(wrong()),
    }
}

fn ipc_reader(text: &str) -> Result<StreamReader<Cursor<Vec<u8>>>> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|err| Error::corrupt("an Arrow stream is not base64").with_source(err))?;
    StreamReader::try_new(Cursor::new(bytes), None)
        .map_err(|err| Error::corrupt("an Arrow stream cannot be read").with_source(err))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};

    use super::*;
    use crate::schema;

    #[test]
    fn schemas_and_values_are_read_back() {
        let own = Schema::new(vec![
            schema::label("animal", ["cat"]),
            schema::embedding("e", 3),
        ]);
        assert_eq!(*decode_schema(&encode_schema(&own).unwrap()).unwrap(), own);
        for value in [
            Arc::new(Int32Array::from(vec![7])) as ArrayRef,
            Arc::new(StringArray::from(vec![None::<&str>])),
        ] {
            assert_eq!(
                &decode_value(&encode_value(&value).unwrap()).unwrap(),
                &value
            );
        }
    }

    #[test]
    fn damaged_streams_are_corrupt() {
        for text in [
            "",
            "!",
            "AAAA",
            &STANDARD.encode("not an arrow stream at all"),
        ] {
            assert_eq!(
                decode_schema(text).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{text:?}"
            );
            assert_eq!(
                decode_value(text).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{text:?}"
            );
        }
    }
}
