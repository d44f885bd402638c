//! Batches of outputs and metrics as text, for the tests of collectors.

use std::sync::Arc;

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use arrow::json::ReaderBuilder;
use arrow::util::display::array_value_to_string;

use super::Collector;
use super::tests::keeps_its_contract;

/// A batch from lines of JSON. `"NaN"` and `"inf"` are numbers.
pub(super) fn outputs(fields: &[Field], lines: &str) -> RecordBatch {
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let mut reader = ReaderBuilder::new(Arc::clone(&schema))
        .build(lines.as_bytes())
        .unwrap();
    match reader.next() {
        Some(batch) => batch.unwrap(),
        None => RecordBatch::new_empty(schema),
    }
}

/// A field of lists.
pub(super) fn list(name: &str, item: DataType) -> Field {
    let item = Field::new_list_field(item, true);
    Field::new(name, DataType::List(Arc::new(item)), true)
}

/// A field of lists of one length.
pub(super) fn lists_of(name: &str, item: DataType, length: i32) -> Field {
    let item = Field::new_list_field(item, true);
    Field::new(name, DataType::FixedSizeList(Arc::new(item), length), true)
}

/// What is in a batch: `a=0.5000 b=[1 2]` for each row.
pub(super) fn rows(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    let row = |row| {
        let cells = schema.fields().iter().zip(batch.columns());
        let cells = cells.map(|(field, column)| format!("{}={}", field.name(), cell(column, row)));
        cells.collect::<Vec<_>>().join(" ")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn cell(values: &dyn Array, row: usize) -> String {
    if values.is_null(row) {
        return "-".to_owned();
    }
    let many = |list: &dyn Array| {
        let cells = (0..list.len()).map(|row| cell(list, row));
        format!("[{}]", cells.collect::<Vec<_>>().join(" "))
    };
    match values.data_type() {
        DataType::Float32 => format!("{:.4}", values.as_primitive::<Float32Type>().value(row)),
        DataType::List(_) => many(&values.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => many(&values.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let cells = values.as_struct().columns().iter();
            let cells = cells.map(|column| cell(column, row)).collect::<Vec<_>>();
            format!("({})", cells.join(","))
        }
        _ => array_value_to_string(values, row).unwrap(),
    }
}

/// That a collector makes these rows, and keeps the contract with them.
#[track_caller]
pub(super) fn check(collector: &dyn Collector, outputs: &RecordBatch, expected: &[&str]) {
    let found = collector.collect(outputs).unwrap();
    assert_eq!(rows(&found), expected);
    keeps_its_contract(collector, outputs);
}

/// That a collector refuses the outputs as invalid, saying so.
#[track_caller]
pub(super) fn refused(collector: &dyn Collector, outputs: &RecordBatch, expected: &str) {
    let err = collector.collect(outputs).unwrap_err();
    assert_eq!(err.kind(), crate::error::ErrorKind::Invalid);
    assert!(err.to_string().contains(expected), "{err}");
}
