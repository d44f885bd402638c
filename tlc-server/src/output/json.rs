//! Rows as JSON objects, streamed.
//!
//! Arrow's own writer, with three changes to how values look: binary is base64, times are RFC 3339
//! in UTC, and types that JSON has no shape for are their text.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlc_core::Result;
use tlc_core::arrow::array::{Array, ArrayAccessor, AsArray as _, RecordBatch, StringArray};
use tlc_core::arrow::buffer::ScalarBuffer;
use tlc_core::arrow::datatypes::{DataType, FieldRef, TimeUnit};
use tlc_core::arrow::error::ArrowError;
use tlc_core::arrow::json::Writer as ArrowWriter;
use tlc_core::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, JsonFormat, LineDelimited, NullableEncoder,
    WriterBuilder, make_encoder,
};
use tlc_core::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::text::{ticks, timestamp_text};
use super::{RowWriter, Target, unwritten};

/// The rows of a batch as one JSON array of objects.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if a value cannot be JSON.
pub fn rows_json(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = builder().build::<_, JsonArray>(&mut bytes);
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// The rows of a column as JSON, each by itself; null stays null.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if a value cannot be JSON.
pub fn json_texts(field: &FieldRef, array: &dyn Array) -> Result<StringArray> {
    let options = options();
    let mut encoder = make_encoder(field, array, &options)?;
    let mut bytes = Vec::new();
    let text = |row: usize| {
        if encoder.is_null(row) {
            return None;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok((0..array.len()).map(text).collect())
}

pub(super) struct Writer<F: JsonFormat> {
    inner: ArrowWriter<Target, F>,
    /// What ends the stream after the format's own end.
    end: &'static str,
}

pub(super) fn array_writer(target: Target) -> Writer<JsonArray> {
    Writer {
        inner: builder().build(target),
        end: "\n",
    }
}

pub(super) fn lines_writer(target: Target) -> Writer<LineDelimited> {
    Writer {
        inner: builder().build(target),
        end: "",
    }
}

impl<F: JsonFormat + Send> RowWriter for Writer<F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.inner.write(batch).map_err(unwritten)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.inner.finish().map_err(unwritten)?;
        let mut target = self.inner.into_inner();
        target.write_all(self.end.as_bytes()).map_err(unwritten)?;
        target.finish()
    }
}

fn builder() -> WriterBuilder {
    WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Encoders))
}

fn options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Encoders))
}

/// The encoders that differ from Arrow's own.
#[derive(Debug)]
struct Encoders;

impl EncoderFactory for Encoders {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Base64(array.as_binary::<i32>())),
            DataType::LargeBinary => Box::new(Base64(array.as_binary::<i64>())),
            DataType::BinaryView => Box::new(Base64(array.as_binary_view())),
            DataType::FixedSizeBinary(_) => Box::new(Base64(array.as_fixed_size_binary())),
            DataType::Timestamp(unit, _) => Box::new(Time {
                unit: *unit,
                ticks: ticks(array),
            }),
            DataType::Map(entries, _) if !has_text_keys(entries) => Box::new(Text::new(array)?),
            DataType::Union(..) => Box::new(Text::new(array)?),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

/// Whether the keys of a map can be those of a JSON object.
fn has_text_keys(entries: &FieldRef) -> bool {
    match entries.data_type() {
        DataType::Struct(fields) => fields
            .first()
            .is_some_and(|key| key.data_type().is_string()),
        _ => false,
    }
}

struct Base64<B>(B);

impl<'a, B: ArrayAccessor<Item = &'a [u8]>> Encoder for Base64<B> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(self.0.value(row)).as_bytes());
        out.push(b'"');
    }
}

struct Time {
    unit: TimeUnit,
    ticks: ScalarBuffer<i64>,
}

impl Encoder for Time {
    /// A time that has no year to write is null.
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match self
            .ticks
            .get(row)
            .and_then(|ticks| timestamp_text(self.unit, *ticks))
        {
            Some(text) => out.extend_from_slice(format!("\"{text}\"").as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
    }
}

struct Text<'a>(ArrayFormatter<'a>);

impl<'a> Text<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        ArrayFormatter::try_new(array, &FormatOptions::new()).map(Self)
    }
}

impl Encoder for Text<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Neither text nor a vector can fail.
        serde_json::to_writer(out, &self.0.value(row).to_string()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use tlc_core::arrow::array::{
        ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
        TimestampMillisecondArray,
    };
    use tlc_core::arrow::datatypes::Int32Type;

    use super::*;

    #[track_caller]
    fn check(column: ArrayRef, expected: &str) {
        let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
        let json = String::from_utf8(rows_json(&batch).unwrap()).unwrap();
        let values: Vec<_> = json
            .trim_matches(['[', ']'])
            .split("},{")
            .map(|row| row.trim_matches(['{', '}']))
            .collect();
        assert_eq!(values.join(" "), expected);
    }

    #[test]
    fn numbers_are_exact_and_what_json_cannot_say_is_null() {
        check(
            Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), None])),
            "\"x\":9223372036854775807 \"x\":-9223372036854775808 \"x\":null",
        );
        check(
            Arc::new(Float64Array::from(vec![
                0.1,
                1.0,
                f64::NAN,
                f64::INFINITY,
                -0.0,
            ])),
            "\"x\":0.1 \"x\":1.0 \"x\":null \"x\":null \"x\":-0.0",
        );
    }

    #[test]
    fn times_are_utc_and_bytes_are_base64() {
        check(
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), None])),
            "\"x\":\"1970-01-01T00:00:00.001000Z\" \"x\":null",
        );
        check(
            Arc::new(BinaryArray::from(vec![b"\x00\xff" as &[u8], b""])),
            "\"x\":\"AP8=\" \"x\":\"\"",
        );
    }

    #[test]
    fn lists_are_nested_and_text_is_escaped() {
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        check(Arc::new(lists), "\"x\":[1,null] \"x\":null");
        check(
            Arc::new(StringArray::from(vec!["a\"\n"])),
            "\"x\":\"a\\\"\\n\"",
        );
    }

    #[test]
    fn a_column_becomes_texts() {
        let field = Arc::new(tlc_core::arrow::datatypes::Field::new(
            "x",
            DataType::Int32,
            true,
        ));
        let found = json_texts(&field, &Int32Array::from(vec![Some(5), None])).unwrap();
        assert_eq!(found, StringArray::from(vec![Some("5"), None]));
    }
}
