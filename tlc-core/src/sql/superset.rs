//! The columns of `samples`: those of all streams of all runs, each name once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::error::{Error, Result};

/// The columns of all streams, each under its name once.
pub(super) struct Superset {
    system: Vec<FieldRef>,
    /// By name: where the column was first seen, and the type that holds all its values.
    columns: BTreeMap<String, (String, DataType)>,
}

impl Superset {
    pub(super) fn new(system: &[FieldRef]) -> Self {
        Self {
            system: system.to_vec(),
            columns: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, place: &str, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            let name = field.name();
            if self.system.iter().any(|system| system.name() == name) {
                return Err(Error::invalid(format!(
                    "the metric {name:?} of {place} has the name of the column {name:?} that samples have themselves"
                )));
            }
            match self.columns.get_mut(name) {
                None => {
                    self.columns
                        .insert(name.clone(), (place.to_owned(), field.data_type().clone()));
                }
                Some((first, data_type)) => {
                    let both = common(data_type, field.data_type());
                    *data_type = both.ok_or_else(|| {
                        let (a, b) = (&*data_type, field.data_type());
                        Error::invalid(format!("the metric {name:?} is {a} in {first} and {b} in {place}; no type holds both"))
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn fields(self) -> Vec<FieldRef> {
        self.columns
            .into_iter()
            .map(|(name, (_, data_type))| field(&name, data_type, true))
            .collect()
    }
}

/// A type that both can be read as: the same, else a 64-bit float for numbers, a list without a
/// fixed length for vectors, else text.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    if a.is_numeric() && b.is_numeric() {
        return Some(DataType::Float64);
    }
    if let (Some(a), Some(b)) = (item(a), item(b))
        && a.data_type() == b.data_type()
    {
        return Some(DataType::new_list(a.data_type().clone(), true));
    }
    let text = [a, b]
        .into_iter()
        .all(|from| can_cast_types(from, &DataType::Utf8));
    text.then_some(DataType::Utf8)
}

fn item(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

pub(super) fn field(name: &str, data_type: DataType, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data_type, nullable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, data_type: DataType) -> Schema {
        Schema::new(vec![Field::new(name, data_type, true)])
    }

    #[track_caller]
    fn check(a: DataType, b: DataType, expected: &str) {
        let mut columns = Superset::new(&[]);
        columns.add("stream \"a\"", &schema("x", a)).unwrap();
        columns.add("stream \"b\"", &schema("x", b)).unwrap();
        let fields = columns.fields();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].data_type().to_string(), expected);
    }

    #[test]
    fn a_name_gets_a_type_that_holds_all_its_values() {
        let vector = |n| DataType::new_fixed_size_list(DataType::Float32, n, true);
        check(DataType::Int32, DataType::Int32, "Int32");
        check(DataType::Int32, DataType::Float32, "Float64");
        check(DataType::Int64, DataType::Utf8, "Utf8");
        check(DataType::Boolean, DataType::Int8, "Utf8");
        check(vector(2), vector(2), &vector(2).to_string());
        check(
            vector(2),
            vector(3),
            &DataType::new_list(DataType::Float32, true).to_string(),
        );
    }

    #[test]
    fn a_metric_with_the_name_of_a_system_column_is_refused_by_both_names() {
        let mut columns = Superset::new(&[field("run", DataType::Utf8, false)]);
        let err = columns
            .add(
                "stream \"val\" of run \"first\"",
                &schema("run", DataType::Utf8),
            )
            .unwrap_err();
        assert!(
            err.to_string().contains("\"val\"") && err.to_string().contains("column \"run\""),
            "{err}"
        );
    }
}
