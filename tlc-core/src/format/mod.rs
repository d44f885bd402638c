//! What lies in storage: the records of log entries, and the version they say they have. Also what is sent to others in a form that is theirs, in `open_lineage`.
//!
//! `docs/format.md` is normative; this module follows it. Only here are records serialised: the
//! rest of the library converts. A record of a newer version than [`VERSION`] is refused before
//! anything else of it is read, and a record of our version with an unknown field is not ours.

pub(crate) mod aliases;
pub(crate) mod artifact;
pub(crate) mod checkpoint;
pub(crate) mod footer;
pub(crate) mod open_lineage;
pub(crate) mod pack;
pub(crate) mod provenance;
pub(crate) mod run;
pub(crate) mod spool;
pub(crate) mod store;
pub(crate) mod table;

use std::io::Cursor;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::StreamWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The version of the format that this library writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 4;

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

/// More of anything than a table has, so that sums of what one record claims do not overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 42;

/// A number of rows, cells, entries or bytes.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    match count <= COUNT_MAX {
        true => Ok(count),
        false => Err(D::Error::custom(format!(
            "{count} is more than a table can have"
        ))),
    }
}

/// More row ids than a table ever gives: sums of them and of counts do not overflow.
pub(crate) const ROW_IDS_MAX: u64 = 1 << 62;

/// The id of a row, or the next one.
fn row_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let row_id = u64::deserialize(deserializer)?;
    match row_id <= ROW_IDS_MAX {
        true => Ok(row_id),
        false => Err(D::Error::custom(format!("{row_id} is no row id"))),
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
    let decode = || ipc_text_reader(text).map(|stream| stream.schema());
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
    let decode = || ipc_text_reader(text).map(|mut stream| stream.next());
    let batch = catch_unwind(decode).unwrap_or_else(|_panic| Err(wrong()))?;
    let batch = batch
        .ok_or_else(wrong)?
        .map_err(|err| wrong().with_source(err))?;
    match batch.columns() {
        [value] if value.len() == 1 => Ok(Arc::clone(value)),
        _ => Err(wrong()),
    }
}

fn ipc_text_reader(text: &str) -> Result<StreamReader<Cursor<Vec<u8>>>> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|err| Error::corrupt("an Arrow stream is not base64").with_source(err))?;
    ipc_reader(bytes)
}

/// Reads an Arrow stream that may be anything. Damaged lengths make the decoder panic where an error
/// would do: callers catch it.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is none.
pub(crate) fn ipc_reader<B: AsRef<[u8]>>(bytes: B) -> Result<StreamReader<Cursor<B>>> {
    if !is_bounded(bytes.as_ref()) {
        return Err(Error::corrupt("an Arrow stream claims more than it has"));
    }
    StreamReader::try_new(Cursor::new(bytes), None)
        .map_err(|err| Error::corrupt("an Arrow stream cannot be read").with_source(err))
}

/// Whether the messages of an Arrow stream lie in it: a decoder makes room for as much as they say
/// that they have, and an allocation that fails ends the process.
fn is_bounded(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Some((first, after)) = rest.split_first_chunk() {
        let (length, after) = match (u32::from_le_bytes(*first), after.split_first_chunk()) {
            // Since Arrow 0.15, four bytes that are no length stand before it.
            (u32::MAX, Some((length, after))) => (u32::from_le_bytes(*length), after),
            (length, _) => (length, after),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((message, after)) = after.split_at_checked(length) else {
            return false;
        };
        if message.is_empty() {
            return true;
        }
        let Ok(message) = root_as_message(message) else {
            return true;
        };
        let body = usize::try_from(message.bodyLength()).unwrap_or(usize::MAX);
        let batch = message.header_as_record_batch();
        let dictionary = message
            .header_as_dictionary_batch()
            .and_then(|batch| batch.data());
        let is_compressed = batch
            .into_iter()
            .chain(dictionary)
            .any(|batch| batch.compression().is_some());
        match after.get(body..) {
            Some(after) if !is_compressed => rest = after,
            _ => return false,
        }
    }
    true
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
    fn a_stream_that_claims_a_long_body_is_refused_before_room_is_made() {
        let whole = STANDARD
            .decode(encode_value(&(Arc::new(Int32Array::from(vec![7])) as ArrayRef)).unwrap())
            .unwrap();
        assert!(is_bounded(&whole));
        // One of the small numbers in it is the length of the body.
        let mut n_refused = 0;
        for at in 0..whole.len() - 8 {
            let mut claimed = whole.clone();
            let number = &mut claimed[at..at + 8];
            if (1..=512).contains(&i64::from_le_bytes(number.try_into().unwrap())) {
                number.copy_from_slice(&(1_i64 << 45).to_le_bytes());
                n_refused += usize::from(!is_bounded(&claimed));
                drop(decode_value(&STANDARD.encode(&claimed)));
            }
        }
        assert!(n_refused > 0);
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
