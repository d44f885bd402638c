//! A file that decides conflicts: `_rowid, column, take, value`, as CSV, JSON or Parquet.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use tlc_core::arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, RecordBatch};
use tlc_core::arrow::compute::cast;
use tlc_core::arrow::csv;
use tlc_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use tlc_core::arrow::json::ReaderBuilder;
use tlc_core::{Error, ErrorKind, Resolution, Result, Take, Value, import, schema};

/// What a line says of a cell.
struct Line {
    row_id: u64,
    column: String,
    take: Option<String>,
    value: Given,
}

/// A value as the file has it, before it is known what the column takes.
enum Given {
    Nothing,
    Json(Json),
    Array(ArrayRef),
}

/// Adds the decisions of a file to a resolution. A column is described by the first of the schemas that has it.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a file or a column that is not there, [`ErrorKind::Invalid`] for what decides nothing
/// that can be; both say the line's cell.
pub(super) fn read(path: &Path, rest: Resolution, schemas: &[&SchemaRef]) -> Result<Resolution> {
    let unreadable = |err: Error| err.context(format!("cannot decide by {}", path.display()));
    let decide = || {
        lines(path)?
            .into_iter()
            .try_fold(rest, |resolution, line| line.decide(resolution, schemas))
    };
    decide().map_err(unreadable)
}

impl Line {
    fn decide(self, resolution: Resolution, schemas: &[&SchemaRef]) -> Result<Resolution> {
        let (row_id, column) = (self.row_id, self.column.as_str());
        let cell = |err: Error| err.context(format!("row {row_id}, column {column}"));
        match (self.take.as_deref(), self.value) {
            (None, Given::Nothing) => Ok(resolution),
            (Some("ours"), Given::Nothing) => resolution.take(row_id, column, Take::Ours),
            (Some("theirs"), Given::Nothing) => resolution.take(row_id, column, Take::Theirs),
            (Some("null"), Given::Nothing) => resolution.set(row_id, column, Value::null()),
            (Some("ours" | "theirs" | "null"), _) => Err(cell(Error::invalid(
                "both take and value are given; leave one empty",
            ))),
            (Some(other), _) => Err(cell(Error::invalid(format!(
                "take is {other:?}; write ours, theirs or null, or leave it empty and give a value"
            )))),
            (None, value) => {
                let value = typed(value, field(column, schemas)?).map_err(cell)?;
                resolution.set(row_id, column, value)
            }
        }
    }
}

fn field<'a>(column: &str, schemas: &[&'a SchemaRef]) -> Result<&'a Field> {
    let mut fields = schemas
        .iter()
        .filter_map(|schema| schema.fields().find(column));
    match fields.next() {
        Some((_, field)) => Ok(field),
        None => {
            let names = schemas.iter().flat_map(|schema| schema.fields().iter());
            let mut names: Vec<&str> = names.map(|field| field.name().as_str()).collect();
            names.sort_unstable();
            names.dedup();
            Err(Error::not_found(format!(
                "there is no column {column:?}; the columns are {}",
                names.join(", ")
            )))
        }
    }
}

fn lines(path: &Path) -> Result<Vec<Line>> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => batch_lines(csv_texts(path)?),
        Some("parquet" | "pq") => {
            let batches = import::parquet(path)?.collect::<Result<Vec<_>, _>>()?;
            batch_lines(batches)
        }
        Some("json" | "jsonl" | "ndjson") => json_lines(&text(path)?),
        _ => Err(Error::invalid(
            "its name must end in .csv, .json, .jsonl or .parquet",
        )),
    }
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|err| {
        let kind = match err.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::InvalidData => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, "the file cannot be read").with_source(err)
    })
}

/// The rows of a CSV file, all of it text: what a value means, its column says, not how it looks.
fn csv_texts(path: &Path) -> Result<Vec<RecordBatch>> {
    let text = text(path)?;
    let format = csv::reader::Format::default().with_header(true);
    let (names, _) = format.infer_schema(text.as_bytes(), Some(0))?;
    let fields = names.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let reader = csv::ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_header(true)
        .build(text.as_bytes())?;
    Ok(reader.collect::<Result<Vec<_>, _>>()?)
}

fn batch_lines(batches: Vec<RecordBatch>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for batch in batches {
        let needed = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| Error::invalid(format!("it has no column {name:?}")))
        };
        let row_ids = whole_numbers(needed("_rowid")?)?;
        let columns = cast(needed("column")?, &DataType::Utf8)?;
        let takes = batch
            .column_by_name("take")
            .map(|takes| cast(takes, &DataType::Utf8))
            .transpose()?;
        let values = batch.column_by_name("value");
        for row in 0..batch.num_rows() {
            // A line about a column as a whole is one that the conflicts are printed with.
            if row_ids.is_null(row) {
                continue;
            }
            let take = takes
                .as_ref()
                .filter(|takes| takes.is_valid(row))
                .map(|takes| takes.as_string::<i32>().value(row).trim().to_owned());
            let value = values.filter(|values| values.is_valid(row));
            lines.push(Line {
                row_id: row_ids.as_primitive::<UInt64Type>().value(row),
                column: columns.as_string::<i32>().value(row).to_owned(),
                take: take.filter(|take| !take.is_empty()),
                value: value.map_or(Given::Nothing, |values| Given::Array(values.slice(row, 1))),
            });
        }
    }
    Ok(lines)
}

/// Row ids in any type; never rounded, and never null where there was something.
fn whole_numbers(row_ids: &ArrayRef) -> Result<ArrayRef> {
    let numbers = cast(row_ids, &DataType::UInt64)?;
    let lost = numbers.null_count() != row_ids.null_count() || row_ids.data_type().is_floating();
    if lost {
        return Err(Error::invalid(
            "a _rowid is no row id: a whole number is needed",
        ));
    }
    Ok(numbers)
}

/// An array of objects, or one object a line.
fn json_lines(text: &str) -> Result<Vec<Line>> {
    let wrong = |err| Error::invalid("the file is not JSON").with_source(err);
    let objects: Vec<Json> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(wrong)?
    } else {
        serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(wrong)?
    };
    let lines = objects.into_iter().map(json_line);
    lines.filter_map(Result::transpose).collect()
}

/// One decision; `None` for an item about a column as a whole.
fn json_line(mut item: Json) -> Result<Option<Line>> {
    let wrong = |what: &str| Error::invalid(format!("an item has no {what}: {item}"));
    let row_id = match item.get("_rowid") {
        Some(Json::Null) => return Ok(None),
        row_id => row_id
            .and_then(Json::as_u64)
            .ok_or_else(|| wrong("_rowid"))?,
    };
    let column = item.get("column").and_then(Json::as_str);
    let column = column.ok_or_else(|| wrong("column"))?.to_owned();
    let take = match item.get("take") {
        None | Some(Json::Null) => None,
        Some(Json::String(take)) => Some(take.trim().to_owned()).filter(|take| !take.is_empty()),
        Some(_) => return Err(wrong("take that is text")),
    };
    let value = match item.get_mut("value").map(Json::take) {
        None | Some(Json::Null) => Given::Nothing,
        Some(value) => Given::Json(value),
    };
    Ok(Some(Line {
        row_id,
        column,
        take,
        value,
    }))
}

/// A value as its column takes it.
fn typed(value: Given, field: &Field) -> Result<Value> {
    match value {
        Given::Nothing | Given::Json(Json::Null) => Ok(Value::null()),
        Given::Json(Json::Bool(value)) => Ok(value.into()),
        Given::Json(Json::String(text)) => text_value(&text, field),
        Given::Json(Json::Number(number)) => {
            let exact = number.as_i64().map(Value::from);
            let exact = exact.or_else(|| number.as_u64().map(Value::from));
            let number = exact.or_else(|| number.as_f64().map(Value::from));
            number.ok_or_else(|| Error::invalid("the number is too large"))
        }
        Given::Json(nested) => decoded(nested, field),
        Given::Array(array) => match cast_text(&array) {
            Some(text) => text_value(&text, field),
            None => Value::first_of(&array),
        },
    }
}

fn cast_text(array: &ArrayRef) -> Option<String> {
    let is_text = matches!(
        array.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let text = is_text
        .then(|| cast(array, &DataType::Utf8).ok())
        .flatten()?;
    Some(text.as_string::<i32>().value(0).to_owned())
}

/// Text as a value: the name of a class, a number, JSON for lists and structs, base64 for bytes.
fn text_value(text: &str, field: &Field) -> Result<Value> {
    match field.data_type() {
        whole if whole.is_integer() => {
            let is_class = schema::classes(field)?
                .iter()
                .any(|class| class.name == text);
            Ok(match text.parse::<i64>() {
                Ok(number) if !is_class => number.into(),
                _ => text.into(),
            })
        }
        DataType::Binary | DataType::LargeBinary => {
            let bytes = STANDARD.decode(text);
            let bytes = bytes
                .map_err(|err| Error::invalid("bytes are written in base64").with_source(err))?;
            let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![bytes.as_slice()]));
            Value::first_of(&bytes)
        }
        nested if nested.is_nested() => {
            let json = serde_json::from_str(text).map_err(|err| {
                Error::invalid("a list or a struct is written in JSON").with_source(err)
            })?;
            decoded(json, field)
        }
        _ => Ok(text.into()),
    }
}

/// A list or a struct from JSON.
fn decoded(json: Json, field: &Field) -> Result<Value> {
    let one = Field::new("value", field.data_type().clone(), true);
    let row = serde_json::Map::from_iter([("value".to_owned(), json)]);
    let mut decoder = ReaderBuilder::new(Arc::new(Schema::new(vec![one])))
        .with_strict_mode(true)
        .build_decoder()?;
    let bytes = Json::Object(row).to_string();
    decoder.decode(bytes.as_bytes())?;
    match decoder.flush()? {
        Some(batch) => Value::first_of(batch.column(0)),
        None => Err(Error::invalid("the value is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SchemaRef {
        Arc::new(Schema::new(vec![
            schema::label("animal", ["cat", "dog", "7"]),
            Field::new("legs", DataType::Int64, true),
            Field::new("weight", DataType::Float64, true),
            Field::new("note", DataType::Utf8, true),
            Field::new("bytes", DataType::Binary, true),
            Field::new_list("sizes", Field::new_list_field(DataType::Int64, true), true),
        ]))
    }

    /// What one line decides, or why it decides nothing.
    #[track_caller]
    fn check(file: &str, text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::write(&path, text).unwrap();
        let found = match read(&path, Resolution::new(), &[&table()]) {
            Ok(resolution) => format!("{resolution:?}"),
            Err(err) => {
                let mut text = String::new();
                let mut next: Option<&dyn std::error::Error> = Some(&err);
                while let Some(err) = next {
                    text += &format!("{err}: ");
                    next = err.source();
                }
                text
            }
        };
        let words: String = found.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(expected), "{text}\n{words}");
    }

    #[test]
    fn a_line_takes_a_side_or_gives_a_value() {
        let csv = |line: &str, expected: &str| {
            check(
                "a.csv",
                &format!("_rowid,column,take,value\n{line}\n"),
                expected,
            );
        };
        csv("3,legs,ours,", "Take(Ours)");
        csv("3,legs,theirs,", "Take(Theirs)");
        csv("3,legs,null,", "NullArray");
        csv("3,legs,,", "cells: {}");
        csv("3,legs,,4", "PrimitiveArray<Int64> [ 4, ]");
        csv("3,note,,007", "StringArray [ \"007\", ]");
        csv("3,animal,,dog", "StringArray [ \"dog\", ]");
        csv("3,animal,,1", "PrimitiveArray<Int64> [ 1, ]");
        csv("3,animal,,7", "StringArray [ \"7\", ]");
        csv("3,sizes,,\"[1,2]\"", "ListArray");
        csv("3,bytes,,AAE=", "BinaryArray");
        csv(
            "3,bytes,,?",
            "row 3, column bytes: bytes are written in base64",
        );
        csv(
            "3,legs,ours,4",
            "row 3, column legs: both take and value are given",
        );
        csv(
            "3,legs,mine,",
            "take is \"mine\"; write ours, theirs or null",
        );
        csv(
            "3,wings,,4",
            "there is no column \"wings\"; the columns are animal",
        );
        csv("three,legs,ours,", "a _rowid is no row id");
    }

    #[test]
    fn json_is_an_array_or_lines() {
        check(
            "a.json",
            r#"[{"_rowid":3,"column":"legs","base":1,"ours":2,"theirs":3,"take":"theirs"},{"_rowid":null,"column":"x","why":"y"}]"#,
            "Take(Theirs)",
        );
        check(
            "a.jsonl",
            "{\"_rowid\":3,\"column\":\"weight\",\"value\":0.5}\n{\"_rowid\":4,\"column\":\"sizes\",\"value\":[1]}\n",
            "PrimitiveArray<Float64> [ 0.5, ]",
        );
        check("a.json", "[{\"column\":\"legs\"}]", "an item has no _rowid");
        check("a.json", "[1,", "the file is not JSON");
        check("a.txt", "", "its name must end in .csv");
    }
}
